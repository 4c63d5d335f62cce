"""Monetary-unit sampling: plan, select, evaluate; and a sample from the other end.

An auditor tests some items and concludes about all. The rules:

1. Every whole unit of money has the same chance of being hit, so an item is
   selected with probability amount / interval; items of at least an interval
   are always selected and count at face value.
2. The same population, plan and seed select the same items on any machine; the
   result carries the seed and the digest of the population.
3. The upper limit of misstatement is
   interval x R0  +  projected misstatement  +  allowance for each taint,
   with taints sorted from large to small. R is the Poisson factor, rounded up.
4. Methods differ, and so do their sample sizes; each plan names its own:
   `factors/1` (reliability and expansion factors of the audit guides),
   `binomial/1` (the guides' tables), `poisson/1` (interval from the Poisson limit).
5. Sampling paid amounts finds overpayment and misses what was never booked. A
   second sample is drawn from the source (`reciprocal_sample`: usage records,
   works, creators with nothing) and traced forward to the ledger.

Money is whole units throughout; only probabilities are floats.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from reports.errors import AuditSamplingError
from reports.poisson import binomial_cdf, poisson_upper_mean, reliability_factor

FORMAT: Final = "byline-mus/1"
METHODS: Final = ("factors/1", "binomial/1", "poisson/1")
# Expansion factors for expected misstatement, by confidence in per cent (audit guides).
EXPANSION: Final = {
    99: Fraction(19, 10),
    95: Fraction(16, 10),
    90: Fraction(15, 10),
    85: Fraction(14, 10),
    80: Fraction(13, 10),
    75: Fraction(125, 100),
    70: Fraction(12, 10),
    63: Fraction(115, 100),
    50: Fraction(1),
}
SAMPLE_MAX: Final = 1_000_000


@dataclass(frozen=True)
class MusPlan:
    """A plan: how many, how far apart, and by which method.

    `interval_units` is the book value over the sample size, rounded to the
    nearest unit (`poisson/1` sets the interval and the size follows); `factor`
    is the reliability factor R for no misstatement.
    """

    method: str
    book_units: int
    tolerable_units: int
    expected_units: int
    confidence_percent: int
    sample_size: int
    interval_units: int
    factor: Fraction


@dataclass(frozen=True)
class Item:
    """One item of a population: an id and its book amount in units."""

    item_id: str
    book_units: int


@dataclass(frozen=True)
class Selected:
    """A selected item; `hits` is how many selection points fell on it."""

    item: Item
    hits: int
    is_top: bool


@dataclass(frozen=True)
class MusSample:
    """What was selected, and all that is needed to select it again.

    `not_selectable` are items of zero or less: no unit of them can be hit, so
    they are listed for a test of their own.
    """

    plan: MusPlan
    seed_hex: str
    population_sha256: str
    population_items: int
    start_units: int
    selected: tuple[Selected, ...]
    not_selectable: tuple[Item, ...]


@dataclass(frozen=True)
class MusEvaluation:
    """What the sample says about the population. Overstatements only; see rule 5.

    `understated` lists items whose audited amount is above the book, which the
    upper limit does not cover.
    """

    known_units: int
    projected_units: int
    basic_precision_units: int
    incremental_units: int
    upper_limit_units: int
    misstated: tuple[str, ...]
    understated: tuple[str, ...]
    acceptable: bool


def plan_mus(
    book_units: int,
    tolerable_units: int,
    expected_units: int = 0,
    *,
    confidence_percent: int = 95,
    method: str = "factors/1",
) -> MusPlan:
    """Plan a sample.

    Args:
        book_units: the population's book value.
        tolerable_units: the misstatement that would still be tolerated.
        expected_units: the misstatement expected.
        confidence_percent: a key of EXPANSION.
        method: one of METHODS.

    Returns:
        The plan, with sample size and interval.

    Raises:
        AuditSamplingError: amounts that no sample can answer to, or an unknown
            method or confidence.

    >>> plan_mus(2_500_000, 125_000, 27_722).sample_size
    93
    """
    if method not in METHODS or confidence_percent not in EXPANSION:
        raise AuditSamplingError(
            f"method {method!r} at {confidence_percent} % is not known",
            f"methods {METHODS}, confidence among {sorted(EXPANSION)} %",
        )
    if not 0 <= expected_units < tolerable_units <= book_units:
        raise AuditSamplingError(
            f"expected {expected_units}, tolerable {tolerable_units}, book {book_units} units",
            "0 <= expected < tolerable <= book",
        )
    factor = reliability_factor(0, confidence_percent)
    if method == "poisson/1":
        interval = _poisson_interval(tolerable_units, expected_units, confidence_percent)
        size = max(1, book_units // interval)
    else:
        size = _size(book_units, tolerable_units, expected_units, confidence_percent, method)
        interval = max(1, round(Fraction(book_units, size)))
    return MusPlan(
        method,
        book_units,
        tolerable_units,
        expected_units,
        confidence_percent,
        size,
        interval,
        factor,
    )


def select_mus(plan: MusPlan, items: Iterable[Item], seed: bytes) -> MusSample:
    """Select items: a random start, then a step of one interval through the cumulated amounts.

    Args:
        plan: from plan_mus.
        items: the population, in any order; it is sorted by id.
        seed: at least 16 bytes, fixed before the population was known.

    Raises:
        AuditSamplingError: the items do not add up to the plan's book value, an
            id is there twice, or the seed is too short.
    """
    population = sorted(items, key=lambda item: item.item_id)
    positive = [item for item in population if item.book_units > 0]
    total = sum(item.book_units for item in positive)
    if len({item.item_id for item in population}) != len(population):
        raise AuditSamplingError("an item is in the population twice", "one line an item")
    if total != plan.book_units:
        raise AuditSamplingError(
            f"positive items add up to {total} units", f"the plan's {plan.book_units} units"
        )
    if len(seed) < 16:
        raise AuditSamplingError(f"the seed has {len(seed)} bytes", "at least 16")
    digest = population_sha256(population)
    drawn = int.from_bytes(hmac.digest(seed, f"{FORMAT}:{digest}".encode(), "sha256"))
    start = 1 + drawn % plan.interval_units
    selected = []
    passed = 0
    for item in positive:
        hits = _points(passed + item.book_units, start, plan) - _points(passed, start, plan)
        passed += item.book_units
        top = item.book_units >= plan.interval_units
        if hits or top:
            selected.append(Selected(item, hits, top))
    rest = tuple(item for item in population if item.book_units <= 0)
    return MusSample(plan, seed.hex(), digest, len(population), start, tuple(selected), rest)


def evaluate_mus(sample: MusSample, audited_units: Mapping[str, int]) -> MusEvaluation:
    """Conclude from the audited amounts of the selected items.

    Args:
        sample: what was selected.
        audited_units: the right amount of every selected item, by id.

    Raises:
        AuditSamplingError: a selected item has no audited amount.
    """
    missing = [s.item.item_id for s in sample.selected if s.item.item_id not in audited_units]
    if missing:
        raise AuditSamplingError(
            f"{len(missing)} selected items have no audited amount, first {missing[0]}",
            "an amount for every selected item; one that cannot be found is audited as 0",
        )
    plan = sample.plan
    wrong = [
        (s, s.item.book_units - audited_units[s.item.item_id])
        for s in sample.selected
        if audited_units[s.item.item_id] != s.item.book_units
    ]
    over = [(s, error) for s, error in wrong if error > 0]
    known_top = sum(error for s, error in over if s.is_top)
    taints = sorted(
        (
            min(Fraction(error, s.item.book_units), Fraction(1))
            for s, error in over
            if not s.is_top
            for _ in range(s.hits)
        ),
        reverse=True,
    )
    projected = sum((taint * plan.interval_units for taint in taints), Fraction(known_top))
    basic = plan.factor * plan.interval_units
    incremental = Fraction(0)
    for place, taint in enumerate(taints, start=1):
        wider = reliability_factor(place, plan.confidence_percent)
        narrower = reliability_factor(place - 1, plan.confidence_percent)
        incremental += taint * plan.interval_units * (wider - narrower - 1)
    limit = math.ceil(basic + projected + incremental)
    return MusEvaluation(
        known_units=sum(error for _, error in over),
        projected_units=math.ceil(projected),
        basic_precision_units=math.ceil(basic),
        incremental_units=math.ceil(incremental),
        upper_limit_units=limit,
        misstated=tuple(s.item.item_id for s, _ in over),
        understated=tuple(s.item.item_id for s, error in wrong if error < 0),
        acceptable=limit <= plan.tolerable_units,
    )


def reciprocal_sample(ids: Iterable[str], size: int, seed: bytes) -> tuple[str, ...]:
    """Draw from the source: every id has the same chance, whatever was booked for it.

    Each id is ranked by HMAC-SHA256(seed, id); the lowest are taken. So anyone can
    check one id at a time, and adding ids never reshuffles the others.

    Args:
        ids: usage records, works or creators, in any order.
        size: how many; all, if there are fewer.
        seed: as for select_mus.

    Returns:
        The ids in their drawn order.
    """
    ranked = sorted(set(ids), key=lambda one: (hmac.digest(seed, one.encode(), "sha256"), one))
    return tuple(ranked[:size])


def population_sha256(items: Sequence[Item]) -> str:
    """Return the digest of a population, sorted by id: one `id TAB units` line an item."""
    lines = sorted(f"{item.item_id}\t{item.book_units}\n" for item in items)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _points(upto_units: int, start_units: int, plan: MusPlan) -> int:
    """Count the selection points start, start + I, start + 2 I ... that are <= `upto_units`."""
    if upto_units < start_units:
        return 0
    return 1 + (upto_units - start_units) // plan.interval_units


def _size(book: int, tolerable: int, expected: int, confidence: int, method: str) -> int:
    if method == "factors/1":
        room = tolerable - expected * EXPANSION[confidence]
        if room <= 0:
            raise AuditSamplingError(
                f"expected {expected} x {float(EXPANSION[confidence])} leaves no room under "
                f"tolerable {tolerable}",
                "a higher tolerable or a lower expected misstatement, or test every item",
            )
        exact = book * reliability_factor(0, confidence) / room
        return max(1, round(exact))
    for size in range(1, SAMPLE_MAX):
        # Misstatement as expected is met with whole errors, so their number is rounded up.
        errors = math.ceil(Fraction(size * expected, book))
        if binomial_cdf(errors, size, tolerable / book) <= 1 - confidence / 100:
            return size
    raise AuditSamplingError(f"more than {SAMPLE_MAX} items would be needed", "test every item")


def _poisson_interval(tolerable: int, expected: int, confidence: int) -> int:
    """Find the widest whole interval at which expected misstatement stays within the tolerable."""
    low, high = 0, tolerable
    while low < high:
        middle = (low + high + 1) // 2
        limit = poisson_upper_mean(expected / middle, confidence / 100) * middle
        if limit <= tolerable:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        raise AuditSamplingError(
            f"expected {expected} leaves no room under tolerable {tolerable}", "test every item"
        )
    return low
