"""The rules of contracts.split, then the cases that broke other people's splits."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.split import split, split_by_targets, split_by_weights, split_signed


@st.composite
def shares(draw):
    """Draw shares that are not negative and add up to 1."""
    weights = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=50).filter(any))
    return [Fraction(weight, sum(weights)) for weight in weights]


@st.composite
def signed_shares(draw):
    """Draw shares of either sign that add up to 1."""
    weights = draw(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=50).filter(sum))
    return [Fraction(weight, sum(weights)) for weight in weights]


@given(st.integers(0, 10**15), shares())
def test_parts_add_up_to_the_amount(amount_units, shares):
    """No unit is lost and none is invented, whatever the shares."""
    assert sum(split(amount_units, shares)) == amount_units


@given(st.integers(0, 10**15), shares())
def test_no_part_is_a_whole_unit_away_from_its_exact_value(amount_units, shares):
    """Rounding never costs or gains a payee one full unit; a zero share gets zero."""
    for part, share in zip(split(amount_units, shares), shares, strict=True):
        assert abs(part - amount_units * share) < 1
        assert share > 0 or part == 0


@given(st.integers(0, 10**15), shares())
def test_equal_shares_differ_by_at_most_one_unit_and_the_earlier_gets_it(amount_units, shares):
    """Among equal claims only the order decides, and it decides about one unit at most."""
    parts = split(amount_units, shares)
    first_of = {}
    for part, share in zip(parts, shares, strict=True):
        first, last = first_of.get(share, (part, part))
        assert part <= last
        assert first - part <= 1
        first_of[share] = (first, part)


@given(st.integers(-(10**15), 10**15), signed_shares())
def test_signed_parts_add_up_and_none_is_a_whole_unit_off(amount_units, shares):
    """Negative shares round by the same rule as positive ones."""
    parts = split_signed(amount_units, shares)
    assert sum(parts) == amount_units
    for part, share in zip(parts, shares, strict=True):
        assert abs(part - amount_units * share) < 1
        assert share != 0 or part == 0


@given(st.integers(0, 10**15), signed_shares())
def test_splitting_the_negative_gives_the_negative_of_every_part(amount_units, shares):
    """A reversal restores every balance to the unit."""
    assert split_signed(-amount_units, shares) == [
        -part for part in split_signed(amount_units, shares)
    ]


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**9), min_size=1, max_size=50).filter(any))
def test_weights_split_as_their_shares_do(amount_units, weights):
    """Splitting by whole-number weights is the same rule without the fractions."""
    over = sum(weights)
    assert split_by_weights(amount_units, weights) == split(
        amount_units, [Fraction(weight, over) for weight in weights]
    )


@pytest.mark.parametrize(
    ("amount_units", "weights", "expected"),
    [
        # The largest claim must not be the one that pays for the rounding.
        (2, [6, 6, 8], [1, 0, 1]),
        # A payee already rounded down must not be rounded down again.
        (8, [14, 16, 16, 16, 18], [1, 2, 2, 1, 2]),
        # A payee with nothing to claim gets nothing, even when listed first.
        (15, [0, 1, 1], [0, 8, 7]),
        # The unit left over goes to the largest fraction, not to the first in the list.
        (15, [20, 2, 3], [12, 1, 2]),
    ],
)
def test_known_hard_splits(amount_units, weights, expected):
    """Each case was paid wrongly by a published ledger."""
    total = sum(weights)
    assert split(amount_units, [Fraction(weight, total) for weight in weights]) == expected


def test_shares_that_do_not_add_up_are_refused():
    """A split that forgets someone is a contract error, not a rounding matter."""
    with pytest.raises(ValueError, match=r"add up to 1, got sum 2/3"):
        split(100, [Fraction(1, 3), Fraction(1, 3)])
    with pytest.raises(ValueError, match=r"add up to 1, got sum 2/3"):
        split_signed(100, [Fraction(1, 3), Fraction(1, 3)])


def test_negative_amounts_and_empty_splits_are_refused():
    """What is taken back is reversed, and money is never divided among nobody."""
    with pytest.raises(ValueError, match="must not be negative, got -1 units"):
        split(-1, [Fraction(1)])
    with pytest.raises(ValueError, match="must not be negative, got -1 units"):
        split_by_weights(-1, [1])
    with pytest.raises(ValueError, match="add up to 1, got sum 0"):
        split(0, [])
    with pytest.raises(ValueError, match="not all zero, got sum 0 over 2"):
        split_by_weights(5, [0, 0])


def rounded_before(units, targets):
    """Round values of a night's cells as they were rounded before the division stood here."""
    parts = [floor(target) for target in targets]
    rest = units - sum(parts)
    by_fraction = sorted(range(len(parts)), key=lambda i: parts[i] - targets[i])
    for i in by_fraction[:rest]:
        parts[i] += 1
    return parts


@given(st.lists(st.fractions(max_denominator=10**6), min_size=1, max_size=30), st.data())
def test_exact_values_of_either_sign_are_rounded_to_an_amount_as_they_always_were(targets, data):
    """Parts add up, none is a whole unit away, and no amount changed with the place of the code."""
    least = sum(floor(target) for target in targets)
    units = data.draw(st.integers(least, least + len(targets)))
    parts = split_by_targets(units, targets)
    assert parts == rounded_before(units, targets)
    assert sum(parts) == units
    assert all(abs(part - target) <= 1 for part, target in zip(parts, targets, strict=True))


@given(st.integers(0, 10**15), shares())
def test_values_that_add_up_to_the_amount_are_split_like_shares(amount_units, shares):
    """One division: by shares or by the values they stand for."""
    targets = [amount_units * share for share in shares]
    assert split_by_targets(amount_units, targets) == split(amount_units, shares)


def test_an_amount_too_far_from_its_values_is_refused():
    """One unit below what is certain, and one above what rounding can give."""
    for units in (2, 7):
        with pytest.raises(ValueError, match=f"{units} units cannot be rounded from values"):
            split_by_targets(units, [Fraction(3, 2)] * 3)
