"""Bidirectional: move the model along an output both ways, and see which texts notice.

    change[q, n] = loss_n(moved up the loss of q) - loss_n(moved down), summed over tokens
    ledger   tokens_q * change[q, n]         signed: positive = the text helped
    paper    |change[q, n]| / tokens_n       as published: the sign is thrown away

1. To first order `change` is a central difference of an influence function: with
   `natural` steps `2 s g_n F^-1 g_q`, s = steps * lr / N; what is even in the step
   cancels. The `ledger` score is that of the output's summed loss.
2. Losses are float32 and their differences float64.
3. `ledger` scores add up: of a work's documents, and of a text cut in two. `paper`
   scores do not, and rank a text that was hurt like one that helped.
4. With `candidates` only the documents that the index ranks first for an output are
   read; the others get zero.

After Berdoz et al. 2026, arXiv 2606.04928. Axes: Q queries, N documents, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.batches import Batch, collate, plan
from attribution.errors import ScoringError
from attribution.gradients import LossModel, losses
from attribution.methods.ekfac_index import EkfacIndex
from attribution.methods.perturbation import PUBLISHED_CORPUS, Movable, Steps
from attribution.methods.protocol import Declaration, MatrixTask

MODES = ("ledger", "paper")


@dataclass(frozen=True)
class Bidirectional:
    """Change of each document's loss between the model moved up and moved down.

    Attributes:
        variant: "natural" or "adamw", see `perturbation`.
        mode: "ledger" or "paper".
        candidates: read only so many documents an output, the index's best; 0 reads all.
        steps, lr, corpus_min, fisher_eps, penalty, weight_decay, clip: see `perturbation.Steps`.
    """

    variant: str = "natural"
    mode: str = "ledger"
    candidates: int = 0
    steps: int = 10
    lr: float = 1e-4
    corpus_min: int = PUBLISHED_CORPUS
    fisher_eps: float = 1e-6
    penalty: float = 1000.0
    weight_decay: float = 0.01
    clip: float = 1.0

    name = "bidirectional"
    readings = ("mode",)
    declared = Declaration(
        ("gradients",),
        "once a pass of forward and backward, one document at a time; then two forward passes "
        "over the candidates for every output; two numbers a parameter in memory",
        "steps of the published size are not small on every model: first order is then left; "
        "`adamw` forgets how large a gradient was; `paper` mode pays harm and does not add up",
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents]: nats in `ledger` mode, nats a token in `paper` mode."""
        return self.read(self.measured(task), task)

    def measured(self, task: MatrixTask) -> Tensor:
        """Return `changes`, after a look at the mode in which they will be read."""
        if self.mode not in MODES:
            raise ScoringError(f"mode is {self.mode!r}; choose one of {MODES}")
        return self.changes(task)

    def read(self, measured: Tensor, task: MatrixTask) -> Tensor:
        """Turn changes of summed losses into scores."""
        return in_mode(measured, task, self.mode)

    def moves(self) -> Steps:
        """Return how the weights are moved."""
        return Steps(
            self.variant, self.steps, self.lr, self.corpus_min, self.fisher_eps, self.penalty,
            self.weight_decay, self.clip,
        )  # fmt: skip

    def movable(self, task: MatrixTask) -> Movable:
        """Return a copy of the task's model, with its Fisher over the documents."""
        encoded = task.documents_encoded
        return Movable(task.model.model, encoded, task.model.context, self.moves())

    def changes(self, task: MatrixTask) -> Tensor:
        """Return [Q, N], float64: summed loss moved up minus summed loss moved down."""
        chosen = self._candidates(task)
        model = self.movable(task)
        out = torch.zeros(len(task.queries), len(task.corpus), dtype=torch.float64)
        everything = list(range(len(task.corpus)))
        whole = _batches(task, everything) if chosen is None else []
        for q, output in enumerate(task.queries_encoded):
            task.progress("output", q + 1, len(task.queries))
            if not output.scored:
                continue
            read = everything if chosen is None else chosen[q]
            batches = whole if chosen is None else _batches(task, read)
            up = _losses(model.move(output, 1), batches, read)
            down = _losses(model.move(output, -1), batches, read)
            out[q, read] = up - down
        out[~out.isfinite()] = 0.0
        return out

    def _candidates(self, task: MatrixTask) -> list[list[int]] | None:
        if self.candidates < 0:
            raise ScoringError(f"candidates is {self.candidates}; give 0 for all, or a count")
        if not 0 < self.candidates < len(task.corpus):
            return None
        best = EkfacIndex().scores(task).argsort(dim=1, descending=True, stable=True)
        return [sorted(row) for row in best[:, : self.candidates].tolist()]


def in_mode(changes: Tensor, task: MatrixTask, mode: str) -> Tensor:
    """Turn changes of summed losses [Q, N] into scores."""
    if mode == "paper":
        sizes = torch.tensor([float(max(1, row.scored)) for row in task.documents_encoded])
        return changes.abs() / sizes.double()
    outputs = torch.tensor([float(row.scored) for row in task.queries_encoded])
    return changes * outputs.double()[:, None]


def by_group(
    changes: Tensor, tokens: Sequence[int], groups: Sequence[str], mode: str
) -> tuple[tuple[str, ...], Tensor]:
    """Read changes at the level of works or creators: a group is its texts together.

    Args:
        changes: [Q, N], of summed losses.
        tokens: [N], scored tokens of each document.
        groups: [N], the work or creator of each document.
        mode: "ledger" sums; "paper" is the absolute change of the group's mean loss,
            which is not the sum of its documents' scores.

    Returns:
        The groups in the order of their first document, and [Q, G], float64.
    """
    names = tuple(dict.fromkeys(groups))
    place = {name: g for g, name in enumerate(names)}
    owner = torch.tensor([place[group] for group in groups])
    sums = torch.zeros(len(changes), len(names), dtype=torch.float64)
    sums.index_add_(1, owner, changes)
    if mode == "ledger":
        return names, sums
    sizes = torch.zeros(len(names), dtype=torch.float64)
    sizes.index_add_(0, owner, torch.tensor([float(count) for count in tokens]).double())
    return names, sums.abs() / sizes.clamp(min=1)


def _batches(task: MatrixTask, read: Sequence[int]) -> list[Batch]:
    encoded = [task.documents_encoded[place] for place in read]
    context = task.model.context
    return [collate(encoded, part, context) for part in plan(encoded, context, task.token_budget)]


def _losses(model: LossModel, batches: Sequence[Batch], read: Sequence[int]) -> Tensor:
    """Return [len(read)], float64, summed losses; 0 where there is nothing to score."""
    out = torch.zeros(len(read), dtype=torch.float64)
    for batch in batches:
        out[list(batch.documents)] = losses(model, batch)
    return out
