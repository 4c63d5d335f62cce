"""The journal entries of a close, from what was divided and calculated.

apportionment   Dr Accrued and suspense, as they stand (for other pools: Dr the expense)
                Cr PoolClearing and suspense, as the rule divides the pool; then for each payee
                Dr PoolClearing, Cr RoyaltiesPayable; in another currency than the pool's by way of
                the exchange account of the pair
adjustment      an earlier period, paid from suspense or against the expense; through
                PoolClearing to each payee likewise; approved
earning         what rates, deductions, caps and floors change, against the expense
reserve         Dr/Cr RoyaltiesPayable against Reserve
guarantee       Dr Expenses, Cr RoyaltiesPayable
recoupment      Dr RoyaltiesPayable, Cr RoyaltyAdvances
debit           what a correction took back beyond what there was, kept for later royalties
tax             VAT added, withholding kept back
hold            fees per use that others claim too: Dr the expense, Cr Disputed of each claimant;
                decided later, an adjustment takes the hold back and another one pays the winner
conversion      the net of who is paid in another currency: out of RoyaltiesPayable in the one and
                into it in the other, through the exchange account of the pair

An entry names one payee at most: who checks his own statement sees nobody else's money.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.earning_lines import CONVERSION
from contracts.earnings import Earnings
from contracts.period import Period
from contracts.pool_amount import PoolAmount
from flows.division import Division, PoolDivision
from flows.restate import Restatement
from ledger import chart
from ledger.entry import JournalEntry, Posting

SCOPE = "close"
DESTINATION_ACCOUNTS = {
    "unlicensed": chart.UNLICENSED,
    "unmatched": chart.UNMATCHED,
    "disputed": chart.DISPUTED,
    "below_noise": chart.BELOW_NOISE,
    "unexplained": chart.UNEXPLAINED,
    "rounding": chart.ROUNDING,
}


@dataclass(frozen=True)
class Paper:
    """Who writes the entries of a close, and what they cite.

    Args:
        prepared_by: who prepares the close.
        approved_by: who approves it; None where nothing is booked.
        evidence: digests of the files behind the division.
        rates: digest of the exchange rates; empty where there are none.
    """

    prepared_by: str
    approved_by: str | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)
    rates: str = ""


def close_entries(
    division: Division,
    given: Mapping[str, Sequence[PoolAmount]],
    earnings: Sequence[Earnings],
    restatement: Restatement,
    paper: Paper,
) -> list[JournalEntry]:
    """Write every entry of a close, in order; what changes nothing has no entry.

    Args:
        division: the pools, divided.
        given: what each agreement was given of them, in its own currency, by its id.
        earnings: one calculation an agreement.
        restatement: what earlier periods come to now.
        paper: who writes them and what they cite.

    Returns:
        The entries.
    """
    book = _Book(division.accruals.period, division.accruals.currency, paper)
    entries: list[JournalEntry | None] = []
    for pool in division.pools:
        entries += _apportionment(book, division, pool, earnings)
        entries += _in_other_currencies(book, pool, given, earnings)
    entries += _adjustments(book, restatement, earnings)
    base = {name: sum(amount.amount_units for amount in amounts) for name, amounts in given.items()}
    entries += _holds(book, restatement, earnings)
    for result in earnings:
        entries += _of_agreement(book, result, base[result.agreement_id])
        entries.append(_conversion(book, result))
    return [entry for entry in entries if entry is not None]


@dataclass(frozen=True)
class _Book:
    """What all entries of one close have in common."""

    period: str
    currency: str
    paper: Paper

    def cited(self) -> dict[str, str]:
        """Give what an entry cites that rests on an exchange rate."""
        rates = {"rates": self.paper.rates} if self.paper.rates else {}
        return {**self.paper.evidence, **rates}

    def entry(
        self,
        kind: str,
        name: str,
        description: str,
        change: Mapping[str, int],
        *,
        currency: str = "",
        is_approved: bool = False,
        evidence: Mapping[str, str] | None = None,
    ) -> JournalEntry | None:
        """Write an entry from what each account changes by (debit positive), or None."""
        moves = [(account, currency or self.currency, u) for account, u in sorted(change.items())]
        return self.of_moves(
            kind, name, description, moves, is_approved=is_approved, evidence=evidence
        )

    def of_moves(
        self,
        kind: str,
        name: str,
        description: str,
        moves: Iterable[tuple[str, str, int]],
        *,
        is_approved: bool = False,
        evidence: Mapping[str, str] | None = None,
    ) -> JournalEntry | None:
        """Write an entry from account, currency and change (debit positive), or None."""
        postings = [Posting(*move) for move in moves if move[-1]]
        if not postings:
            return None
        return JournalEntry(
            scope=SCOPE,
            key=f"{self.period}/{name}",
            kind=kind,
            period=self.period,
            effective_on=Period(self.period).end.isoformat(),
            description=description,
            postings=postings,
            prepared_by=self.paper.prepared_by,
            approved_by=self.paper.approved_by if is_approved else None,
            evidence=evidence or {},
        )


def _apportionment(
    book: _Book, division: Division, pool: PoolDivision, earnings: Sequence[Earnings]
) -> Iterator[JournalEntry | None]:
    """Turn accruals, or a fee, into suspense and what is to be paid, then that into payables."""
    change: dict[str, int] = defaultdict(int)
    if pool is division.main:
        for account, units in division.accruals.booked.items():
            change[account] += units
    else:
        change[chart.ROYALTY_EXPENSE] += pool.pool_units
    for name, units in pool.destinations.items():
        change[DESTINATION_ACCOUNTS[name]] -= units
    owed: dict[str, int] = defaultdict(int)
    for result in earnings:
        units = pool.units_of(result.agreement_id)
        change[chart.POOL_CLEARING] -= units
        if result.currency == book.currency:
            owed[result.payee_id] += units
    name = f"apportionment/{pool.pool_id}"
    what = f"Pool {pool.pool_id} of {book.period} divided by {pool.rule}"
    yield book.entry("apportionment", name, what, change, evidence=book.paper.evidence)
    for payee_id, units in owed.items():
        yield book.entry(
            "apportionment",
            f"{name}#{payee_id}",
            f"Part of pool {pool.pool_id} of {book.period}",
            {chart.POOL_CLEARING: units, chart.royalties_payable(payee_id): -units},
            evidence=book.paper.evidence,
        )


def _in_other_currencies(
    book: _Book,
    pool: PoolDivision,
    given: Mapping[str, Sequence[PoolAmount]],
    earnings: Sequence[Earnings],
) -> Iterator[JournalEntry | None]:
    """Pay out of a pool those whose agreements are in another currency; each currency balances."""
    for result in earnings:
        units = pool.units_of(result.agreement_id)
        if result.currency == book.currency or not units:
            continue
        (mine,) = [a for a in given[result.agreement_id] if a.pool_id == pool.pool_id]
        account = chart.exchange(book.currency, result.currency)
        payable = chart.royalties_payable(result.payee_id)
        moves = [
            (chart.POOL_CLEARING, book.currency, units),
            (account, book.currency, -units),
            (account, result.currency, mine.amount_units),
            (payable, result.currency, -mine.amount_units),
        ]
        what = f"Part of pool {pool.pool_id} of {book.period} under {result.agreement_id}"
        yield book.of_moves(
            "apportionment",
            f"apportionment/{pool.pool_id}#{result.agreement_id}",
            f"{what}: {mine.working}"[:2000],
            moves,
            evidence=book.cited(),
        )


def _adjustments(
    book: _Book, restatement: Restatement, earnings: Sequence[Earnings]
) -> Iterator[JournalEntry | None]:
    """Write the entries of each earlier period that comes out differently now."""
    payees = {result.agreement_id: result for result in earnings}
    for period in restatement.periods:
        change: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        owed: dict[tuple[str, str], int] = defaultdict(int)
        why: dict[tuple[str, str], set[str]] = defaultdict(set)
        for name, units in restatement.moved.get(period, {}).items():
            change[book.currency][DESTINATION_ACCOUNTS[name]] -= units
        for agreement_id, adjustments in restatement.adjustments.items():
            result = payees[agreement_id]
            mine = [a for a in adjustments if a.activity_period == period]
            units = sum(a.amount_units for a in mine)
            change[result.currency][chart.POOL_CLEARING] -= units
            owed[result.currency, result.payee_id] += units
            why[result.currency, result.payee_id] |= {a.reason for a in mine}
        what = f"Restatement of {period.text}: "
        for currency, accounts in sorted(change.items()):
            accounts[chart.ROYALTY_EXPENSE] -= sum(accounts.values())
            reason = restatement.reason(period)
            yield _adjustment(book, period.text, what + reason, currency, accounts)
        for (currency, payee_id), units in owed.items():
            accounts = {chart.POOL_CLEARING: units, chart.royalties_payable(payee_id): -units}
            own = what + "; ".join(sorted(why[currency, payee_id]))[:1000]
            yield _adjustment(book, period.text, own, currency, accounts, f"#{payee_id}")


def _adjustment(
    book: _Book, period: str, what: str, currency: str, change: Mapping[str, int], whose: str = ""
) -> JournalEntry | None:
    """Write one entry of a restatement: the house's, or one payee's."""
    ending = "" if currency == book.currency else f"/{currency}"
    return book.entry(
        "adjustment",
        f"adjustment/{period}{ending}{whose}",
        what,
        change,
        currency=currency,
        is_approved=True,
        evidence=book.paper.evidence,
    )


def _of_agreement(book: _Book, result: Earnings, base_units: int) -> Iterator[JournalEntry | None]:
    """Write what an agreement's own terms change, one entry a kind."""
    payable = chart.royalties_payable(result.payee_id)
    recouped = result.recouped_units + sum(result.collateral_units.values())
    reserved = result.reserve_taken_units - result.reserve_released_units
    owed = result.opening.debit_units - result.closing.debit_units
    moves = {
        "earning": (
            "earning",
            result.royalty_units - base_units,
            chart.ROYALTY_EXPENSE,
            "Terms of",
        ),
        "reserve": ("reserve", -reserved, chart.reserve(result.payee_id), "Reserve of"),
        "guarantee": ("guarantee", result.guarantee_units, chart.ROYALTY_EXPENSE, "Guarantee of"),
        "recoupment": (
            "recoupment",
            -recouped,
            chart.royalty_advances(result.payee_id),
            "Recouped by",
        ),
        "debit": ("recoupment", -owed, chart.debit_balance(result.payee_id), "Debit balance of"),
    }
    for name, (kind, units, other, what) in moves.items():
        yield book.entry(
            kind,
            f"{name}/{result.agreement_id}",
            f"{what} agreement {result.agreement_id} v{result.version}",
            {payable: -units, other: units},
            currency=result.currency,
        )
    change = {
        payable: result.withheld_units - result.indirect_tax_units,
        chart.WITHHOLDING_PAYABLE: -result.withheld_units,
        chart.INDIRECT_TAX_RECOVERABLE: result.indirect_tax_units,
    }
    what = f"Taxes of agreement {result.agreement_id} v{result.version}"
    yield book.entry("tax", f"tax/{result.agreement_id}", what, change, currency=result.currency)


