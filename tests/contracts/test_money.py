"""Amounts are whole units, and text to units and back loses nothing."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import MoneyError
from contracts.money import Currency, format_units, parse_units, round_half_even, show_units

CURRENCIES = st.sampled_from(["USD/6", "EUR/2", "JPY/0", "BTC/8"])


@given(st.integers(-(10**20), 10**20), CURRENCIES)
def test_writing_an_amount_and_reading_it_back_gives_the_same_units(units, currency):
    """The full text and the short text both carry every digit that is not zero."""
    assert parse_units(format_units(units, currency), currency) == units
    assert parse_units(show_units(units, currency), currency) == units


def test_more_digits_than_the_scale_holds_are_refused():
    """Reading never rounds: a hundredth of a cent is not a cent."""
    with pytest.raises(MoneyError, match=r"3 digits after the point but EUR/2 holds 2"):
        parse_units("1.005", "EUR/2")
    assert parse_units("1.500", "EUR/2") == 150


@pytest.mark.parametrize("text", ["1e3", "1,000.00", "", "NaN", "one", "1.", ".5", "0x10"])
def test_what_is_not_a_plain_decimal_is_refused(text):
    """Exponents, separators and words have more than one reading."""
    with pytest.raises(MoneyError, match="plain decimal number"):
        parse_units(text, "USD/6")


@pytest.mark.parametrize("text", ["USD", "usd/6", "USD/99", "US/6", "USD/6 ", "USD/-1"])
def test_a_currency_needs_its_scale(text):
    """An amount without a scale is a number without a meaning."""
    with pytest.raises(MoneyError, match="CODE/SCALE"):
        Currency.parse(text)


def test_currency_knows_its_units():
    """USD/6 has a million units to the dollar."""
    assert Currency.parse("USD/6").units_per_whole == 10**6
    assert str(Currency("EUR", 2)) == "EUR/2"
    assert format_units(-5, "USD/6") == "-0.000005"
    assert format_units(7, "JPY/0") == "7"


def test_halves_are_rounded_to_the_even_neighbour():
    """Rounding leans neither up nor down over many amounts."""
    halves = [Fraction(n, 2) for n in (-3, -1, 1, 3, 5)]
    assert [round_half_even(value) for value in halves] == [-2, 0, 0, 2, 2]
