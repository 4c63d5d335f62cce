"""What an agreement carries from one period into the next.

1. Balances are the only memory of the calculation: the same opening balances and the same period
   give the same result, whoever runs it.
2. Whatever is held back (reserves, amounts below the threshold) stands here until it is paid. A
   reserve is released once: its tranche leaves the balance when it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from contracts.period import Period


@dataclass(frozen=True, order=True, slots=True)
class ReserveTranche:
    """A part of a reserve and the period that releases it.

    Args:
        release_in: the period that releases it.
        taken_in: the period whose royalty it was taken from.
        term_id: the term that took it.
        units: the amount, in the agreement's currency.
    """

    release_in: Period
    taken_in: Period
    term_id: str
    units: int


@dataclass(frozen=True, slots=True)
class Balances:
    """Opening or closing balances of one agreement.

    Args:
        unrecouped_units: advances not yet recouped, not negative.
        reserves: tranches held back, in order of release.
        counters: running counts of tiers by term id, within their window.
        year_earned_units: royalties earned in the agreement year so far, for the guarantee.
        debit_units: what the payee owes from earlier corrections, not negative.
        held_units: amounts held in disputes, not negative.
        carried_forward_units: net not paid because below the threshold, in payment currency.
        unconverted_units: net that comes to less than half a unit of the payment currency, kept in
            the agreement's until it comes to more.
        carried_currency: of what is carried forward; empty for none, and in balances of before it
            was kept, where it is the currency of payment.
        remainders: by pool in another currency, what rounding its conversion left: a fraction of a
            unit of the agreement's currency, of either sign.
    """

    unrecouped_units: int = 0
    reserves: tuple[ReserveTranche, ...] = ()
    counters: Mapping[str, Fraction] = field(default_factory=dict)
    year_earned_units: int = 0
    debit_units: int = 0
    held_units: int = 0
    carried_forward_units: int = 0
    unconverted_units: int = 0
    carried_currency: str = ""
    remainders: Mapping[str, Fraction] = field(default_factory=dict)

    @property
    def reserve_units(self) -> int:
        """The sum of all reserves held."""
        return sum(tranche.units for tranche in self.reserves)


class AdjustmentType(StrEnum):
    """Why an amount of an earlier period is corrected in this one."""

    BACKPAY_MATCH = "backpay_match"
    OWNERSHIP_CONFLICT_RELEASE = "ownership_conflict_release"
    DISPUTE_RELEASE = "dispute_release"
    RATE_CORRECTION = "rate_correction"
    METHOD_RESTATEMENT = "method_restatement"
    USAGE_CORRECTION = "usage_correction"
    FRAUD_CLAWBACK = "fraud_clawback"
    FX_CORRECTION = "fx_correction"
    REVERSAL = "reversal"


RELEASES = frozenset({AdjustmentType.DISPUTE_RELEASE, AdjustmentType.OWNERSHIP_CONFLICT_RELEASE})


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A typed correction of an earlier period, accounted for in the open one.

    Args:
        adjustment_type: why.
        amount_units: signed, in the agreement's currency, after co-creator split.
        activity_period: the period the correction is about.
        reason: one sentence, with the id of what caused it.
    """

    adjustment_type: AdjustmentType
    amount_units: int
    activity_period: Period
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A part of this period's royalty that two parties claim.

    Args:
        dispute_id: the dispute.
        amount_units: what is held, not negative, in the agreement's currency.
        reason: one sentence: the work and the contested share.
    """

    dispute_id: str
    amount_units: int
    reason: str

    def __post_init__(self) -> None:
        """Check the amount.

        Raises:
            ValueError: negative; a release is an adjustment of type dispute_release.
        """
        if self.amount_units < 0:
            raise ValueError(
                f"hold for dispute {self.dispute_id} must not be negative, got "
                f"{self.amount_units} units; release it by a dispute_release adjustment"
            )
