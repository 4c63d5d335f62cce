"""What `byline works` does: money that stands with works nobody is paid for, and who owns them.

1. Every unit in suspense stands with a work and a period, so it can be searched and its age told.
2. A match gives a work its owners in the catalogue, from its first day on or from a date. Nights
   that are settled and periods that are closed keep what they cite; the next close pays what
   stood in suspense by a typed adjustment, and says whose agreement it is paid under.
3. Who decided, and why, is a row of the database that nobody can change; of a dispute so are all
   claims and what each claimant was given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is a field elsewhere
from fractions import Fraction
from typing import Any

from contracts.apportionment import DISPUTED
from contracts.catalogue import Catalogue, parse_catalogue
from contracts.errors import ContractsError
from contracts.period import Period
from contracts.rate import parse_rate
from contracts.store_desk import AgreementDesk, DisputeStep
from contracts.tables import ID_CHARACTERS_MAX
from contracts.work import Work
from flows.artefacts import canonical_json, sha256_bytes, write_bytes
from flows.books import open_books, read_agreements
from flows.close_work import PeriodWork, closed_before
from flows.division import SUSPENDED
from flows.errors import AgreementDeskError
from flows.knowledge import KnowledgeBase, keep_catalogue
from flows.locks import hold
from flows.restate import held_fees, restated_pools
from flows.workspace import Workspace
from ledger.period_close import PeriodStatus
from ledger.store import LedgerStore

_AFTER_ALL = "9999-12"
# Period, pool, standing, work, units, whether final, currency.
_Row = tuple[str, str, str, str, int, bool, str]


@dataclass(frozen=True)
class Suspended:
    """Money of one work that stands in suspense.

    Args:
        work_id: the work.
        title: its title, where the catalogue has one.
        standing: unlicensed, unmatched or disputed.
        pool_id: the pool it is from; of a fee per use the agreement that holds it.
        period: the period it was accrued in.
        age_months: how many periods ago, counted from the newest period of the book.
        units: how much; of an open period the signed accrual so far.
        is_final: whether the period is closed.
        currency: of the units.
    """

    work_id: str
    title: str
    standing: str
    pool_id: str
    period: str
    age_months: int
    units: int
    is_final: bool
    currency: str


def suspended_works(
    workspace: Workspace, *, standings: Sequence[str] = SUSPENDED, search: str = ""
) -> list[Suspended]:
    """Find the works whose money stands in suspense.

    Args:
        workspace: whose books.
        standings: which of unlicensed, unmatched and disputed.
        search: only works whose id, title or identifiers contain this text, in any case.

    Returns:
        One row a work, standing, pool and period, the oldest first. Fees per use of contested works
        are disputed too, and are known from the close on.
    """
    with open_books(workspace) as books:
        base = KnowledgeBase(workspace, read_agreements(workspace))
        closed = closed_before(workspace, books, _AFTER_ALL)
        periods = sorted(books.periods())
        catalogue = base.present.catalogue
        rows: list[_Row] = []
        for name in periods:
            if books.period_status(name) is not PeriodStatus.CLOSED or name in closed:
                rows += _of_pools(PeriodWork(workspace, books, base, name), closed, standings)
        if DISPUTED in standings:
            rows += _held_fees(workspace, books, base, closed)
    listed = [
        Suspended(
            work,
            _title(catalogue, work),
            standing,
            pool,
            name,
            Period(periods[-1]).months_since(Period(name)),
            units,
            is_final,
            money,
        )
        for name, pool, standing, work, units, is_final, money in rows
        if units and _matches(catalogue, work, search)
    ]
    return sorted(listed, key=lambda row: (row.period, row.standing, row.work_id, row.pool_id))


def _of_pools(
    period: PeriodWork, closed: Sequence[str], standings: Sequence[str]
) -> Iterator[_Row]:
    """Give what stands in suspense of a period's pools, as the last close knew it."""
    division = period.division
    money = division.accruals.currency
    if not period.is_closed:
        for claim in division.accruals.claims:
            if claim.standing.value in standings:
                for work, units in claim.by_work.items():
                    pool_id = division.accruals.pool_id
                    yield period.period, pool_id, claim.standing.value, work, units, False, money
        return
    known = PeriodWork(period.workspace, period.books, period.base, closed[-1]).closed_with
    for pool in restated_pools(division, known):
        for standing in standings:
            for work, units in pool.suspended[standing].items():
                yield period.period, pool.pool_id, standing, work, units, True, money