def _holds(
    book: _Book, restatement: Restatement, earnings: Sequence[Earnings]
) -> Iterator[JournalEntry | None]:
    """Hold what several claim of fees per use, and take back what is held no longer."""
    for result in earnings:
        account = chart.disputed(result.payee_id)
        name = f"{result.agreement_id} v{result.version}"
        yield book.entry(
            "hold",
            f"hold/{result.agreement_id}",
            f"Fees per use of agreement {name} that others claim too",
            {chart.ROYALTY_EXPENSE: result.contested_units, account: -result.contested_units},
            currency=result.currency,
            evidence=book.paper.evidence,
        )
        for (agreement_id, period), units in sorted(restatement.held.items()):
            if agreement_id == result.agreement_id:
                yield book.entry(
                    "adjustment",
                    f"hold/{agreement_id}/{period.text}",
                    f"Held of {period.text} for agreement {name}: claims changed or were decided",
                    {chart.ROYALTY_EXPENSE: units, account: -units},
                    currency=result.currency,
                    is_approved=True,
                    evidence=book.paper.evidence,
                )


def _conversion(book: _Book, result: Earnings) -> JournalEntry | None:
    """Turn the net of an agreement into the currency it is paid in; each currency balances."""
    # A net below half a unit of the other currency stays as it is until it comes to more.
    if not result.converted_from_units:
        return None
    account = chart.exchange(result.currency, result.payment_currency)
    payable = chart.royalties_payable(result.payee_id)
    units = result.converted_from_units
    rate = result.lines[CONVERSION - 1].formula
    moves = [
        (account, result.currency, -units),
        (account, result.payment_currency, result.converted_units),
        (payable, result.currency, units),
        (payable, result.payment_currency, -result.converted_units),
    ]
    what = f"Net of agreement {result.agreement_id} v{result.version}: {rate}"[:2000]
    name = f"conversion/{result.agreement_id}"
    return book.of_moves("conversion", name, what, moves, evidence=book.cited())
