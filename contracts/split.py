"""Split a whole number of money units between shares, losing none and inventing none.

Every royalty passes through here, so the rules are few and each is a test:

1. The parts add up to the amount.
2. A share of zero receives zero.
3. No part differs from its exact value by a whole unit or more.
4. Equal shares differ by at most one unit, and the order of the shares
   decides who gets it. Callers pass shares in a stable order (by payee id).
5. Splitting the negative of an amount gives the negative of every part, so
   that a reversal restores what it reverses.

The method is the largest remainder (Hamilton): round every part down, then
give the units left over to the largest fractions. Rounding to nearest and
repairing the sum afterwards can break rule 3, and did, in a published ledger.

The work is done on whole numbers over one common denominator, because adding
fractions one by one is slow for a hundred thousand payees.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor, lcm


def split(amount_units: int, shares: Sequence[Fraction]) -> list[int]:
    """Split an amount between shares by the largest remainder.

    Args:
        amount_units: what to split, in units of the currency's scale
            (millionths for USD/6). Not negative: reverse an entry instead.
        shares: one fraction per payee, each in [0, 1], adding up to exactly 1.

    Returns:
        One whole number of units per share, in the order of `shares`.

    Raises:
        ValueError: the amount is negative, or the shares do not add up to 1.

    >>> split(100, [Fraction(1, 3), Fraction(1, 3), Fraction(1, 3)])
    [34, 33, 33]
    """
    if amount_units < 0:
        raise ValueError(f"amount to split must not be negative, got {amount_units} units")
    weights, denominator = _over_common_denominator(shares)
    if sum(weights) != denominator or any(weight < 0 for weight in weights):
        total = Fraction(sum(weights), denominator)
        raise ValueError(f"shares must be non-negative and add up to 1, got sum {total}")
    return _largest_remainder(amount_units, weights, denominator)


def split_signed(amount_units: int, shares: Sequence[Fraction]) -> list[int]:
    """Split an amount between shares some of which may be negative.

    Signed accruals need it: a work that made an output less likely carries a
    negative share until the period closes.

    Args:
        amount_units: what to split, in units; may be negative.
        shares: one fraction per payee, of either sign, adding up to exactly 1.

    Returns:
        One whole number of units per share, in the order of `shares`.

    Raises:
        ValueError: the shares do not add up to 1.

    >>> split_signed(100, [Fraction(4, 3), Fraction(-1, 3)])
    [133, -33]
    """
    weights, denominator = _over_common_denominator(shares)
    if sum(weights) != denominator:
        total = Fraction(sum(weights), denominator)
        raise ValueError(f"signed shares must add up to 1, got sum {total}")
    if amount_units < 0:
        return [-part for part in _largest_remainder(-amount_units, weights, denominator)]
    return _largest_remainder(amount_units, weights, denominator)


def split_by_weights(amount_units: int, weights: Sequence[int]) -> list[int]:
    """Split an amount in proportion to whole-number weights.

    Args:
        amount_units: what to split, in units, not negative.
        weights: one whole number per payee, none negative, not all zero.

    Returns:
        One whole number of units per weight, in the order of `weights`.

    Raises:
        ValueError: the amount or a weight is negative, or all weights are zero.

    >>> split_by_weights(2, [6, 6, 8])
    [1, 0, 1]
    """
    if amount_units < 0:
        raise ValueError(f"amount to split must not be negative, got {amount_units} units")
    total = sum(weights)
    if total <= 0 or any(weight < 0 for weight in weights):
        raise ValueError(
            f"weights must be non-negative and not all zero, got sum {total} over {len(weights)}"
        )
    return _largest_remainder(amount_units, weights, total)


def split_by_targets(amount_units: int, targets: Sequence[Fraction]) -> list[int]:
    """Round exact values of either sign to whole units that add up to an amount.

    Args:
        amount_units: what the parts add up to; it lies within one unit a part above the sum of
            the values rounded down, as an amount does that was rounded itself.
        targets: the exact values, in units.

    Returns:
        Each value rounded down, and one unit more for the largest fractions.

    Raises:
        ValueError: the amount is too far from the values.

    >>> split_by_targets(3, [Fraction(5, 2), Fraction(-3, 4), Fraction(5, 4)])
    [3, -1, 1]
    """
    parts = [floor(target) for target in targets]
    rest = amount_units - sum(parts)
    if not 0 <= rest <= len(parts):
        raise ValueError(
            f"{amount_units} units cannot be rounded from values that add up to {sum(targets)}; "
            f"every part would be a whole unit or more away from its value"
        )
    fractions = [target - part for target, part in zip(targets, parts, strict=True)]
    return _with_rest(parts, fractions, rest)


def _over_common_denominator(shares: Sequence[Fraction]) -> tuple[list[int], int]:
    """Return the shares as whole numerators over one denominator."""
    denominator = lcm(*{share.denominator for share in shares}) if shares else 1
    return [share.numerator * (denominator // share.denominator) for share in shares], denominator


def _largest_remainder(amount_units: int, weights: Sequence[int], total: int) -> list[int]:
    """Round every part down, then give what is left to the largest fractions."""
    parts: list[int] = []
    fractions: list[int] = []
    for weight in weights:
        part, fraction = divmod(amount_units * weight, total)
        parts.append(part)
        fractions.append(fraction)
    remainder_units = amount_units - sum(parts)
    # A part that came out whole is never reached: what is left is the sum of the fractions, each
    # below 1.
    assert remainder_units <= sum(map(bool, fractions)), (amount_units, weights, total)
    parts = _with_rest(parts, fractions, remainder_units)
    assert sum(parts) == amount_units, (parts, amount_units)
    return parts


def _with_rest(
    parts: list[int], fractions: Sequence[int] | Sequence[Fraction], rest: int
) -> list[int]:
    """Give one unit each to the largest fractions."""
    # sorted() is stable, so among equal fractions the earlier payee wins (rule 4).
    by_fraction = sorted(range(len(parts)), key=lambda i: -fractions[i])
    for i in by_fraction[:rest]:
        parts[i] += 1
    return parts