def _held_fees(
    workspace: Workspace, books: LedgerStore, base: KnowledgeBase, closed: Sequence[str]
) -> Iterator[_Row]:
    """Give the fees per use of contested works that are held, as the last close knew them."""
    if closed:
        works = [PeriodWork(workspace, books, base, name) for name in closed]
        last = works[-1]
        for result in held_fees([work.as_past for work in works], last.closed_with, last.fx):
            whose = f"fees of {result.agreement_id}"
            for term in result.terms:
                for work, units in term.contested.items():
                    period = result.period.text
                    yield period, whose, DISPUTED, work, units, True, result.currency


def match_work(
    workspace: Workspace,
    work_id: str,
    owners: Mapping[str, str],
    *,
    decided_by: str,
    reason: str,
    starts: Date | None = None,
) -> Work:
    """Give a work its owners in the catalogue, and keep who decided it.

    Args:
        workspace: whose catalogue and database.
        work_id: the work; one that only the corpus names is added to the catalogue.
        owners: shares by party id, such as 1 or 60%; together at most the whole work.
        decided_by: who decides.
        reason: why, in one sentence, with the claim or decision it rests on.
        starts: the first day of the shares; None for since ever, which also pays what stood in
            suspense before.

    Returns:
        The work as it stands now.

    Raises:
        AgreementDeskError: a party is not known, or the shares are more than the whole.
        BadFilesError: the catalogue would have a fault; nothing was changed.
    """
    shares = _shares(owners)
    with hold(workspace.locks, "catalogue"), open_books(workspace) as books:
        keep_catalogue(workspace)
        data = json.loads(workspace.catalogue.read_bytes())
        _add_parties(workspace, data, owners)
        record = next((w for w in data["works"] if w["work_id"] == work_id), None)
        if record is None:
            record = {"work_id": work_id, "title": ""}
            data["works"].append(record)
        steps = _dispute_steps(record, shares, decided_by, starts)
        earlier = _ended(record.get("splits", []), starts)
        fresh = [
            {"party_id": party, "share": str(share)}
            | ({"effective_from": starts.isoformat()} if starts else {})
            for party, share in sorted(shares.items())
        ]
        record["splits"] = earlier + fresh
        if not earlier:
            record.pop("dispute", None)
        record.pop("unclaimed", None)
        if sum(shares.values(), Fraction(0)) < 1:
            record["unclaimed"] = True
        text = canonical_json(data)
        catalogue = parse_catalogue(text.decode("utf-8"), file=str(workspace.catalogue))
        work = catalogue.works[work_id]
        desk = AgreementDesk(books.engine)
        claimants = {*shares, *(step.party_id for step in steps)}
        desk.save_parties(catalogue.parties[party] for party in sorted(claimants))
        _check_undecided(desk, steps)
        desk.decide_shares(work, decided_by, reason)
        desk.save_disputes(steps)
        write_bytes(workspace.catalogue, text)
    return work


