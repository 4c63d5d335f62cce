"""Shares of creators and lines of works over a period, from its nights' tables.

1. A share over several nights is the mean of the nights' shares, weighted by their pools.
2. Nights are drawn independently: standard errors add in squares, and intervals are those of
   `flows.intervals` for the sum.
3. A work line shows the whole work's share and accrual, and what this creator is credited for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import polars as pl

from contracts.accrual import Standing
from contracts.agreement import Agreement
from contracts.catalogue import Catalogue
from contracts.earnings import Earnings
from contracts.period import Period
from contracts.split import split
from flows.accruals import NightAccrual, PeriodAccruals
from flows.intervals import FREEDOM_MAX_MILLI, Noise, ends_ppt
from reports.statement import allot_to_works
from reports.statement_inputs import WorkLine

PPM = 10**6


@dataclass(frozen=True)
class CreatorShare:
    """A creator's share of a period's pools, in parts per 10^12, with its 95 % interval.

    Args:
        share_ppt: the share.
        stderr_ppt: its standard error.
        generic_ppt: the generic part of it.
        freedom_milli: degrees of freedom of the error, in thousandths.
        skew_ppm: skewness of the share's noise, in parts per million.
    """

    share_ppt: int
    stderr_ppt: int
    generic_ppt: int
    freedom_milli: int = FREEDOM_MAX_MILLI
    skew_ppm: int = 0

    @property
    def low_ppt(self) -> int:
        """The lower end."""
        return self._ends[0]

    @property
    def high_ppt(self) -> int:
        """The upper end."""
        return self._ends[1]

    @property
    def _ends(self) -> tuple[int, int]:
        return ends_ppt(self.share_ppt, self.stderr_ppt, self.freedom_milli, self.skew_ppm)

    @classmethod
    def total(cls, shares: Sequence[CreatorShare]) -> CreatorShare:
        """Add the shares of several creators of one payee."""
        noise = Noise()
        for share in shares:
            noise.add(1, share.stderr_ppt, share.freedom_milli, share.skew_ppm)
        stderr, freedom, skew = noise.over(1)
        whole, generic = (sum(s.share_ppt for s in shares), sum(s.generic_ppt for s in shares))
        return cls(whole, stderr, generic, freedom, skew)


def creator_shares(accruals: PeriodAccruals) -> dict[str, CreatorShare]:
    """Give every creator's share of the period, by id."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    noises: dict[str, Noise] = defaultdict(Noise)
    for night in accruals.nights:
        columns = ("creator_id", "share_ppt", "stderr_ppt", "generic_ppt")
        for creator, share, stderr, generic, *shape in _with_shape(night.creators, columns):
            row = sums[creator]
            row[0] += share * night.pool_units
            row[1] += generic * night.pool_units
            noises[creator].add(night.pool_units, stderr, *shape)
    pool = accruals.pool_units or 1
    found = {}
    for creator, (share, generic) in sorted(sums.items()):
        stderr, freedom, skew = noises[creator].over(pool)
        parts = (round(Fraction(share, pool)), stderr, round(Fraction(generic, pool)))
        found[creator] = CreatorShare(*parts, freedom, skew)
    return found


