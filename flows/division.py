"""Divide a period's pools: who gets what of each, by agreement and by work.

1. The main pool, which revenue pays into every night, is divided by influence under the rule its
   terms name. Pools that fees pay into are divided equally per work, or by influence as well.
2. In a pool divided equally take part all works of which somebody has an agreement with a term on
   the pool on the last day of the period; owners and agreements are those of that day.
3. Every unit of a pool is with an agreement and a work, or at a named destination; what is
   unlicensed, unmatched or disputed stands by work, so that it can be searched and paid later.
4. Nothing here writes anything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from contracts.accrual import Accrual, Standing
from contracts.agreement import Agreement
from contracts.apportionment import (
    DISPUTED,
    NOISE_Z,
    RULES,
    UNLICENSED,
    UNMATCHED,
    Apportionment,
)
from contracts.dispute import DISPUTED_OWNER, UNMATCHED_OWNER, holdings
from contracts.money import round_half_even, show_money
from contracts.period import Period
from contracts.pool_amount import PoolAmount
from contracts.split import split, split_by_weights
from flows.accruals import Claim, PeriodAccruals, claims_on
from flows.cells import Cell
from flows.errors import CloseError
from flows.knowledge import Knowledge
from flows.ownership import covering_pool
from flows.period_files import EQUAL_PER_WORK, FundedPool
from flows.pool_rule import check_division

SUSPENDED = (UNLICENSED, UNMATCHED, DISPUTED)
NOBODYS = {UNMATCHED_OWNER: UNMATCHED, DISPUTED_OWNER: DISPUTED}

ByWork = Mapping[str, int]
ByCell = Mapping[tuple[str, str], Mapping[Cell, int]]


@dataclass(frozen=True)
class PoolDivision:
    """One pool, divided; amounts and destinations add up to it.

    Args:
        pool_id: the pool.
        pool_units: what was divided.
        rule: how.
        amounts: units by agreement id and work id.
        suspended: units by destination (unlicensed, unmatched, disputed) and work id.
        destinations: units by named destination, those of `suspended` included.
        working: how an agreement's part came about, for its statement.
        cells: what accrued by model version and territory, by agreement id and work id, where
            terms look at them; says which of an agreement's terms pays.
    """

    pool_id: str
    pool_units: int
    rule: str
    amounts: Mapping[str, ByWork]
    suspended: Mapping[str, ByWork]
    destinations: Mapping[str, int]
    working: str
    cells: ByCell = field(default_factory=dict)

    def units_of(self, agreement_id: str) -> int:
        """Give what an agreement was apportioned."""
        return sum(self.amounts.get(agreement_id, {}).values())


@dataclass(frozen=True)
class Division:
    """A period, divided.

    Args:
        accruals: what came in.
        apportionment: the main pool, with the working of each party; named by `claim_id`.
        main: the main pool by agreement and work.
        others: the pools that fees paid into, in the order of their file.
        known: the agreements and owners it was divided by.
    """

    accruals: PeriodAccruals
    apportionment: Apportionment
    main: PoolDivision
    others: tuple[PoolDivision, ...] = field(default=())
    known: Knowledge | None = None

    @property
    def pools(self) -> tuple[PoolDivision, ...]:
        """Every pool, the main one first."""
        return (self.main, *self.others)


def claim_id(claim: Claim) -> str:
    """Name a claim in the apportionment: the creator, or standing and creator."""
    if claim.standing is Standing.LICENSED:
        return claim.creator_id
    return f"{claim.standing.value}/{claim.creator_id}"


def divide_period(
    accruals: PeriodAccruals, known: Knowledge, funded: Sequence[FundedPool]
) -> Division:
    """Divide all pools of a period.

    Args:
        accruals: what the period's nights accrued.
        known: the agreements and owners to divide by.
        funded: the pools that fees pay into.

    Returns:
        The division.

    Raises:
        CloseError: a rule cannot be applied, or nobody may take part in a pool.
    """
    period = Period(accruals.period)
    apportionment, main = _by_influence(
        accruals.pool_id, accruals.pool_units, accruals.rule, accruals, accruals.claims, known
    )
    units: Counter[tuple[str, str]] = Counter()
    for pool in funded:
        units[pool.pool_id, pool.division] += pool.fee.earned_in(period)
    others = []
    for (pool_id, division), pool_units in units.items():
        if not pool_units:
            continue
        if division == EQUAL_PER_WORK:
            others.append(_equally(pool_id, pool_units, accruals.currency, period, known))
        else:
            check_division(known.book, pool_id, division, period)
            claims = claims_on(accruals, known, pool_id, division)
            _, divided = _by_influence(pool_id, pool_units, division, accruals, claims, known)
            others.append(divided)
    _check_names(others)
    return Division(accruals, apportionment, main, tuple(others), known)


def _by_influence(
    pool_id: str,
    pool_units: int,
    method: str,
    accruals: PeriodAccruals,
    claims: Sequence[Claim],
    known: Knowledge,
) -> tuple[Apportionment, PoolDivision]:
    """Divide a pool by influence; another pool than the main one in the main one's proportions."""
    if pool_units < 0:
        raise CloseError(
            f"pool {pool_id} of {accruals.period} comes to {pool_units} units: more was reversed "
            f"than accrued. Nothing was closed; leave the period open until later nights outweigh "
            f"the reversal"
        )
    documents = _documents_of(known, Period(accruals.period))
    agreements = {a.agreement_id: a for a in known.book.to_settle(Period(accruals.period))}
    unexplained = accruals.unexplained_units
    if pool_units != accruals.pool_units:
        part = Fraction(unexplained, accruals.pool_units) if accruals.pool_units else Fraction(1)
        unexplained = round_half_even(pool_units * part)
    # Where more was taken back than came in, none of the pool is left to set apart.
    unexplained = min(max(unexplained, 0), pool_units)
    divided = RULES[method].apportion(
        pool_units,
        [_accrual(claim, agreements, documents) for claim in claims],
        unexplained_units=unexplained,
    )
    amounts: dict[str, Counter[str]] = defaultdict(Counter)
    suspended: dict[str, Counter[str]] = {name: Counter() for name in SUSPENDED}
    for claim in claims:
        portion = divided.portions[claim_id(claim)]
        if claim.standing is Standing.LICENSED:
            for name, units in _of_agreements(claim, portion.payable_units).items():
                mine = {w: u for (owner, w), u in claim.by_part.items() if owner == name}
                amounts[name].update(_among(units, mine))
        else:
            units_by_work = _among(portion.attribution_units, claim.by_work)
            suspended[claim.standing.value].update(units_by_work)
    working = f"part of pool {pool_id} of {show_money(pool_units, accruals.currency)}"
    cells = {key: by_cell for claim in claims for key, by_cell in claim.by_cell.items()}
    return divided, PoolDivision(
        pool_id, pool_units, divided.rule, amounts, suspended, divided.destinations, working, cells
    )


