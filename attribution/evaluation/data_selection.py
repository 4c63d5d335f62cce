"""Data selection: does training on a method's best documents beat training on random ones?

The documents are ranked by one half of the outputs (the even ones), and the loss of the
other half is measured after replaying the run on the chosen documents alone, with as
many documents as each of some random subsets. An output's scores are first divided by
their positive total, so that no single output chooses for all.

Documents that are not chosen leave their place in a batch empty, so that selected and
random runs take equally many steps on equally many documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attribution.errors import RecipeError
from attribution.evaluation.lds import Interval, bootstrap
from attribution.evaluation.removal import RetrainSetup, query_losses
from attribution.evaluation.top_removal import losses_without

Nats = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """What selection was worth.

    Attributes:
        chosen: corpus positions, best first.
        gain: random minus selected loss, nats an output; above zero = selection helps.
        selected: mean loss of the judged outputs after training on the chosen, nats.
        random: the same for each random subset.
    """

    chosen: tuple[int, ...]
    gain: Interval
    selected: float
    random: tuple[float, ...]


def choose(scores: Nats, count: int) -> NDArray[np.int64]:
    """Return the positions of the best documents over all outputs, best first.

    Args:
        scores: [Q, N], positive = helped.
        count: how many.
    """
    totals = np.maximum(scores, 0).sum(axis=1, keepdims=True)
    merit = (scores / np.maximum(totals, 1e-30)).sum(axis=0)
    return np.argsort(-merit, kind="stable")[:count]


def selection_effect(
    setup: RetrainSetup,
    scores: Nats,
    count: int,
    *,
    draws: int = 3,
    seed: int = 0,
    cache: Path | None = None,
) -> Selection:
    """Train on the chosen documents and on random ones, and compare.

    Args:
        setup: the run to replay, with all outputs.
        scores: [Q, N], of a model that was trained on everything.
        count: documents to choose.
        draws: random subsets.
        seed: draws them.
        cache: folder that keeps the outcomes; None keeps none.

    Raises:
        RecipeError: fewer than two outputs, or a count that chooses nothing.
    """
    if len(scores) < 2 or not 0 < count < len(setup.rows):
        raise RecipeError(
            f"cannot choose {count} of {len(setup.rows)} documents by {len(scores)} outputs; "
            f"give at least two outputs, and fewer documents than there are"
        )
    judged = np.arange(len(scores)) % 2 == 1
    best = choose(scores[~judged], count)
    draw = np.random.Generator(np.random.PCG64(seed))
    subsets = [best, *(draw.permutation(len(setup.rows))[:count] for _ in range(draws))]
    losses = []
    for places in subsets:
        mask = np.zeros(len(setup.rows), dtype=bool)
        mask[places] = True
        found = query_losses(setup, mask) if cache is None else losses_without(setup, mask, cache)
        losses.append(found[judged])
    others = np.stack(losses[1:])
    return Selection(
        chosen=tuple(best.tolist()),
        gain=bootstrap(list(others.mean(axis=0) - losses[0])),
        selected=float(losses[0].mean()),
        random=tuple(others.mean(axis=1).tolist()),
    )
