"""STRIDE: steer a frozen model by subsets of its corpus, and read back who did it.

    1. draw K subsets, every column in `degree` of them            (recovery)
    2. train one low-rank operator a subset, all together          (steering)
    3. for an output: the K loss drops, in one batched pass        (steering.drops)
    4. sparse weights over the columns that explain the drops      (recovery)

Columns are documents, or whole works: then nothing about sparsity is assumed, a
subset moves the model further, and a work's weight is divided among its documents
by their tokens.

Scaled down from the published K = 1000, degree 10, rank 16, 60-67 % depth by these
rules: a subset of documents holds at least `subset_min` of them, so K is at most
N * degree / subset_min; of works K is four times their number; degree is at most
half of K.

After Dagli, Harrasse et al. 2026, arXiv 2606.05165. Sparsity penalty, loss weights,
optimizer and token weights are not published; the ones here are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.errors import ScoringError
from attribution.methods.gradient_rows import models_along
from attribution.methods.protocol import Declaration, MatrixTask, silence
from attribution.methods.recovery import hat_of_sketch, least_squares, left_regular, recover
from attribution.methods.steering import SteerConfig, drops, train_operators

COLUMNS = ("documents", "works")
_DEFAULT = SteerConfig()


@dataclass(frozen=True)
class Stride:
    """Steering operators and sparse recovery.

    Attributes:
        columns: "documents" or "works".
        subsets: K at most.
        degree: subsets that a column is in.
        subset_min: documents a subset holds at least.
        sparsity: the lasso's penalty, as a share of the smallest that leaves nothing.
        rank, depth, epochs, lr, stability, linearity: see `steering.SteerConfig`.
    """

    columns: str = "documents"
    subsets: int = 1000
    degree: int = 10
    subset_min: int = 16
    sparsity: float = 0.05
    rank: int = _DEFAULT.rank
    depth: float = _DEFAULT.depth
    epochs: int = _DEFAULT.epochs
    lr: float = _DEFAULT.lr
    stability: float = _DEFAULT.stability
    linearity: float = _DEFAULT.linearity

    name = "stride"
    declared = Declaration(
        ("gradients",),
        "a checkpoint: epochs * degree passes of forward and backward above the steered layer; K "
        "forward passes from there for every output, and a lasso; rank * hidden size * K numbers",
        "assumes that effects add up and that few documents matter to an output; weights that "
        "the penalty removes are exactly zero; a pruned corpus needs new operators",
        along_path=True,
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], nats of steering, positive = helped."""
        membership, owner = self.design(task)
        responses = self.responses(task, membership[:, owner])
        found = torch.from_numpy(self.weights(membership, responses))
        if self.columns == "documents":
            return silence(found, task)
        tokens = torch.tensor([float(row.scored) for row in task.documents_encoded]).double()
        sums = torch.zeros(found.shape[1], dtype=torch.float64)
        places = torch.from_numpy(owner)
        sums.index_add_(0, places, tokens)
        return silence(found[:, places] * (tokens / sums[places].clamp(min=1)), task)

    def design(self, task: MatrixTask) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return membership [K, columns], and the column of every document [N].

        Raises:
            ScoringError: unknown columns, or too few to draw subsets of.
        """
        if self.columns not in COLUMNS:
            raise ScoringError(f"columns is {self.columns!r}; choose one of {COLUMNS}")
        works = {work: place for place, work in enumerate(task.corpus.group_ids)}
        if self.columns == "works":
            owner = np.array([works[document.group_id] for document in task.corpus])
            most = 4 * len(works)
        else:
            owner = np.arange(len(task.corpus))
            most = len(task.corpus) * self.degree // self.subset_min
        count = int(owner.max()) + 1
        subsets = min(self.subsets, most)
        if count < 2 or subsets < 4:
            raise ScoringError(
                f"{count} {self.columns} make {subsets} subsets; stride needs at least 2 and 4. "
                f"Give a larger corpus, or a smaller subset_min"
            )
        degree = min(self.degree, subsets // 2)
        return left_regular(count, subsets, degree, task.seed), owner

    def responses(self, task: MatrixTask, members: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Train the operators and return the outputs' loss drops, [Q, K], nats.

        Along a path every checkpoint has operators of its own, and the drops are added by
        the path's weights.

        Args:
            task: documents and queries.
            members: [K, N], which documents are in which subset.
        """
        config = SteerConfig(
            rank=self.rank, depth=self.depth, epochs=self.epochs, lr=self.lr,
            stability=self.stability, linearity=self.linearity, seed=task.seed,
        )  # fmt: skip
        hat = hat_of_sketch(members, max(2, len(members) // 4), 1e-3, task.seed)
        found = np.zeros((len(task.queries), len(members)))
        for point, model in models_along(task):
            with torch.enable_grad():
                operators = train_operators(
                    model,
                    task.documents_encoded,
                    torch.from_numpy(members),
                    torch.from_numpy(hat).float(),
                    task.model.context,
                    config,
                )
            for q, output in enumerate(task.queries_encoded):
                found[q] += point.weight * drops(operators, output, task.model.context).numpy()
        return found

    def weights(
        self, membership: NDArray[np.bool_], responses: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the weight [Q, columns] of every column in the responses [Q, K]."""
        if self.columns == "works":
            return least_squares(membership, responses)
        return recover(membership, responses, self.sparsity)
