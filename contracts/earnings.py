"""What one agreement earns in one period, in fifteen lines that carry their working.

    1 payable usage          6 split among co-creators     11 disputes and adjustments
    2 pool or rate           7 reserve taken and released  12 indirect tax
    3 tiers                  8 minimum guarantee           13 withholding tax
    4 deductions             9 advance recoupment          14 currency conversion
    5 caps and floors       10 cross-collateral            15 threshold: pay or carry forward

1. The order is fixed. Every line is there on every statement; one the agreement does not provide
   for says so and has no amount.
2. The amounts of lines 2 to 13 add up to the net in the agreement's currency. Each line is whole
   units, rounded half to even where its formula says, and prints the balance after it.
3. Nothing here reads a clock, a file or a database: terms, usage, pool amounts and opening
   balances come in, lines and closing balances go out.
4. A royalty is never forfeited: what is held in reserve, in dispute or below the threshold is in
   the closing balances.
5. Tax is taken of what is positive. A negative net becomes a debit balance that the next
   royalties pay off; nobody is asked to pay in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction

from contracts.agreement import Agreement
from contracts.balances import Adjustment, Balances, Hold
from contracts.earning_lines import EarningLine, Sheet
from contracts.earning_steps import (
    Adjusted,
    Paid,
    Reserved,
    Taxes,
    add_disputes_and_adjustments,
    add_guarantee,
    add_payment,
    add_recoupment,
    add_reserve,
    add_taxes,
    add_terms,
)
from contracts.fx import FxTable
from contracts.period import Period
from contracts.pool_amount import PoolAmount
from contracts.recoupment import Recoupment
from contracts.term_royalty import TermRoyalty, term_royalty
from contracts.usage import Usage


@dataclass(frozen=True, slots=True)
class EarningInputs:
    """Everything one calculation looks at besides the agreement and the period.

    Args:
        pools: what the licensor was apportioned, one for each pool.
        usages: usage of the period, for fees per output and per token.
        shares: shares of each work by party, each adding up to 1.
        contested: by work, whose its contested share would be, adding up to 1.
        opening: balances at the start of the period.
        adjustments: corrections of earlier periods.
        holds: contested parts of this period's royalty.
        collateral: unrecouped units of the other agreements of the collateral group, by id.
        fx: exchange rates; needed where payment is in another currency.
        payment_on: the day of payment, for tax certificates and exchange rates; None means the
            last day of the period.
    """

    pools: Sequence[PoolAmount] = ()
    usages: Sequence[Usage] = ()
    shares: Mapping[str, Mapping[str, Fraction]] = field(default_factory=dict)
    contested: Mapping[str, Mapping[str, Fraction]] = field(default_factory=dict)
    opening: Balances = Balances()  # noqa: RUF009 - frozen, all fields frozen or read-only
    adjustments: Sequence[Adjustment] = ()
    holds: Sequence[Hold] = ()
    collateral: Mapping[str, int] = field(default_factory=dict)
    fx: FxTable | None = None
    payment_on: date | None = None


@dataclass(frozen=True, slots=True)
class Earnings:
    """The result: fifteen lines, the named sums behind the journal entries, closing balances.

    Args:
        agreement_id: the agreement.
        version: its version.
        licensor: whose works earned.
        payee_id: who is paid.
        period: the settlement period.
        currency: the agreement's currency.
        lines: the fifteen lines, in order.
        terms: the working of each term.
        royalty_units: earned, the licensor's part, before reserve (lines 2 to 6).
        reserve_taken_units: held back.
        reserve_released_units: released.
        guarantee_units: topped up.
        recouped_units: taken for the agreement's own advances.
        collateral_units: taken for other agreements' advances, by agreement id.
        adjustment_units: corrections of earlier periods, signed, with debit balances paid off.
        held_units: held in disputes.
        indirect_tax_units: added.
        withheld_units: withheld.
        net_units: what lines 2 to 13 add up to; never negative.
        converted_units: what the net came to in the currency of payment, where that is another one.
        converted_from_units: what of it, and of earlier nets that were too small to convert, was
            turned into the payment currency; 0 where it is the agreement's.
        payment_currency: the currency of payment.
        payable_units: paid out, in the payment currency.
        carried_forward_units: kept for the next period, in the payment currency.
        opening: balances before.
        closing: balances after.
    """

    agreement_id: str
    version: int
    licensor: str
    payee_id: str
    period: Period
    currency: str
    lines: tuple[EarningLine, ...]
    terms: tuple[TermRoyalty, ...]
    royalty_units: int
    reserve_taken_units: int
    reserve_released_units: int
    guarantee_units: int
    recouped_units: int
    collateral_units: Mapping[str, int]
    adjustment_units: int
    held_units: int
    indirect_tax_units: int
    withheld_units: int
    net_units: int
    converted_units: int
    converted_from_units: int
    payment_currency: str
    payable_units: int
    carried_forward_units: int
    opening: Balances
    closing: Balances

    @property
    def contested_units(self) -> int:
        """Fees per use that others claim too: owed once decided, and in none of the lines."""
        return sum(item.contested_units for item in self.terms)


def compute_earnings(
    agreement: Agreement, period: Period, inputs: EarningInputs | None = None
) -> Earnings:
    """Calculate what one agreement earns in one period.

    Args:
        agreement: the version in force in the period; one that has ended earns nothing but what
            late records of its days bring, and its reserves are still released and its balances
            still paid.
        period: the settlement period.
        inputs: usage, pool amounts, balances and so on; None means nothing happened.

    Returns:
        The fifteen lines and the closing balances.

    Raises:
        MissingRateError: payment is in another currency and there is no rate.
        AgreementError: opening balances that cannot be.
    """
    inputs = inputs or EarningInputs()
    terms = _terms_of_period(agreement, period, inputs)
    sheet = Sheet(agreement.currency)
    add_terms(sheet, terms)
    royalty_units = sheet.balance_units
    done = _settle(sheet, agreement, period, inputs, terms)
    return Earnings(
        agreement.agreement_id,
        agreement.version,
        agreement.licensor,
        agreement.payee_id,
        period,
        agreement.currency,
        sheet.finished(),
        terms,
        royalty_units,
        done.reserve.taken_units,
        done.reserve.released_units,
        done.guarantee_units,
        done.recouped.recouped_units,
        done.collateral,
        done.adjusted.adjustment_units,
        done.adjusted.held_units,
        done.taxes.indirect_units,
        done.taxes.withheld_units,
        done.net_units,
        done.paid.converted_units,
        done.paid.converted_from_units,
        agreement.payment_currency,
        done.paid.payable_units,
        done.paid.carried_forward_units,
        inputs.opening,
        _closing(agreement, inputs, terms, done),
    )


@dataclass(frozen=True, slots=True)
class _Settled:
    """What the steps after the terms came to."""

    reserve: Reserved
    year_units: int
    guarantee_units: int
    recouped: Recoupment
    collateral: Mapping[str, int]
    adjusted: Adjusted
    taxes: Taxes
    net_units: int
    paid: Paid


def _settle(
    sheet: Sheet,
    agreement: Agreement,
    period: Period,
    inputs: EarningInputs,
    terms: Sequence[TermRoyalty],
) -> _Settled:
    """Write lines 7 to 15, in their order."""
    payment_on = inputs.payment_on or period.end
    year_units = _year_earned(agreement, period, inputs, sheet.balance_units)
    reserve = add_reserve(sheet, terms, inputs.opening.reserves, period)
    guarantee_units = add_guarantee(sheet, agreement, period, year_units)
    recouped, collateral = add_recoupment(sheet, agreement, inputs.opening, inputs.collateral)
    adjusted = add_disputes_and_adjustments(sheet, inputs.opening, inputs.adjustments, inputs.holds)
    taxes = add_taxes(sheet, agreement, payment_on)
    net_units = sheet.balance_units
    assert net_units >= 0, (agreement.name, period, net_units)
    paid = add_payment(sheet, agreement, inputs.opening, inputs.fx, payment_on)
    return _Settled(
        reserve,
        year_units,
        guarantee_units,
        recouped,
        collateral,
        adjusted,
        taxes,
        net_units,
        paid,
    )


def _closing(
    agreement: Agreement, inputs: EarningInputs, terms: Sequence[TermRoyalty], done: _Settled
) -> Balances:
    """Return the balances after the period."""
    opening = inputs.opening
    left = {pool.pool_id: pool.remainder for pool in inputs.pools if pool.rate}
    return replace(
        opening,
        unrecouped_units=done.recouped.unrecouped_units,
        reserves=done.reserve.tranches,
        counters=_counters(opening, terms),
        year_earned_units=done.year_units,
        debit_units=done.adjusted.debit_units,
        held_units=done.adjusted.held_after_units,
        carried_forward_units=done.paid.carried_forward_units,
        unconverted_units=done.paid.unconverted_units,
        carried_currency=agreement.payment_currency if done.paid.carried_forward_units else "",
        remainders={name: part for name, part in {**opening.remainders, **left}.items() if part},
    )


def compute_group(
    agreements: Sequence[tuple[Agreement, EarningInputs]], period: Period
) -> list[Earnings]:
    """Calculate several agreements of one payee, setting off those in one collateral group.

    First every agreement recoups its own advances; then, in the order of agreement ids, what is
    left of each pays down the advances of the others in its group. An agreement without a group
    is calculated alone, which is the rule: joint accounting needs a clause.

    Args:
        agreements: each agreement with its inputs; their `collateral` is filled in here.
        period: the settlement period.

    Returns:
        One result per agreement, in the order of agreement ids. The unrecouped closing balance of
        an agreement whose advance another one paid down is lower by that amount.
    """
    in_order = sorted(agreements, key=lambda pair: pair[0].agreement_id)
    alone = {
        agreement.agreement_id: compute_earnings(agreement, period, inputs)
        for agreement, inputs in in_order
    }
    unrecouped = {key: result.closing.unrecouped_units for key, result in alone.items()}
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for agreement, _ in in_order:
        if agreement.collateral_group:
            groups[_group(agreement)].append(agreement.agreement_id)
    results = []
    for agreement, inputs in in_order:
        own = agreement.agreement_id
        members = groups[_group(agreement)] if agreement.collateral_group else []
        others = {key: unrecouped[key] for key in members if key != own and unrecouped[key]}
        result = alone[own]
        if others:
            result = compute_earnings(agreement, period, replace(inputs, collateral=others))
            for key, units in result.collateral_units.items():
                unrecouped[key] -= units
        results.append(result)
    return [
        replace(
            result,
            closing=replace(result.closing, unrecouped_units=unrecouped[result.agreement_id]),
        )
        for result in results
    ]


def _group(agreement: Agreement) -> tuple[str, str, str]:
    """Return what agreements must have in common to be set off against each other."""
    return agreement.payee_id, agreement.currency, agreement.collateral_group


def _terms_of_period(
    agreement: Agreement, period: Period, inputs: EarningInputs
) -> tuple[TermRoyalty, ...]:
    """Calculate every term of an agreement that is in force in the period.

    After the end of an agreement, records of its days may still come in late: what a pool gives
    for them is paid under its terms on that pool.
    """
    pools = {pool.pool_id: pool for pool in inputs.pools}
    terms = agreement.terms
    if not agreement.in_force_in(period):
        terms = tuple(t for t in terms if t.pool_id in pools and pools[t.pool_id].amount_units)
    return tuple(
        term_royalty(
            term,
            agreement,
            period,
            pools=pools,
            usages=inputs.usages,
            shares=inputs.shares,
            opening=inputs.opening,
            contested=inputs.contested,
        )
        for term in terms
    )


def _counters(opening: Balances, terms: Sequence[TermRoyalty]) -> dict[str, Fraction]:
    """Return the tier counters after the period."""
    counters = dict(opening.counters)
    counters |= {item.term.term_id: item.counter for item in terms if item.counter is not None}
    return counters


def _year_earned(
    agreement: Agreement, period: Period, inputs: EarningInputs, royalty_units: int
) -> int:
    """Return the royalties of the agreement year so far, with corrections of the same year."""
    before_units = 0
    if not agreement.is_first_of_year(period):
        before_units = inputs.opening.year_earned_units
    year = agreement.year_of(period)
    corrected_units = sum(
        item.amount_units
        for item in inputs.adjustments
        if agreement.year_of(item.activity_period) == year
    )
    return before_units + royalty_units + corrected_units
