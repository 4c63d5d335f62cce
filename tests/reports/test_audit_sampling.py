"""Monetary-unit sampling against two textbooks, then its own laws."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.audit_sampling import (
    Item,
    evaluate_mus,
    plan_mus,
    reciprocal_sample,
    select_mus,
)
from reports.errors import AuditSamplingError
from reports.poisson import binomial_cdf, poisson_upper_mean, reliability_factor

SEED = bytes(range(32))


def test_first_textbook_sample_and_upper_limit():
    """Book 2,500,000, tolerable 125,000, expected 27,722 at 95 %: 93 items, limit 80,646."""
    plan = plan_mus(2_500_000, 125_000, 27_722)
    assert plan.sample_size == 93
    assert plan.interval_units == 26_882
    items = [Item(f"i{place:03d}", 25_000) for place in range(100)]
    sample = select_mus(plan, items, SEED)
    audited = {selected.item.item_id: selected.item.book_units for selected in sample.selected}
    evaluation = evaluate_mus(sample, audited)
    assert evaluation.upper_limit_units == 80_646
    assert evaluation.acceptable


@pytest.mark.parametrize(("method", "size"), [("binomial/1", 181), ("poisson/1", 161)])
def test_second_textbook_sample_differs_by_method(method, size):
    """Book 300,000, tolerable 15,000, expected 6,000: 181 by table, 161 by Poisson limit."""
    assert plan_mus(300_000, 15_000, 6_000, method=method).sample_size == size


def test_poisson_factors_are_those_of_the_audit_guides():
    """95 %: 3.00, 4.75, 6.30, 7.76, 9.16; 90 %: 2.31, 3.89, 5.33."""
    at_95 = [reliability_factor(errors, 95) for errors in range(5)]
    assert at_95 == [Fraction(x, 100) for x in (300, 475, 630, 776, 916)]
    at_90 = [reliability_factor(errors, 90) for errors in range(3)]
    assert at_90 == [Fraction(x, 100) for x in (231, 389, 533)]


@pytest.mark.parametrize(("errors", "size"), [(0, 59), (1, 93), (2, 124), (3, 153), (4, 181)])
def test_binomial_sizes_are_those_of_the_attribute_tables(errors, size):
    """The smallest samples for a rate of 5 % at 95 %, as every table has them."""
    assert binomial_cdf(errors, size, 0.05) <= 0.05 < binomial_cdf(errors, size - 1, 0.05)


def test_the_gamma_limit_meets_the_poisson_sum():
    """For a whole number of errors the continuous limit is the discrete one."""
    import math

    for errors in range(12):
        mean = poisson_upper_mean(errors, 0.95)
        below = sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(errors + 1))
        assert abs(below - 0.05) < 1e-9


def test_taints_widen_the_limit_in_falling_order():
    """Taints of 50 % and 10 % of two items, worked by hand with factors 1.75 and 1.55."""
    plan = plan_mus(1_000_000, 100_000)
    items = [Item(f"i{place:03d}", 10_000) for place in range(100)]
    sample = select_mus(plan, items, SEED)
    audited = {selected.item.item_id: 10_000 for selected in sample.selected}
    first, second = sorted(audited)[:2]
    audited[first], audited[second] = 9_000, 5_000
    evaluation = evaluate_mus(sample, audited)
    interval = Fraction(plan.interval_units)
    half, tenth = Fraction(1, 2), Fraction(1, 10)
    limit = interval * 3 + interval * (half * Fraction(175, 100) + tenth * Fraction(155, 100))
    assert evaluation.upper_limit_units == -(-limit.numerator // limit.denominator)
    assert evaluation.projected_units == -(-(interval * Fraction(6, 10)) // 1)
    assert evaluation.known_units == 6_000


@given(st.lists(st.integers(-100, 10**6), min_size=1, max_size=200), st.binary(min_size=16))
def test_every_large_item_is_selected_and_nothing_of_zero_is(amounts, seed):
    """Items of an interval or more are certain; items without money are listed apart."""
    book = sum(amount for amount in amounts if amount > 0)
    if book < 100:
        return
    plan = plan_mus(book, book // 10)
    items = [Item(f"i{place:04d}", amount) for place, amount in enumerate(amounts)]
    sample = select_mus(plan, items, seed)
    chosen = {selected.item.item_id for selected in sample.selected}
    for item in items:
        if item.book_units >= plan.interval_units:
            assert item.item_id in chosen
    assert len(sample.not_selectable) == sum(amount <= 0 for amount in amounts)
    hits = sum(selected.hits for selected in sample.selected)
    assert hits == (book - sample.start_units) // plan.interval_units + 1
    assert select_mus(plan, reversed(items), seed) == sample


def test_an_item_is_hit_in_proportion_to_its_amount():
    """Over many seeds an item of a tenth of an interval is selected a tenth of the time."""
    plan = plan_mus(100_000, 10_000)
    small = plan.interval_units // 10
    items = [Item("a", small), Item("b", 100_000 - small)]
    hit = sum(
        any(s.item.item_id == "a" and s.hits for s in select_mus(plan, items, seed).selected)
        for seed in (place.to_bytes(16) for place in range(2000))
    )
    assert 150 < hit < 250


def test_underpayment_is_named_because_the_limit_does_not_cover_it():
    """Royalty disputes are about money that was not booked; the second sample finds it."""
    plan = plan_mus(1_000, 500)
    sample = select_mus(plan, [Item("a", 1_000)], SEED)
    assert evaluate_mus(sample, {"a": 1_200}).understated == ("a",)
    drawn = reciprocal_sample((f"event:{n}" for n in range(100)), 10, SEED)
    assert len(set(drawn)) == 10
    assert set(reciprocal_sample((f"event:{n}" for n in range(101)), 10, SEED)) - set(drawn) <= {
        "event:100"
    }


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: plan_mus(100, 10, 7), "leaves no room"),
        (lambda: plan_mus(100, 10, 10), "0 <= expected < tolerable"),
        (lambda: plan_mus(100, 10, method="guess/1"), "is not known"),
        (lambda: select_mus(plan_mus(100, 10), [Item("a", 99)], SEED), "add up to 99 units"),
        (lambda: select_mus(plan_mus(2, 1), [Item("a", 1)] * 2, SEED), "twice"),
        (lambda: select_mus(plan_mus(9, 1), [Item("a", 9)], b"short"), "seed has 5 bytes"),
        (
            lambda: evaluate_mus(select_mus(plan_mus(9, 1), [Item("a", 9)], SEED), {}),
            "no audited amount, first a",
        ),
    ],
)
def test_samples_that_cannot_be_are_refused(ask, message):
    """The message says what was found and what is needed."""
    with pytest.raises(AuditSamplingError, match=message):
        ask()
