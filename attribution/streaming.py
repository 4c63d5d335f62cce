"""Score documents while their gradients exist, and store nothing.

The same fit, the same preconditioner and the same sum along the path as an index
at full rank has; only the rows are multiplied with the queries at once instead of
being written. For corpora small enough to read again for every batch of queries,
and as the full-rank yardstick that a smaller index is measured against.

Axes: Q queries, N documents, D numbers of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attribution.batches import Batch, collate, plan
from attribution.gradients import LossModel, backward, recording
from attribution.index_config import PathPoint
from attribution.layers import DEFAULT_LAYERS, TrackedLayer, find_layers
from attribution.matrix_task import MatrixTask
from attribution.preconditioner import FitConfig, fit
from attribution.projection import LayerBasis
from attribution.recorders import RowRecorder, with_constant
from attribution.tokens import Encoded


@dataclass(frozen=True)
class StreamConfig:
    """What is multiplied with what.

    Attributes:
        curvature: precondition the queries; False is the plain dot product.
        damping: as the preconditioner's.
        seed: of sampled labels.
        fit_share: share of the corpus the curvature is fitted on.
        numbers: budget of numbers in a row; None for full rank.
        layers: as in `IndexConfig`.
        head: as in `IndexConfig`.
    """

    curvature: bool = True
    damping: float = 0.01
    seed: int = 0
    fit_share: float = 1.0
    numbers: int | None = None
    layers: tuple[str, ...] = DEFAULT_LAYERS
    head: bool = True


class ScoreRecorder(RowRecorder):
    """Multiplies each layer's rows with the queries as soon as they exist."""

    def __init__(
        self,
        layers: Sequence[TrackedLayer],
        bases: Sequence[LayerBasis] | None,
        queries: Tensor,
        device: torch.device,
    ) -> None:
        self.whole = bases is None
        sides = bases if bases is not None else _whole_sides(layers)
        super().__init__(layers, sides, device)
        assert queries.shape[1] == self.width, (queries.shape, self.width)
        self.queries = queries.to(device)
        self.scores = torch.empty(0, device=device)

    def start(self, batch: Batch) -> None:
        """Name the batch that is about to run."""
        self._batch = batch
        self.scores = torch.zeros(
            len(batch.documents), len(self.queries), dtype=torch.float64, device=self._device
        )

    def keep(self, layer: int, activations: Tensor) -> Tensor:
        """Keep the activations, projected where there is a basis."""
        return activations if self.whole else super().keep(layer, activations)

    def take(self, layer: int, kept: Tensor, output_gradients: Tensor) -> None:
        """Add the layer's part of every score."""
        if self.whole:
            product = torch.bmm(with_constant(self.layers[layer], kept).mT, output_gradients)
        else:
            product = self.product(layer, kept, output_gradients)
        self.add(layer, product)

    def add(self, layer: int, product: Tensor) -> None:
        """Multiply the windows' gradients of one layer with the queries."""
        assert self._batch is not None, "a batch must be started first"
        part = product.flatten(1) @ self.queries[:, self.spans[layer]].T  # [W, Q]
        self.scores.index_add_(0, self._batch.rows.to(part.device), part.double())


def path_scores(points: Sequence[PathPoint], task: MatrixTask, config: StreamConfig) -> Tensor:
    """Return influence of every document on every query along a path.

    Args:
        points: checkpoints, oldest first, with their weights.
        task: documents and queries.
        config: see `StreamConfig`.

    Returns:
        [Q, N], float64, in file order; scaled so that the total over the documents
        is the measured gain over all queries, where the path has two points or
        more and both are positive.
    """
    scores = torch.zeros(len(task.queries), len(task.corpus), dtype=torch.float64)
    losses = []
    for k, point in enumerate(points):
        loaded = task.model if k == len(points) - 1 else task.loaded(point.folder)
        model = LossModel(loaded.model)
        part, loss = checkpoint_scores(model, task, config)
        scores += point.weight * part
        losses.append(loss)
        task.progress("checkpoint", k + 1, len(points))
    scores[~torch.stack(losses).isfinite().all(0)] = 0.0
    gain, total = float((losses[0] - losses[-1]).nansum()), float(scores.sum())
    if len(points) > 1 and gain > 0 and total > 0:
        scores *= gain / total
    return scores


def checkpoint_scores(
    model: LossModel, task: MatrixTask, config: StreamConfig
) -> tuple[Tensor, Tensor]:
    """Return unweighted influence [Q, N], float64, at one checkpoint, and query losses [Q]."""
    layers = find_layers(model.model, config.layers, head=config.head and model.split).layers
    context = task.model.context
    bases: list[LayerBasis] | None = None
    inverse: Tensor | None = None
    if config.curvature:
        bases, curvature = fit(
            model,
            layers,
            task.documents_encoded,
            replace(
                FitConfig(),
                numbers=config.numbers,
                share=config.fit_share,
                seed=config.seed,
                damping=config.damping,
            ),
            context=context,
            token_budget=task.token_budget,
        )
        inverse = curvature.inverse(config.damping)
    sides = bases if bases is not None else _whole_sides(layers)
    queries, losses = _query_rows(model, layers, sides, task)
    if inverse is not None:
        queries = (queries.double() * inverse).float()
    recorder = ScoreRecorder(layers, bases, queries, model.device)
    out = torch.zeros(len(task.corpus), len(task.queries), dtype=torch.float64)
    encoded = task.documents_encoded
    with recording(model.model, layers, recorder):
        for members in plan(encoded, context, task.token_budget):
            batch = collate(encoded, members, context)
            recorder.start(batch)
            loss = backward(model, batch, recorder=recorder)
            part = recorder.scores.cpu()
            part[~(part.isfinite().all(1) & loss.isfinite())] = 0.0
            out[members] = part
    return out.T, losses


def _query_rows(
    model: LossModel,
    layers: Sequence[TrackedLayer],
    bases: Sequence[LayerBasis],
    task: MatrixTask,
) -> tuple[Tensor, Tensor]:
    recorder = RowRecorder(layers, bases, model.device)
    encoded: list[Encoded] = task.queries_encoded
    rows = torch.zeros(len(encoded), recorder.width)
    losses = torch.zeros(len(encoded), dtype=torch.float64)
    with recording(model.model, layers, recorder):
        for members in plan(encoded, task.model.context, task.token_budget):
            batch = collate(encoded, members, task.model.context)
            recorder.start(batch)
            losses[members] = backward(model, batch, recorder=recorder)
            rows[members] = recorder.rows.cpu()
    rows[~(rows.isfinite().all(1) & losses.isfinite())] = 0.0
    return rows, losses


def _whole_sides(layers: Sequence[TrackedLayer]) -> list[LayerBasis]:
    return [
        LayerBasis(
            torch.eye(layer.rows),
            torch.arange(layer.outputs) if layer.head else torch.eye(layer.outputs),
        )
        for layer in layers
    ]
