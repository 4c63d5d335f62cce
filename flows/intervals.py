"""95 % intervals of shares: Student's point, bent for skewness, for one night or for many.

With se the standard error of a share R, f the degrees of freedom of the noise and s its skewness,

    t = the 97.5 % point of Student's distribution with f degrees of freedom, at least 3
    g(x) = 3 / s * (cbrt(1 + s (x - s / 6)) - 1)            (x itself where s = 0)
    interval = [R - se g(t), R - se g(-t)]

g undoes the cubic transformation of Hall (1992), under which a skewed mean over its estimated
error is nearly normal. Most outputs give a creator little and few give him much, so the sample more
often lacks those few than has too many: the interval reaches further up than down.

1. Over several nights variances, third moments, and variances squared over their degrees of freedom
   add up (Satterthwaite 1946); one night alone gives its own interval again.
2. Everything is done in whole numbers, or by sums, products and quotients of floats: every machine
   finds the same ends. Both are rounded outwards.
3. An interval decides no amount: the noise floor of an agreement takes standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

PPM = 10**6
PPT = 10**12
FREEDOM_MIN_MILLI = 2_000
FREEDOM_MAX_MILLI = 10**9
SKEW_MAX_PPM = 2 * PPM
_Z95 = 1.959964
_POINT_FREEDOM_MIN = 3.0


@dataclass
class Noise:
    """The noise of a sum of independent night's shares, each times its night's units.

    Args:
        square: sum of (se units)^2.
        third: sum of (se units)^3 times the skewness in parts per million.
        fourth: sum of (se units)^4 over the degrees of freedom, in thousandths.
    """

    square: int = 0
    third: int = 0
    fourth: int = 0

    def add(self, units: int, stderr_ppt: int, freedom_milli: int, skew_ppm: int) -> None:
        """Add one night: its units (of either sign), and its share's noise."""
        error = stderr_ppt * units
        self.square += error**2
        self.third += error**3 * skew_ppm
        self.fourth += error**4 * 1000 // max(FREEDOM_MIN_MILLI, freedom_milli)

    def over(self, units: int) -> tuple[int, int, int]:
        """Give what the sum over so many units in all has: stderr_ppt, freedom_milli, skew_ppm."""
        root = isqrt(self.square)
        if not root:
            return 0, FREEDOM_MAX_MILLI, 0
        freedom = self.square**2 * 1000 // self.fourth if self.fourth else FREEDOM_MAX_MILLI
        skew = self.third // (root**3 if units > 0 else -(root**3))
        return root // abs(units or 1), min(FREEDOM_MAX_MILLI, freedom), bounded_skew(skew)


def ends_ppt(share_ppt: int, stderr_ppt: int, freedom_milli: int, skew_ppm: int) -> tuple[int, int]:
    """Give both ends of the 95 % interval of a share.

    Args:
        share_ppt: the share, in parts per 10^12.
        stderr_ppt: its standard error.
        freedom_milli: degrees of freedom of the noise, in thousandths.
        skew_ppm: its skewness, in parts per million, between -2 and 2.

    Returns:
        The lower and the upper end, in parts per 10^12.
    """
    point = quantile_ppm(freedom_milli)
    below = stderr_ppt * _unbent_ppm(point, skew_ppm)
    above = -stderr_ppt * _unbent_ppm(-point, skew_ppm)
    return share_ppt + -below // PPM, share_ppt - -above // PPM


def quantile_ppm(freedom_milli: int) -> int:
    """Give the 97.5 % point of Student's distribution, in parts per million.

    Args:
        freedom_milli: degrees of freedom, in thousandths; below 3 they are 3.

    Returns:
        The point by the expansion of Abramowitz and Stegun (1964, 26.7.5), right to 0.2 % at 3.
    """
    n, z = max(freedom_milli / 1000, _POINT_FREEDOM_MIN), _Z95
    z2 = z * z
    first = z * (z2 + 1) / 4
    second = z * ((5 * z2 + 16) * z2 + 3) / 96
    third = z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / 384
    fourth = z * ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) / 92_160
    return round((z + (first + (second + (third + fourth / n) / n) / n) / n) * PPM)


def bounded_skew(skew_ppm: int) -> int:
    """Keep a skewness within what a sum of few terms can show."""
    return max(-SKEW_MAX_PPM, min(SKEW_MAX_PPM, skew_ppm))


def _unbent_ppm(point_ppm: int, skew_ppm: int) -> int:
    """Undo the transformation: g of the module's head, in parts per million."""
    if not skew_ppm:
        return point_ppm
    bent = PPT + skew_ppm * (6 * point_ppm - skew_ppm) // 6
    return 3 * (_cube_root(bent * PPT**2) - PPT) // skew_ppm


def _cube_root(value: int) -> int:
    """Give the whole part of a cube root, towards zero."""
    if value < 0:
        return -_cube_root(-value)
    root = int(value ** (1 / 3)) + 1
    while root**3 > value:
        root = (2 * root + value // root**2) // 3
    # Newton's steps from above end at the whole part; the float may have begun below it.
    while (root + 1) ** 3 <= value:
        root += 1
    return root
