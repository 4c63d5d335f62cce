"""Whole gradients of single documents, for methods that need more than dot products.

Rows exist for one batch at a time. The layers are the index's own unless others
are asked for, so that methods differ in what they do and not in what they see.

Axes: D numbers of a row, in the order of `Layout.spans`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from attribution.batches import collate, plan
from attribution.errors import ScoringError
from attribution.gradients import LossModel, backward, recording
from attribution.index import IndexConfig, PathPoint, training_path
from attribution.layers import DEFAULT_LAYERS, TrackedLayer, find_layers
from attribution.matrix_task import MatrixTask
from attribution.projection import LayerBasis
from attribution.recorders import RowRecorder, with_constant
from attribution.tokens import Encoded


class WholeRows(RowRecorder):
    """Fills one row per document of a batch with its whole gradient."""

    def __init__(self, layers: Sequence[TrackedLayer], device: torch.device) -> None:
        whole = [
            LayerBasis(
                torch.eye(layer.rows),
                torch.arange(layer.outputs) if layer.head else torch.eye(layer.outputs),
            )
            for layer in layers
        ]
        super().__init__(layers, whole, device)

    def keep(self, layer: int, activations: Tensor) -> Tensor:
        """Keep the activations as they are."""
        return activations

    def product(self, layer: int, kept: Tensor, output_gradients: Tensor) -> Tensor:
        """Return the gradients of the windows, [W, I, O], float32."""
        return torch.bmm(with_constant(self.layers[layer], kept).mT, output_gradients).float()


def path_of(task: MatrixTask) -> list[PathPoint]:
    """Return the points of the task's path, the final model last.

    Raises:
        ScoringError: the corpus is in no file.
    """
    if task.corpus.path is None:
        raise ScoringError("the corpus was never written to a file; write it and read it again")
    config = IndexConfig(task.model_dir, task.corpus.path, Path(), task.checkpoints)
    return training_path(config)[0]


def models_along(
    task: MatrixTask, *, backwards: bool = False
) -> Iterator[tuple[PathPoint, LossModel]]:
    """Yield each point of the path with its model, and tell the task's progress."""
    points = path_of(task)
    order = range(len(points))
    for done, k in enumerate(reversed(order) if backwards else order):
        last = k == len(points) - 1
        yield points[k], LossModel((task.model if last else task.loaded(points[k].folder)).model)
        task.progress("checkpoint", done + 1, len(points))


class Station(NamedTuple):
    """One checkpoint: where it is and what it weighs, its model, and the tracked layers."""

    point: PathPoint
    model: LossModel
    layers: tuple[TrackedLayer, ...]


@dataclass(frozen=True)
class OnLayers:
    """Options of a method that reads the gradients of some layers at every checkpoint.

    Attributes:
        layers: shell patterns of tracked layers, with commas; "last:N" for the last N,
            "*" for every one.
        head: track the output head too.
    """

    layers: str = ",".join(DEFAULT_LAYERS)
    head: bool = True

    def along(self, task: MatrixTask, *, backwards: bool = False) -> Iterator[Station]:
        """Yield each checkpoint of the path with its model and layers, one model at a time."""
        for point, model in models_along(task, backwards=backwards):
            yield Station(point, model, tracked(model, self.layers, head=self.head))


def tracked(model: LossModel, patterns: str, *, head: bool) -> tuple[TrackedLayer, ...]:
    """Return the layers that match a list of patterns with commas between them."""
    return find_layers(model.model, patterns.split(","), head=head and model.split).layers


def rows_of(
    model: LossModel, layers: Sequence[TrackedLayer], encoded: Sequence[Encoded], task: MatrixTask
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (positions, gradients [len, D] float32 of the summed loss) batch by batch.

    Rows with nothing to score never come; a row that is not finite comes as zeros.
    The tensor is the caller's until the next step.
    """
    recorder = WholeRows(layers, model.device)
    with recording(model.model, layers, recorder):
        for members in plan(encoded, task.model.context, task.token_budget):
            batch = collate(encoded, members, task.model.context)
            recorder.start(batch)
            losses = backward(model, batch, recorder=recorder)
            rows = recorder.rows
            rows[~(rows.isfinite().all(1) & losses.isfinite().to(rows.device))] = 0.0
            yield members, rows


def all_rows(
    model: LossModel, layers: Sequence[TrackedLayer], encoded: Sequence[Encoded], task: MatrixTask
) -> Tensor:
    """Return the gradients [len(encoded), D], float32, of a few rows at once."""
    width = sum(layer.rows * layer.outputs for layer in layers)
    out = torch.zeros(len(encoded), width)
    for members, rows in rows_of(model, layers, encoded, task):
        out[members] = rows.cpu()
    return out
