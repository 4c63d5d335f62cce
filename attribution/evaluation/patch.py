"""Tail-patch: does one training step on a method's best documents help the output?

For each query, the model takes one plain gradient step on the mean loss of the k
documents that the method ranks first, and the query's log-likelihood is measured
before and after, in nats over its scored tokens. Signed: a step that harms counts
against the method. Every step has the same length, so that a method gains nothing
by choosing long or surprising documents.

A control of k random documents is measured in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.evaluation.lds import Interval, bootstrap
from attribution.replay import summed_loss
from attribution.tokens import Encoded, windows


@dataclass(frozen=True)
class PatchConfig:
    """How a patch is made.

    Attributes:
        documents: k, documents of one step.
        length: Euclidean length of the step, relative to that of all weights.
        seed: draws the control.
    """

    documents: int = 4
    length: float = 1e-3
    seed: int = 0


def tail_patch(
    model: torch.nn.Module,
    scores: NDArray[np.float64] | None,
    documents: Sequence[Encoded],
    queries: Sequence[Encoded],
    context: int,
    config: PatchConfig,
) -> Interval:
    """Measure what a step on the best documents does for each query.

    Args:
        model: a causal LM; its weights are as before afterwards.
        scores: [Q, N], positive = helped; None for the random control.
        documents: token ids of the corpus.
        queries: token ids of the outputs.
        context: the most tokens the model reads at once.
        config: how a patch is made.

    Returns:
        Mean gain in nats a query, with its interval over queries.
    """
    draw = np.random.default_rng(config.seed)
    gained = []
    parameters = [p for p in model.parameters() if p.requires_grad]
    before = [parameter.detach().clone() for parameter in parameters]
    size = float(torch.sqrt(sum((p.detach() ** 2).sum() for p in parameters)))  # type: ignore[arg-type]
    known = [place for place, row in enumerate(documents) if row.scored]
    for number, query in enumerate(queries):
        if not query.scored:
            continue
        if scores is None:
            best = draw.permutation(known)[: config.documents]
        else:
            best = np.asarray(known)[np.argsort(-scores[number, known], kind="stable")]
        rows = [
            piece
            for place in best[: config.documents]
            for piece in windows(documents[place], context)
        ]
        loss = summed_loss(model, rows).sum() / sum(row.scored for row in rows)
        gradients = torch.autograd.grad(loss, parameters)
        first = _log_likelihood(model, query, context)
        norm = float(torch.sqrt(sum((g**2).sum() for g in gradients)))  # type: ignore[arg-type]
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(config.length * size / max(norm, 1e-30) * gradient)
        gained.append(_log_likelihood(model, query, context) - first)
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
    return bootstrap(gained)


@torch.no_grad()
def _log_likelihood(model: torch.nn.Module, query: Encoded, context: int) -> float:
    losses: list[Tensor] = [summed_loss(model, [piece]) for piece in windows(query, context)]
    return -float(torch.cat(losses).sum())
