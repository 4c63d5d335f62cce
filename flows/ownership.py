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
from contracts.dispute import DISPUTED_OWNER, UNMATCHED_OWNER, holdings
from contracts.split import split_signed

NOBODY = {UNMATCHED_OWNER: Standing.UNMATCHED, DISPUTED_OWNER: Standing.DISPUTED}


@dataclass(frozen=True)
class Part:
    """One owner's part of one work's accrual.

    Args:
        work_id: the work.
        creator_id: the owner, `unmatched`, or `disputed`.
        share: his split of the work.
        units: his part of the work's signed accrual.
        standing: under contract, not under contract, owner unknown, or claimed twice.
        agreement: the version that covers the part, for licensed parts.
    """

    work_id: str
    creator_id: str
    share: Fraction
    units: int
    standing: Standing
    agreement: Agreement | None = None


def splits_on(catalogue: Catalogue, date: Date) -> dict[str, list[tuple[str, Fraction]]]:
    """Give every work's owners and shares on a day, adding up to 1.

    Owners come in the order of their ids, then what is disputed, then what nobody claims.
    """
    return {
        work_id: holdings(work.shares_on(date)).as_owners()
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
            owners.append((UNMATCHED_OWNER, missing))
        parts = split_signed(units, [share for _, share in owners])
        for (creator, share), part in zip(owners, parts, strict=True):
            agreement = None
            if creator not in NOBODY:
                agreement = covering_pool(book, creator, work_id, pool_id, date)
            standing = Standing.LICENSED if agreement else Standing.UNLICENSED
            standing = NOBODY.get(creator, standing)
            found.append(Part(work_id, creator, share, part, standing, agreement))
    return found


def covering_pool(
    book: AgreementBook, creator: str, work_id: str, pool_id: str, date: Date
) -> Agreement | None:
    """Give the agreement under which a creator's share of a work takes part in a pool on a day.

    Args:
        book: the agreements.
        creator: the owner.
        work_id: the work.
        pool_id: the pool.
        date: the day of use.

    Returns:
        The version in force, or None where none covers the work with a term on the pool.
    """
    agreement = book.covering(creator, work_id, date)
    if agreement is None or agreement.pool_term_for(pool_id, work_id) is None:
        return None
    return agreement