def _dispute_steps(
    record: Mapping[str, Any],
    shares: Mapping[str, Fraction],
    decided_by: str,
    starts: Date | None,
) -> list[DisputeStep]:
    """Write down a dispute that is decided: each claim, and what its claimant was given.

    A claim that was given nothing is withdrawn by the decision, with the share that was claimed.
    """
    if not record.get("dispute"):
        return []
    day = starts or Date.max
    claimed = {
        row["party_id"]: row
        for row in record.get("splits", [])
        if (begins := row.get("effective_from")) is None or Date.fromisoformat(begins) <= day
    }
    steps = []
    for party_id in sorted(claimed.keys() | shares.keys()):
        name = f"{record['dispute']}/{record['work_id']}/{party_id}"
        if len(name) > ID_CHARACTERS_MAX:
            digest = sha256_bytes(name.encode())[:40]
            name = f"{name[: ID_CHARACTERS_MAX - len(digest) - 1]}/{digest}"
        row = claimed.get(party_id)
        if row is not None:
            share = Fraction(row["share"])
            begins = Date.fromisoformat(row.get("effective_from") or Date.min.isoformat())
            steps.append(DisputeStep(name, "opened", record["work_id"], party_id, share, begins))
        given = shares.get(party_id)
        step = "resolved" if given else "withdrawn"
        share = given or Fraction(claimed[party_id]["share"])
        steps.append(
            DisputeStep(
                name,
                step,
                record["work_id"],
                party_id,
                share,
                starts or Date.min,
                decided_by=decided_by,
            )
        )
    return steps


def _check_undecided(desk: AgreementDesk, steps: Sequence[DisputeStep]) -> None:
    """Refuse to decide a dispute again under the same name."""
    known = {(step.dispute_id, step.step): step for step in desk.disputes()}
    for step in steps:
        before = known.get((step.dispute_id, step.step), step)
        if before != step:
            raise AgreementDeskError(
                f"dispute {step.dispute_id} is {step.step} already, with a share of "
                f"{before.share} where this would write {step.share}; no owner was changed. Give "
                f"the new claims a dispute of their own in the catalogue"
            )


def _shares(owners: Mapping[str, str]) -> dict[str, Fraction]:
    """Read shares and refuse more than the whole."""
    try:
        shares = {party: parse_rate(text) for party, text in owners.items()}
    except ContractsError as error:
        raise AgreementDeskError(f"{error}; no owner was changed") from error
    total = sum(shares.values(), Fraction(0))
    if not shares or total > 1 or min(shares.values()) <= 0:
        raise AgreementDeskError(
            f"the shares {', '.join(f'{p}={s}' for p, s in owners.items()) or '(none)'} add up to "
            f"{total}; a decision gives at most the whole work and nobody nothing. No owner was "
            f"changed; several claims on one part are a dispute, named in the catalogue"
        )
    return shares


def _add_parties(workspace: Workspace, data: dict[str, Any], owners: Iterable[str]) -> None:
    """Add parties that the agreements declare and the catalogue lacks."""
    known = {row["party_id"] for row in data["parties"]}
    declared = read_agreements(workspace).parties if workspace.agreements.exists() else {}
    for party_id in sorted(set(owners) - known):
        if party_id not in declared:
            raise AgreementDeskError(
                f"party {party_id} is neither in the catalogue nor declared by an agreement file; "
                f"no owner was changed. Declare it first: a byline-parties/1 file in "
                f"{workspace.agreements}"
            )
        data["parties"].append({"party_id": party_id, "kind": declared[party_id].kind})


def _ended(splits: Sequence[dict[str, Any]], starts: Date | None) -> list[dict[str, Any]]:
    """Give the shares that stay, ended on the day the new ones begin."""
    if starts is None:
        return []
    kept = []
    for split in splits:
        begins, ends = split.get("effective_from"), split.get("effective_to")
        if begins is not None and Date.fromisoformat(begins) >= starts:
            continue
        if ends is None or Date.fromisoformat(ends) > starts:
            split = {**split, "effective_to": starts.isoformat()}  # noqa: PLW2901 - the share, ended
        kept.append(split)
    return kept


def _title(catalogue: Catalogue, work_id: str) -> str:
    work = catalogue.works.get(work_id)
    return work.title if work else ""


def _matches(catalogue: Catalogue, work_id: str, search: str) -> bool:
    """Say whether a work's id, title or identifiers contain a text."""
    work = catalogue.works.get(work_id)
    told = [work_id]
    if work is not None:
        told += [work.title, work.source_id, *(item.value for item in work.external_ids)]
    return any(search.casefold() in text.casefold() for text in told)
