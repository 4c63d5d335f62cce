"""How well scores rank what retraining does, and how much money they would misplace.

    LDS            per query, Spearman over retrains between the summed scores of
                   the kept documents and the fall of the loss
    removal rank   per query, Spearman over creators between summed score and loss
    misallocated   half the sum over creators of |paid share - true share|

1. Positive scores mean "helped"; only order and ratios are read, so scores may be
   in any unit.
2. Means over queries carry a 95 % bootstrap interval over queries.
3. Money is divided by two rules: `linear` sums nats over outputs, `normalised`
   first divides each output by its own positive total. Both floor a creator at
   zero only after summing, as settlement does.

Axes: Q queries, N documents, R retrains, C creators.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attribution.errors import RecipeError
from attribution.evaluation.truth import Truth

Nats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean over queries with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """What a score matrix is worth against retraining. None: the truth has no such retrains.

    Attributes:
        lds_documents, lds_creators: over random halves of documents, of creators.
        removal_rank: per query over creators.
        misallocated: rule/truth -> percent of the pool, such as "linear/removal".
        coalition_fit: mean cross-validated fit of the coalition truth.
    """

    lds_documents: Interval | None
    lds_creators: Interval | None
    removal_rank: Interval | None
    misallocated: dict[str, float]
    coalition_fit: float | None


def evaluate(scores: Nats, truth: Truth) -> Evaluation:
    """Judge a score matrix by retraining.

    Args:
        scores: [Q, N], positive = the document helped the query.
        truth: the retrains.

    Raises:
        RecipeError: the scores have another shape, or hold NaN or infinity.
    """
    wanted = (len(truth.tokens), len(truth.groups))
    if scores.shape != wanted:
        raise RecipeError(
            f"scores are {scores.shape}, the truth is of {wanted} (queries, documents)"
        )
    if not np.isfinite(scores).all():
        raise RecipeError("scores hold NaN or infinity; nothing was judged")
    scores = scores.astype(np.float64)
    creators = scores @ truth.membership  # [Q, C]
    positive = np.maximum(scores, 0).sum(axis=1)
    misallocated: dict[str, float] = {}
    rank = fit = None
    if "loco" in truth.losses and "base" in truth.losses:
        lost, which = truth.removal()
        judged = creators[:, which]
        rank = bootstrap([spearman(judged[q], lost[q]) for q in range(len(lost))])
        misallocated |= _misallocated(judged, lost, positive, "removal")
    if "creator" in truth.losses and len(truth.losses["creator"]) >= 10:
        coalition = truth.coalition()
        fit = float(coalition.fit.mean())
        misallocated |= _misallocated(creators, coalition.values, positive, "coalition")
    return Evaluation(_lds(scores, truth, "doc"), _lds(scores, truth, "creator"), rank,
                      misallocated, fit)  # fmt: skip


def lds(scores: Nats, kept: NDArray[np.bool_], losses: Nats) -> list[float]:
    """Return the linear datamodelling score of each query.

    Args:
        scores: [Q, N].
        kept: [R, N], which documents each retrain kept.
        losses: [R, Q], loss of each query after it.
    """
    predicted = scores @ kept.T.astype(np.float64)  # [Q, R]
    return [spearman(predicted[q], -losses[:, q]) for q in range(len(scores))]


def spearman(left: Nats, right: Nats) -> float:
    """Return the rank correlation, ties averaged; 0 where one side is constant."""
    first, second = ranks(left), ranks(right)
    first, second = first - first.mean(), second - second.mean()
    size = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / size if size else 0.0


def ranks(values: Nats) -> Nats:
    """Return ascending ranks from 1, equal values sharing the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place], dtype=np.float64)


def bootstrap(values: list[float], *, draws: int = 2000, seed: int = 0) -> Interval:
    """Return the mean and its 95 % bootstrap interval over the values."""
    known = np.asarray(values, dtype=np.float64)
    draw = np.random.default_rng(seed)
    means = known[draw.integers(0, len(known), (draws, len(known)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(known.mean()), float(low), float(high))


def shares(nats: Nats, totals: Nats | None = None) -> Nats:
    """Divide a pool by summed nats, a creator below zero getting nothing.

    Args:
        nats: [Q, C].
        totals: [Q], what each output is divided by first; None for plain sums.

    Returns:
        [C], adding up to 1 (or to 0 where nobody is above zero).
    """
    if totals is not None:
        nats = nats / np.maximum(totals, 1e-12)[:, None]
    owed = np.maximum(nats.sum(axis=0), 0)
    return np.asarray(owed / max(float(owed.sum()), 1e-12), dtype=np.float64)


def misallocated_percent(paid: Nats, true: Nats) -> float:
    """Return how much of the pool goes to somebody else than it should, in percent."""
    return 50 * float(np.abs(paid - true).sum())


def _misallocated(creators: Nats, true: Nats, positive: Nats, name: str) -> dict[str, float]:
    own = np.maximum(true, 0).sum(axis=1)
    return {
        f"linear/{name}": misallocated_percent(shares(creators), shares(true)),
        f"normalised/{name}": misallocated_percent(shares(creators, positive), shares(true, own)),
    }


def _lds(scores: Nats, truth: Truth, kind: str) -> Interval | None:
    if kind not in truth.losses:
        return None
    return bootstrap(lds(scores, truth.kept[kind], truth.losses[kind]))