def _with_shape(table: pl.DataFrame, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Read rows with the shape of their noise behind; tables of earlier builds have none."""
    shape = ("freedom_milli", "skew_ppm")
    if shape[0] in table.columns:
        return table.select(*columns, *shape).iter_rows()
    plain = (pl.lit(FREEDOM_MAX_MILLI).alias(shape[0]), pl.lit(0).alias(shape[1]))
    return table.select(*columns, *plain).iter_rows()


@dataclass(frozen=True)
class WorkIndex:
    """The period's parts, added up by agreement and by unlicensed creator, read once.

    Args:
        accruals: what the period's nights accrued.
        catalogue: titles of the works.
        licensed: sums by agreement id.
        unlicensed: sums by creator id.
    """

    accruals: PeriodAccruals
    catalogue: Catalogue
    licensed: Mapping[str, dict[_Key, _Sum]]
    unlicensed: Mapping[str, dict[_Key, _Sum]]

    @classmethod
    def of(cls, accruals: PeriodAccruals, catalogue: Catalogue) -> WorkIndex:
        """Add the parts of all nights up."""
        licensed: dict[str, dict[_Key, _Sum]] = defaultdict(dict)
        unlicensed: dict[str, dict[_Key, _Sum]] = defaultdict(dict)
        for night in accruals.nights:
            rows = _rows(night)
            for part in night.parts:
                if part.agreement is not None:
                    found = licensed[part.agreement.agreement_id]
                elif part.standing is Standing.UNLICENSED:
                    found = unlicensed[part.creator_id]
                else:
                    continue
                _sum(found, night, part.work_id, part.share).add(
                    night, part.units, rows[part.work_id]
                )
        return cls(accruals, catalogue, licensed, unlicensed)

    def lines(
        self,
        agreements: Mapping[str, Agreement],
        creators: Sequence[str],
        earnings: Sequence[Earnings],
    ) -> tuple[WorkLine, ...]:
        """Give a payee's work lines; their amounts add up to what his agreements earned.

        Args:
            agreements: the agreements of the period by id.
            creators: the payee's creators.
            earnings: the calculations of the payee's agreements.

        Returns:
            Lines by creator, work, activity period.
        """
        lines: list[WorkLine] = []
        for result in earnings:
            mine = self.licensed.get(result.agreement_id, {})
            keys = sorted(mine)
            units = [mine[key].accrued for key in keys]
            if result.royalty_units and sum(units) <= 0:
                # A floor or a fee, tied to no work of this period's nights.
                agreement = agreements[result.agreement_id]
                lines.append(_fee_line(self.accruals, agreement, result))
                continue
            amounts = allot_to_works(result.royalty_units, units)
            lines += [
                mine[key].line(self.accruals, self.catalogue, amount)
                for key, amount in zip(keys, amounts, strict=True)
            ]
        for creator in sorted(creators):
            unpaid = self.unlicensed.get(creator, {})
            lines += [unpaid[key].line(self.accruals, self.catalogue, 0) for key in sorted(unpaid)]
        return tuple(lines)


@dataclass
class _Sum:
    """One work's numbers over the nights of one activity period."""

    work_id: str
    activity: str
    share: Fraction
    accrued: int = 0
    whole: int = 0
    pool: int = 0
    weighted: int = 0
    noise: Noise = field(default_factory=Noise)
    sampled: int = 0
    population: int = 0

    def add(self, night: NightAccrual, part_units: int, row: tuple[int, ...]) -> None:
        """Add one night: (outputs, share, stderr, whole accrual, shape of the noise)."""
        outputs, share, stderr, whole, *shape = row
        self.accrued += part_units
        self.whole += whole
        self.pool += night.pool_units
        self.weighted += share * night.pool_units
        self.noise.add(night.pool_units, stderr, *shape)
        self.sampled += outputs
        self.population += int(night.manifest["population"]["outputs"])

    def line(self, accruals: PeriodAccruals, catalogue: Catalogue, amount: int) -> WorkLine:
        """Make the statement's line."""
        pool = self.pool or 1
        share_ppt = round(Fraction(self.weighted, pool))
        stderr_ppt, freedom, skew = self.noise.over(pool)
        low_ppt, high_ppt = ends_ppt(share_ppt, stderr_ppt, freedom, skew)
        work = catalogue.works.get(self.work_id)
        late = self.activity != accruals.period
        return WorkLine(
            work_id=self.work_id,
            pool_id=accruals.pool_id,
            activity_period=self.activity,
            amount_units=amount,
            pool_units=self.pool,
            share_ppt=share_ppt,
            title=work.title if work else "",
            population_outputs=self.population,
            sampled_outputs=self.sampled,
            weight_ppm=split(self.population * PPM, [Fraction(1, self.sampled)] * self.sampled)[0]
            if self.sampled
            else PPM,
            stderr_ppt=stderr_ppt,
            low_ppt=low_ppt,
            high_ppt=high_ppt,
            accrual_units=self.whole,
            split=self.share,
            adjustment_type="usage_correction" if late else "none",
        )


_Key = tuple[str, str, Fraction]


def _sum(found: dict[_Key, _Sum], night: NightAccrual, work_id: str, share: Fraction) -> _Sum:
    activity = Period.of(night.night.date).text
    return found.setdefault((work_id, activity, share), _Sum(work_id, activity, share))


def _rows(night: NightAccrual) -> dict[str, tuple[int, ...]]:
    columns = ("work_id", "outputs", "share_ppt", "stderr_ppt", "accrual_units")
    return {row[0]: row[1:] for row in _with_shape(night.works, columns)}


def _fee_line(accruals: PeriodAccruals, agreement: Agreement, result: Earnings) -> WorkLine:
    return WorkLine(
        work_id=agreement.agreement_id,
        pool_id=accruals.pool_id,
        activity_period=accruals.period,
        amount_units=result.royalty_units,
        pool_units=accruals.pool_units,
        share_ppt=0,
        title="Agreed amounts that are not tied to a work",
    )
