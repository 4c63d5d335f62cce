"""TrackStar: scaled, projected, preconditioned gradients of length one, and their cosine.

For one checkpoint, with g a document's gradient of its mean loss:

    u = g / sqrt(V)                 V: mean over the documents of g^2, elementwise
    z = P_in^T u P_out              a layer at a time, P Gaussian from the seed
    R = t R_query + (1 - t) R_train     second moments of z, a layer at a time
    score = cosine(R_q^-1/2 z_q, R^-1/2 z_n)     over all layers together

1. The divisor is the root of the second moment, not the second moment: u does not
   change when a weight is measured in another unit. A weight whose root is below
   a hundred-thousandth of its layer's largest holds rounding only, and is left out.
2. t is chosen so that the leading share `downweighted` of the directions is ruled by
   the queries: what all outputs have in common then counts little.
3. Along a path the cosines are averaged by the path's weights.

After Chang et al. 2024, arXiv 2410.17413; V is estimated from the corpus here, where
the paper takes the optimizer's.

Axes: Q queries, N documents, D numbers of a whole row, P of a projected one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from attribution.gradients import LossModel
from attribution.layers import TrackedLayer
from attribution.methods.gradient_rows import OnLayers, all_rows, rows_of
from attribution.methods.protocol import Declaration, MatrixTask
from attribution.tokens import Encoded

_DEAD = 1e-5


@dataclass(frozen=True)
class TrackStar(OnLayers):
    """TrackStar along the path.

    Attributes:
        layers, head: see `OnLayers`.
        side: numbers a side of a layer is projected to; a layer keeps side x side.
        downweighted: share of the directions that the queries' moments rule; the
            published 1000 of 65536.
        damping: added to R, as a share of its mean eigenvalue in the layer.
    """

    side: int = 32
    downweighted: float = 1000 / 65536
    damping: float = 0.1

    name = "trackstar"
    declared = Declaration(
        ("gradients",),
        "two passes of forward and backward a checkpoint; side^2 numbers a layer and document "
        "in memory, and an eigendecomposition of side^2 a layer",
        "length one makes a short document count like a long one; cosines do not add up; the "
        "mixed preconditioner depends on which outputs are scored together",
        along_path=True,
        on_card=True,
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], mean cosines in [-1, 1]."""
        out = torch.zeros(len(task.queries), len(task.corpus), dtype=torch.float64)
        for point, model, layers in self.along(task):
            queries, documents = self._projected(model, layers, task)
            self._precondition(queries, documents)
            left = normalize(torch.cat(queries, 1), dim=1)
            right = normalize(torch.cat(documents, 1), dim=1)
            out += point.weight * (left @ right.T)
        return out

    def _projected(
        self, model: LossModel, layers: Sequence[TrackedLayer], task: MatrixTask
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return per layer [Q, P_l] and [N, P_l], float64."""
        sides = [projections(layer, self.side, task.seed + k) for k, layer in enumerate(layers)]
        shapes = [(layer.rows, layer.outputs) for layer in layers]
        spans = [rows * outputs for rows, outputs in shapes]
        inverse = torch.cat(
            [_inverse(v.sqrt()) for v in torch.split(second_moment(model, layers, task), spans)]
        )
        documents = [
            torch.zeros(len(task.corpus), a.shape[1] * b.shape[1], dtype=torch.float64)
            for a, b in sides
        ]
        encoded = task.documents_encoded

        def project(rows: Tensor) -> list[Tensor]:
            parts = torch.split(rows * inverse.to(rows.device), spans, dim=1)
            return [
                (a.T @ part.cpu().view(-1, *shape) @ b).flatten(1).double()
                for part, shape, (a, b) in zip(parts, shapes, sides, strict=True)
            ]

        for members, rows in rows_of(model, layers, encoded, task):
            for kept, part in zip(
                documents, project(_mean_loss(rows, encoded, members)), strict=True
            ):
                kept[members] = part
        outputs = task.queries_encoded
        rows = all_rows(model, layers, outputs, task)
        return project(_mean_loss(rows, outputs, range(len(outputs)))), documents

    def _precondition(self, queries: list[Tensor], documents: list[Tensor]) -> None:
        """Multiply every layer with R^-1/2, in place."""
        of_queries = [part.T @ part / len(part) for part in queries]
        of_documents = [part.T @ part / len(part) for part in documents]
        share = mixing(of_queries, of_documents, self.downweighted)
        for k, (a, b) in enumerate(zip(of_queries, of_documents, strict=True)):
            root = inverse_root(share * a + (1 - share) * b, self.damping)
            queries[k], documents[k] = queries[k] @ root, documents[k] @ root


def second_moment(model: LossModel, layers: Sequence[TrackedLayer], task: MatrixTask) -> Tensor:
    """Return [D], float32: mean over the documents of the squared gradient of the mean loss."""
    total: Tensor | None = None
    count = 0
    for members, rows in rows_of(model, layers, task.documents_encoded, task):
        squares = _mean_loss(rows, task.documents_encoded, members).square().sum(0).double()
        total = squares if total is None else total + squares
        count += len(members)
    assert total is not None, "no document has a scored token"
    return (total / count).float().cpu()


def projections(layer: TrackedLayer, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return Gaussian projections [I, side], [O, side], float32; a narrow side is kept whole."""
    draw = torch.Generator().manual_seed(seed)
    both = []
    for size in (layer.rows, layer.outputs):
        wide = size > side
        both.append(
            torch.randn(size, side, generator=draw) / side**0.5 if wide else torch.eye(size)
        )
    return both[0], both[1]


def mixing(queries: Sequence[Tensor], documents: Sequence[Tensor], share: float) -> float:
    """Return the weight t at which the leading share of directions is ruled by the queries.

    Args:
        queries: per layer the outputs' second moment, [P, P], float64.
        documents: per layer the documents'.
        share: of all directions, at least one.

    Returns:
        t in [0, 1] with t * e_query = (1 - t) * e_train at that place of the spectra.
    """
    spectra = []
    for moments in (queries, documents):
        values = torch.cat([torch.linalg.eigvalsh(moment) for moment in moments])
        spectra.append(values.clamp(min=0).sort(descending=True).values)
    place = max(0, round(share * len(spectra[0])) - 1)
    query, train = float(spectra[0][place]), float(spectra[1][place])
    return train / (train + query) if train + query > 0 else 0.0


def inverse_root(moment: Tensor, damping: float) -> Tensor:
    """Return (moment + damping * mean eigenvalue)^(-1/2), [P, P], float64."""
    values, vectors = torch.linalg.eigh(moment)
    floor = damping * values.mean().clamp(min=1e-30)
    root: Tensor = (vectors / (values.clamp(min=0) + floor).sqrt()) @ vectors.T
    return root


def _inverse(root: Tensor) -> Tensor:
    """Return 1 / root, and 0 where there is nothing but rounding (rule 1)."""
    alive = root > _DEAD * root.max()
    return torch.where(alive, 1 / root, torch.zeros_like(root))


def _mean_loss(rows: Tensor, encoded: Sequence[Encoded], members: Sequence[int]) -> Tensor:
    """Turn gradients of summed losses into gradients of mean losses."""
    lengths = torch.tensor([float(max(1, encoded[i].scored)) for i in members])
    return rows / lengths[:, None].to(rows.device)
