"""Rows computed in bfloat16: allowed where they agree with float32, loudly refused where not.

1. Bases and curvature are always fitted in float32: their eigenvectors would not survive.
2. Before a checkpoint's rows are made, some documents are read in both, and the distance of
   their rows is taken in units of each coordinate's expected size, as a share of the row.
3. Above `BOUND` for any of them the build ends: such rows are noise, and money would be
   divided by it. The worst distance stands in the manifest.
4. Outputs are always read in float32.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import torch
from torch import Tensor

from attribution.batches import collate, plan
from attribution.errors import GradientIndexError
from attribution.gradients import LossModel, backward, recording
from attribution.layers import TrackedLayer
from attribution.projection import LayerBasis
from attribution.recorders import RowRecorder
from attribution.tokens import Encoded

COMPUTE = ("float32", "bfloat16")
# A row's direction then agrees to cosine 0.995 or better.
BOUND = 0.1
DOCUMENTS = 16


def halved(
    model: LossModel,
    layers: Sequence[TrackedLayer],
    bases: Sequence[LayerBasis],
    steps: Tensor,
    encoded: Sequence[Encoded],
    context: int,
) -> tuple[LossModel, float]:
    """Turn a model to bfloat16, in place, after comparing what it makes with float32.

    Args:
        model: the checkpoint, float32.
        layers: what is tracked.
        bases: of the checkpoint.
        steps: [D], the expected size of each coordinate.
        encoded: the documents; some are read.
        context: the most tokens the model reads at once.

    Returns:
        The model in bfloat16, and the worst relative distance of a row.

    Raises:
        GradientIndexError: rows in bfloat16 are noise.
    """
    able = (row for row in encoded if row.scored)
    some = heapq.nsmallest(DOCUMENTS, able, key=lambda row: row.key)
    exact = _rows(model, layers, bases, some, context)
    half = LossModel(model.model.to(torch.bfloat16))
    rough = _rows(half, layers, bases, some, context)
    fine = exact.isfinite().all(1)
    scale = (exact[fine] / steps).norm(dim=1).clamp(min=1e-30)
    distance = ((rough[fine] - exact[fine]) / steps).norm(dim=1) / scale
    worst = float(distance.nan_to_num(nan=torch.inf).max()) if len(distance) else 0.0
    if worst > BOUND:
        raise GradientIndexError(
            f"in bfloat16 a row differs from float32 by {worst:.2g} of its length, {BOUND:g} is "
            f"allowed; such rows are noise and money would be divided by it. Nothing was "
            f"indexed with them: build with compute float32"
        )
    return half, worst


def _rows(
    model: LossModel,
    layers: Sequence[TrackedLayer],
    bases: Sequence[LayerBasis],
    encoded: Sequence[Encoded],
    context: int,
) -> Tensor:
    """Return rows [n, D], float32, each document read alone, so that padding plays no part."""
    recorder = RowRecorder(layers, bases, model.device)
    out = torch.zeros(len(encoded), recorder.width)
    with recording(model.model, layers, recorder):
        for members in plan(encoded, context, 1):
            batch = collate(encoded, members, context)
            recorder.start(batch)
            backward(model, batch, recorder=recorder)
            out[members] = recorder.rows.float().cpu()
    return out
