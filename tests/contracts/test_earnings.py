"""The laws of the calculation, whatever the terms and the inputs."""

from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.agreement import Agreement
from contracts.balances import Adjustment, AdjustmentType, Balances, Hold, ReserveTranche
from contracts.dispute import holdings
from contracts.earning_lines import STEPS
from contracts.earnings import EarningInputs, compute_earnings, compute_group
from contracts.errors import AgreementError, MissingRateError
from contracts.period import Period
from contracts.pool_amount import PoolAmount
from contracts.rate import Applies, Step, Tiers, Window
from contracts.terms import (
    Advance,
    Basis,
    Deduction,
    Guarantee,
    IndirectTax,
    Payment,
    Reserve,
    Term,
    Withholding,
)
from contracts.usage import Usage

NOVEMBER = Period("2026-11")
START = date(2026, 1, 1)
PARTS = st.fractions(0, 1, max_denominator=40)
UNITS = st.integers(0, 10**12)


@st.composite
def reserves(draw):
    """Draw a reserve whose schedule adds up to 1."""
    weights = draw(st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any))
    parts = tuple(Fraction(weight, sum(weights)) for weight in weights)
    return Reserve(draw(st.fractions(Fraction(1, 40), Fraction(39, 40), max_denominator=40)), parts)


@st.composite
def terms(draw):
    """Draw a term on a pool with every part it can have."""
    steps = (Step(Fraction(0), draw(PARTS)), Step(Fraction(10**6), draw(PARTS)))
    schedule = Tiers(steps, draw(st.sampled_from(Window)), Applies.MARGINAL)
    cap = draw(st.none() | UNITS)
    rate = draw(PARTS.filter(bool))
    return Term(
        "outputs",
        Basis.POOL_SHARE,
        draw(PARTS),
        pool_id="main",
        tiers=draw(st.none() | st.just(schedule)),
        deductions=draw(
            st.sampled_from([(), (Deduction("fee", rate), Deduction("bank", amount_units=150))])
        ),
        cap_units=cap,
        floor_units=draw(st.sampled_from([0, 0, min(500, 500 if cap is None else cap)])),
        reserve=draw(st.none() | reserves()),
    )


@st.composite
def agreements(draw):
    """Draw an agreement with every clause it can have."""
    tax = draw(st.none() | st.just(Withholding("US", Fraction(3, 10))))
    return Agreement(
        "agr",
        1,
        "anna",
        "operator",
        START,
        (draw(terms()),),
        advances=draw(st.sampled_from([(), (Advance("a1", 10, START),)])),
        recoupment_rate=draw(PARTS.filter(bool)),
        guarantee=draw(st.none() | st.builds(Guarantee, st.integers(1, 10**12), st.booleans())),
        withholding=tax,
        indirect_tax=draw(st.none() | st.just(IndirectTax("VAT", Fraction(1, 4)))),
        payment=draw(st.none() | st.builds(Payment, st.just("USD/6"), UNITS)),
    )


@st.composite
def situations(draw):
    """Draw opening balances and what happens in the period."""
    months = st.integers(-3, 3).map(NOVEMBER.plus)
    tranches = st.builds(ReserveTranche, months, months, st.just("outputs"), UNITS)
    adjustments = st.builds(
        Adjustment,
        st.sampled_from(AdjustmentType),
        st.integers(-(10**12), 10**12),
        months,
        st.just("why"),
    )
    opening = Balances(
        unrecouped_units=draw(UNITS),
        reserves=tuple(draw(st.lists(tranches, max_size=3))),
        counters={"outputs": Fraction(draw(UNITS))},
        year_earned_units=draw(UNITS),
        debit_units=draw(UNITS),
        carried_forward_units=draw(UNITS),
    )
    holds = st.builds(Hold, st.just("d1"), UNITS, st.just("why"))
    pool_units = draw(UNITS)
    return EarningInputs(
        pools=(PoolAmount("main", 2 * 10**12, pool_units),),
        opening=opening,
        adjustments=draw(st.lists(adjustments, max_size=3)),
        holds=draw(st.lists(holds, max_size=2)),
    )


