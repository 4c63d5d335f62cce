"""Who owns which part of what a work accrued, and whether an agreement covers that part.

The division is the one of `flows.estimation` (same owners in the same order, same split), so
the parts of a creator add up to his line of the estimates to the unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from fractions import Fraction

from contracts.accrual import Standing
from contracts.agreement import Agreement, AgreementBook
from contracts.catalogue import Catalogue
from contracts.split import split_signed

UNMATCHED = "unmatched"


@dataclass(frozen=True)
class Part:
    """One owner's part of one work's accrual.

    Args:
        work_id: the work.
        creator_id: the owner, or `unmatched`.
        share: his split of the work.
        units: his part of the work's signed accrual.
        standing: under contract, not under contract, or owner unknown.
        agreement: the version that covers the part, for licensed parts.
    """

    work_id: str
    creator_id: str
    share: Fraction
    units: int
    standing: Standing
    agreement: Agreement | None = None


def splits_on(catalogue: Catalogue, date: Date) -> dict[str, list[tuple[str, Fraction]]]:
    """Give every work's owners and shares on a day, in the order of the owners' ids."""
    return {
        work_id: list(work.shares_on(date).items())
        for work_id, work in sorted(catalogue.works.items())
    }


def parts_of(
    accruals: Iterable[tuple[str, int]],
    *,
    splits: Mapping[str, Sequence[tuple[str, Fraction]]],
    book: AgreementBook,
    pool_id: str,
    date: Date,
) -> list[Part]:
    """Divide works' accruals among their owners and say under which agreement.

    Args:
        accruals: (work, signed units).
        splits: owners and shares of each work, from `splits_on`.
        book: the agreements.
        pool_id: the pool; an agreement without a term on it does not cover the part.
        date: the day of use.

    Returns:
        The parts, in the order of the works and, within a work, of its owners.
    """
    found = []
    for work_id, units in accruals:
        owners = [pair for pair in splits.get(work_id, ()) if pair[1]]
        missing = 1 - sum((share for _, share in owners), Fraction())
        if missing:
            owners.append((UNMATCHED, missing))
        parts = split_signed(units, [share for _, share in owners])
        for (creator, share), part in zip(owners, parts, strict=True):
            agreement = book.covering(creator, work_id, date) if creator != UNMATCHED else None
            if agreement is not None and not agreement.terms_on_pool(pool_id):
                agreement = None
            standing = Standing.LICENSED if agreement else Standing.UNLICENSED
            if creator == UNMATCHED:
                standing = Standing.UNMATCHED
            found.append(Part(work_id, creator, share, part, standing, agreement))
    return found
