"""Why a closed period comes out differently now: the type and the sentence of an adjustment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from contracts.balances import AdjustmentType
from flows.division import SUSPENDED, PoolDivision

SHOWN_WORKS = 3


def cause(
    agreement_id: str,
    before: Sequence[PoolDivision],
    now: Sequence[PoolDivision],
    held_units: int,
) -> tuple[AdjustmentType, str]:
    """Say why an agreement comes out differently: by where the money of its works comes from.

    Args:
        agreement_id: the agreement.
        before: the period's pools as the last close knew them.
        now: the same as they are known now.
        held_units: how much more of fees per use is held than before.

    Returns:
        The type and the reason.
    """
    works: set[str] = set()
    sources: set[str] = set()
    for old, new in zip(before, now, strict=True):
        mine = Counter(new.amounts.get(agreement_id, {}))
        mine.subtract(old.amounts.get(agreement_id, {}))
        for work_id in (work for work, units in mine.items() if units):
            works.add(work_id)
            sources |= {
                name
                for name in SUSPENDED
                if old.suspended[name].get(work_id, 0) > new.suspended[name].get(work_id, 0)
            }
    if not works:
        return _cause_of_fees(agreement_id, held_units)
    if before[0].rule != now[0].rule:
        text = f"pool {now[0].pool_id} by {now[0].rule} instead of {before[0].rule}"
        return AdjustmentType.METHOD_RESTATEMENT, text
    shown = ", ".join(sorted(works)[:SHOWN_WORKS])
    more = f" and {len(works) - SHOWN_WORKS} more" if len(works) > SHOWN_WORKS else ""
    if "disputed" in sources:
        return AdjustmentType.DISPUTE_RELEASE, f"dispute about {shown}{more} decided"
    if "unmatched" in sources:
        return AdjustmentType.BACKPAY_MATCH, f"owner of {shown}{more} found"
    if "unlicensed" in sources:
        return AdjustmentType.BACKPAY_MATCH, f"agreement for {shown}{more} signed later"
    return AdjustmentType.OWNERSHIP_CONFLICT_RELEASE, f"shares of {shown}{more} corrected"


def _cause_of_fees(agreement_id: str, held_units: int) -> tuple[AdjustmentType, str]:
    """Say why fees come out differently: claims opened or decided, or other terms."""
    if held_units < 0:
        return AdjustmentType.DISPUTE_RELEASE, f"fees per use of {agreement_id}: dispute decided"
    if held_units > 0:
        text = f"fees per use of {agreement_id}: works that others claim too"
        return AdjustmentType.OWNERSHIP_CONFLICT_RELEASE, text
    return AdjustmentType.RATE_CORRECTION, f"terms of {agreement_id} that were not applied"
