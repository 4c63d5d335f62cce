"""A plan's size gives the wanted width, costs no more than the population, and names its pilot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.data_errors import SampleError
from flows.sample_plan import plan_sample


@given(
    st.integers(10, 10**4),
    st.integers(2, 10**3),
    st.integers(1, 10**11),
    st.integers(10**6, 10**12),
)
def test_the_planned_size_keeps_the_width_and_one_less_does_not(pilot, times, stderr, target):
    """The smallest size at which the expected half width is at most the wanted one."""
    population = pilot * times
    plan = plan_sample(
        {"c": stderr}, pilot_size=pilot, population=population, target_half_width_ppt=target
    )
    s2 = stderr**2 * pilot * population / (population - pilot)

    def half(n):
        return 1.959964 * (s2 * max(0, 1 / n - 1 / population)) ** 0.5

    assert 1 <= plan.target_size <= population
    assert half(plan.target_size) <= target * 1.00001
    if plan.target_size > 1:
        assert half(plan.target_size - 1) >= target * 0.99999
    assert plan.expected_half_width_ppt == pytest.approx(half(plan.target_size), rel=1e-6, abs=3)


def test_four_times_the_sample_halves_a_wide_interval():
    """Far from a census the width falls with the root of the size."""
    plan = plan_sample(
        {"a": 10**9, "b": 10**10}, pilot_size=100, population=10**9,
        target_half_width_ppt=9_799_820_000,
    )  # fmt: skip
    assert plan.target_size == pytest.approx(400, abs=1)
    assert plan.creator_id == "b"
    assert plan.pilot_half_width_ppt == 19_599_640_000


def test_a_plan_needs_a_sampled_night_and_a_width():
    """A census shows no spread, and no interval has width zero but a census."""
    with pytest.raises(SampleError, match="not taken whole"):
        plan_sample({"c": 0}, pilot_size=10, population=10, target_half_width_ppt=1)
    with pytest.raises(SampleError, match="above 0"):
        plan_sample({"c": 1}, pilot_size=10, population=20, target_half_width_ppt=0)