def divided_by(accruals: PeriodAccruals, known: Knowledge, rule: str) -> PoolDivision:
    """Divide the main pool of a period by another rule than it was divided by.

    Args:
        accruals: what the period's nights accrued.
        known: the agreements and owners to divide by.
        rule: the other rule.
    """
    pool_id = accruals.pool_id
    claims = claims_on(accruals, known, pool_id, rule)
    return _by_influence(pool_id, accruals.pool_units, rule, accruals, claims, known)[1]


def _equally(
    pool_id: str, pool_units: int, currency: str, period: Period, known: Knowledge
) -> PoolDivision:
    """Divide a pool equally among the works that take part in it."""
    _check_uncut(pool_id, known, period)
    owners = {
        work_id: equal_owners(known, pool_id, work_id, period)
        for work_id in sorted(known.catalogue.works)
    }
    whole = show_money(pool_units, currency)
    taking_part = [w for w, found in owners.items() if any(name not in SUSPENDED for name in found)]
    if not taking_part:
        raise CloseError(
            f"pool {pool_id} has {whole} for {period} and no work that is under an "
            f"agreement with a term on it; nothing was closed. Sign one, or take the pool out of "
            f"pools.json until there is"
        )
    amounts: dict[str, Counter[str]] = defaultdict(Counter)
    suspended: dict[str, Counter[str]] = {name: Counter() for name in SUSPENDED}
    parts = split_by_weights(pool_units, [1] * len(taking_part))
    for work_id, units in zip(taking_part, parts, strict=True):
        found = owners[work_id]
        for name, part in zip(found, split(units, list(found.values())), strict=True):
            (suspended if name in SUSPENDED else amounts)[name][work_id] += part
    destinations = {name: sum(by_work.values()) for name, by_work in suspended.items()}
    working = f"equal per work: {whole} of pool {pool_id} among {len(taking_part)} works"
    return PoolDivision(
        pool_id, pool_units, EQUAL_PER_WORK, amounts, suspended, destinations, working
    )


def _check_uncut(pool_id: str, known: Knowledge, period: Period) -> None:
    """Refuse to divide equally what a term takes part in for some territories or models only."""
    for agreement in known.book.to_settle(period):
        if agreement.in_force_in(period) and agreement.cuts_pool(pool_id):
            raise CloseError(
                f"{agreement.name} takes part in pool {pool_id} for some territories or model "
                f"versions only, but the pool is divided equally per work, wherever it was used; "
                f"nothing was closed. Give each territory or model version a pool of its own"
            )


