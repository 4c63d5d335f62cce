"""A dry run: what a period would have paid under another agreement. Nothing is posted or written.

The period is worked out twice by the functions of the close, once as it is (or was closed) and
once with the agreement in place of its version, or beside the others where it is new. Accruals by
a territory or rule that nobody asked for before are made from the nights' files, as a close does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.agreement import Agreement, AgreementBook
from contracts.earnings import Earnings
from contracts.importers.native import parse_agreements
from contracts.period import Period
from flows.agreement_desk import known_parties
from flows.books import open_books, read_agreements
from flows.close import opening_balances
from flows.close_entries import Paper
from flows.close_plan import ClosePlan
from flows.close_work import PeriodWork
from flows.errors import CloseError
from flows.knowledge import Knowledge, KnowledgeBase
from flows.workspace import Workspace

# Entries of a dry run are made like real ones and thrown away.
_PAPER = Paper("dry-run", "dry-run-approver")


@dataclass(frozen=True)
class WhatIf:
    """A period as it is and as it would be.

    Args:
        agreements: the versions tried.
        before: as it is, or was closed.
        after: as it would be.
    """

    agreements: tuple[Agreement, ...]
    before: ClosePlan
    after: ClosePlan

    def changed(self) -> list[tuple[str, Earnings | None, Earnings | None]]:
        """Give every agreement that comes out differently, before and after."""
        old, new = (
            {result.agreement_id: result for result in plan.earnings}
            for plan in (self.before, self.after)
        )
        return [
            (name, old.get(name), new.get(name))
            for name in sorted(old.keys() | new.keys())
            if _sums(old.get(name)) != _sums(new.get(name))
        ]

    def destinations(self) -> dict[str, tuple[int, int]]:
        """Give every named destination of the pools that changes, before and after."""
        old, new = (_destinations(plan) for plan in (self.before, self.after))
        return {name: (old[name], new[name]) for name in sorted(old) if old[name] != new[name]}


def what_if(workspace: Workspace, period: str, file: Path) -> WhatIf:
    """Work out a period with an agreement that is not in force.

    Args:
        workspace: whose books and files; nothing of them changes.
        period: YYYY-MM, open or closed.
        file: the agreement's file; it need not be signed.

    Returns:
        Both calculations.

    Raises:
        BadFilesError: every fault of the file.
        CloseError: the file declares no agreement that begins by the end of the period, or the
            period cannot be worked out.
    """
    text = file.read_text(encoding="utf-8")
    parsed = parse_agreements({str(file): text}, known_parties=known_parties(workspace))
    begun = [a for a in parsed.agreements if a.effective_from <= Period(period).end]
    if not begun:
        raise CloseError(
            f"{file} has no agreement that begins by {Period(period).end}, so it changes nothing "
            f"in {period}; nothing was calculated. Give a period in which it holds"
        )
    with open_books(workspace) as books:
        base = KnowledgeBase(workspace, read_agreements(workspace))
        work = PeriodWork(workspace, books, base, period)
        known = work.closed_with
        tried = replaced(known, parsed)
        other = PeriodWork(workspace, books, base, period, tried)
        opening = opening_balances(workspace, known.book, period)
        return WhatIf(
            parsed.agreements,
            work.plan(opening, _PAPER),
            other.plan(opening_balances(workspace, tried.book, period), _PAPER),
        )


def replaced(known: Knowledge, tried: AgreementBook) -> Knowledge:
    """Give what would be known with other agreements in place of, or beside, those known."""
    versions = {(a.agreement_id, a.version): a for a in known.book.agreements}
    versions |= {(a.agreement_id, a.version): a for a in tried.agreements}
    parties = {**known.book.parties, **tried.parties}
    book = AgreementBook(tuple(versions.values()), parties, known.book.works)
    texts = "".join(sorted(a.payload_sha256 for a in book.agreements))
    digest = f"what-if:{hashlib.sha256(texts.encode()).hexdigest()}"
    return replace(known, book=book, agreements_sha256=digest)


def _sums(result: Earnings | None) -> tuple[int, ...]:
    """Give what is compared of a calculation."""
    if result is None:
        return ()
    return (
        result.royalty_units,
        result.adjustment_units,
        result.net_units,
        result.payable_units,
        result.carried_forward_units,
        result.closing.unrecouped_units,
    )


def _destinations(plan: ClosePlan) -> Mapping[str, int]:
    sums: dict[str, int] = {}
    for pool in plan.pools:
        for name, units in pool.destinations.items():
            sums[name] = sums.get(name, 0) + units
    return sums
