"""Values from retrains on random subsets: datamodels for documents, Shapley values for creators.

    datamodel   losses as a sparse linear function of which documents were kept (lasso)
    shapley     the mean change over orders in which creators join, by kernel regression

The Banzhaf value, the mean change over random coalitions, is `Truth.coalition`.

Axes: R retrains, N documents, C creators, Q queries.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Nats = NDArray[np.float64]
PENALTIES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02)


def datamodel(kept: NDArray[np.bool_], helped: Nats, *, folds: int = 5) -> tuple[Nats, Nats]:
    """Fit one lasso a query on which documents were kept.

    Every query has the penalty, among PENALTIES times the least one that gives zero,
    that foretells left-out retrains best.

    Args:
        kept: [R, N].
        helped: [R, Q], nats, larger = the output is likelier.
        folds: parts of the cross-validation.

    Returns:
        [Q, N] nats a document, and [Q] the share of variance that left-out retrains
        explain with them; below zero the values say nothing.
    """
    rows = kept.astype(np.float64)
    part = np.random.default_rng(0).permutation(len(rows)) % min(folds, len(rows))
    missed = np.zeros((len(PENALTIES), helped.shape[1]))
    spread = np.zeros(helped.shape[1])
    for fold in range(int(part.max()) + 1):
        inside = part != fold
        height = helped[inside].mean(axis=0)
        spread += ((helped[~inside] - height) ** 2).sum(axis=0)
        for place, penalty in enumerate(PENALTIES):
            beta = _lasso(rows[inside], helped[inside], np.full(helped.shape[1], penalty))
            told = height + (rows[~inside] - rows[inside].mean(axis=0)) @ beta
            missed[place] += ((helped[~inside] - told) ** 2).sum(axis=0)
    best = missed.argmin(axis=0)
    beta = _lasso(rows, helped, np.asarray(PENALTIES)[best])
    return beta.T, 1 - missed.min(axis=0) / np.maximum(spread, 1e-30)


def shapley(kept: NDArray[np.bool_], helped: Nats, nobody: Nats, everybody: Nats) -> Nats:
    """Estimate Shapley values from coalitions whose sizes follow the Shapley kernel.

    Least squares on the membership under the condition that all values add up to
    what everybody together brings (kernel regression, exact with every coalition).

    Args:
        kept: [R, C], creators of each coalition, drawn as `masks(kind="kernel")` draws.
        helped: [R, Q], nats, larger = the output is likelier.
        nobody: [Q], the same before training.
        everybody: [Q], the same with all creators.

    Returns:
        [Q, C], nats.
    """
    rows = kept.astype(np.float64)
    total = everybody - nobody  # [Q]
    # The last creator's value is what the others leave, so that the sum is right.
    design = rows[:, :-1] - rows[:, -1:]
    target = helped - nobody - np.outer(rows[:, -1], total)
    size = design.shape[1]
    gram = design.T @ design + 1e-9 * max(1, len(rows)) * np.eye(size)
    even = np.tile(total / len(rows[0]), (size, 1))  # [C - 1, Q], where retrains say nothing
    found = even + np.linalg.solve(gram, design.T @ (target - design @ even))
    return np.concatenate([found, (total - found.sum(axis=0))[None]]).T


def kernel_sizes(creators: int) -> Nats:
    """Return [C - 1], the chance of each coalition size 1..C-1 under the Shapley kernel."""
    sizes = np.arange(1, creators)
    weight = 1 / (sizes * (creators - sizes))
    return np.asarray(weight / weight.sum(), dtype=np.float64)


def _lasso(rows: Nats, helped: Nats, penalty: Nats, *, turns: int = 300) -> Nats:
    """Return [N, Q]: lasso coefficients by accelerated proximal gradient, all queries at once."""
    centred, raised = rows - rows.mean(axis=0), helped - helped.mean(axis=0)
    gram, moment = centred.T @ centred, centred.T @ raised
    bound = penalty * np.abs(moment).max(axis=0)  # [Q]
    step = 1 / max(float(np.linalg.eigvalsh(centred @ centred.T)[-1]), 1e-30)
    beta = ahead = np.zeros_like(moment)
    pace = 1.0
    for _ in range(turns):
        moved = ahead - step * (gram @ ahead - moment)
        after = np.sign(moved) * np.maximum(np.abs(moved) - step * bound, 0)
        faster = (1 + np.sqrt(1 + 4 * pace * pace)) / 2
        ahead = after + (pace - 1) / faster * (after - beta)
        beta, pace = after, faster
    return np.asarray(beta, dtype=np.float64)
