"""A payout batch: what is paid and what is not, and the states it goes through.

    draft -> approved -> exported -> accepted -> settled -> reconciled
                 |           |           |
         voided, withheld  rejected    returned -> reissued (in another batch)

1. Only what is owed, whole, positive, at or above the threshold, not held and
   with sound bank details is paid. Everything else is listed with the reason and
   stays owed.
2. The bank is paid in the smallest coin of the currency; units below it stay owed.
3. Who approves a batch is not who prepared it.
4. Every event leaves a leaf in the log. Export, settlement, rejection and return
   move money and are journal entries; the others are access records.
5. The message id is a function of the batch, and a batch is exported once: what
   the bank refuses is reissued in another batch with another id.
6. A payout whose payee was held after it was drafted is withheld: it is not exported, and what
   it would have paid stays owed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from contracts.money import Currency, show_money
from ledger.chart import CASH, ROYALTIES_IN_TRANSIT, royalties_payable
from ledger.entry import JournalEntry, Posting
from reports.payouts.bank import (
    BankAccount,
    check_address,
    check_bic,
    check_iban,
    check_routing,
    latin,
)
from reports.payouts.errors import PayoutError, TransitionError

FORMAT: Final = "byline-payout-batch/1"
WAITS: Final = "waits for conversion"
CARRIED: Final = "below the threshold of its agreement, carried forward"
# Coins: decimal digits of what a bank pays out.
COIN_DIGITS: Final = {"JPY": 0, "KRW": 0, "CLP": 0, "ISK": 0, "BHD": 3, "KWD": 3, "JOD": 3}
NEXT: Final[Mapping[str, Mapping[str, str]]] = {
    "draft": {"approve": "approved", "void": "voided"},
    "approved": {"export": "exported", "void": "voided", "withhold": "withheld"},
    "exported": {"accept": "accepted", "reject": "rejected", "settle": "settled"},
    "accepted": {"settle": "settled", "reject": "rejected"},
    "settled": {"reconcile": "reconciled", "return": "returned"},
    "reconciled": {"return": "returned"},
    "rejected": {"reissue": "reissued"},
    "returned": {"reissue": "reissued"},
    "voided": {},
    "withheld": {},
    "reissued": {},
}
MONEY_EVENTS: Final = frozenset({"export", "settle", "reject", "return"})


@dataclass(frozen=True)
class Owed:
    """What is owed to a payee in one currency, and what is known about paying it.

    `waiting_units` of the amount are not paid in this currency: the next close converts them.
    `carried_units` of it are below the thresholds of several agreements, which carry them forward;
    together they may be above, and are not paid for that.
    """

    payee_id: str
    currency: str
    amount_units: int
    statement_number: str
    threshold_units: int = 0
    held: str = ""
    bank: BankAccount | None = None
    waiting_units: int = 0
    carried_units: int = 0

    def parted(self) -> tuple[list[tuple[Owed, str]], Owed | None]:
        """Give what is not paid now, with the reason, and what is left (None where nothing is)."""
        kept = [(self.waiting_units, WAITS), (self.carried_units, CARRIED)]
        waits = [(replace(self, amount_units=units), why) for units, why in kept if units]
        units = self.amount_units - self.waiting_units - self.carried_units
        rest = replace(self, amount_units=units, waiting_units=0, carried_units=0)
        return waits, rest if units else None


@dataclass(frozen=True)
class Payout:
    """One payment: amount in units (a whole number of coins) and where it is on its way."""

    payout_id: str
    payee_id: str
    currency: str
    amount_units: int
    coins: int
    statement_number: str
    bank: BankAccount = field(repr=False)
    state: str = "draft"


@dataclass(frozen=True)
class LeftOut:
    """Money that stays owed, and why."""

    payee_id: str
    currency: str
    amount_units: int
    reason: str


@dataclass(frozen=True)
class PayoutBatch:
    """A batch of payouts of one period; see the module docstring for its states."""

    batch_id: str
    period: str
    prepared_by: str
    payouts: tuple[Payout, ...]
    left_out: tuple[LeftOut, ...]
    approved_by: str = ""

    def total_units(self, currency: str) -> int:
        """Add up the payouts of a currency."""
        return sum(item.amount_units for item in self.payouts if item.currency == currency)


@dataclass(frozen=True)
class BatchEvent:
    """What happened to one payout: for the access log, with its entry where money moved."""

    payout_id: str
    event: str
    actor: str
    reason: str
    entry: JournalEntry | None


def draft_batch(batch_id: str, period: str, prepared_by: str, owed: Iterable[Owed]) -> PayoutBatch:
    """Make a batch of everything that can be paid, and list the rest.

    Args:
        batch_id: never used again.
        period: the settlement period the payments are booked in, `YYYY-MM`.
        prepared_by: who prepares it.
        owed: one line a payee and currency, from the ledger's payable accounts.

    Raises:
        PayoutError: a payee is there twice in one currency.
    """
    payouts, left_out, seen = [], [], set()
    for one in sorted(owed, key=lambda one: (one.payee_id, one.currency)):
        key = (one.payee_id, one.currency)
        if key in seen:
            raise PayoutError(f"payee {one.payee_id}", f"is there twice in {one.currency}",
                              "Add the lines up first")  # fmt: skip
        seen.add(key)
        waits, line = one.parted()
        left_out += [LeftOut(w.payee_id, w.currency, w.amount_units, why) for w, why in waits]
        if line is None:
            continue
        coin = _coin_units(line.currency)
        coins = line.amount_units // coin if line.amount_units > 0 else 0
        reason = _why_not(line, coins)
        if reason:
            left_out.append(LeftOut(line.payee_id, line.currency, line.amount_units, reason))
            continue
        assert line.bank is not None, f"{line.payee_id} passed without bank details"
        payouts.append(
            Payout(
                payout_id=payout_id(batch_id, line.payee_id, line.currency),
                payee_id=line.payee_id,
                currency=line.currency,
                amount_units=coins * coin,
                coins=coins,
                statement_number=line.statement_number,
                bank=line.bank,
            )
        )
        rest = line.amount_units - coins * coin
        if rest:
            below = "below the smallest coin, stays owed"
            left_out.append(LeftOut(line.payee_id, line.currency, rest, below))
    return PayoutBatch(batch_id, period, prepared_by, tuple(payouts), tuple(left_out))


def approve(batch: PayoutBatch, approved_by: str) -> tuple[PayoutBatch, tuple[BatchEvent, ...]]:
    """Approve a draft.

    Raises:
        PayoutError: the approver prepared the batch.
        TransitionError: it is not a draft any more.
    """
    if approved_by == batch.prepared_by:
        raise PayoutError(
            f"payout batch {batch.batch_id}",
            f"{approved_by} prepared it and cannot approve it",
            "Ask a second person",
        )
    approved = replace(batch, approved_by=approved_by)
    return advance(approved, "approve", actor=approved_by, day="")


def advance(
    batch: PayoutBatch,
    event: str,
    *,
    actor: str,
    day: str,
    payout_ids: Iterable[str] | None = None,
    period: str = "",
    reason: str = "",
) -> tuple[PayoutBatch, tuple[BatchEvent, ...]]:
    """Let an event happen to some payouts of a batch.

    Args:
        batch: the batch before.
        event: approve, withhold, export, accept, settle, reconcile, reject, return, reissue
            or void.
        actor: who or what caused it ("bank" for a bank's file).
        day: ISO date the event counts for; needed where money moves.
        payout_ids: which; None for all that the event may follow on.
        period: the open period it is booked in; the batch's own if not given.
        reason: the bank's code, or why.

    Returns:
        The batch after, and one event a payout with its journal entry.

    Raises:
        TransitionError: the event does not follow on a payout's state.
    """
    wanted = None if payout_ids is None else set(payout_ids)
    changed, events = [], []
    for item in batch.payouts:
        if wanted is not None and item.payout_id not in wanted:
            changed.append(item)
            continue
        after = NEXT[item.state].get(event)
        if after is None:
            if wanted is None and event not in {"approve", "export"}:
                changed.append(item)
                continue
            allowed = ", ".join(NEXT[item.state]) or "nothing more"
            raise TransitionError(f"payout {item.payout_id}", item.state, f"{event}ed", allowed)
        changed.append(replace(item, state=after))
        entry = _entry(batch, item, event, day, period) if event in MONEY_EVENTS else None
        events.append(BatchEvent(item.payout_id, event, actor, reason, entry))
    return replace(batch, payouts=tuple(changed)), tuple(events)


def payout_id(batch_id: str, payee_id: str, currency: str) -> str:
    """Return the short id that travels through the banks as EndToEndId (26 letters)."""
    text = f"{batch_id}\0{payee_id}\0{currency}"
    return "PO" + hashlib.sha256(text.encode()).hexdigest()[:24].upper()


def message_id(batch: PayoutBatch) -> str:
    """Return the id of the bank message of a batch (27 letters), never used again."""
    digest = hashlib.sha256(batch.batch_id.encode()).hexdigest()[:24].upper()
    return f"BYL{digest}"


def _coin_units(currency: str) -> int:
    parsed = Currency.parse(currency)
    digits = COIN_DIGITS.get(parsed.code, 2)
    assert parsed.scale >= digits, f"{currency} cannot hold its own coins"
    return int(10 ** (parsed.scale - digits))


def _why_not(line: Owed, coins: int) -> str:
    hindrances = (
        (line.amount_units < 0, "negative: the payee owes it"),
        (bool(line.held), f"held: {line.held}"),
        (
            line.amount_units < line.threshold_units,
            f"below the threshold of {show_money(line.threshold_units, line.currency)}",
        ),
        (coins == 0, "below the smallest coin"),
        (line.bank is None, "no bank details"),
    )
    for hinders, reason in hindrances:
        if hinders:
            return reason
    assert line.bank is not None, f"{line.payee_id} passed without bank details"
    try:
        check_bank(line.bank)
    except PayoutError as problem:
        return f"bank details: {problem.what}: {problem.reason}"
    return ""


def check_bank(bank: BankAccount) -> None:
    """Check all that is given of a payee's bank details.

    Raises:
        PayoutError: the first thing that is wrong.
    """
    latin(bank.holder, 70)
    if bank.iban:
        check_iban(bank.iban)
    elif bank.routing and bank.account:
        check_routing(bank.routing)
    else:
        raise PayoutError("bank account", "neither IBAN nor routing and account number", "Complete")
    if bank.bic:
        check_bic(bank.bic)
    if bank.address is not None:
        check_address(bank.address)


def _entry(batch: PayoutBatch, item: Payout, event: str, day: str, period: str) -> JournalEntry:
    """Book an event: payable -> in transit -> cash, and back."""
    payable = royalties_payable(item.payee_id)
    debit, credit = {
        "export": (payable, ROYALTIES_IN_TRANSIT),
        "settle": (ROYALTIES_IN_TRANSIT, CASH),
        "reject": (ROYALTIES_IN_TRANSIT, payable),
        "return": (CASH, payable),
    }[event]
    return JournalEntry(
        scope="payout",
        key=f"{batch.batch_id}/{item.payout_id}/{event}",
        kind="payout",
        period=period or batch.period,
        effective_on=day,
        description=f"Payout {item.payout_id} {event}, statement {item.statement_number}",
        postings=(
            Posting(debit, item.currency, item.amount_units),
            Posting(credit, item.currency, -item.amount_units),
        ),
        prepared_by=batch.prepared_by,
        approved_by=batch.approved_by,
    )
