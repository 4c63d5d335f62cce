"""Payment holds: payees to whom nothing is sent for now, by whom, since when and why.

1. A hold and its release are records in the log: nothing is edited, and the register is what the
   records come to, read in order. What is held stays owed; no money moves.
2. A held payee is left out of every batch that is drafted. A payout that was drafted or approved
   before is withheld at the export, so nothing of it reaches the bank.
3. A hold and an export take the same lock: a hold that was placed before an export counts for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from flows.books import read_agreements
from flows.locks import hold
from flows.workspace import Workspace
from ledger import chart
from ledger.access import RecordedAccess
from ledger.store import LedgerStore
from reports.payouts.errors import PayoutError

PLACE, RELEASE = "payout-hold", "payout-release"
PAYEE = "payees/"
ROLE = "accountant"
LOCK = "payouts"


@dataclass(frozen=True)
class PaymentHold:
    """One payee who is not paid for now.

    Args:
        payee_id: who.
        reason: why, in words.
        placed_by: who placed it, an id.
        ledger_seq: the record's place in the log.
        placed_at: when the database recorded it, ISO, UTC.
    """

    payee_id: str
    reason: str
    placed_by: str
    ledger_seq: int
    placed_at: str


def holds_of(records: Iterable[RecordedAccess], size: int | None = None) -> dict[str, PaymentHold]:
    """Read the register from the log.

    Args:
        records: of the book, in order.
        size: only of its first so many leaves; of all by default.

    Returns:
        The holds in force, by payee.
    """
    found: dict[str, PaymentHold] = {}
    for record in records:
        access = record.access
        if size is not None and record.ledger_seq > size:
            break
        payee = access.object_id.removeprefix(PAYEE)
        if access.action == PLACE:
            at = record.recorded_at.strftime("%Y-%m-%dT%H:%M:%SZ")
            found[payee] = PaymentHold(payee, access.reason, access.actor, record.ledger_seq, at)
        elif access.action == RELEASE:
            found.pop(payee, None)
    return found


def place_hold(
    workspace: Workspace, books: LedgerStore, payee_id: str, *, reason: str, actor: str
) -> PaymentHold:
    """Hold a payee's payments until somebody releases them.

    Args:
        workspace: whose agreements name the payees.
        books: the open ledger.
        payee_id: who.
        reason: why; it stands in the log, so no personal data.
        actor: who places it, an id.

    Raises:
        PayoutError: there is no such payee, he is held already, or no reason is given.
    """
    with hold(workspace.locks, LOCK):
        _known(workspace, books, payee_id)
        what = f"hold on {payee_id}"
        if not reason.strip():
            raise PayoutError(what, "has no reason", "Say why with --reason")
        if before := holds_of(books.accesses()).get(payee_id):
            told = f"stands since {before.placed_at}, by {before.placed_by}: {before.reason}"
            raise PayoutError(what, told, "Release it first, to hold for another reason")
        books.record_access(actor, ROLE, PLACE, f"{PAYEE}{payee_id}", reason)
        return holds_of(books.accesses())[payee_id]


def release_hold(
    workspace: Workspace, books: LedgerStore, payee_id: str, *, reason: str, actor: str
) -> PaymentHold:
    """Let a payee be paid again, by the next batch.

    Returns:
        The hold that was released.

    Raises:
        PayoutError: he is not held, or no reason is given.
    """
    with hold(workspace.locks, LOCK):
        held = holds_of(books.accesses())
        what = f"hold on {payee_id}"
        if payee_id not in held:
            told = f"does not stand; held: {', '.join(sorted(held)) or 'nobody'}"
            raise PayoutError(what, told, "See `byline payout holds`")
        if not reason.strip():
            raise PayoutError(what, "is not released without a reason", "Say why with --reason")
        books.record_access(actor, ROLE, RELEASE, f"{PAYEE}{payee_id}", reason)
        return held[payee_id]


def owed_by_currency(
    workspace: Workspace, books: LedgerStore, payee_ids: Iterable[str]
) -> dict[str, dict[str, int]]:
    """Give what payees are owed, in units by currency; unlike currencies are never added up."""
    found: dict[str, dict[str, int]] = {}
    for payee in payee_ids:
        account = chart.royalties_payable(payee)
        sums = {c: -books.balance(account, c) for c in currencies_of(workspace)}
        found[payee] = {currency: units for currency, units in sums.items() if units}
    return found


def currencies_of(workspace: Workspace) -> list[str]:
    """List the currencies that payees can be owed in: the pool's, agreements' and payments'."""
    found = {workspace.settings.pool.currency}
    for agreement in read_agreements(workspace).agreements:
        found |= {agreement.currency, agreement.payment_currency}
    return sorted(found)


def _known(workspace: Workspace, books: LedgerStore, payee_id: str) -> None:
    payees = {agreement.payee_id for agreement in read_agreements(workspace).agreements}
    for currency in currencies_of(workspace):
        accounts = books.balances(chart.PAYABLE_PREFIX, currency)
        payees |= {account.removeprefix(chart.PAYABLE_PREFIX) for account in accounts}
    if payee_id not in payees:
        close = difflib.get_close_matches(payee_id, sorted(payees), n=1)
        hint = f"; the closest is {close[0]}" if close else ""
        raise PayoutError(
            f"payee {payee_id!r}", f"is in no agreement and owed nothing{hint}", "Give his id"
        )
