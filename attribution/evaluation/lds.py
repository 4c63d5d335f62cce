"""How well scores rank what retraining does, and how much money they would misplace.

    LDS            per query, Spearman over retrains between the summed scores of
                   the kept documents and the fall of the loss
    removal rank   per query, Spearman over creators between summed score and loss
    misallocated   half the sum over creators of |paid share - true share|

1. Positive scores mean "helped"; only order and ratios are read, so scores may be
   in any unit.
2. Means over queries carry a 95 % bootstrap interval over queries.
3. Money is divided by three rules: `linear` sums nats over outputs, `normalised`
   first divides each output by its own positive total; both floor a creator at
   zero only after summing, as settlement does. `positive` is `normalised` with
   each output's negative creators set to zero first, as settlement must not do;
   it is compared with what `normalised` pays for the truth.
4. A figure of money carries an interval of 1.96 standard errors, from queries (and
   for the coalition truth retrains) drawn again with replacement.

Axes: Q queries, N documents, R retrains, C creators.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attribution.errors import RecipeError
from attribution.evaluation.truth import Truth

MONEY_DRAWS = 200

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
        lds_drops: over retrains without a few random documents, in the recipe's own order.
        lds_drops_reordered: over the same ones in further orders.
        removal_rank: per query over creators.
        misallocated: rule/truth -> percent of the pool, such as "linear/removal".
        misallocated_interval: the same -> [low, high].
        coalition_fit: mean cross-validated fit of the coalition truth.
        summed: measure -> the same rank correlation for the sum of all outputs, which
            is what a period pays; one number, so without an interval over outputs.
        per_query: measure -> one number a query, for the intervals above.
        shares: rule -> what each creator would be paid of a pool of 1, in the truth's
            order of creators; "linear" and "normalised".
    """

    lds_documents: Interval | None
    lds_creators: Interval | None
    lds_drops: Interval | None
    lds_drops_reordered: Interval | None
    removal_rank: Interval | None
    misallocated: dict[str, float]
    misallocated_interval: dict[str, list[float]]
    coalition_fit: float | None
    summed: dict[str, float]
    per_query: dict[str, list[float]]
    shares: dict[str, list[float]]


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
    per_query: dict[str, list[float]] = {}
    summed: dict[str, float] = {}
    total = scores.sum(axis=0, keepdims=True)
    for measure, (kept, losses) in _measures(truth).items():
        per_query[measure] = lds(scores, kept, losses)
        summed[measure] = lds(total, kept, losses.sum(axis=1, keepdims=True))[0]
    money: dict[str, tuple[float, float, float]] = {}
    fit = None
    if "" in truth.orders:
        lost, which = truth.removal()
        judged = creators[:, which]
        per_query["removal"] = [spearman(judged[q], lost[q]) for q in range(len(lost))]
        summed["removal"] = spearman(judged.sum(axis=0), lost.sum(axis=0))
        money |= _money(judged, lost, positive, "removal")
    if "creator" in truth.losses and len(truth.losses["creator"]) >= 10:
        coalition = truth.banzhaf
        fit = float(coalition.fit.mean())
        money |= _money(creators, coalition.values, positive, "coalition", coalition.draws)
    means = {measure: bootstrap(found) for measure, found in per_query.items()}
    return Evaluation(
        lds_documents=means.get("documents"),
        lds_creators=means.get("creators"),
        lds_drops=means.get("drops"),
        lds_drops_reordered=means.get("drops_reordered"),
        removal_rank=means.get("removal"),
        misallocated={name: percent for name, (percent, _, _) in money.items()},
        misallocated_interval={name: [low, high] for name, (_, low, high) in money.items()},
        coalition_fit=fit,
        summed=summed,
        per_query=per_query,
        shares={
            "linear": shares(creators).tolist(),
            "normalised": shares(creators, positive).tolist(),
        },
    )


def _measures(truth: Truth) -> dict[str, tuple[NDArray[np.bool_], Nats]]:
    """Return measure -> ([R, N] kept, [R, Q] losses)."""
    found = {
        measure: truth.retrains(kind)
        for measure, kind in (("documents", "doc"), ("creators", "creator"))
        if kind in truth.losses
    }
    if "drop" in truth.losses:
        # What a few documents do drowns in the noise of the order: each order is its own truth.
        found["drops"] = (truth.kept["drop"], truth.losses["drop"])
        again = truth.reordered("drop")
        found |= {} if again is None else {"drops_reordered": again}
    return found


