"""Who owns which part of what a work accrued, and whether an agreement covers that part.

The division is the one of `flows.estimation` (same owners in the same order, same split), so
the parts of a creator add up to his line of the estimates to the unit. Where terms hold for some
territories or model versions only, an owner's part is cut into what each agreement covers and what
none does, which is unlicensed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from fractions import Fraction

from contracts.accrual import Standing
from contracts.agreement import Agreement, AgreementBook
from contracts.catalogue import Catalogue
from contracts.dispute import DISPUTED_OWNER, UNMATCHED_OWNER, holdings
from contracts.split import split_signed
from flows.cells import UNKNOWN, Cell, NightCells

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
        cells: the units by model version and territory, where terms look at them; else empty.
        stderr_ppt: standard error of the work's share in those cells; None for the whole work.
    """

    work_id: str
    creator_id: str
    share: Fraction
    units: int
    standing: Standing
    agreement: Agreement | None = None
    cells: Mapping[Cell, int] = field(default_factory=dict)
    stderr_ppt: int | None = None


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
    cells: NightCells | None = None,
) -> list[Part]:
    """Divide works' accruals among their owners and say under which agreement.

    Args:
        accruals: (work, signed units).
        splits: owners and shares of each work, from `splits_on`.
        book: the agreements.
        pool_id: the pool; an agreement without a term on it does not cover the part.
        date: the day of use.
        cells: the accruals by model version and territory; None where no term asks for them.

    Returns:
        The parts, in the order of the works and, within a work, of its owners and agreements.
    """
    found = []
    for work_id, units in accruals:
        owners = [pair for pair in splits.get(work_id, ()) if pair[1]]
        missing = 1 - sum((share for _, share in owners), Fraction())
        if missing:
            owners.append((UNMATCHED_OWNER, missing))
        parts = split_signed(units, [share for _, share in owners])
        for (creator, share), part in zip(owners, parts, strict=True):
            if creator in NOBODY:
                found.append(Part(work_id, creator, share, part, NOBODY[creator]))
            elif cells is None:
                agreement = covering_pool(book, creator, work_id, pool_id, date)
                standing = Standing.LICENSED if agreement else Standing.UNLICENSED
                found.append(Part(work_id, creator, share, part, standing, agreement))
            else:
                where = _Where(book, pool_id, date, cells)
                found += where.cut(Part(work_id, creator, share, part, Standing.UNLICENSED))
    return found


@dataclass(frozen=True)
class _Where:
    """What is needed to cut parts by model version and territory."""

    book: AgreementBook
    pool_id: str
    date: Date
    cells: NightCells

    def cut(self, part: Part) -> Iterator[Part]:
        """Cut an owner's part into what each agreement covers and what none does."""
        by_cell = self.cells.of_owner(part.work_id, part.share, part.units)
        groups: dict[str, dict[Cell, int]] = defaultdict(dict)
        agreements: dict[str, Agreement | None] = {}
        for cell, units in by_cell.items():
            agreement = covering_pool(
                self.book, part.creator_id, part.work_id, self.pool_id, self.date, cell
            )
            name = agreement.agreement_id if agreement else ""
            agreements[name] = agreement
            groups[name][cell] = units
        for name, mine in sorted(groups.items()):
            whole = len(mine) == len(by_cell)
            yield replace(
                part,
                units=sum(mine.values()),
                standing=Standing.LICENSED if name else Standing.UNLICENSED,
                agreement=agreements[name],
                cells=mine,
                stderr_ppt=None if whole else self.cells.error_ppt(part.work_id, mine),
            )


def covering_pool(
    book: AgreementBook,
    creator: str,
    work_id: str,
    pool_id: str,
    date: Date,
    cell: Cell = (UNKNOWN, UNKNOWN),
) -> Agreement | None:
    """Give the agreement under which a creator's share of a work takes part in a pool on a day.

    Args:
        book: the agreements.
        creator: the owner.
        work_id: the work.
        pool_id: the pool.
        date: the day of use.
        cell: model version and territory of the use.

    Returns:
        The version in force, the first by id of those that may license the work and have a term
        on the pool that covers it; None where none has.
    """
    for agreement in book.covering_all(creator, work_id, date):
        if agreement.pool_term_for(pool_id, work_id, *cell) is not None:
            return agreement
    return None


def with_earlier_terms(
    agreement: Agreement, book: AgreementBook, pool_ids: Iterable[str]
) -> Agreement:
    """Give a version with the terms under which money of the period accrued before it began.

    Args:
        agreement: the version that a period is settled under.
        book: all versions.
        pool_ids: the pools that its works were given something of.

    Returns:
        The version; where it has no term on a pool, with those of the last version before that
        has, named after it.
    """
    for pool_id in sorted(pool_ids):
        if agreement.terms_on_pool(pool_id):
            continue
        versions = (a for a in book.agreements if a.agreement_id == agreement.agreement_id)
        earlier = [a for a in versions if a.version < agreement.version]
        earlier = [a for a in earlier if a.terms_on_pool(pool_id)]
        if earlier:
            last = earlier[-1]
            terms = tuple(
                replace(term, term_id=f"{term.term_id}@v{last.version}")
                for term in last.terms_on_pool(pool_id)
            )
            agreement = replace(agreement, terms=(*agreement.terms, *terms))
    return agreement
