"""What a period's nights accrued: gathered from their files, checked against the ledger.

1. The ledger says which nights count: every entry of scope `nightly` booked in the period.
2. A night's estimates must be the very files its entry cites; otherwise nothing is closed.
3. The parts of owners, worked out again, must add up to the entry's postings, account by account.
4. Nights are drawn with seeds of their own, so variances of a creator add up over nights.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date as Date  # noqa: N812 - `date` is the field's name everywhere
from math import isqrt
from typing import Any

import polars as pl

from contracts.accrual import Standing
from contracts.agreement import AgreementBook
from flows.artefacts import read_manifest, sha256_file
from flows.errors import CloseError
from flows.estimation import ESTIMATES_FORMAT
from flows.night import Night
from flows.ownership import Part
from flows.settle import SCOPE, STANDING_ACCOUNTS, night_parts
from flows.workspace import Workspace
from ledger import chart
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
        works: its table of works.
        creators: its table of creators.
        parts: every owner's part of every work's accrual.
    """

    night: Night
    entry_id: str
    kind: str
    manifest: dict[str, Any]
    works: pl.DataFrame
    creators: pl.DataFrame
    parts: tuple[Part, ...]

    @property
    def pool_units(self) -> int:
        """The night's pool."""
        return int(self.manifest["pool_units"])


@dataclass
class Claim:
    """What one creator accrued in a period under one standing.

    Args:
        creator_id: the creator.
        standing: under contract, not under contract, or owner unknown.
        units: signed accrual.
        variance: of the accrual, in units squared.
        by_agreement: the accrual by agreement id; empty when not licensed.
        by_work: the accrual by work id.
    """

    creator_id: str
    standing: Standing
    units: int = 0
    variance: int = 0
    by_agreement: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    by_work: dict[str, int] = field(default_factory=lambda: defaultdict(int))

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
        pool_units: the nights' pools, added up.
        unexplained_units: what training does not explain.
        claims: by creator and standing, in that order.
        nights: the nights behind it, by name.
    """

    period: str
    pool_id: str
    currency: str
    pool_units: int
    unexplained_units: int
    claims: tuple[Claim, ...]
    nights: tuple[NightAccrual, ...]


def gather(
    workspace: Workspace, books: LedgerStore, book: AgreementBook, period: str
) -> PeriodAccruals:
    """Gather what the nights booked in a period accrued.

    Args:
        workspace: whose files.
        books: whose entries.
        book: the agreements.
        period: YYYY-MM.

    Returns:
        Claims by creator and standing, with the nights behind them.

    Raises:
        CloseError: a night's files are not those its entry cites, or do not add up to it.
    """
    pool = workspace.settings.pool
    nights = []
    for sealed in books.entries():
        entry = sealed.entry
        if entry.scope == SCOPE and entry.period == period:
            night = night_of_key(workspace, entry.key)
            if night is not None:
                nights.append(_read_night(night, entry, book, pool.id))
    nights.sort(key=lambda accrual: accrual.night.name)
    claims = _claims(nights)
    return PeriodAccruals(
        period=period,
        pool_id=pool.id,
        currency=pool.currency,
        pool_units=sum(accrual.pool_units for accrual in nights),
        unexplained_units=sum(int(a.manifest["unexplained_units"]) for a in nights),
        claims=tuple(claims[key] for key in sorted(claims)),
        nights=tuple(nights),
    )


def night_of_key(workspace: Workspace, key: str) -> Night | None:
    """Find the night an entry's key names, if it is of this workspace's pool."""
    date, _, rest = key.partition("/")
    pool_id, _, late = rest.partition("/late/")
    if pool_id != workspace.settings.pool.id:
        return None
    return Night(workspace, Date.fromisoformat(date), (), late)


def _read_night(night: Night, entry: Any, book: AgreementBook, pool_id: str) -> NightAccrual:
    cited, path = entry.evidence.get("estimates"), night.manifest("estimates")
    found = sha256_file(path) if path.exists() else "no such file"
    if found != cited:
        raise CloseError(
            f"{path}: entry {entry.entry_id} cites the estimates {cited}, found {found}; the "
            f"period cannot be divided on other numbers than those that were booked. Restore the "
            f"file, or run `byline nightly --date {night.date}` to make it again"
        )
    manifest = read_manifest(path, ESTIMATES_FORMAT)
    for table in (night.works, night.creators):
        digest = manifest["sha256"][table.name]
        if not table.exists() or sha256_file(table) != digest:
            raise CloseError(
                f"{table} is missing or altered (its manifest says {digest}); nothing was closed. "
                f"Restore it, or run `byline nightly --date {night.date}` to make it again"
            )
    parts = night_parts(night, pool_id, book)
    _check_postings(entry, parts, int(manifest["unexplained_units"]))
    return NightAccrual(
        night,
        entry.entry_id,
        entry.kind,
        manifest,
        pl.read_parquet(night.works),
        pl.read_parquet(night.creators),
        tuple(parts),
    )


def _check_postings(entry: Any, parts: list[Part], unexplained_units: int) -> None:
    """Compare parts worked out again with what was booked."""
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
                f"to {account}; with the agreements and owners as they are now it would be "
                f"{again[account]}. They were changed for a day that was settled; nothing was "
                f"closed. Let the change begin after that day, or reverse the entry first"
            )


def _claims(nights: list[NightAccrual]) -> dict[tuple[str, str], Claim]:
    claims: dict[tuple[str, str], Claim] = {}
    for accrual in nights:
        errors = dict(accrual.creators.select("creator_id", "stderr_ppt").iter_rows())
        seen = set()
        for part in accrual.parts:
            key = (part.creator_id, part.standing.value)
            claim = claims.setdefault(key, Claim(part.creator_id, part.standing))
            claim.units += part.units
            claim.by_work[part.work_id] += part.units
            if part.agreement is not None:
                claim.by_agreement[part.agreement.agreement_id] += part.units
            seen.add(key)
        for key in seen:
            stderr_units = -(-int(errors[key[0]]) * accrual.pool_units // PPT)
            claims[key].variance += stderr_units**2
    return claims
