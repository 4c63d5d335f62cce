"""Intervals bend with the noise, add up over nights, and are whole numbers."""

from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.intervals import FREEDOM_MAX_MILLI, Noise, ends_ppt, quantile_ppm
from flows.publish_works import CreatorShare, creator_shares
from tests.flows.test_estimation import unbent

SHARE, ERROR = 30 * 10**9, 10**9


@given(
    st.integers(1_000, 10**7),
    st.integers(-2 * 10**6, 2 * 10**6),
)
def test_ends_are_those_of_the_cubic_transformation(freedom, skew):
    """Solved the other way round; without skewness both sides are Student's."""
    point = quantile_ppm(freedom) / 10**6
    low, high = ends_ppt(SHARE, ERROR, freedom, skew)
    assert SHARE - low == pytest.approx(ERROR * unbent(point, skew / 10**6), rel=1e-4)
    assert high - SHARE == pytest.approx(-ERROR * unbent(-point, skew / 10**6), rel=1e-4)
    assert low < SHARE < high


def test_an_interval_reaches_further_to_where_the_few_large_ones_are():
    """Up for a positive skewness, down for a negative one, as far both ways without."""
    up = ends_ppt(0, ERROR, 10**6, 400_000)
    assert up[1] > -up[0]
    mirrored = (-up[1], -up[0])
    assert ends_ppt(0, ERROR, 10**6, -400_000) == pytest.approx(mirrored, abs=2 * ERROR // 10**6)
    low, high = ends_ppt(0, ERROR, FREEDOM_MAX_MILLI, 0)
    assert -low == high == pytest.approx(1.959964 * ERROR, rel=1e-5)
    assert ends_ppt(SHARE, 0, 2000, 0) == (SHARE, SHARE)


@given(st.integers(2_000, 10**6), st.integers(-(10**6), 10**6), st.integers(1, 10**15))
def test_one_night_alone_is_its_own_period(freedom, skew, units):
    """Whatever its pool, and taken back or not."""
    for signed in (units, -units):
        noise = Noise()
        noise.add(signed, ERROR, freedom, skew)
        found = noise.over(signed)
        assert found == pytest.approx((ERROR, freedom, skew), abs=1)


def test_equal_nights_have_more_freedom_and_less_skewness():
    """Nine nights: a third of the error and of the skewness, nine times the freedom."""
    noise = Noise()
    for _ in range(9):
        noise.add(10**6, ERROR, 4_000, 600_000)
    assert noise.over(9 * 10**6) == pytest.approx((ERROR / 3, 36_000, 200_000), rel=1e-6)


def test_a_night_that_dominates_gives_a_period_its_own_freedom():
    """A quiet night beside it changes nothing that can be seen."""
    noise = Noise()
    noise.add(10**9, ERROR, 5_000, 300_000)
    noise.add(10**4, ERROR, 10**6, 0)
    _, freedom, skew = noise.over(10**9 + 10**4)
    assert (freedom, skew) == pytest.approx((5_000, 300_000), rel=1e-3)


def test_no_noise_is_no_interval():
    """A census, or a period without a night."""
    assert Noise().over(0) == Noise().over(5) == (0, FREEDOM_MAX_MILLI, 0)


def test_a_statement_shows_the_nights_own_interval_and_reads_older_tables():
    """One night: the very ends of its table; a table without the noise's shape counts as normal."""
    table = {"creator_id": ["c"], "share_ppt": [SHARE], "stderr_ppt": [ERROR], "generic_ppt": [0]}
    shape = {"freedom_milli": [4_000], "skew_ppm": [500_000]}
    for columns, freedom, skew in ((table | shape, 4_000, 500_000), (table, FREEDOM_MAX_MILLI, 0)):
        night = SimpleNamespace(creators=pl.DataFrame(columns), pool_units=10**6)
        share = creator_shares(SimpleNamespace(nights=[night], pool_units=10**6))["c"]
        ends = ends_ppt(SHARE, ERROR, freedom, skew)
        assert (share.low_ppt, share.high_ppt) == pytest.approx(ends, abs=2 * ERROR // 10**6)
    both = CreatorShare.total([CreatorShare(SHARE, ERROR, 0, 4_000, 500_000)] * 4)
    assert (both.share_ppt, both.stderr_ppt) == (4 * SHARE, 2 * ERROR)
    assert (both.freedom_milli, both.skew_ppm) == pytest.approx((16_000, 250_000), rel=1e-6)
