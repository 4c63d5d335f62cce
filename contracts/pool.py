"""Pools: what there is to divide, and the division that pays every work alike.

1. A pool as a share of revenue is rounded once, half to even, to whole units.
2. Equal per work: every licensed work gets the same, whatever it did; works differ by at most one
   unit, and the order of work ids decides. Then each work is divided among its owners.
3. What no owner claims and what is contested is named, and is nobody else's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from contracts.dispute import CONTESTED, UNCLAIMED, Holdings
from contracts.errors import ApportionmentError
from contracts.money import round_half_even
from contracts.pool_amount import PoolAmount
from contracts.split import split, split_by_weights


@dataclass(frozen=True, slots=True)
class EqualDivision:
    """A pool divided equally per work; amounts, contested and unclaimed add up to the pool.

    Args:
        pool_units: what was divided.
        amounts: what each party gets, by party id, with its works.
        contested_units: held until disputes are resolved.
        unclaimed_units: of works without a full sheet of owners.
    """

    pool_units: int
    amounts: Mapping[str, PoolAmount]
    contested_units: int
    unclaimed_units: int


def revenue_pool_units(revenue_units: int, rate: Fraction) -> int:
    """Return the pool that is a share of revenue.

    Args:
        revenue_units: attributable revenue of the period, not negative.
        rate: the share, 0 to 1.

    Raises:
        ApportionmentError: revenue is negative or the share outside 0 to 1.

    >>> revenue_pool_units(1_000_001, Fraction(1, 2))
    500000
    """
    if revenue_units < 0 or not 0 <= rate <= 1:
        raise ApportionmentError(
            f"a pool is a share from 0 to 1 of revenue that is not negative, got {rate} of "
            f"{revenue_units} units; book refunds as reversals of the period they belong to"
        )
    return round_half_even(revenue_units * rate)


def divide_equally(pool_id: str, pool_units: int, works: Mapping[str, Holdings]) -> EqualDivision:
    """Divide a pool equally among works and each work's part among its owners.

    Args:
        pool_id: the pool.
        pool_units: what is divided, not negative.
        works: who holds each licensed work, by work id.

    Returns:
        Amounts by party, with what is contested and unclaimed.

    Raises:
        ApportionmentError: there is no work to divide among.
    """
    if not works:
        raise ApportionmentError(
            f"pool {pool_id} of {pool_units} units has no licensed work to be divided among; "
            f"leave it undivided until there is one"
        )
    work_ids = sorted(works)
    parts = split_by_weights(pool_units, [1] * len(work_ids))
    amounts: dict[str, dict[str, int]] = defaultdict(dict)
    for work_id, units in zip(work_ids, parts, strict=True):
        sheet = works[work_id].as_sheet()
        owners = sorted(sheet)
        for owner, part in zip(owners, split(units, [sheet[o] for o in owners]), strict=True):
            if part:
                amounts[owner][work_id] = part
    contested_units = sum(amounts.pop(CONTESTED, {}).values())
    unclaimed_units = sum(amounts.pop(UNCLAIMED, {}).values())
    working = f"divided equally among {len(work_ids)} works"
    result = {
        party: PoolAmount(pool_id, pool_units, sum(mine.values()), working, mine)
        for party, mine in sorted(amounts.items())
    }
    out_units = sum(amount.amount_units for amount in result.values())
    assert out_units + contested_units + unclaimed_units == pool_units, (out_units, pool_units)
    return EqualDivision(pool_units, result, contested_units, unclaimed_units)