@given(agreements(), situations())
def test_the_lines_foot_and_every_line_is_there(agreement, inputs):
    """Fifteen lines in order; amounts of lines 2 to 13 add up to the net."""
    result = compute_earnings(agreement, NOVEMBER, inputs)
    assert [line.step for line in result.lines] == list(STEPS)
    balance_units = 0
    for line in result.lines:
        balance_units += line.amount_units
        assert line.balance_units == balance_units
        assert sum(detail.amount_units for detail in line.details) == line.amount_units
        assert line.present or line.amount_units == 0
    assert result.lines[12].balance_units == result.net_units
    named = (
        result.royalty_units
        - result.reserve_taken_units
        + result.reserve_released_units
        + result.guarantee_units
        - result.recouped_units
        + result.adjustment_units
        - result.held_units
        + result.indirect_tax_units
        - result.withheld_units
    )
    assert named == result.net_units


@given(agreements(), situations())
def test_recoupment_never_takes_more_than_advance_or_royalty(agreement, inputs):
    """The unrecouped balance falls by what was recouped and never below zero."""
    result = compute_earnings(agreement, NOVEMBER, inputs)
    before, after = inputs.opening.unrecouped_units, result.closing.unrecouped_units
    assert after == before - result.recouped_units
    assert 0 <= after <= before


@given(agreements(), situations())
def test_what_goes_into_reserve_comes_out_and_nothing_else(agreement, inputs):
    """Held after = held before + taken - released, and nothing due stays."""
    result = compute_earnings(agreement, NOVEMBER, inputs)
    moved_units = result.reserve_taken_units - result.reserve_released_units
    assert result.closing.reserve_units == inputs.opening.reserve_units + moved_units
    assert all(tranche.release_in > NOVEMBER for tranche in result.closing.reserves)


@given(agreements(), situations())
def test_a_threshold_never_forfeits(agreement, inputs):
    """What is not paid is carried forward; nothing paid is below the threshold."""
    result = compute_earnings(agreement, NOVEMBER, inputs)
    due_units = result.net_units + inputs.opening.carried_forward_units
    assert result.payable_units + result.carried_forward_units == due_units
    assert result.payable_units == 0 or result.payable_units >= agreement.threshold_units
    assert result.carried_forward_units == result.closing.carried_forward_units


@given(agreements(), situations(), st.randoms())
def test_the_order_of_inputs_changes_nothing(agreement, inputs, random):
    """Adjustments, holds and tranches may come in any order."""
    adjustments, holds = list(inputs.adjustments), list(inputs.holds)
    reserves = list(inputs.opening.reserves)
    for items in (adjustments, holds, reserves):
        random.shuffle(items)
    opening = replace(inputs.opening, reserves=tuple(reserves))
    shuffled = replace(inputs, adjustments=adjustments, holds=holds, opening=opening)
    one, other = (compute_earnings(agreement, NOVEMBER, i) for i in (inputs, shuffled))
    assert one.lines == other.lines
    assert one.closing == other.closing


@given(agreements(), st.lists(UNITS, min_size=4, max_size=4))
def test_everything_earned_is_paid_in_the_end(agreement, amounts):
    """After the last release, without tax and advance, paid plus carried is all that was earned."""
    plain = replace(agreement, withholding=None, indirect_tax=None, advances=(), guarantee=None)
    ended = replace(plain, effective_to=NOVEMBER.plus(4).start)
    balances = Balances()
    earned_units = paid_units = 0
    for month in range(10):
        amount = amounts[month] if month < len(amounts) else 0
        inputs = EarningInputs(pools=(PoolAmount("main", amount, amount),), opening=balances)
        result = compute_earnings(ended, NOVEMBER.plus(month), inputs)
        balances = result.closing
        earned_units += result.royalty_units
        paid_units += result.payable_units
    assert not balances.reserves
    assert paid_units + balances.carried_forward_units == earned_units


