"""What closed periods come to with what is known now, as adjustments in the open period.

A closed period is never changed. An agreement signed late, an owner found, a dispute decided or a
sheet corrected changes what it *should* have paid; the difference to what the last close knew is
one typed adjustment for each agreement and period.

1. The pool is not divided again: the units that a work was given stay that work's units, and who
   accrued of it what he did before keeps what he was given. Only the rest is divided anew, among
   those whose accrual of the work changed, so nobody else's amount moves, and money comes from the
   suspense account or the owner it stood with.
2. Each agreement is then calculated over all closed periods, once with what the last close knew
   and once with what is known now, tier counters running through both. The difference of the
   royalties is the adjustment; its pool part comes out of suspense, the rest is expense.
3. What was known is cited by each close, so the differences of successive closes add up: nothing
   is paid twice.
4. One thing divides a closed period's pool again: agreements with effect backwards that name
   another rule for it. Everybody who has a part of it is restated then, by the new rule.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from contracts.agreement import AgreementBook
from contracts.apportionment import DESTINATIONS
from contracts.balances import Adjustment, Balances
from contracts.earnings import EarningInputs, Earnings, compute_earnings
from contracts.fx import FxTable
from contracts.period import Period
from contracts.split import split, split_by_weights
from contracts.usage import Usage
from flows.accruals import NightAccrual
from flows.cells import Cell
from flows.division import (
    SUSPENDED,
    ByCell,
    Division,
    PoolDivision,
    divided_by,
    equal_owners,
    pools_of,
)
from flows.knowledge import Knowledge
from flows.ownership import Part, with_earlier_terms
from flows.period_files import EQUAL_PER_WORK
from flows.pool_rule import check_closed, rule_of_pool
from flows.pool_shares import shares_of
from flows.restate_cause import cause
from flows.settle import night_parts
from flows.usage_counts import UsageOfAgreement, count_usage, has_fee_per_use

_Weights = dict[str, Counter[str]]
_ByPeriod = Counter[tuple[str, Period]]


@dataclass(frozen=True)
class Restatement:
    """What earlier periods come to now.

    Args:
        adjustments: by agreement id, one for each period that comes out differently.
        moved: units that came to (or left, negative) each named destination, by period.
        reasons: what changed, in one sentence, by period.
        counters: tier counters after the last closed period, of agreements calculated again.
        held: how much more (or less, negative) fees per use of contested works come to that are
            held for an agreement, by agreement id and period.
    """

    adjustments: Mapping[str, tuple[Adjustment, ...]] = field(default_factory=dict)
    moved: Mapping[Period, Mapping[str, int]] = field(default_factory=dict)
    reasons: Mapping[Period, str] = field(default_factory=dict)
    counters: Mapping[str, Mapping[str, Fraction]] = field(default_factory=dict)
    held: Mapping[tuple[str, Period], int] = field(default_factory=dict)

    @property
    def periods(self) -> list[Period]:
        """The periods that come out differently, in order."""
        told = {a.activity_period for mine in self.adjustments.values() for a in mine}
        return sorted(
            told | {period for period, units in self.moved.items() if any(units.values())}
        )

    def reason(self, period: Period) -> str:
        """Say what changed for a period."""
        return self.reasons.get(period, "agreements changed")

    def with_counters(self, agreement_id: str, balances: Balances) -> Balances:
        """Give opening balances with the tier counters as they would have run."""
        counters = self.counters.get(agreement_id)
        return balances if counters is None else replace(balances, counters=counters)


@dataclass(frozen=True)
class PastPeriod:
    """A closed period: its division as it was closed, the usage reported, the rates it read."""

    division: Division
    reported: tuple[Usage, ...] = ()
    fx: FxTable = field(default_factory=FxTable)

    @property
    def period(self) -> Period:
        """The period."""
        return Period(self.division.accruals.period)


def restate(
    past: Sequence[PastPeriod], before: Knowledge, now: Knowledge, fx: FxTable
) -> Restatement:
    """Compare what closed periods came to at the last close with what they come to now.

    Args:
        past: every closed period, in order.
        before: what the last close knew.
        now: what is known now.
        fx: today's exchange rates, for what a closed period had none for.

    Returns:
        The adjustments and where their money comes from.

    Raises:
        CloseError: a term names another rule than a closed pool of fees was divided by.
    """
    for item in past:
        check_closed(now.book, {p.pool_id: p.rule for p in item.division.others}, item.period)
    pools_before = {p.period: restated_pools(p.division, before) for p in past}
    pools_now = {p.period: restated_pools(p.division, now) for p in past}
    affected = _affected(past, pools_before, pools_now, (before.book, now.book))
    old, held_before, _ = _royalties(past, pools_before, before, affected, fx)
    new, held_now, counters = _royalties(past, pools_now, now, affected, fx)
    held = {
        key: units
        for key in sorted(held_before.keys() | held_now.keys())
        if (units := held_now[key] - held_before[key])
    }
    adjustments: dict[str, list[Adjustment]] = defaultdict(list)
    for agreement_id, period in sorted(old.keys() | new.keys()):
        units = new.get((agreement_id, period), 0) - old.get((agreement_id, period), 0)
        if units:
            held_units = held.get((agreement_id, period), 0)
            pools = pools_before[period], pools_now[period]
            kind, reason = cause(agreement_id, *pools, held_units)
            adjustments[agreement_id].append(Adjustment(kind, units, period, reason))
    moved = {
        period: {
            name: units
            for name in DESTINATIONS
            if (units := _standing(pools_now[period], name) - _standing(pools, name))
        }
        for period, pools in pools_before.items()
    }
    reasons = {
        period: "; ".join(sorted({a.reason for a in _of_period(adjustments, period)}))[:1000]
        or "money moved between suspense accounts"
        for period in pools_now
    }
    return Restatement(
        {name: tuple(mine) for name, mine in adjustments.items()}, moved, reasons, counters, held
    )


def restated_pools(division: Division, known: Knowledge) -> tuple[PoolDivision, ...]:
    """Give a closed period's pools with each work's units divided among its owners as known.

    Args:
        division: as it was closed.
        known: the agreements and owners to go by.
    """
    then = division.known
    assert then is not None, division.accruals.period
    if then.digests == known.digests:
        return division.pools
    pools = division.pools
    if (rule := _rule_of(division, known)) != division.main.rule:
        pools = (divided_by(division.accruals, then, rule), *division.others)
    return tuple(_restated_pool(division, pool, then, known) for pool in pools)


def read_by_rule(past: Iterable[PastPeriod], known: Knowledge) -> Iterator[NightAccrual]:
    """Give the nights of closed periods whose pool is divided by another rule now.

    Args:
        past: closed periods.
        known: the agreements to go by.
    """
    for item in past:
        if _rule_of(item.division, known) != item.division.main.rule:
            yield from item.division.accruals.nights
            yield from item.division.accruals.reversed_nights


def _rule_of(division: Division, known: Knowledge) -> str:
    """Give the rule of a closed period's main pool by the agreements known."""
    accruals = division.accruals
    return rule_of_pool(known.book, accruals.pool_id, Period(accruals.period))


