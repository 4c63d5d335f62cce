"""What a party was given of a pool, in the pool's currency or converted into its agreement's.

A share of a pool in another currency is converted once a period, at the rate of the period's last
day. What rounding leaves over, less than a unit, is kept as an exact fraction and added to the next
period's share before that is rounded: over the periods nothing is lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from contracts.errors import AgreementError
from contracts.fx import FxRate, exact_value
from contracts.money import round_half_even, show_money
from contracts.rate import show_rate
from contracts.split import split_by_weights


@dataclass(frozen=True, slots=True)
class PoolAmount:
    """What a party was apportioned from one pool, after its co-creator split.

    Args:
        pool_id: the pool.
        pool_units: the whole pool.
        amount_units: the party's part, in the agreement's currency.
        working: how the part came about, in one line for the statement.
        works: the party's part by work, adding up to the amount; empty if not known.
        by_term: the same by term id and work, where terms hold for some territories or model
            versions only; empty where works alone say which term pays.
        rate: the exchange rate, where the pool is in another currency; None where it is not.
        remainder: what rounding the conversion left, a fraction of a unit of either sign.
    """

    pool_id: str
    pool_units: int
    amount_units: int
    working: str = ""
    works: Mapping[str, int] = field(default_factory=dict)
    by_term: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rate: FxRate | None = None
    remainder: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        """Check that the works add up.

        Raises:
            AgreementError: negative, or the works add up to something else.
        """
        if self.amount_units < 0:
            raise AgreementError(
                f"amount from pool {self.pool_id} must not be negative, got {self.amount_units} "
                f"units; a correction is an adjustment"
            )
        total_units = sum(self.works.values())
        by_term_units = sum(sum(works.values()) for works in self.by_term.values())
        for units, known in ((total_units, self.works), (by_term_units, self.by_term)):
            if known and units != self.amount_units:
                raise AgreementError(
                    f"works of pool {self.pool_id} add up to {units} units, the amount is "
                    f"{self.amount_units}; apportion the pool again"
                )


def in_currency(
    amount: PoolAmount, currency: str, target: str, rate: FxRate, left: Fraction = Fraction(0)
) -> PoolAmount:
    """Convert a share of a pool into the currency of the agreement.

    Args:
        amount: the share, in the pool's currency.
        currency: of the pool, CODE/SCALE.
        target: of the agreement, CODE/SCALE.
        rate: whole units of the second per whole unit of the first.
        left: what rounding left of the share of the period before, in units of the second.

    Returns:
        The share rounded once, half to even; its works by largest remainder, in the pool's
        proportions. What rounding leaves is its `remainder`.
    """
    exact = exact_value(amount.amount_units, currency, target, rate.rate) + left
    units = round_half_even(exact)
    names = sorted(work for work, part in amount.works.items() if part)
    parts = split_by_weights(units, [amount.works[name] for name in names]) if names else []
    works = dict(zip(names, parts, strict=True))
    by_term: dict[str, dict[str, int]] = defaultdict(dict)
    for name in names if amount.by_term else ():
        terms = [term for term, mine in sorted(amount.by_term.items()) if mine.get(name)]
        weights = [amount.by_term[term][name] for term in terms]
        for term, part in zip(terms, split_by_weights(works[name], weights), strict=True):
            by_term[term][name] = part
    code, to_code = currency.partition("/")[0], target.partition("/")[0]
    unit = show_money(1, target)
    before = f" and {show_rate(left)} of {unit} that rounding left" if left else ""
    working = (
        f"{amount.working}: {show_money(amount.amount_units, currency)} at "
        f"{show_rate(rate.rate)} {to_code} per {code} on {rate.rate_on}, {rate.source}{before} = "
        f"{show_money(units, target)}"
    )
    return replace(
        amount,
        amount_units=units,
        working=working,
        works=works,
        by_term=by_term,
        rate=rate,
        remainder=exact - units,
    )
