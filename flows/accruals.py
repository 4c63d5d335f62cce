"""What a period's nights accrued: gathered from their files, checked against the ledger.

1. The ledger says which nights count: every entry of scope `nightly` booked in the period.
2. A night's estimates must be the very files its entry cites; otherwise nothing is closed.
3. The parts of owners, worked out again with the agreements and the catalogue that the entry
   cites, must add up to the entry's postings, account by account.
4. The period is divided with what is known when it closes: an owner found or an agreement signed
   since the night counts, and the accounts are cleared of what was booked.
5. A reversal takes its night out again: out of its own period, or out of the open one.
6. Nights are drawn with seeds of their own, so variances of a creator add up over nights.
7. What was booked is by `signed_linear/1`. Where the pool is divided by another rule, the claims on
   it are the nights' accruals by that rule; what was booked is cleared all the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date as Date  # noqa: N812 - `date` is the field's name everywhere
from math import isqrt
from typing import Any

import polars as pl

from contracts.accrual import Standing
from contracts.period import Period
from flows.artefacts import read_manifest, sha256_file
from flows.cells import Cell
from flows.errors import CloseError
from flows.estimation import ESTIMATES_FORMAT
from flows.knowledge import Knowledge, KnowledgeBase
from flows.night import Night
from flows.ownership import Part
from flows.pool_rule import DEFAULT_METHOD, rule_of_pool
from flows.positive import KIND as POSITIVE
from flows.positive import positive_tables
from flows.settle import SCOPE, STANDING_ACCOUNTS, night_parts
from flows.workspace import Workspace
from ledger import chart
from ledger.entry import JournalEntry
from ledger.store import LedgerStore

PPT = 10**12


@dataclass(frozen=True)
class NightAccrual:
    """One settled night or late batch of a period.

    Args:
        night: which.
        entry_id: its entry.
        kind: accrual or adjustment.
        manifest: of its estimates.
        works: its table of works, by the rule that divides the pool.
        creators: its table of creators, by the same rule.
        parts: every owner's part of every work's accrual by it, as known when the period is
            divided.
        booked: what its entry credited, by account.
        counted: its table of works by `signed_linear/1`, which fees per use are counted by.
        then: what its entry cites.
    """

    night: Night
    entry_id: str
    kind: str
    manifest: dict[str, Any]
    works: pl.DataFrame
    creators: pl.DataFrame
    parts: tuple[Part, ...]
    booked: Mapping[str, int]
    counted: pl.DataFrame
    then: Knowledge

    def by_rule(self, pool_id: str, known: Knowledge, rule: str) -> NightAccrual:
        """Give the night's accruals by a rule, licensed by the terms on a pool.

        Args:
            pool_id: the pool.
            known: the agreements and owners to go by.
            rule: the rule.
        """
        parts = tuple(night_parts(self.night, pool_id, known, rule, self.then))
        if rule == DEFAULT_METHOD:
            creators = pl.read_parquet(self.night.creators)
            return replace(self, works=self.counted, creators=creators, parts=parts)
        tables = positive_tables(self.night, self.then)
        return replace(self, works=tables.works, creators=tables.creators, parts=parts)

    @property
    def pool_units(self) -> int:
        """The night's pool."""
        return int(self.manifest["pool_units"])

    @property
    def unexplained_units(self) -> int:
        """What of the pool training does not explain."""
        return int(self.manifest["unexplained_units"])


@dataclass
class Claim:
    """What one creator accrued in a period under one standing.

    Args:
        creator_id: the creator.
        standing: under contract, not under contract, owner unknown, or claimed twice.
        units: signed accrual.
        variance: of the accrual, in units squared.
        by_agreement: the accrual by agreement id; empty when not licensed.
        by_work: the accrual by work id.
        by_part: the accrual by agreement id (empty when not licensed) and work id.
        by_cell: the accrual by model version and territory, by agreement id and work id, where
            terms look at them.
    """

    creator_id: str
    standing: Standing
    units: int = 0
    variance: int = 0
    by_agreement: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    by_work: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    by_part: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    by_cell: dict[tuple[str, str], Counter[Cell]] = field(
        default_factory=lambda: defaultdict(Counter)
    )

    def add(self, part: Part, sign: int) -> None:
        """Add one owner's part of one work, or take it out again."""
        name = part.agreement.agreement_id if part.agreement is not None else ""
        units = sign * part.units
        self.units += units
        self.by_work[part.work_id] += units
        self.by_part[name, part.work_id] += units
        if name:
            self.by_agreement[name] += units
            for cell, in_cell in part.cells.items():
                self.by_cell[name, part.work_id][cell] += sign * in_cell

    @property
    def stderr_units(self) -> int:
        """The standard error of the accrual, rounded up."""
        root = isqrt(self.variance)
        return root + (root * root < self.variance)


