"""What a party accrued in a period, how sure that is, and what its agreement says about doubt.

1. An accrual is signed. A party that hindered more than it helped has a negative one.
2. A clause on reliability names a limit, a method that takes over, and the weight it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from contracts.errors import ApportionmentError

# Two-sided 95 % of the normal distribution.
NOISE_Z = Fraction(196, 100)


class Standing(StrEnum):
    """Whether anybody has to be paid for a party's works, and whether it is known whom."""

    LICENSED = "licensed"
    UNLICENSED = "unlicensed"
    UNMATCHED = "unmatched"
    DISPUTED = "disputed"


class Fallback(StrEnum):
    """What divides money where attribution is too noisy."""

    EQUAL_PER_WORK = "equal_per_work"
    USAGE_WEIGHTED = "usage_weighted"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class Reliability:
    """When attribution counts as too noisy for a party, and what then takes which weight.

    Args:
        limit: the largest standard error, as a part of the accrual, at which attribution alone
            decides; 1/2 means a standard error of half the accrual.
        fallback: the method that takes over.
        weight: the part of the money the fallback divides, above 0 and at most 1.
    """

    limit: Fraction
    fallback: Fallback = Fallback.EQUAL_PER_WORK
    weight: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        """Check limit and weight.

        Raises:
            ApportionmentError: the limit is negative or the weight outside ]0, 1].
        """
        if self.limit < 0 or not 0 < self.weight <= 1:
            raise ApportionmentError(
                f"reliability needs a limit of at least 0 and a fallback weight above 0 and at "
                f"most 1, got limit {self.limit} and weight {self.weight}"
            )


@dataclass(frozen=True, slots=True)
class Accrual:
    """What a party accrued in a period, and how sure that is.

    Args:
        party_id: the party; for unmatched works any id that is used only for them.
        accrual_units: signed units of the pool's currency.
        stderr_units: standard error of the accrual, in the same units.
        standing: under contract, not under contract, owner unknown, or claimed twice.
        works: how many works the party has under contract, for equal_per_work.
        usage: tokens (or another count) of its works in training, for usage_weighted.
        fixed: its weight for the fixed fallback.
        reliability: its agreement's clause; None means attribution alone decides.
        noise_z: how many standard errors make its interval; None for no noise floor.
    """

    party_id: str
    accrual_units: int
    stderr_units: int = 0
    standing: Standing = Standing.LICENSED
    works: int = 1
    usage: int = 0
    fixed: int = 0
    reliability: Reliability | None = None
    noise_z: Fraction | None = NOISE_Z

    @property
    def is_unreliable(self) -> bool:
        """Whether the standard error passes the agreement's limit."""
        if self.reliability is None or self.standing is not Standing.LICENSED:
            return False
        return self.stderr_units > self.reliability.limit * max(self.accrual_units, 0)

    def fallback_weight(self) -> Fraction:
        """Return the weight the party has in the division by its fallback method."""
        assert self.reliability is not None, self
        counts = {
            Fallback.EQUAL_PER_WORK: self.works,
            Fallback.USAGE_WEIGHTED: self.usage,
            Fallback.FIXED: self.fixed,
        }
        return counts[self.reliability.fallback] * self.reliability.weight
