"""From sums to shares, intervals and money: exact ratios, rounded once, adding up.

1. A share is y / denominator, exactly; it is rounded to parts per 10^12 only to be printed.
2. Money is divided by `contracts.split`: works and the unexplained part add up to the pool; each
   work's units are divided among its owners, so a creator's units are the sum of his lines.
3. Intervals are those of `flows.intervals`. The degrees of freedom are the outputs that carry the
   noise, (sum t^2)^2 / sum t^4, less one: a variance that rests on few outputs is itself uncertain.
   The skewness is that of the sum under Poisson sampling, where a draw has the third moment
   pi (1 - pi) (1 - 2 pi). Both stand in the tables, so that nights can be added up to a period.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isqrt

import polars as pl

from contracts.split import split_signed
from flows.estimation_moments import FINE_SCALE, NOISE_SCALE, Moments
from flows.intervals import FREEDOM_MAX_MILLI, FREEDOM_MIN_MILLI, bounded_skew, ends_ppt

PPT = 10**12
_GRID = 10**18

_COLUMNS = (
    "outputs",
    "share_ppt",
    "stderr_ppt",
    "low_ppt",
    "high_ppt",
    "accrual_units",
    "freedom_milli",
    "skew_ppm",
)


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
    ratio = round(Fraction(numerator) * _GRID / moments.denominator)
    spread = square * _GRID**2 - 2 * ratio * cross * _GRID + ratio**2 * moments.noise_square
    spread = max(0, spread) * moments.random // (moments.random - 1)
    return isqrt(spread) * PPT // (_GRID * NOISE_SCALE)


def freedom_milli(square: int, fourth: int) -> int:
    """Give the degrees of freedom of a noise sum, in thousandths.

    Args:
        square: sum of t^2, in 10^-30.
        fourth: sum of t^4, in 10^-32.

    Returns:
        square^2 / fourth - 1, from 2 to a million.
    """
    if not fourth:
        return FREEDOM_MIN_MILLI
    found = square**2 * 1000 * FINE_SCALE // (fourth * NOISE_SCALE**4) - 1000
    return max(FREEDOM_MIN_MILLI, min(FREEDOM_MAX_MILLI, found))


def skewness_ppm(
    numerator: int | Fraction, moments: Moments, error_ppt: int, thirds: tuple[int, int, int]
) -> int:
    """Give the skewness of a share's noise, in parts per million.

    Args:
        numerator: the share's numerator y.
        moments: the night's common sums.
        error_ppt: the share's standard error.
        thirds: sums of l t^3, l t^2 h and l t h^2, in 10^-32.

    Returns:
        sum l (t - R h)^3 over the error's cube, R = y / denominator; 0 without an error to bend.
    """
    if moments.random < 2 or not error_ppt:
        return 0
    r, (ttt, tth, thh) = round(Fraction(numerator) * _GRID / moments.denominator), thirds
    centred = ttt * _GRID**3 - 3 * r * tth * _GRID**2 + 3 * r**2 * thh * _GRID
    centred -= r**3 * moments.noise_cube
    return bounded_skew(centred * PPT**3 * 10**6 // (FINE_SCALE * (error_ppt * _GRID) ** 3))


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
        rows.append(_row(name, outputs, y, moments, noise, unit))
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
        *noise, outputs = moments.creators.get(name, (0,) * 7)
        rows.append(_row(name, outputs, shares[name], moments, noise, units[name]))
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


def _row(
    name: str,
    outputs: int,
    numerator: int | Fraction,
    moments: Moments,
    noise: Sequence[int],
    units: int,
) -> tuple[object, ...]:
    """Give one row of a table: `_COLUMNS` after the name."""
    square, cross, fourth, *thirds = noise
    share = ratio_ppt(numerator, moments.denominator)
    error = stderr_ppt(numerator, moments, square=square, cross=cross)
    freedom = freedom_milli(square, fourth)
    ttt, tth, thh = thirds
    skew = skewness_ppm(numerator, moments, error, (ttt, tth, thh))
    low, high = ends_ppt(share, error, freedom, skew)
    return name, outputs, share, error, low, high, units, freedom, skew


def _frame(key: str, rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    """Make the table of estimates; every number is an Int64."""
    schema = {key: pl.String, **dict.fromkeys(_COLUMNS, pl.Int64)}
    return pl.DataFrame(rows, schema=schema, orient="row")
