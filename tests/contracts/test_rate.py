"""Rates are exact, and tiers pay more for more use, however the time is cut."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import AgreementError
from contracts.rate import Applies, Step, Tiers, parse_rate, show_rate

COUNTS = st.fractions(0, 10**6, max_denominator=100)


@st.composite
def tiers(draw):
    """Draw steps with rising bounds; rates rise where they apply to the whole."""
    applies = draw(st.sampled_from(Applies))
    bounds = [0, *sorted(draw(st.sets(st.integers(1, 10**6), max_size=4)))]
    rates = [draw(st.fractions(0, 10, max_denominator=1000)) for _ in bounds]
    if applies is Applies.WHOLE:
        rates.sort()
    steps = tuple(Step(Fraction(b), r) for b, r in zip(bounds, rates, strict=True))
    return Tiers(steps, applies=applies)


@given(tiers(), COUNTS, COUNTS, COUNTS)
def test_more_use_never_earns_less(tiers, before, count, more):
    """Tiers are monotone: one more output cannot lower the royalty."""
    assert 0 <= tiers.earned(before, count) <= tiers.earned(before, count + more)


@given(tiers(), st.lists(COUNTS, min_size=1, max_size=6))
def test_what_a_window_earns_does_not_depend_on_how_it_is_cut(tiers, counts):
    """Settling monthly, weekly or at once earns the same sum, exactly."""
    running = [sum(counts[:i], Fraction(0)) for i in range(len(counts) + 1)]
    piecewise = sum(tiers.earned(low, high - low) for low, high in pairwise(running))
    assert piecewise == tiers.earned(Fraction(0), running[-1])


@given(tiers(), COUNTS)
def test_one_step_is_a_plain_rate(tiers, count):
    """With a single step the tiers are a rate."""
    only = Tiers(tiers.steps[:1], applies=tiers.applies)
    assert only.earned(Fraction(0), count) == count * tiers.steps[0].rate


def test_a_step_is_passed_above_its_bound_not_at_it():
    """Exactly 1000 outputs are still outputs of the first step."""
    steps = (Step(Fraction(0), Fraction(1)), Step(Fraction(1000), Fraction(2)))
    for applies in Applies:
        schedule = Tiers(steps, applies=applies)
        assert schedule.earned(Fraction(0), Fraction(1000)) == 1000
    assert Tiers(steps).earned(Fraction(1000), Fraction(1)) == 2
    assert Tiers(steps, applies=Applies.WHOLE).earned(Fraction(1000), Fraction(1)) == 1002


@given(st.fractions(0, 1000))
def test_a_rate_written_is_read_back_exactly(rate):
    """What the statement prints is the rate, not something near it."""
    assert parse_rate(show_rate(rate)) == rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [("8%", Fraction(2, 25)), ("0.08", Fraction(2, 25)), ("2/25", Fraction(2, 25)), ("1", 1)],
)
def test_rates_are_written_in_three_ways(text, rate):
    """Percentages, decimals and fractions mean the same number."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "8 percent", "1e-1", "-5%", "1/0", "0x1", ".5", "½"])
def test_what_is_not_a_rate_is_refused(text):
    """A rate that has to be guessed is not a rate."""
    with pytest.raises(AgreementError, match=r"written like 8%, 0\.08 or 2/25"):
        parse_rate(text)