@given(st.lists(UNITS, min_size=2, max_size=6), st.lists(UNITS, min_size=2, max_size=6))
def test_cross_collateral_moves_money_but_invents_none(royalties, advances):
    """Over a group, royalties equal what was paid plus what advances fell by."""
    count = min(len(royalties), len(advances))
    term = Term("outputs", Basis.POOL_SHARE, pool_id="main")
    pairs = []
    for i in range(count):
        agreement = Agreement(
            f"agr{i}", 1, "anna", "operator", START, (term,), collateral_group="all"
        )
        pools = (PoolAmount("main", royalties[i], royalties[i]),)
        opening = Balances(unrecouped_units=advances[i])
        pairs.append((agreement, EarningInputs(pools=pools, opening=opening)))
    results = compute_group(pairs, NOVEMBER)
    fell_units = sum(advances[:count]) - sum(r.closing.unrecouped_units for r in results)
    paid_units = sum(result.payable_units for result in results)
    assert paid_units + fell_units == sum(royalties[:count])
    assert paid_units == max(sum(royalties[:count]) - sum(advances[:count]), 0)
    assert compute_group(list(reversed(pairs)), NOVEMBER) == results


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 10**6), min_size=1),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_co_creators_of_a_work_are_paid_the_whole_work_between_them(outputs, left, right):
    """Each under its own agreement, the parts of every work add up to the work."""
    term = Term("fee", Basis.PER_OUTPUT, Fraction(777, 1000))
    sheet = {"anna": Fraction(left, left + right), "bo": Fraction(right, left + right)}
    usages = [Usage(work, outputs=Fraction(count)) for work, count in outputs.items()]
    inputs = EarningInputs(usages=usages, shares=dict.fromkeys(outputs, sheet))
    whole, anna, bo = (
        compute_earnings(Agreement("agr", 1, who, "op", START, (term,)), NOVEMBER, given_inputs)
        for who, given_inputs in (
            ("anna", replace(inputs, shares={})),
            ("anna", inputs),
            ("bo", inputs),
        )
    )
    assert anna.royalty_units + bo.royalty_units == whole.royalty_units


def test_a_contested_part_is_in_nobodys_royalty():
    """Claims of 70 and 60 percent: 40 and 30 are paid, 30 is in neither."""
    term = Term("fee", Basis.PER_OUTPUT, Fraction(1))
    sheet = holdings({"anna": Fraction(7, 10), "bo": Fraction(6, 10)}).as_sheet()
    inputs = EarningInputs(usages=[Usage("w", outputs=Fraction(100))], shares={"w": sheet})
    earned = [
        compute_earnings(Agreement("agr", 1, who, "op", START, (term,)), NOVEMBER, inputs)
        for who in ("anna", "bo")
    ]
    assert [result.royalty_units for result in earned] == [40, 30]


def test_payment_in_another_currency_without_a_rate_is_refused():
    """No rate is guessed, and none is assumed to be one."""
    term = Term("outputs", Basis.POOL_SHARE, pool_id="main")
    agreement = Agreement(
        "agr", 1, "anna", "operator", START, (term,), payment=Payment("EUR/2", 100)
    )
    with pytest.raises(MissingRateError, match="from USD to EUR on 2026-11-30"):
        compute_earnings(agreement, NOVEMBER)


def test_an_impossible_opening_balance_is_refused():
    """More recouped than advanced is found before it is carried on."""
    term = Term("outputs", Basis.POOL_SHARE, pool_id="main")
    agreement = Agreement("agr", 1, "anna", "operator", START, (term,))
    with pytest.raises(AgreementError, match="-1 units, below zero"):
        compute_earnings(agreement, NOVEMBER, EarningInputs(opening=Balances(unrecouped_units=-1)))


def test_pool_amounts_that_do_not_add_up_are_refused():
    """Work lines and the sum they explain agree to the unit."""
    with pytest.raises(AgreementError, match="add up to 3 units, the amount is 4"):
        PoolAmount("main", 10, 4, works={"w1": 1, "w2": 2})
