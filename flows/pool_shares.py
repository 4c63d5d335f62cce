"""An agreement's shares of the pools, in its own currency.

1. A share of a pool in another currency is converted at the rate of the settlement period's last
   day: the last one published on or before it, at most a week old, as `rates.json` has it.
2. It is rounded once, half to even; what rounding leaves is carried by the agreement to the next
   period's share (`contracts.pool_amount`).
3. A closed period is worked out with the rates that its close read. Where those have none for the
   pair, because the agreement was not known then, the rates of the close that asks are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date as Date  # noqa: N812 - as everywhere in this room
from fractions import Fraction

from contracts.agreement import Agreement
from contracts.errors import MissingRateError
from contracts.fx import FxRate, FxTable
from contracts.period import Period
from contracts.pool_amount import PoolAmount, in_currency
from flows.division import PoolDivision, pool_amounts


def shares_of(
    agreement: Agreement,
    pools: Sequence[PoolDivision],
    *,
    currency: str,
    period: Period,
    tables: Sequence[FxTable],
    left: Mapping[str, Fraction],
) -> tuple[PoolAmount, ...]:
    """Give what an agreement was apportioned from each pool that it has a term on.

    Args:
        agreement: the agreement.
        pools: the pools, divided.
        currency: of the pools, CODE/SCALE.
        period: the settlement period.
        tables: exchange rates, the first that has the pair is used.
        left: what rounding left of earlier periods, by pool.

    Returns:
        Amounts in the agreement's currency.

    Raises:
        MissingRateError: something is to be converted and no table has a rate.
    """
    amounts = pool_amounts(agreement, pools)
    if agreement.currency == currency:
        return amounts
    codes = currency.partition("/")[0], agreement.currency.partition("/")[0]
    return tuple(
        in_currency(
            amount,
            currency,
            agreement.currency,
            _rate(tables, codes, period.end),
            left.get(amount.pool_id, Fraction(0)),
        )
        if amount.amount_units
        else amount
        for amount in amounts
    )


def _rate(tables: Sequence[FxTable], codes: tuple[str, str], day: Date) -> FxRate:
    """Give the rate of a day from the first table that has one."""
    *earlier, last = tables
    for table in earlier:
        try:
            return table.rate_on(*codes, day)
        except MissingRateError:
            continue
    return last.rate_on(*codes, day)