def _restated_pool(
    division: Division, pool: PoolDivision, then: Knowledge, known: Knowledge
) -> PoolDivision:
    """Divide the units of every work whose owners or agreements changed."""
    amounts = {name: Counter(by_work) for name, by_work in pool.amounts.items()}
    suspended = {name: Counter(by_work) for name, by_work in pool.suspended.items()}
    was: dict[str, Counter[str]] = defaultdict(Counter)
    for name, by_work in [*amounts.items(), *suspended.items()]:
        for work_id, units in by_work.items():
            was[work_id][name] += units
    for work_id, parts in _changed(division, pool, then, known, was).items():
        for by_work in [*amounts.values(), *suspended.values()]:
            by_work.pop(work_id, None)
        for name, units in parts.items():
            into = suspended if name in SUSPENDED else amounts
            into.setdefault(name, Counter())[work_id] += units
    destinations = dict(pool.destinations)
    destinations |= {name: sum(by_work.values()) for name, by_work in suspended.items()}
    cells = _cells(division, pool, known)
    return replace(
        pool, amounts=amounts, suspended=suspended, destinations=destinations, cells=cells
    )


def _changed(
    division: Division,
    pool: PoolDivision,
    then: Knowledge,
    known: Knowledge,
    was: Mapping[str, Mapping[str, int]],
) -> dict[str, dict[str, int]]:
    """Divide the units of the works whose owners changed, by agreement or destination."""
    period = Period(division.accruals.period)
    found = {}
    if pool.rule == EQUAL_PER_WORK:
        for work_id, held in was.items():
            owners = equal_owners(known, pool.pool_id, work_id, period)
            if owners != equal_owners(then, pool.pool_id, work_id, period):
                parts = split(sum(held.values()), list(owners.values()))
                found[work_id] = dict(zip(owners, parts, strict=True))
        return found
    before = _weights(division, pool, then)
    now = _weights(division, pool, known)
    for work_id, held in was.items():
        parted = _divided_anew(held, before[work_id], now[work_id])
        if parted is not None:
            found[work_id] = parted
    return found


def _divided_anew(
    held: Mapping[str, int], before: Mapping[str, int], now: Mapping[str, int]
) -> dict[str, int] | None:
    """Divide what those hold of a work whose accrual of it changed, by what they accrued.

    Returns:
        The whole work's units by holder; None where nothing changes, or nobody who takes part
        now accrued above zero.
    """
    changed = {h for h in before.keys() | now.keys() if before.get(h, 0) != now.get(h, 0)}
    weights = {h: now[h] for h in sorted(changed & now.keys()) if now[h] > 0}
    if not weights:
        return None
    parts = {holder: units for holder, units in held.items() if holder not in changed}
    units = sum(units for holder, units in held.items() if holder in changed)
    return parts | dict(zip(weights, split_by_weights(units, list(weights.values())), strict=True))


def _weights(division: Division, pool: PoolDivision, known: Knowledge) -> _Weights:
    """Give what every work accrued in a period, by agreement or destination."""
    weights: _Weights = defaultdict(Counter)
    for sign, part in _parts(division, pool, known):
        weights[part.work_id][_holder(part)] += sign * part.units
    return weights


