"""SOURCE: influence through the segments of a training run, each with its own curvature.

A checkpoint stands for its share of the path, a segment of total rate t. Within a segment
curvature H and gradients g stand still, and gradient descent can be followed exactly:

    score[q, n] = 1/(N T) * sum_l  q_l · F_l g_l[n]
    F_l = (1 - exp(-t_l H_l)) H_l^-1            what the segment learned of n
    q_{l-1} = exp(-t_l H_l) q_l                 what later segments left of it

with q_L the output's gradient at the end, T the mean tokens of a document, H the
Fisher of the mean token loss in the EK-FAC eigenbasis, undamped: where H is small F is
t. A late gradient step along a steep direction undoes what an early one did there;
`grad_dot` does not see that, and EK-FAC at the end sees nothing else.

Adam divides its steps by the root of the second moment. With `adam` a layer's rate is
divided by the root mean square that a batch gradient has in it, from the same Fisher.

After Bae et al. 2024, arXiv 2405.12186. Axes: Q queries, N documents, D numbers of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.gradients import LossModel
from attribution.layers import TrackedLayer
from attribution.methods.gradient_rows import OnLayers, all_rows, rows_of
from attribution.methods.protocol import Declaration, MatrixTask
from attribution.path import recipe_rates
from attribution.preconditioner import FitConfig, fit
from attribution.projection import LayerBasis


@dataclass(frozen=True)
class Source(OnLayers):
    """Segments of the training run.

    Attributes:
        layers, head: see `OnLayers`.
        adam: take the run's steps for Adam's instead of plain gradient descent's.
        batch: documents of a training batch, for the size of Adam's steps.
    """

    adam: bool = True
    batch: int = 16

    name = "source"
    declared = Declaration(
        ("gradients", "checkpoints", "recipe"),
        "three passes of forward and backward a checkpoint for every batch of queries, and all "
        "checkpoints' eigenbases one after the other",
        "takes curvature and gradients to stand still within a segment, and Adam for gradient "
        "descent with one rate a layer; "
        "first order in the documents",
        along_path=True,
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], nats of the followed run, not calibrated."""
        rates = recipe_rates(task.model_dir)
        assert rates is not None, "check_needs asks for a recipe"
        out = torch.zeros(len(task.queries), len(task.corpus), dtype=torch.float64)
        queries: Tensor | None = None
        for point, model, layers in self.along(task, backwards=True):
            if queries is None:
                queries = all_rows(model, layers, task.queries_encoded, task).double()
            rate = point.weight * sum(rates)
            queries = self._segment(model, layers, task, rate, queries, out)
        return out

    def _segment(
        self,
        model: LossModel,
        layers: Sequence[TrackedLayer],
        task: MatrixTask,
        rate: float,
        queries: Tensor,
        out: Tensor,
    ) -> Tensor:
        """Add one segment's part of the scores to `out`; return the queries before it."""
        encoded = task.documents_encoded
        bases, curvature = fit(
            model, layers, encoded, FitConfig(share=1.0, seed=task.seed),
            context=task.model.context, token_budget=task.token_budget,
        )  # fmt: skip
        able = [row.scored for row in encoded if row.scored]
        tokens = sum(able) / len(able)
        eigenvalues = curvature.eigenvalues.double()
        times = self._rates(eigenvalues, layers, rate, tokens)
        steep = times * eigenvalues / tokens  # [D]: t H
        turned = turn(queries, layers, bases)
        learned = times * torch.where(steep > 1e-8, -torch.expm1(-steep) / steep, 1.0)
        sides = turn(turned * learned, layers, bases, back=True).float()
        for members, rows in rows_of(model, layers, encoded, task):
            part = (sides.to(rows.device) @ rows.T).double().cpu()
            out[:, members] += part / (len(able) * tokens)
        return turn(turned * torch.exp(-steep), layers, bases, back=True)

    def _rates(
        self, eigenvalues: Tensor, layers: Sequence[TrackedLayer], rate: float, tokens: float
    ) -> Tensor:
        """Return [D]: the segment's total rate for every number of a row."""
        sizes = [layer.rows * layer.outputs for layer in layers]
        if not self.adam:
            return torch.full_like(eigenvalues, rate)
        parts = []
        for part in torch.split(eigenvalues, sizes):
            size = float((part.mean() / (tokens**2 * self.batch)).sqrt())
            parts.append(torch.full_like(part, rate / max(size, 1e-30)))
        return torch.cat(parts)


def turn(
    rows: Tensor,
    layers: Sequence[TrackedLayer],
    bases: Sequence[LayerBasis],
    *,
    back: bool = False,
) -> Tensor:
    """Turn whole rows [n, D], float64, into the layers' full eigenbases, or back."""
    sizes = [layer.rows * layer.outputs for layer in layers]
    turned = []
    for part, layer, basis in zip(torch.split(rows, sizes, dim=1), layers, bases, strict=True):
        assert basis.width == layer.rows * layer.outputs, "the basis must be of full rank"
        into = basis.p_in.double() if not back else basis.p_in.double().T
        matrix = into.T @ part.view(-1, layer.rows, layer.outputs)
        if layer.head:
            order = basis.p_out if not back else torch.argsort(basis.p_out)
            matrix = matrix[:, :, order]
        else:
            matrix = matrix @ (basis.p_out.double() if not back else basis.p_out.double().T)
        turned.append(matrix.flatten(1))
    return torch.cat(turned, dim=1)
