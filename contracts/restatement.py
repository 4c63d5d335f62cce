"""Calculate periods again under other terms, and book the difference in the open period.

1. A closed period is never changed. What new terms would have paid for it, less what was earned
   under the old ones, is one typed adjustment per period, accounted for in the open period.
2. Tier counters run through the restated periods as they would have run, so an escalator missed
   in spring is paid for in summer as well.
3. The same calculation without booking is the dry run: what a term would have paid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from contracts.agreement import Agreement
from contracts.balances import Adjustment, AdjustmentType, Balances
from contracts.earnings import EarningInputs, Earnings, compute_earnings
from contracts.errors import AgreementError
from contracts.period import Period


@dataclass(frozen=True, slots=True)
class Restated:
    """One period under the terms that were applied and under others.

    Args:
        period: the period.
        before: the result under the terms that were applied.
        after: the result under the other terms.
    """

    period: Period
    before: Earnings
    after: Earnings

    @property
    def difference_units(self) -> int:
        """What the other terms earn more, before reserve, recoupment and tax; may be negative."""
        return self.after.royalty_units - self.before.royalty_units


def run_periods(
    agreement: Agreement, history: Sequence[tuple[Period, EarningInputs]], opening: Balances
) -> list[Earnings]:
    """Calculate successive periods, each from the closing balances of the one before.

    Args:
        agreement: the terms.
        history: periods in order with their inputs; the opening balances in them are replaced.
        opening: balances before the first period.

    Returns:
        One result per period.

    Raises:
        AgreementError: the periods are not in order.
    """
    results: list[Earnings] = []
    for period, inputs in history:
        if results and period <= results[-1].period:
            raise AgreementError(
                f"periods to calculate must follow one another, got {period} after "
                f"{results[-1].period}"
            )
        result = compute_earnings(agreement, period, replace(inputs, opening=opening))
        opening = result.closing
        results.append(result)
    return results


def restate(
    applied: Agreement,
    other: Agreement,
    history: Sequence[tuple[Period, EarningInputs]],
    opening: Balances | None = None,
) -> list[Restated]:
    """Calculate periods under the terms applied and under others.

    Args:
        applied: the version that was in force when the periods were settled.
        other: the version that should have been, or a proposal.
        history: periods in order with their inputs.
        opening: balances before the first of them.

    Returns:
        One comparison per period.

    Raises:
        AgreementError: the two are in different currencies, or periods are not in order.
    """
    if applied.currency != other.currency:
        raise AgreementError(
            f"{applied.name} is in {applied.currency}, {other.name} in {other.currency}; terms in "
            f"another currency begin with a period of their own"
        )
    start = opening or Balances()
    before = run_periods(applied, history, start)
    after = run_periods(other, history, start)
    return [Restated(old.period, old, new) for old, new in zip(before, after, strict=True)]


def adjustments_for(
    restated: Sequence[Restated], adjustment_type: AdjustmentType = AdjustmentType.RATE_CORRECTION
) -> list[Adjustment]:
    """Return one adjustment for each restated period that comes out differently."""
    return [
        Adjustment(
            adjustment_type,
            item.difference_units,
            item.period,
            f"{item.after.agreement_id} v{item.after.version} in place of v{item.before.version}",
        )
        for item in restated
        if item.difference_units
    ]
