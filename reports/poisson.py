"""The few probabilities that audit sampling needs, without a library for statistics.

Checked against published tables in the tests. Floats are right here: these are
probabilities; the money they are applied to stays whole.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

_STEPS = 200


def poisson_upper_mean(errors: float, confidence: float) -> float:
    """Return the mean at which seeing no more than `errors` has probability 1 - confidence.

    `errors` need not be whole: the limit is the gamma quantile with shape errors + 1.

    >>> round(poisson_upper_mean(0, 0.95), 4), round(poisson_upper_mean(3, 0.95), 4)
    (2.9957, 7.7537)
    """
    shape = errors + 1
    low, high = 0.0, shape + 10 * math.sqrt(shape) + 20
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _gamma_cdf(shape, middle) < confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@cache
def reliability_factor(errors: int, confidence_percent: int) -> Fraction:
    """Return the Poisson factor R for a number of errors, rounded up to hundredths.

    >>> [float(reliability_factor(errors, 95)) for errors in range(4)]
    [3.0, 4.75, 6.3, 7.76]
    """
    exact = poisson_upper_mean(errors, confidence_percent / 100)
    return Fraction(math.ceil(exact * 100 - 1e-9), 100)


def binomial_cdf(most: int, trials: int, probability: float) -> float:
    """Return the probability of at most `most` successes in `trials`."""
    if most >= trials or probability <= 0:
        return 1.0
    if probability >= 1:
        return 0.0
    terms = [
        math.exp(
            math.lgamma(trials + 1)
            - math.lgamma(k + 1)
            - math.lgamma(trials - k + 1)
            + k * math.log(probability)
            + (trials - k) * math.log1p(-probability)
        )
        for k in range(most + 1)
    ]
    return math.fsum(terms)


def _gamma_cdf(shape: float, x: float) -> float:
    """Return the regularised lower incomplete gamma function P(shape, x)."""
    if x <= 0:
        return 0.0
    scale = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1:
        return _series(shape, x) * scale
    return 1 - _fraction(shape, x) * scale


def _series(shape: float, x: float) -> float:
    term = total = 1 / shape
    place = shape
    while term > total * 1e-16:
        place += 1
        term *= x / place
        total += term
    return total


def _fraction(shape: float, x: float) -> float:
    """Evaluate the continued fraction of the upper function by Lentz's method."""
    tiny = 1e-300
    b = x + 1 - shape
    c = 1 / tiny
    d = 1 / b
    value = d
    for step in range(1, 10_000):
        a = -step * (step - shape)
        b += 2
        d = 1 / _away_from_zero(a * d + b, tiny)
        c = _away_from_zero(b + a / c, tiny)
        change = d * c
        value *= change
        if abs(change - 1) < 1e-15:
            break
    return value


def _away_from_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