def true_shares(truth: Truth) -> dict[str, list[float]]:
    """Return truth -> what each creator would be paid of a pool of 1, by summed nats.

    A creator whom no retrain removed gets nothing by `removal`.
    """
    found = {}
    if "" in truth.orders:
        lost, which = truth.removal()
        paid = np.zeros(len(truth.creators))
        paid[list(which)] = shares(lost)
        found["removal"] = paid.tolist()
    if len(truth.losses.get("creator", ())) >= 10:
        found["coalition"] = shares(truth.banzhaf.values).tolist()
    return found


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
    """Return the rank correlation, ties averaged; 0 where one side is constant but for rounding."""
    if any(np.ptp(side) <= 1e-12 * np.abs(side).max() for side in (left, right)):
        return 0.0
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


def ceilings(truth: Truth) -> dict[str, float]:
    """Say what one truth is worth against another: no method should be asked for more.

    Returns:
        For each further order of the documents (`order5/...`): the mean rank
        correlation per query, the correlation of creators' totals, and misallocated
        money by both rules against the first order. `halves/linear`: misallocated
        money between two random halves of the queries. `documents/rank`, `creators/rank`,
        `drops/rank`: mean rank correlation per query of the same retrains in the recipe's
        order and in further ones. `coalition/linear`: between the two truths. Percent for money.
    """
    found: dict[str, float] = {}
    if "" not in truth.orders:
        return found
    lost, which = truth.removal()
    for order in truth.orders[1:]:
        again, others = truth.removal(order)
        first = lost[:, [which.index(creator) for creator in others]]
        found[f"order{order}/creators"] = float(len(others))
        rank = [spearman(left, right) for left, right in zip(first, again, strict=True)]
        found[f"order{order}/rank"] = float(np.mean(rank))
        totals = np.corrcoef(first.sum(axis=0), again.sum(axis=0))
        found[f"order{order}/totals"] = float(totals[0, 1])
        own = np.maximum(again, 0).sum(axis=1)
        for name, percent in _percents(again, first, own).items():
            if name != "positive":
                found[f"order{order}/{name}"] = percent
    draw = np.random.default_rng(0)
    gaps = []
    for _ in range(50):
        mixed = lost[draw.permutation(len(lost))]
        half = len(lost) // 2
        gaps.append(misallocated_percent(shares(mixed[:half]), shares(mixed[half:])))
    found["halves/linear"] = float(np.mean(gaps))
    for measure, kind in (("documents", "doc"), ("creators", "creator"), ("drops", "drop")):
        elsewhere = truth.reordered(kind) if kind in truth.losses else None
        if elsewhere is not None:
            # Which of the recipe's own retrains these are is read from the masks.
            own = [int((truth.kept[kind] == mask).all(axis=1).argmax()) for mask in elsewhere[0]]
            pairs = zip(truth.losses[kind][own].T, elsewhere[1].T, strict=True)
            found[f"{measure}/rank"] = float(np.mean([spearman(*pair) for pair in pairs]))
    if "creator" in truth.losses and len(truth.losses["creator"]) >= 10:
        coalition = truth.banzhaf.values[:, which]
        found["coalition/linear"] = misallocated_percent(shares(lost), shares(coalition))
    return found


def _money(
    creators: Nats, true: Nats, positive: Nats, name: str, draws: Nats | None = None
) -> dict[str, tuple[float, float, float]]:
    """Return rule/name -> (percent, low, high); `draws` [B, Q, C] are other tosses of the truth."""
    draw = np.random.default_rng(0)
    again: dict[str, list[float]] = {}
    for place in range(MONEY_DRAWS if draws is None else len(draws)):
        rows = draw.integers(0, len(true), len(true))
        tossed = true if draws is None else draws[place]
        for rule, percent in _percents(creators[rows], tossed[rows], positive[rows]).items():
            again.setdefault(rule, []).append(percent)
    found = {}
    for rule, percent in _percents(creators, true, positive).items():
        error = 1.96 * float(np.std(again[rule]))
        found[f"{rule}/{name}"] = (percent, max(0.0, percent - error), min(100.0, percent + error))
    return found


def _percents(creators: Nats, true: Nats, positive: Nats) -> dict[str, float]:
    """Return rule -> misallocated percent; `positive` [Q] divides an output of the scores."""
    own = np.maximum(true, 0).sum(axis=1)
    helped = np.maximum(creators, 0)
    return {
        "linear": misallocated_percent(shares(creators), shares(true)),
        "normalised": misallocated_percent(shares(creators, positive), shares(true, own)),
        "positive": misallocated_percent(shares(helped, helped.sum(axis=1)), shares(true, own)),
    }
