"""Converting a share of a pool loses nothing, whatever the rates, the scales and the months."""

from datetime import date
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from contracts.fx import FxRate, exact_value
from contracts.pool_amount import PoolAmount, in_currency

RATES = st.fractions(Fraction(1, 1000), Fraction(1000), max_denominator=10**6)
CURRENCIES = st.sampled_from(["USD/6", "USD/2", "JPY/0"]), st.sampled_from(["EUR/2", "EUR/6"])
WORKS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10**9), max_size=6)


def rate_of(rate):
    """Give a rate with its day and source."""
    return FxRate("USD", "EUR", date(2026, 1, 30), rate, "ECB")


@given(*CURRENCIES, st.lists(st.tuples(st.integers(1, 10**9), RATES), min_size=1, max_size=12))
def test_over_the_months_what_was_given_and_what_is_left_are_the_exact_values(one, two, months):
    """No month is more than a unit away from its exact value, and nothing is ever forgotten."""
    left, given_units, exact = Fraction(0), 0, Fraction(0)
    for units, rate in months:
        share = in_currency(PoolAmount("p", units, units), one, two, rate_of(rate), left)
        value = exact_value(units, one, two, rate)
        assert abs(share.amount_units - value) <= 1
        left, given_units, exact = share.remainder, given_units + share.amount_units, exact + value
        assert abs(left) <= Fraction(1, 2)
        assert given_units + left == exact


@given(*CURRENCIES, WORKS, RATES, st.data())
def test_works_and_terms_add_up_to_the_converted_share(one, two, works, rate, data):
    """A work's part among terms adds up to the work, the works to the share."""
    by_term = {"x": {}, "y": {}}
    for work, units in works.items():
        own = data.draw(st.integers(0, units))
        by_term["x"][work], by_term["y"][work] = own, units - own
    total = sum(works.values())
    share = PoolAmount("p", total, total, "part", works, by_term if works else {})
    made = in_currency(share, one, two, rate_of(rate))
    if works:
        assert sum(made.works.values()) == made.amount_units
        for work, units in made.works.items():
            assert sum(mine.get(work, 0) for mine in made.by_term.values()) == units
    assert f"{two[:3]} per {one[:3]} on 2026-01-30, ECB" in made.working
