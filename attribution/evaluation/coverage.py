"""Do the intervals of the table contain what they say? By samples of the outputs themselves.

The outputs of the table stand for the population. Samples of as many outputs are drawn from
them, with replacement; each gets its percentile bootstrap interval, as the table's means do;
covered is the part of the samples whose interval holds the mean of the population. It sees
what few and skewed outputs do to an interval, and neither the truth's own noise nor outputs
of another kind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVELS = (50, 60, 70, 80, 90, 95, 99)


def covered_percent(
    values: Sequence[float], *, samples: int = 400, draws: int = 400, seed: int = 0
) -> list[float]:
    """Return how many percent of the samples' intervals hold the mean, for each of LEVELS.

    Args:
        values: [Q], one number an output.
        samples: of Q outputs each.
        draws: of the bootstrap of a sample.
        seed: of both.
    """
    known = np.asarray(values, dtype=np.float64)
    count, draw = len(known), np.random.default_rng(seed)
    tails = np.asarray(LEVELS, dtype=np.float64) / 200
    edges = np.concatenate([0.5 - tails, 0.5 + tails])
    held = np.zeros(len(LEVELS))
    for _ in range(samples):
        sample = known[draw.integers(0, count, count)]
        means = sample[draw.integers(0, count, (draws, count))].mean(axis=1)
        low, high = np.split(np.quantile(means, edges), 2)
        held += (low <= known.mean()) & (known.mean() <= high)
    return [float(part) for part in 100 * held / samples]
