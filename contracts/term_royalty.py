"""What one term earns in one period: the first six steps of the calculation.

    usage -> rate -> tiers -> deductions -> caps and floor -> the licensor's part

1. Every step is rounded to whole units once, half to even, and the next step starts from the
   rounded number: a calculator that follows the printed lines ends on the printed sum.
2. Deductions never take more than there is.
3. The per-work cap holds before the cap of the period. The floor holds last.
4. Amounts per work add up to the amount of the term; the parts of co-creators to that of the work.
5. The share of a pool comes in after the co-creator split, since claims on a pool are made by
   party; no second split is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm

from contracts.agreement import Agreement
from contracts.balances import Balances
from contracts.dispute import CONTESTED
from contracts.money import Currency, round_half_even, show_units
from contracts.period import Period
from contracts.pool_amount import PoolAmount
from contracts.rate import Window, show_rate
from contracts.split import split, split_by_weights
from contracts.terms import POOL_BASES, Basis, Term
from contracts.usage import Usage, total_outputs, total_tokens


@dataclass(frozen=True, slots=True)
class WorkingLine:
    """One line of working: what it is, how it is calculated, what it comes to."""

    label: str
    formula: str
    amount_units: int


@dataclass(frozen=True, slots=True)
class TermRoyalty:
    """What a term earned, step by step; the amounts of the steps add up to `royalty_units`.

    Args:
        term: the term.
        usage: step 1, what was used.
        gross: step 2, at the base rate.
        tiers: step 3, the difference tiers make; None without tiers.
        deductions: step 4, negative amounts.
        limits: step 5, the differences caps and floor make.
        split: step 6, what belongs to others, negative; None where nothing is split.
        counter: the tier counter afterwards; None without tiers.
        works: the licensor's part by work.
        contested: by work, what others claim too and the licensor may be owed once it is decided;
            in none of the lines.
    """

    term: Term
    usage: WorkingLine
    gross: WorkingLine
    tiers: WorkingLine | None
    deductions: tuple[WorkingLine, ...]
    limits: tuple[WorkingLine, ...]
    split: WorkingLine | None
    counter: Fraction | None
    works: Mapping[str, int]
    contested: Mapping[str, int] = field(default_factory=dict)

    @property
    def contested_units(self) -> int:
        """What others claim too, of all works."""
        return sum(self.contested.values())

    @property
    def lines(self) -> tuple[WorkingLine, ...]:
        """The lines that carry money, in order."""
        optional = [line for line in (self.tiers,) if line] + [*self.deductions, *self.limits]
        return (self.gross, *optional, *([self.split] if self.split else []))

    @property
    def royalty_units(self) -> int:
        """What the licensor earned under the term, before reserve."""
        return sum(line.amount_units for line in self.lines)


@dataclass(frozen=True, slots=True)
class _Measured:
    """What a term's rate is applied to: a count or an amount, with its works.

    `currency` writes amounts; `is_money` says whether the count itself is an amount.
    """

    count: Fraction
    by_work: Mapping[str, Fraction]
    what: str
    usage_text: str
    currency: str
    is_money: bool = False

    def show_count(self, count: Fraction) -> str:
        """Write a count, as money where it is money."""
        return self.money(int(count)) if self.is_money else show_rate(count)

    def show_step(self, rate: Fraction) -> str:
        """Write a rate, or a price in whole currency."""
        if self.is_money:
            return show_rate(rate)
        return show_rate(rate / Currency.parse(self.currency).units_per_whole)

    def money(self, units: int) -> str:
        """Write units in whole currency."""
        return show_units(units, self.currency)


def term_royalty(
    term: Term,
    agreement: Agreement,
    period: Period,
    *,
    pools: Mapping[str, PoolAmount],
    usages: Sequence[Usage],
    shares: Mapping[str, Mapping[str, Fraction]],
    opening: Balances,
    contested: Mapping[str, Mapping[str, Fraction]] | None = None,
) -> TermRoyalty:
    """Calculate what one term earns in one period.

    Args:
        term: a term of the agreement.
        agreement: the version in force.
        period: the period.
        pools: what the licensor was apportioned, by pool id.
        usages: all usage of the period; the term takes what it covers.
        shares: shares of each work by party, each adding up to 1 (see `dispute.holdings`); a work
            that is not there belongs to the licensor alone.
        opening: balances at the start of the period, for the tier counter.
        contested: by work, whose its contested share would be (see `dispute.contested_parts`).

    Returns:
        The steps with their working.
    """
    measured = _measure(term, agreement, period, pools, usages)
    gross_units, tiered_units, gross, tiers, counter = _rated(
        term, agreement, period, measured, opening
    )
    deductions = _deductions(term, tiered_units, measured)
    net_units = tiered_units + sum(line.amount_units for line in deductions)
    works, limits = _limited(term, net_units, measured)
    own, held, split_line = _own_part(term, agreement, works, shares, contested or {})
    usage = WorkingLine(f"{term.term_id}: payable usage", measured.usage_text, 0)
    steps = usage, gross, tiers, tuple(deductions), tuple(limits), split_line
    result = TermRoyalty(term, *steps, counter, own, held)
    assert result.royalty_units == sum(own.values()), (result, own)
    assert gross_units >= 0, gross_units
    return result


def _measure(
    term: Term,
    agreement: Agreement,
    period: Period,
    pools: Mapping[str, PoolAmount],
    usages: Sequence[Usage],
) -> _Measured:
    """Find what the rate is applied to."""
    if term.basis in POOL_BASES:
        pool = pools.get(term.pool_id, PoolAmount(term.pool_id, 0, 0))
        part = _of_term(term, agreement, pool)
        by_work = {work: Fraction(units) for work, units in part.works.items() if units}
        mine_text = show_units(part.amount_units, agreement.currency)
        pool_text = show_units(pool.pool_units, agreement.currency)
        return _Measured(
            Fraction(part.amount_units),
            by_work or {"*": Fraction(1)},
            f"of pool {term.pool_id}",
            part.working or f"{mine_text} of {pool_text} in pool {term.pool_id}",
            agreement.currency,
            is_money=True,
        )
    if term.basis is Basis.FLAT:
        assert term.flat is not None, term
        position = period.months_since(term.flat.first) + 1
        text = f"period {position} of {term.flat.periods}"
        return _Measured(Fraction(1), {"*": Fraction(1)}, "fee", text, agreement.currency)
    mine = [
        usage
        for usage in usages
        if agreement.covers_work(usage.work_id) and agreement.term_for(usage) is term
    ]
    by_work = {}
    for usage in mine:
        count = usage.outputs if term.basis is Basis.PER_OUTPUT else usage.tokens
        by_work[usage.work_id] = by_work.get(usage.work_id, Fraction(0)) + count
    what = "outputs" if term.basis is Basis.PER_OUTPUT else "tokens"
    text = (
        f"{show_rate(total_outputs(mine))} outputs, {show_rate(total_tokens(mine))} tokens "
        f"of {len(by_work)} works"
    )
    total = sum(by_work.values(), Fraction(0))
    return _Measured(total, by_work, what, text, agreement.currency)


def _of_term(term: Term, agreement: Agreement, pool: PoolAmount) -> PoolAmount:
    """Return the part of a pool amount that a term pays: all of it, or that of its works.

    Where one agreement has several terms on a pool, each work is paid by one of them. An amount
    whose works are not known is paid by the first term for all works.
    """
    terms = agreement.terms_on_pool(term.pool_id)
    if len(terms) == 1:
        return replace(pool, by_term={})
    general = agreement.pool_term_for(term.pool_id, "*") or terms[0]
    if pool.by_term:
        works = dict(pool.by_term.get(term.term_id, {}))
    elif not pool.works:
        return pool if general is term else replace(pool, amount_units=0)
    else:
        # What accrued under an earlier version for works that no term names now is still owed.
        works = {
            work: units
            for work, units in pool.works.items()
            if (agreement.pool_term_for(term.pool_id, work) or general) is term
        }
    return replace(pool, amount_units=sum(works.values()), works=works, by_term={})


def _rated(
    term: Term, agreement: Agreement, period: Period, measured: _Measured, opening: Balances
) -> tuple[int, int, WorkingLine, WorkingLine | None, Fraction | None]:
    """Apply the rate, then the tiers."""
    label = f"{term.term_id}: {term.basis}"
    if term.flat is not None:
        units = term.flat.earned_in(period)
        formula = f"{measured.money(term.flat.amount_units)} / {term.flat.periods} periods"
        return units, units, WorkingLine(label, formula, units), None, None
    rate = term.tiers.steps[0].rate if term.tiers else term.rate
    gross_units = round_half_even(measured.count * rate)
    formula = f"{measured.show_count(measured.count)} {measured.what} x {measured.show_step(rate)}"
    gross = WorkingLine(label, formula, gross_units)
    if term.tiers is None:
        return gross_units, gross_units, gross, None, None
    before = opening.counters.get(term.term_id, Fraction(0))
    starts_again = term.tiers.counted is Window.PERIOD or (
        term.tiers.counted is Window.YEAR and agreement.is_first_of_year(period)
    )
    before = Fraction(0) if starts_again else before
    tiered_units = round_half_even(term.tiers.earned(before, measured.count))
    working = term.tiers.explain(before, measured.count, measured.show_count, measured.show_step)
    tiers = WorkingLine(
        f"{term.term_id}: tiers, counted by {term.tiers.counted}, applied {term.tiers.applies}",
        f"{working} = {measured.money(tiered_units)}, less {measured.money(gross_units)}",
        tiered_units - gross_units,
    )
    return gross_units, tiered_units, gross, tiers, before + measured.count


def _deductions(term: Term, base_units: int, measured: _Measured) -> list[WorkingLine]:
    """Take each named deduction from the royalty, together never more than there is."""
    lines = []
    left_units = base_units
    for deduction in term.deductions:
        if deduction.rate:
            wanted_units = round_half_even(base_units * deduction.rate)
            formula = f"{measured.money(base_units)} x {show_rate(deduction.rate)}"
        else:
            wanted_units = deduction.amount_units
            formula = "fixed amount a period"
        taken_units = min(wanted_units, left_units)
        if taken_units < wanted_units:
            formula += f" = {measured.money(wanted_units)}, no more than what is left"
        left_units -= taken_units
        lines.append(WorkingLine(f"{term.term_id}: {deduction.name}", formula, -taken_units))
    return lines


def _limited(
    term: Term, net_units: int, measured: _Measured
) -> tuple[dict[str, int], list[WorkingLine]]:
    """Divide the royalty among works and apply caps and floor; works add up to the result."""
    works = _by_work(net_units, measured.by_work)
    lines = []
    cap_per_work = term.cap_per_work_units
    if cap_per_work is not None:
        capped = {work: min(units, cap_per_work) for work, units in works.items()}
        hit = sum(1 for work in works if capped[work] < works[work])
        lines.append(
            WorkingLine(
                f"{term.term_id}: cap per work",
                f"at most {measured.money(cap_per_work)} a work; {hit} works above",
                sum(capped.values()) - sum(works.values()),
            )
        )
        works = capped
    total_units = sum(works.values())
    limit_units = total_units if term.cap_units is None else min(total_units, term.cap_units)
    if term.cap_units is not None:
        formula = f"at most {measured.money(term.cap_units)} a period"
        label = f"{term.term_id}: cap per period"
        lines.append(WorkingLine(label, formula, limit_units - total_units))
    floored_units = max(limit_units, term.floor_units)
    if term.floor_units:
        formula = f"at least {measured.money(term.floor_units)} a period"
        label = f"{term.term_id}: floor per period"
        lines.append(WorkingLine(label, formula, floored_units - limit_units))
    if floored_units != total_units:
        weights = {work: Fraction(units) for work, units in works.items()}
        works = _by_work(floored_units, weights)
    return works, lines


def _by_work(amount_units: int, weights: Mapping[str, Fraction]) -> dict[str, int]:
    """Divide an amount among works by exact weights, in the order of their ids."""
    positive = {work: weight for work, weight in sorted(weights.items()) if weight > 0}
    if not positive:
        return {"*": amount_units} if amount_units else {}
    over = lcm(*(weight.denominator for weight in positive.values()))
    counts = [int(weight * over) for weight in positive.values()]
    return dict(zip(positive, split_by_weights(amount_units, counts), strict=True))


def _own_part(
    term: Term,
    agreement: Agreement,
    works: Mapping[str, int],
    shares: Mapping[str, Mapping[str, Fraction]],
    contested: Mapping[str, Mapping[str, Fraction]],
) -> tuple[dict[str, int], dict[str, int], WorkingLine | None]:
    """Keep the licensor's part of every work that has a sheet, and what he may win of it."""
    if term.basis in POOL_BASES:
        return dict(works), {}, None
    licensor = agreement.licensor
    own, held = {}, {}
    lines = []
    for work, units in works.items():
        sheet = shares.get(work)
        if not sheet:
            own[work] = units
            continue
        parties = sorted(sheet)
        parts = dict(zip(parties, split(units, [sheet[party] for party in parties]), strict=True))
        own[work] = parts.get(licensor, 0)
        claims = contested.get(work, {})
        won = split(parts.get(CONTESTED, 0), list(claims.values())) if claims else []
        if mine := dict(zip(claims, won, strict=True)).get(licensor, 0):
            held[work] = mine
        money = show_units(units, agreement.currency)
        lines.append(f"{work}: {money} x {show_rate(sheet.get(licensor, Fraction(0)))}")
    others_units = sum(works.values()) - sum(own.values())
    if not lines:
        return own, held, None
    shown = "; ".join(lines[:4]) + (f"; and {len(lines) - 4} more works" if lines[4:] else "")
    return (
        own,
        held,
        WorkingLine(f"{term.term_id}: share of co-creators", shown, -others_units),
    )
