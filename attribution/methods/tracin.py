"""TracIn over checkpoints, and the gradient cosine.

    tracin        sum_k lr_k  g_k[q] · g_k[n]            lr_k: the rate at the checkpoint
    grad_cosine   sum_k w_k   g_k[q] · g_k[n] / (|g_k[q]| |g_k[n]|)

`tracin` takes the learning rate of the step that leaves the checkpoint (of the last
step at the end), as published; `grad_dot` instead lets a checkpoint stand for all
steps near it. TracIn: Pruthi et al. 2020, arXiv 2002.08484.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from attribution.methods.gradient_rows import OnLayers, all_rows, path_of, rows_of
from attribution.methods.protocol import Declaration, MatrixTask
from attribution.path import recipe_rates, recipe_steps
from attribution.streaming import StreamConfig, checkpoint_scores


@dataclass(frozen=True)
class TracIn(OnLayers):
    """Gradient dot products at the checkpoints, by their learning rates."""

    name = "tracin"
    declared = Declaration(
        ("gradients", "checkpoints"),
        "one pass of forward and backward a checkpoint for every batch of queries",
        "takes every run for plain gradient descent; large gradients win whatever they say; "
        "without a recipe all checkpoints count the same",
        along_path=True,
        on_card=True,
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], nats of plain gradient descent, not calibrated."""
        config = StreamConfig(curvature=False, layers=tuple(self.layers.split(",")), head=self.head)
        rates = recipe_rates(task.model_dir)
        folders = [point.folder for point in path_of(task)]
        steps = recipe_steps(folders, rates) if rates is not None else None
        out = torch.zeros(len(task.queries), len(task.corpus), dtype=torch.float64)
        for k, (_, model, _) in enumerate(self.along(task)):
            rate = 1.0
            if rates is not None and steps is not None:
                rate = rates[min(steps[k], len(rates) - 1)]
            part, losses = checkpoint_scores(model, task, config)
            part[~losses.isfinite()] = 0.0
            out += rate * part
        return out


@dataclass(frozen=True)
class GradientCosine(OnLayers):
    """Cosine of the gradients, along the path where there is one."""

    name = "grad_cosine"
    declared = Declaration(
        ("gradients",),
        "one pass of forward and backward a checkpoint for every batch of queries",
        "length one makes a short document count like a long one; cosines do not add up",
        along_path=True,
        on_card=True,
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], mean cosines in [-1, 1]."""
        out = torch.zeros(len(task.queries), len(task.corpus), dtype=torch.float64)
        for point, model, layers in self.along(task):
            queries = normalize(all_rows(model, layers, task.queries_encoded, task), dim=1)
            for members, rows in rows_of(model, layers, task.documents_encoded, task):
                cosines = queries.to(rows.device) @ normalize(rows, dim=1).T
                out[:, members] += point.weight * cosines.double().cpu()
        return out
