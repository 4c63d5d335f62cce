"""Other terms for closed periods become typed adjustments in the open one."""

from datetime import date
from fractions import Fraction

import pytest

from contracts.agreement import Agreement
from contracts.balances import AdjustmentType
from contracts.earnings import EarningInputs
from contracts.errors import AgreementError
from contracts.period import Period
from contracts.rate import Applies, Step, Tiers, Window
from contracts.restatement import adjustments_for, restate
from contracts.terms import Basis, Term
from contracts.usage import Usage

START = date(2026, 1, 1)


def deal(version=1, term=None, **fields):
    """Build a version with one term."""
    term = term or Term("fee", Basis.PER_OUTPUT, Fraction(5))
    return Agreement("agr", version, "anna", "operator", START, (term,), **fields)


def months(*outputs):
    """Give each month from January its outputs."""
    first = Period("2026-01")
    return [
        (first.plus(i), EarningInputs(usages=[Usage("w", outputs=Fraction(count))]))
        for i, count in enumerate(outputs)
    ]


def test_the_same_terms_correct_nothing():
    """A restatement without a change books nothing."""
    assert adjustments_for(restate(deal(), deal(2), months(100, 200))) == []


def test_an_escalator_missed_in_spring_is_paid_for_in_summer_as_well():
    """The counter runs through all restated months, so later months change too."""
    steps = (Step(Fraction(0), Fraction(5)), Step(Fraction(150), Fraction(8)))
    tiers = Tiers(steps, Window.AGREEMENT, Applies.MARGINAL)
    better = deal(2, Term("fee", Basis.PER_OUTPUT, tiers=tiers))
    found = adjustments_for(restate(deal(), better, months(100, 100, 100)))
    # February passes 150 after 50 outputs: 50 x 3 more; March is all above: 100 x 3 more.
    assert [(a.activity_period.text, a.amount_units) for a in found] == [
        ("2026-02", 150),
        ("2026-03", 300),
    ]
    assert {a.adjustment_type for a in found} == {AdjustmentType.RATE_CORRECTION}
    assert found[0].reason == "agr v2 in place of v1"


def test_terms_in_another_currency_and_periods_out_of_order_are_refused():
    """A difference needs two amounts of the same kind, and balances run forward."""
    with pytest.raises(AgreementError, match="v1 is in USD/6, agreement agr v2 in EUR/2"):
        restate(deal(), deal(2, currency="EUR/2"), months(1))
    with pytest.raises(AgreementError, match="got 2026-01 after 2026-02"):
        restate(deal(), deal(2), list(reversed(months(1, 2))))