@dataclass(frozen=True)
class PeriodAccruals:
    """Everything a period accrued from one pool.

    Args:
        period: YYYY-MM.
        pool_id: the pool.
        currency: of all amounts.
        pool_units: the nights' pools, added up, without what was reversed.
        unexplained_units: what training does not explain.
        claims: by creator and standing, in that order.
        nights: the nights behind it, by name.
        reversed_nights: nights of earlier periods that were taken back in this one.
        rule: by which rule the claims are.
        booked: what stands on the accrual and suspense accounts for the period, by account.
    """

    period: str
    pool_id: str
    currency: str
    pool_units: int
    unexplained_units: int
    claims: tuple[Claim, ...]
    nights: tuple[NightAccrual, ...]
    reversed_nights: tuple[NightAccrual, ...] = ()
    rule: str = DEFAULT_METHOD
    booked: Mapping[str, int] = field(default_factory=dict)


def gather(
    workspace: Workspace, books: LedgerStore, base: KnowledgeBase, known: Knowledge, period: str
) -> PeriodAccruals:
    """Gather what the nights booked in a period accrued.

    Args:
        workspace: whose files.
        books: whose entries.
        base: what was known when.
        known: the agreements and owners the period is divided by.
        period: YYYY-MM.

    Returns:
        Claims by creator and standing, with the nights behind them.

    Raises:
        CloseError: a night's files are not those its entry cites, or do not add up to it.
    """
    pool = workspace.settings.pool
    rule = rule_of_pool(known.book, pool.id, Period(period))
    booked, taken_back = _entries_of(books, period)
    nights, reversals = (
        sorted(
            (
                _read_night(night, entry, base, known, rule)
                for entry in entries
                if (night := night_of_key(workspace, entry.key)) is not None
            ),
            key=lambda accrual: accrual.night.name,
        )
        for entries in (booked, taken_back)
    )
    signed = [(1, accrual) for accrual in nights] + [(-1, accrual) for accrual in reversals]
    claims = _claims(signed)
    accounts: Counter[str] = Counter()
    for sign, accrual in signed:
        for account, units in accrual.booked.items():
            accounts[account] += sign * units
    return PeriodAccruals(
        period=period,
        pool_id=pool.id,
        currency=pool.currency,
        pool_units=sum(sign * accrual.pool_units for sign, accrual in signed),
        unexplained_units=sum(sign * accrual.unexplained_units for sign, accrual in signed),
        claims=tuple(claims[key] for key in sorted(claims)),
        nights=tuple(nights),
        reversed_nights=tuple(reversals),
        rule=rule,
        booked=dict(accounts),
    )


def _entries_of(books: LedgerStore, period: str) -> tuple[list[JournalEntry], list[JournalEntry]]:
    """Give the nights booked in a period, and the earlier nights taken back in it.

    A night that was booked and taken back in the same period is in neither.
    """
    booked: dict[str, JournalEntry] = {}
    taken_back: dict[str, JournalEntry] = {}
    every: dict[str, JournalEntry] = {}
    for sealed in books.entries():
        entry = sealed.entry
        if entry.scope == SCOPE and entry.kind != "reversal":
            every[entry.entry_id] = entry
            if entry.period == period:
                booked[entry.entry_id] = entry
        if entry.kind != "reversal" or entry.period != period or entry.reverses not in every:
            continue
        if entry.reverses in booked:
            del booked[entry.reverses]
        else:
            taken_back[entry.reverses] = every[entry.reverses]
    return list(booked.values()), list(taken_back.values())


def claims_on(
    accruals: PeriodAccruals, known: Knowledge, pool_id: str, rule: str
) -> tuple[Claim, ...]:
    """Give the claims on a pool: accruals by its rule, licensed by the terms on it.

    Args:
        accruals: what the nights accrued.
        known: the agreements and owners to go by.
        pool_id: the pool.
        rule: its rule.
    """
    claims = _claims(
        (sign, night.by_rule(pool_id, known, rule))
        for sign, nights in ((1, accruals.nights), (-1, accruals.reversed_nights))
        for night in nights
    )
    return tuple(claims[key] for key in sorted(claims))


def night_of_key(workspace: Workspace, key: str) -> Night | None:
    """Find the night an entry's key names, if it is of this workspace's pool."""
    date, _, rest = key.partition("/")
    pool_id, _, late = rest.partition("/late/")
    if pool_id != workspace.settings.pool.id:
        return None
    return Night(workspace, Date.fromisoformat(date), (), late)


