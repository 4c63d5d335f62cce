"""The null test: what documents earn that were never trained on.

At the start of training almost any text helps almost any output, so decoys do
not score zero. Their level per scored token is the *generic* part of influence:
what any text of that kind and size would have earned. What a document has above
it is its *specific* part. A method whose decoys earn as much as the trained
documents has measured text, not training.

Axes: Q queries, N trained documents, D decoys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attribution.evaluation.lds import Interval, bootstrap

Nats = NDArray[np.float64]


@dataclass(frozen=True)
class DecoyLevel:
    """How trained documents and decoys compare.

    Attributes:
        trained_per_token, decoy_per_token: mean score of a document's token,
            in the unit of the scores.
        generic_share: part of the trained documents' summed influence that
            decoys of the same size would have had; 0 where decoys earn nothing.
            None where the trained documents' sum is not above zero.
        separation: per query, the chance that a random trained document scores
            above a random decoy per token; 0.5 says the method cannot tell.
    """

    trained_per_token: float
    decoy_per_token: float
    generic_share: float | None
    separation: Interval


def decoy_level(
    trained: Nats, trained_tokens: Nats, decoys: Nats, decoy_tokens: Nats
) -> DecoyLevel:
    """Compare scores of trained documents with scores of decoys.

    Args:
        trained: [Q, N], positive = helped.
        trained_tokens: [N], scored tokens of each document, at least 1.
        decoys: [Q, D].
        decoy_tokens: [D].
    """
    assert trained.shape[1] == len(trained_tokens), (trained.shape, len(trained_tokens))
    assert decoys.shape[1] == len(decoy_tokens), (decoys.shape, len(decoy_tokens))
    total = float(trained.sum())
    level = float(decoys.sum()) / float(decoy_tokens.sum()) / len(decoys)
    expected = level * float(trained_tokens.sum()) * len(trained)
    above = [
        _chance_above(row / trained_tokens, other / decoy_tokens)
        for row, other in zip(trained, decoys, strict=True)
    ]
    return DecoyLevel(
        trained_per_token=total / float(trained_tokens.sum()) / len(trained),
        decoy_per_token=level,
        generic_share=expected / total if total > 0 else None,
        separation=bootstrap(above),
    )


def _chance_above(left: Nats, right: Nats) -> float:
    """Return the chance that a value of `left` is above one of `right`, ties half."""
    ordered = np.sort(right)
    below = np.searchsorted(ordered, left, side="left")
    not_above = np.searchsorted(ordered, left, side="right")
    return float((below + not_above).mean() / 2 / len(right))
