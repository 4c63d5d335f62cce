"""Rates and tiers: what a count of uses, or an amount, earns.

1. A rate is an exact fraction: of money (8 %, 1/12) or of money per use (units per output).
2. Tiers are steps by a count that only grows within its window (a period, an agreement year,
   the life of the agreement). The steps begin at 0 and rise.
3. Applied `marginal`, each use earns the rate of the step it falls in. Applied `whole`, passing a
   step re-rates everything in the window, so the difference for earlier periods is paid then.
4. More use never earns less: rates of steps applied `whole` may not fall.
5. What a window earns does not depend on how it is cut into periods.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from contracts.errors import AgreementError

_RATE = re.compile(r"(\d+(?:\.\d+)?|\d+/[1-9]\d*)\s*(%?)")
_PERCENT = 100


class Window(StrEnum):
    """Over what time the counter of a tier runs."""

    PERIOD = "period"
    YEAR = "year"
    AGREEMENT = "agreement"


class Applies(StrEnum):
    """Whether a step re-rates only what lies above it or the whole window."""

    MARGINAL = "marginal"
    WHOLE = "whole"


@dataclass(frozen=True, order=True, slots=True)
class Step:
    """From a count on, a rate.

    Args:
        above: the count above which the rate holds; the first step has 0.
        rate: the rate, not negative.
    """

    above: Fraction
    rate: Fraction


@dataclass(frozen=True, slots=True)
class Tiers:
    """Steps of a rate by a running count.

    Args:
        steps: in rising order, the first from 0.
        counted: the window the counter runs over.
        applies: marginal or whole.
    """

    steps: tuple[Step, ...]
    counted: Window = Window.AGREEMENT
    applies: Applies = Applies.MARGINAL

    def __post_init__(self) -> None:
        """Check that the steps can be climbed.

        Raises:
            AgreementError: no step, the first not from 0, steps not rising, a negative rate, or a
                rate that falls although it applies to the whole.
        """
        bounds = [step.above for step in self.steps]
        if not bounds or bounds[0] != 0:
            first = bounds[0] if bounds else "no step at all"
            raise AgreementError(f"tiers must begin with a step above 0, got {first}")
        if any(low >= high for low, high in pairwise(bounds)):
            raise AgreementError(
                f"tiers must rise, got steps above {', '.join(str(bound) for bound in bounds)}"
            )
        if any(step.rate < 0 for step in self.steps):
            raise AgreementError("tier rates must not be negative")
        rates = [step.rate for step in self.steps]
        if self.applies is Applies.WHOLE and rates != sorted(rates):
            raise AgreementError(
                "tiers that apply to the whole may not fall, or more use would earn less; "
                "write applies: marginal, or raise the later rates"
            )

    def earned(self, before: Fraction, count: Fraction) -> Fraction:
        """Return what a count earns on top of what was counted before.

        Args:
            before: what the window had counted already.
            count: what is added, not negative.

        Returns:
            Exact money (or rate times count), never negative.
        """
        assert before >= 0 and count >= 0, (before, count)  # noqa: PT018 - one fact: both counts
        return self._total(before + count) - self._total(before)

    def _total(self, count: Fraction) -> Fraction:
        """Return what a window earns that has reached a count."""
        if self.applies is Applies.WHOLE:
            return count * max(
                (step.rate for step in self.steps if step.above < count), default=Fraction(0)
            )
        total = Fraction(0)
        for step, following in zip(self.steps, (*self.steps[1:], None), strict=True):
            top = count if following is None else min(count, following.above)
            total += max(top - step.above, Fraction(0)) * step.rate
        return total

    def explain(
        self,
        before: Fraction,
        count: Fraction,
        show_count: Callable[[Fraction], str],
        show_step: Callable[[Fraction], str],
    ) -> str:
        """Write the calculation of `earned` so that a calculator can follow it.

        Args:
            before: what the window had counted already.
            count: what is added.
            show_count: writes a count, as a number or as money.
            show_step: writes the rate of a step.
        """
        if self.applies is Applies.WHOLE:
            after = before + count
            return (
                f"{show_count(after)} reached: {show_count(after)} x "
                f"{show_step(self._rate_at(after))} - {show_count(before)} x "
                f"{show_step(self._rate_at(before))}"
            )
        parts = []
        for step, following in zip(self.steps, (*self.steps[1:], None), strict=True):
            top = before + count if following is None else min(before + count, following.above)
            within = top - max(step.above, before)
            if within > 0:
                parts.append(f"{show_count(within)} x {show_step(step.rate)}")
        return " + ".join(parts) or "0"

    def _rate_at(self, count: Fraction) -> Fraction:
        """Return the rate that holds for a whole window that reached a count."""
        return max((step.rate for step in self.steps if step.above < count), default=Fraction(0))


def parse_rate(text: str) -> Fraction:
    """Read a rate written as 8%, 0.08 or 2/25, exactly.

    Raises:
        AgreementError: not a plain number, fraction or percentage.

    >>> parse_rate("8%"), parse_rate("2/25")
    (Fraction(2, 25), Fraction(2, 25))
    """
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise AgreementError(f"a rate must be written like 8%, 0.08 or 2/25, got {text!r}")
    rate = Fraction(match[1])
    return rate / _PERCENT if match[2] else rate


@lru_cache(maxsize=4096)
def show_rate(rate: Fraction) -> str:
    """Write a rate as an exact decimal where it has one, and as a fraction where not.

    >>> show_rate(Fraction(2, 25)), show_rate(Fraction(1, 3))
    ('0.08', '1/3')
    """
    rest = rate.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return str(rate)
    digits = 0
    while (rate * 10**digits).denominator != 1:
        digits += 1
    whole = abs(int(rate * 10**digits))
    sign = "-" if rate < 0 else ""
    if not digits:
        return f"{sign}{whole}"
    return f"{sign}{whole // 10**digits}.{whole % 10**digits:0{digits}d}"