def _read_night(
    night: Night, entry: JournalEntry, base: KnowledgeBase, known: Knowledge, rule: str
) -> NightAccrual:
    _check_cited(night, entry, "estimates")
    manifest = read_manifest(night.manifest("estimates"), ESTIMATES_FORMAT)
    for table in (night.works, night.creators):
        digest = manifest["sha256"][table.name]
        if not table.exists() or sha256_file(table) != digest:
            raise CloseError(
                f"{table} is missing or altered (its manifest says {digest}); nothing was closed. "
                f"Restore it, or run `byline nightly --date {night.date}` to make it again"
            )
    pool_id = night.workspace.settings.pool.id
    then = base.cited(entry.evidence)
    parts = night_parts(night, pool_id, then)
    booked = _check_postings(entry, parts, int(manifest["unexplained_units"]))
    if then.digests != known.digests and rule == DEFAULT_METHOD:
        parts = night_parts(night, pool_id, known)
    works = pl.read_parquet(night.works)
    accrual = NightAccrual(
        night,
        entry.entry_id,
        entry.kind,
        manifest,
        works,
        pl.read_parquet(night.creators),
        tuple(parts),
        booked,
        works,
        then,
    )
    if rule == DEFAULT_METHOD:
        return accrual
    accrual = accrual.by_rule(pool_id, known, rule)
    if POSITIVE in entry.evidence:
        _check_cited(night, entry, POSITIVE)
    return accrual


def _check_cited(night: Night, entry: JournalEntry, kind: str) -> None:
    """Refuse other numbers than those an entry cites."""
    cited, path = entry.evidence.get(kind), night.manifest(kind)
    found = sha256_file(path) if path.exists() else "no such file"
    if found != cited:
        raise CloseError(
            f"{path}: entry {entry.entry_id} cites the {kind} {cited}, found {found}; the "
            f"period cannot be divided on other numbers than those that were booked. Restore the "
            f"file, or run `byline nightly --date {night.date}` to make it again"
        )


def _check_postings(
    entry: JournalEntry, parts: Iterable[Part], unexplained_units: int
) -> dict[str, int]:
    """Compare parts worked out again with what was booked, and give what was."""
    again: dict[str, int] = defaultdict(int)
    again[chart.UNEXPLAINED] = unexplained_units
    for part in parts:
        account = STANDING_ACCOUNTS.get(part.standing) or chart.accrued(part.creator_id)
        again[account] += part.units
    booked: dict[str, int] = defaultdict(int)
    for posting in entry.postings:
        if posting.account_id != chart.ROYALTY_EXPENSE:
            booked[posting.account_id] -= posting.units
    for account in sorted(again.keys() | booked.keys()):
        if again[account] != booked[account]:
            raise CloseError(
                f"entry {entry.entry_id} of {entry.effective_on} booked {booked[account]} units "
                f"to {account}; with the agreements and owners that it cites it is "
                f"{again[account]}. The files are not those it was made from; nothing was "
                f"closed. Restore them, or reverse the entry first"
            )
    return dict(booked)


def _claims(nights: Iterable[tuple[int, NightAccrual]]) -> dict[tuple[str, str], Claim]:
    """Add up the parts by creator and standing, with their variances."""
    claims: dict[tuple[str, str], Claim] = {}
    for sign, accrual in nights:
        errors = dict(accrual.creators.select("creator_id", "stderr_ppt").iter_rows())
        work_errors = dict(accrual.works.select("work_id", "stderr_ppt").iter_rows())
        works: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        is_cut: set[tuple[str, str]] = set()
        for part in accrual.parts:
            key = (part.creator_id, part.standing.value)
            claims.setdefault(key, Claim(part.creator_id, part.standing)).add(part, sign)
            whole = part.stderr_ppt is None
            own = int(work_errors[part.work_id]) if part.stderr_ppt is None else part.stderr_ppt
            works[key][part.work_id] = works[key].get(part.work_id, 0) + own
            is_cut |= set() if whole else {key}
        for key, mine in works.items():
            # An owner found since the night has no interval of his own: the errors of his works
            # add up to no less than it. Of a part of his territories the smaller of both holds.
            error, summed = errors.get(key[0]), sum(mine.values())
            if error is None or (key in is_cut and summed < error):
                error = summed
            stderr_units = -(-int(error) * accrual.pool_units // PPT)
            claims[key].variance += stderr_units**2
    return claims