def _cells(division: Division, pool: PoolDivision, known: Knowledge) -> ByCell:
    """Give what accrued by model version and territory, where terms look at them."""
    cells: dict[tuple[str, str], Counter[Cell]] = defaultdict(Counter)
    if pool.rule != EQUAL_PER_WORK and known.book.cuts_pool(pool.pool_id):
        for sign, part in _parts(division, pool, known):
            for cell, units in part.cells.items():
                cells[_holder(part), part.work_id][cell] += sign * units
    return cells


def _parts(division: Division, pool: PoolDivision, known: Knowledge) -> Iterator[tuple[int, Part]]:
    """Give the parts of a period's nights by the pool's rule, with the sign they count with."""
    accruals = division.accruals
    for sign, nights in ((1, accruals.nights), (-1, accruals.reversed_nights)):
        for night in nights:
            for part in night_parts(night.night, pool.pool_id, known, pool.rule, night.then):
                yield sign, part


def _holder(part: Part) -> str:
    return part.agreement.agreement_id if part.agreement else part.standing.value


def _affected(
    past: Sequence[PastPeriod],
    before: Mapping[Period, Sequence[PoolDivision]],
    now: Mapping[Period, Sequence[PoolDivision]],
    books: tuple[AgreementBook, AgreementBook],
) -> list[str]:
    """Name the agreements that may come out differently."""
    found: set[str] = set()
    for item in past:
        for old, new in zip(before[item.period], now[item.period], strict=True):
            names = old.amounts.keys() | new.amounts.keys()
            found |= {n for n in names if old.amounts.get(n, {}) != new.amounts.get(n, {})}
    versions = [{(a.agreement_id, a.version) for a in book.agreements} for book in books]
    found |= {name for name, _ in versions[0] ^ versions[1]}
    found |= {a.agreement_id for a in books[1].agreements if has_fee_per_use(a)}
    return sorted(found)


def held_fees(past: Sequence[PastPeriod], known: Knowledge, fx: FxTable) -> Iterator[Earnings]:
    """Calculate the agreements of closed periods that hold fees of contested works.

    Args:
        past: every closed period, in order.
        known: the agreements and owners to go by.
        fx: today's exchange rates, for what a closed period had none for.
    """
    paying = [a.agreement_id for a in known.book.agreements if has_fee_per_use(a)]
    if paying:
        pools = {p.period: restated_pools(p.division, known) for p in past}
        for result in _calculated(past, pools, known, sorted(set(paying)), fx):
            if result.contested_units:
                yield result


def _royalties(
    past: Sequence[PastPeriod],
    pools: Mapping[Period, Sequence[PoolDivision]],
    known: Knowledge,
    affected: Sequence[str],
    fx: FxTable,
) -> tuple[_ByPeriod, _ByPeriod, dict[str, Mapping[str, Fraction]]]:
    """Add agreements up over all closed periods.

    Returns:
        Royalties and what is held in dispute, by agreement and period; the counters at the end.
    """
    royalties: _ByPeriod = Counter()
    held: _ByPeriod = Counter()
    counters: dict[str, Mapping[str, Fraction]] = {}
    for result in _calculated(past, pools, known, affected, fx):
        key = result.agreement_id, result.period
        royalties[key], held[key] = result.royalty_units, result.contested_units
        counters[result.agreement_id] = result.closing.counters
    return royalties, held, counters


def _calculated(
    past: Sequence[PastPeriod],
    pools: Mapping[Period, Sequence[PoolDivision]],
    known: Knowledge,
    affected: Sequence[str],
    fx: FxTable,
) -> Iterator[Earnings]:
    """Calculate agreements over all closed periods, their tier counters running through."""
    counters: dict[str, Mapping[str, Fraction]] = {}
    for item in past:
        settled = {a.agreement_id: a for a in known.book.to_settle(item.period)}
        usage = count_usage(item.division.accruals, known, item.reported)
        for name in affected:
            if name not in settled:
                continue
            # Only the royalty is looked at; how it would have been paid needs no rate.
            mine_of = pools_of(name, pools[item.period])
            agreement = with_earlier_terms(settled[name], known.book, mine_of)
            agreement = replace(agreement, payment=None)
            mine = usage.get(name, UsageOfAgreement())
            inputs = EarningInputs(
                pools=shares_of(
                    agreement,
                    pools[item.period],
                    currency=item.division.accruals.currency,
                    period=item.period,
                    tables=(item.fx, fx),
                    left={},
                ),
                usages=mine.usages,
                shares=mine.shares,
                contested=mine.contested,
                opening=Balances(counters=counters.get(name, {})),
            )
            result = compute_earnings(agreement, item.period, inputs)
            counters[name] = result.closing.counters
            yield result


def _standing(pools: Sequence[PoolDivision], name: str) -> int:
    return sum(pool.destinations.get(name, 0) for pool in pools)


def _of_period(adjustments: Mapping[str, Sequence[Adjustment]], period: Period) -> list[Adjustment]:
    return [a for mine in adjustments.values() for a in mine if a.activity_period == period]
