"""From sums to shares, intervals and money: exact ratios, rounded once, adding up.

1. A share is y / denominator, exactly; it is rounded to parts per 10^12 only to be printed.
2. Money is divided by `contracts.split`: works and the unexplained part add up to the pool; each
   work's units are divided among its owners, so a creator's units are the sum of his lines.
3. The 95 % interval is the share -+ t standard errors, both ends rounded to 10^-12, where t is
   the 97.5 % point of Student's distribution. Its degrees of freedom are the outputs that carry
   the noise, (sum t^2)^2 / sum t^4, less one: a variance that rests on few outputs is itself
   uncertain. With many it is 1.959964. A standard error is never widened: over a period the
   noise of many nights is added up, and with it the outputs it rests on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isqrt

import polars as pl

from contracts.split import split_signed
from flows.estimation_moments import FOURTH_SCALE, NOISE_SCALE, Moments

PPT = 10**12
_Z95 = 1.959964
_FREEDOM_MIN = 3.0

_COLUMNS = ("outputs", "share_ppt", "stderr_ppt", "low_ppt", "high_ppt", "accrual_units")


def ratio_ppt(numerator: int | Fraction, denominator: int) -> int:
    """Give a ratio in parts per 10^12, rounded half to even."""
    return round(Fraction(numerator) * PPT / denominator)


def stderr_ppt(numerator: int | Fraction, moments: Moments, *, square: int, cross: int) -> int:
    """Give the standard error of a share in parts per 10^12.

    Args:
        numerator: the share's numerator y.
        moments: the night's common sums.
        square: sum of t^2.
        cross: sum of t h.

    Returns:
        sqrt(n/(n-1) (square - 2 R cross + R^2 noise)), where R = y / denominator.
    """
    if moments.random < 2:
        # One random draw shows no spread. Its own weight bounds the error: |a - R| <= 1 + |R|.
        return isqrt(moments.noise_square) * PPT // NOISE_SCALE
    # R is cut to 10^-18: far below the 10^-15 grid that t and h stand on.
    grid = 10**18
    ratio = round(Fraction(numerator) * grid / moments.denominator)
    spread = square * grid**2 - 2 * ratio * cross * grid + ratio**2 * moments.noise_square
    spread = max(0, spread) * moments.random // (moments.random - 1)
    return isqrt(spread) * PPT // (grid * NOISE_SCALE)


def work_rows(
    moments: Moments, pool_units: int, unexplained_units: int | None = None
) -> tuple[pl.DataFrame, int]:
    """Give every work's share, interval and accrual.

    Args:
        moments: the night's sums.
        pool_units: what is divided.
        unexplained_units: what of it nobody's influence explains, where that is known already;
            None works it out.

    Returns:
        The table of works in the order of their ids, and the units that nobody's influence
        explains. Accruals and unexplained units add up to the pool.
    """
    names = sorted(moments.works)
    numerators = [moments.works[name][0] for name in names]
    if unexplained_units is None:
        shares = [Fraction(y, moments.denominator) for y in [*numerators, moments.unexplained]]
        *units, unexplained = split_signed(pool_units, shares)
    else:
        unexplained, over = unexplained_units, sum(numerators)
        shares = [Fraction(y, over) for y in numerators] if over else []
        units = split_signed(pool_units - unexplained, shares) if over else [0] * len(names)
    rows = []
    for name, unit in zip(names, units, strict=True):
        y, *noise, outputs = moments.works[name]
        rows.append((name, outputs, *_interval(y, moments, *noise), unit))
    return _frame("work_id", rows), unexplained


def creator_rows(moments: Moments, works: pl.DataFrame, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Give every creator's share, interval, accrual and its generic and specific parts.

    Args:
        moments: the night's sums.
        works: from `work_rows`.
        sizes: documents or tokens of each work and decoy.

    Returns:
        The table of creators in the order of their ids.
    """
    shares: dict[str, Fraction] = defaultdict(Fraction)
    units: dict[str, int] = defaultdict(int)
    size: dict[str, Fraction] = defaultdict(Fraction)
    for work, work_units in works.select("work_id", "accrual_units").iter_rows():
        owners = moments.splits[work]
        parts = split_signed(work_units, [share for _, share in owners])
        for (creator, share), part in zip(owners, parts, strict=True):
            shares[creator] += share * moments.works[work][0]
            units[creator] += part
            size[creator] += share * sizes.get(work, 0)
    level = _decoy_level(moments, sizes)
    rows, generic = [], []
    for name in sorted(shares):
        *noise, outputs = moments.creators.get(name, (0, 0, 0, 0))
        rows.append((name, outputs, *_interval(shares[name], moments, *noise), units[name]))
        generic.append(ratio_ppt(level * size[name], moments.denominator))
    frame = _frame("creator_id", rows)
    return frame.with_columns(
        pl.Series("generic_ppt", generic, dtype=pl.Int64),
        (frame["share_ppt"] - pl.Series(generic, dtype=pl.Int64)).alias("specific_ppt"),
    )


def _decoy_level(moments: Moments, sizes: Mapping[str, int]) -> Fraction:
    """Give the decoys' numerator per unit of size; 0 without decoys."""
    size = sum(sizes.get(name, 1) for name in moments.decoys)
    return Fraction(sum(moments.decoys.values()), size) if size else Fraction()


def _interval(
    numerator: int | Fraction, moments: Moments, square: int, cross: int, fourth: int
) -> tuple[int, int, int, int]:
    """Give share, standard error and both ends of the 95 % interval, in ppt."""
    share = ratio_ppt(numerator, moments.denominator)
    error = stderr_ppt(numerator, moments, square=square, cross=cross)
    half = -(-error * quantile_ppm(square, fourth) // 10**6)
    return share, error, share - half, share + half


def quantile_ppm(square: int, fourth: int) -> int:
    """Give the 97.5 % point of Student's distribution for a noise sum, in parts per million.

    Args:
        square: sum of t^2, in 10^-30.
        fourth: sum of t^4, in 10^-32.

    Returns:
        The point at square^2 / fourth - 1 degrees of freedom, at least 3 (3.18 standard errors),
        by the expansion of Abramowitz and Stegun (1964, 26.7.5), right to 0.2 % there.
    """
    # Plain products and quotients of floats, so that every machine finds the same whole number.
    carrying = square / NOISE_SCALE**2 * (square / NOISE_SCALE**2)
    freedom = carrying * FOURTH_SCALE / fourth - 1 if fourth else 0.0
    n, z = max(freedom, _FREEDOM_MIN), _Z95
    z2 = z * z
    first = z * (z2 + 1) / 4
    second = z * ((5 * z2 + 16) * z2 + 3) / 96
    third = z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / 384
    fourth_term = z * ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) / 92_160
    return round((z + (first + (second + (third + fourth_term / n) / n) / n) / n) * 10**6)


def _frame(key: str, rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    """Make the table of estimates; every number is an Int64."""
    schema = {key: pl.String, **dict.fromkeys(_COLUMNS, pl.Int64)}
    return pl.DataFrame(rows, schema=schema, orient="row")
