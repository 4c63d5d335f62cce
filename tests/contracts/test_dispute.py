"""Contested and unclaimed parts are held, named, and paid to the last unit when decided."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.balances import AdjustmentType
from contracts.dispute import holdings, resolve
from contracts.errors import ApportionmentError, SplitSheetError
from contracts.period import Period
from contracts.pool import divide_equally, revenue_pool_units

CLAIMS = st.dictionaries(
    st.sampled_from("abcdef"), st.fractions(Fraction(1, 50), 1, max_denominator=50), max_size=5
)
NOVEMBER = Period("2026-11")


@given(CLAIMS)
def test_undisputed_contested_and_unclaimed_add_up_to_the_work(claims):
    """Nobody holds more than it claims, and nothing of the work is lost."""
    held = holdings(claims)
    assert sum(held.shares.values(), held.contested + held.unclaimed) == 1
    assert all(held.shares[party] <= claims[party] for party in held.shares)
    assert held.contested == 0 or held.unclaimed == 0
    assert sum(held.as_sheet().values()) == 1


@given(CLAIMS.filter(lambda claims: sum(claims.values()) > 1), st.integers(0, 10**12), st.data())
def test_a_decision_pays_out_all_that_was_held_and_takes_nothing_back(claims, units, data):
    """Whatever is decided within the claims, undisputed parts stand."""
    held = holdings(claims)
    weights = [data.draw(st.integers(0, 9)) for _ in claims]
    weights = weights if any(weights) else [1] * len(weights)
    decided = {
        party: held.shares.get(party, Fraction(0)) + held.contested * Fraction(w, sum(weights))
        for party, w in zip(claims, weights, strict=True)
    }
    released = resolve("d1", units, claims, decided, NOVEMBER)
    assert sum(item.amount_units for item in released.values()) == units
    assert all(item.amount_units > 0 for item in released.values())
    assert all(i.adjustment_type is AdjustmentType.DISPUTE_RELEASE for i in released.values())


def test_seventy_and_sixty_percent_hold_thirty():
    """Each is paid what the other leaves."""
    held = holdings({"anna": Fraction(7, 10), "bo": Fraction(6, 10)})
    assert held.shares == {"anna": Fraction(4, 10), "bo": Fraction(3, 10)}
    assert held.contested == Fraction(3, 10)


def test_two_claims_of_everything_hold_everything():
    """There is no undisputed part to pay."""
    assert holdings({"anna": Fraction(1), "bo": Fraction(1)}).as_sheet() == {"(contested)": 1}


@pytest.mark.parametrize(
    ("decided", "message"),
    [
        ({"anna": Fraction(1, 2)}, "adds up to 1/2, not 1"),
        ({"bo": Fraction(1)}, "gives anna 0, less than the undisputed 2/5"),
    ],
)
def test_a_decision_that_does_not_fit_is_refused(decided, message):
    """Half a decision, or one that takes back what was safe, is not booked as a release."""
    claims = {"anna": Fraction(7, 10), "bo": Fraction(6, 10)}
    with pytest.raises(SplitSheetError, match=message):
        resolve("d1", 100, claims, decided, NOVEMBER)


def test_claims_that_do_not_clash_have_nothing_to_resolve():
    """And a claim of nothing, or of more than the work, is no claim."""
    with pytest.raises(SplitSheetError, match="do not exceed the whole work"):
        resolve("d1", 1, {"anna": Fraction(1)}, {"anna": Fraction(1)}, NOVEMBER)
    with pytest.raises(SplitSheetError, match="claim of anna must be above 0"):
        holdings({"anna": Fraction(0)})


@given(
    st.integers(0, 10**12),
    st.dictionaries(st.integers(0, 99).map("w{}".format), CLAIMS, min_size=1),
)
def test_an_equal_division_adds_up_and_treats_every_work_alike(pool_units, claims):
    """Parties, contested and unclaimed are the pool; works differ by at most one unit."""
    works = {work: holdings(sheet) for work, sheet in claims.items()}
    result = divide_equally("training", pool_units, works)
    paid_units = sum(amount.amount_units for amount in result.amounts.values())
    assert paid_units + result.contested_units + result.unclaimed_units == pool_units
    for work, held in works.items():
        units = sum(amount.works.get(work, 0) for amount in result.amounts.values())
        share = sum(held.shares.values(), Fraction(0))
        assert abs(units - Fraction(pool_units, len(works)) * share) < 1 + len(held.shares)


def test_a_pool_without_works_or_of_negative_revenue_is_refused():
    """Nothing is divided among nobody."""
    with pytest.raises(ApportionmentError, match="no licensed work"):
        divide_equally("training", 100, {})
    with pytest.raises(ApportionmentError, match="got 1/2 of -1 units"):
        revenue_pool_units(-1, Fraction(1, 2))
    assert revenue_pool_units(3, Fraction(1, 2)) == 2