def pool_amounts(agreement: Agreement, pools: Sequence[PoolDivision]) -> tuple[PoolAmount, ...]:
    """Give what an agreement was apportioned from each pool that it has a term on."""
    amounts = []
    for pool in pools:
        if agreement.terms_on_pool(pool.pool_id):
            works = pool.amounts.get(agreement.agreement_id, {})
            mine = {work: units for work, units in works.items() if units}
            by_term = _by_term(agreement, pool, mine)
            amounts.append(
                PoolAmount(
                    pool.pool_id, pool.pool_units, sum(mine.values()), pool.working, mine, by_term
                )
            )
    return tuple(amounts)


def pools_of(agreement_id: str, pools: Sequence[PoolDivision]) -> list[str]:
    """Name the pools that an agreement was given something of."""
    return [pool.pool_id for pool in pools if pool.units_of(agreement_id)]


def _by_term(agreement: Agreement, pool: PoolDivision, works: ByWork) -> dict[str, dict[str, int]]:
    """Say which term pays which part of each work, where terms hold for some cells only.

    A work's units are divided among the terms by what accrued in the cells of each. A cell that
    no term covers any more, an earlier version having covered it, is with the first term.
    """
    if not agreement.cuts_pool(pool.pool_id):
        return {}
    first = agreement.terms_on_pool(pool.pool_id)[0]
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for work, units in works.items():
        weights: Counter[str] = Counter()
        for cell, accrued in pool.cells.get((agreement.agreement_id, work), {}).items():
            term = agreement.pool_term_for(pool.pool_id, work, *cell) or first
            weights[term.term_id] += accrued
        for term_id, part in _among(units, weights or {first.term_id: 1}).items():
            found[term_id][work] = part
    return dict(found)


def equal_owners(
    known: Knowledge, pool_id: str, work_id: str, period: Period
) -> dict[str, Fraction]:
    """Give who holds a work in a pool that is divided equally, on a period's last day.

    Returns:
        Shares adding up to 1, by agreement id or by destination.
    """
    found: dict[str, Fraction] = defaultdict(Fraction)
    work = known.catalogue.works.get(work_id)
    if work is None:
        return {UNMATCHED: Fraction(1)}
    for owner, share in holdings(work.shares_on(period.end)).as_owners():
        name = NOBODYS.get(owner)
        if name is None:
            agreement = covering_pool(known.book, owner, work_id, pool_id, period.end)
            name = agreement.agreement_id if agreement else UNLICENSED
        found[name] += share
    return dict(sorted(found.items()))


def _check_names(others: Sequence[PoolDivision]) -> None:
    """Refuse a pool that is divided in two ways."""
    counts = Counter(pool.pool_id for pool in others)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise CloseError(
            f"pool {twice[0]} stands in pools.json with two divisions for one period; nothing was "
            f"closed. Give each division a pool of its own"
        )


def _documents_of(known: Knowledge, period: Period) -> Counter[str]:
    """Count the documents of each creator's works, for fallback methods."""
    documents: Counter[str] = Counter()
    count = Counter(known.catalogue.work_of.values())
    for work_id, work in known.catalogue.works.items():
        for party_id in work.shares_on(period.end):
            documents[party_id] += count[work_id]
    return documents


def _accrual(
    claim: Claim, agreements: Mapping[str, Agreement], documents: Mapping[str, int]
) -> Accrual:
    """Give a claim as the rule divides it, with what its agreements say about doubt."""
    own = [agreements[name] for name in sorted(claim.by_agreement) if name in agreements]
    clause = next((a.reliability for a in own if a.reliability is not None), None)
    noise_z: Fraction | None = NOISE_Z
    if own:
        # Among several agreements the widest floor holds; None of one that has none.
        noise_z = max((a.noise_z for a in own if a.noise_z is not None), default=None)
    return Accrual(
        claim_id(claim),
        claim.units,
        claim.stderr_units,
        claim.standing,
        works=len(claim.by_work),
        usage=documents.get(claim.creator_id, 0),
        fixed=max((a.fixed_weight for a in own), default=0),
        reliability=clause,
        noise_z=noise_z,
    )


def _of_agreements(claim: Claim, payable_units: int) -> dict[str, int]:
    """Divide what a creator is paid among his agreements, by what accrued under each."""
    return _among(payable_units, claim.by_agreement)


def _among(units: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Divide units by signed weights: by the positive ones, or equally where none is."""
    if not units:
        return {}
    names = sorted(weights)
    positive = [max(weights[name], 0) for name in names]
    if not any(positive):
        positive = [1] * len(names)
    parts = split_by_weights(units, positive)
    return {name: part for name, part in zip(names, parts, strict=True) if part}
