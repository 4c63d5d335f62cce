"""Which columns explain what subsets do: a random design, and sparse weights read back.

    responses[q, k]  ~  level[q] + sum_n membership[k, n] * weights[q, n]

1. Every column is in exactly `degree` of the subsets, drawn at random: the adjacency
   of a left-regular bipartite graph. Such a design is an expander with high
   probability, and s-sparse weights over n columns are then recovered by l1 from
   about s log(n / s) subsets.
2. Weights solve  min 1/(2K) |y - level - M w|^2 + penalty |w|_1  by coordinate
   descent (scikit-learn), the penalty a share of the smallest one that leaves
   nothing: the answer does not change with the unit of the responses.
3. Where there are more columns than subsets can tell apart, only the columns with the
   largest back-projection are solved for; the rest get zero.
4. With fewer columns than subsets no sparsity is needed: least squares.

Axes: Q responses, K subsets, N columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Lasso

Floats = NDArray[np.float64]
_SCREEN = 8
_ROUNDS = 20_000


def left_regular(columns: int, subsets: int, degree: int, seed: int) -> NDArray[np.bool_]:
    """Return a membership matrix [K, N]: every column in exactly `degree` subsets."""
    assert 1 <= degree <= subsets, (degree, subsets)
    draw = np.random.Generator(np.random.Philox(seed))
    members = np.zeros((subsets, columns), dtype=bool)
    for column in range(columns):
        members[draw.permutation(subsets)[:degree], column] = True
    return members


def recover(membership: NDArray[np.bool_], responses: Floats, sparsity: float) -> Floats:
    """Return sparse weights [Q, N] (rules 2 and 3).

    Args:
        membership: [K, N].
        responses: [Q, K].
        sparsity: the penalty, as a share of the smallest that leaves no weight.
    """
    subsets, columns = membership.shape
    design = np.asfortranarray(membership, dtype=np.float64)
    centred = responses - responses.mean(axis=1, keepdims=True)
    back = centred @ (design - design.mean(axis=0))  # [Q, N]
    weights = np.zeros((len(responses), columns))
    for query, y in enumerate(responses):
        strength = np.abs(back[query])
        if not strength.max() > 0:
            continue
        kept = np.sort(np.argsort(-strength, kind="stable")[: _SCREEN * subsets])
        solver = Lasso(alpha=sparsity * float(strength.max()) / subsets, max_iter=_ROUNDS, tol=1e-6)
        weights[query, kept] = solver.fit(design[:, kept], y).coef_
    return weights


def least_squares(membership: NDArray[np.bool_], responses: Floats) -> Floats:
    """Return weights [Q, N] by least squares with a level, the shortest where several fit."""
    design = membership.astype(np.float64)
    centred = design - design.mean(axis=0)
    solved = np.linalg.lstsq(centred, (responses - responses.mean(axis=1, keepdims=True)).T)[0]
    return np.asarray(solved.T, dtype=np.float64)


def hat_of_sketch(membership: NDArray[np.bool_], width: int, ridge: float, seed: int) -> Floats:
    """Return the smoother [K, K] of responses that are linear in a sketch of the design.

    With S = M R, R a Johnson-Lindenstrauss matrix [N, width] from the seed:
    `S (S^T S + ridge * mean diagonal * I)^-1 S^T`.
    """
    draw = np.random.Generator(np.random.Philox(seed))
    design = membership.astype(np.float64)
    sketch = design @ (draw.standard_normal((design.shape[1], width)) / np.sqrt(width))
    gram = sketch.T @ sketch
    gram += ridge * np.trace(gram) / width * np.eye(width)
    return np.asarray(sketch @ np.linalg.solve(gram, sketch.T), dtype=np.float64)
