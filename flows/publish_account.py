"""A payee's account in one period, read from the ledger: balances, movements, the year so far.

1. What the close booked is explained by the calculation and is not repeated here; every other
   entry on the account is a movement of its own, named by its kind.
2. The year to date is added up from the ledger's entries, never from earlier statements.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from contracts.period import Period
from flows.publish_book import BookView, Moves
from ledger import chart
from ledger.journal import SealedEntry
from reports.statement_inputs import AdjustmentLine, EntryRef, Movement, YearToDate

EARNED = frozenset({"apportionment", "earning"})
# What a close books is summed up by the calculation of `contracts.earnings`.
CLOSE_SCOPE = "close"


@dataclass(frozen=True)
class Account:
    """What a statement takes from the ledger; amounts are what is owed to the payee."""

    opening_units: int
    closing_units: int
    movements: tuple[Movement, ...]
    adjustments: tuple[AdjustmentLine, ...]
    entries: tuple[EntryRef, ...]
    carried_since: str
    year_to_date: YearToDate

    @classmethod
    def of(cls, view: BookView, payee_id: str, currency: str, period: Period) -> Account:
        """Read one payee's account up to the end of a period."""
        touched = view.movements_on(chart.royalties_payable(payee_id), currency)
        before = [(s, u) for s, u in touched if s.entry.period < period.text]
        mine = [(s, u) for s, u in touched if s.entry.period == period.text]
        opening = sum(units for _, units in before)
        others = [(s, u) for s, u in mine if s.entry.scope != CLOSE_SCOPE]
        entries = tuple(_reference(sealed, units) for sealed, units in mine)
        return cls(
            opening,
            opening + sum(units for _, units in mine),
            tuple(_movement(sealed, units) for sealed, units in others),
            tuple(_adjustment(s, u, period) for s, u in others if _kind(s, u) == "adjustment"),
            entries,
            _carried_since(before),
            _year_to_date([*before, *mine], period.text[:4]),
        )


def _kind(sealed: SealedEntry, units: int) -> str:
    """Name an entry that no close booked as the account summary does."""
    kind = sealed.entry.kind
    if kind == "payout":
        return "payout" if units < 0 else "payout_returned"
    return {"hold": "held", "release": "released"}.get(kind, "adjustment")


def _movement(sealed: SealedEntry, units: int) -> Movement:
    note = f"{sealed.entry.effective_on}, {sealed.entry.description}"
    return Movement(_kind(sealed, units), units, note, sealed.entry_id)


def _adjustment(sealed: SealedEntry, units: int, period: Period) -> AdjustmentLine:
    entry = sealed.entry
    kind = "reversal" if entry.kind == "reversal" else "usage_correction"
    activity = Period(entry.effective_on[:7]).text
    return AdjustmentLine(kind, activity, period.text, units, entry.description, sealed.entry_id)


def _reference(sealed: SealedEntry, units: int) -> EntryRef:
    entry = sealed.entry
    return EntryRef(
        sealed.entry_id,
        sealed.ledger_seq,
        entry.kind,
        entry.effective_on,
        units,
        entry.description,
    )


def _carried_since(before: Moves) -> str:
    """Say since when the oldest part of an opening balance is owed, or "" where nothing is.

    What is paid or taken back is taken from the oldest part.
    """
    owed: deque[tuple[str, int]] = deque()
    taken = 0
    for sealed, units in before:
        taken -= min(units, 0)
        if units > 0:
            owed.append((sealed.entry.effective_on, units))
        while owed and taken >= owed[0][1]:
            taken -= owed.popleft()[1]
    return owed[0][0] if owed else ""


def _year_to_date(touched: Moves, year: str) -> YearToDate:
    earned = recouped = withheld = paid = 0
    for sealed, units in touched:
        entry = sealed.entry
        if not entry.period.startswith(year):
            continue
        if entry.kind in EARNED:
            earned += units
        elif entry.kind == "recoupment":
            recouped -= units
        elif entry.kind == "payout":
            paid -= units
        elif entry.kind == "tax":
            accounts = {p.account_id: p.units for p in entry.postings}
            withheld -= accounts.get(chart.WITHHOLDING_PAYABLE, 0)
    return YearToDate(earned, recouped, withheld, paid)
