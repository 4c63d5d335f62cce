"""Representation similarity: centred cosine of pooled hidden states of one layer.

Read are the positions that predict a scored token. The documents' mean vector is
taken from both sides before the cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.batches import Batch, collate, plan
from attribution.errors import ScoringError
from attribution.gradients import LossModel
from attribution.methods.protocol import Declaration, MatrixTask
from attribution.tokens import Encoded

POOLINGS = ("mean", "last", "late")


@dataclass(frozen=True)
class HiddenStates:
    """The representation baseline.

    Attributes:
        layer: 0 for the embeddings, n for what block n gives; -1 for the last,
            behind its norm.
        pooling: "mean" over positions, the "last" position, or "late": the mean
            with weights that rise with the place, since late positions have read more.
    """

    layer: int = -1
    pooling: str = "mean"

    name = "hidden_states"
    declared = Declaration(
        (),
        "one forward pass over the corpus and the outputs; one vector a document",
        "sees likeness, not influence; length one makes a long document count like a short one",
        on_card=True,
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], cosines in [-1, 1]."""
        if self.pooling not in POOLINGS:
            raise ScoringError(f"pooling is {self.pooling!r}; choose one of {POOLINGS}")
        documents, silent = self._pooled(task, task.documents_encoded)
        queries, mute = self._pooled(task, task.queries_encoded)
        centre = documents[~silent].mean(0)
        left = torch.nn.functional.normalize(queries - centre, dim=1)
        right = torch.nn.functional.normalize(documents - centre, dim=1)
        out = left @ right.T
        out[mute] = 0.0
        out[:, silent] = 0.0
        return out

    @torch.no_grad()
    def _pooled(self, task: MatrixTask, encoded: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
        """Return pooled states [n, H], float64, and which rows had nothing to read [n]."""
        model = LossModel(task.model.model)
        sums: Tensor | None = None
        total = torch.zeros(len(encoded), dtype=torch.float64)
        for members in plan(encoded, task.model.context, task.token_budget):
            batch = collate(encoded, members, task.model.context)
            states = self._states(model, batch)  # [W, S, H]
            weights = self._weights(batch)  # [W, S]
            if sums is None:
                sums = torch.zeros(len(encoded), states.shape[-1], dtype=torch.float64)
            owner = torch.tensor(members)[batch.rows]
            sums.index_add_(0, owner, (states * weights[:, :, None]).sum(1))
            total.index_add_(0, owner, weights.sum(1))
        assert sums is not None, "no row has a scored token"
        return sums / total.clamp(min=1)[:, None], total == 0

    def _states(self, model: LossModel, batch: Batch) -> Tensor:
        wanted = model.trunk(
            input_ids=batch.input_ids.to(model.device),
            use_cache=False,
            output_hidden_states=self.layer != -1,
        )
        if self.layer == -1:
            top: Tensor = wanted.last_hidden_state.double().cpu()
            return top
        layers = wanted.hidden_states
        if not -len(layers) <= self.layer < len(layers):
            raise ScoringError(f"layer is {self.layer}; the model has 0 to {len(layers) - 1}")
        chosen: Tensor = layers[self.layer].double().cpu()
        return chosen

    def _weights(self, batch: Batch) -> Tensor:
        """Return [W, S], float64: how much each position counts, zero where none is read."""
        where = torch.zeros_like(batch.scored)
        where[:, :-1] = batch.scored[:, 1:]
        if self.pooling == "last":
            # A row's last window holds its last token; windows stand in order.
            last = torch.zeros_like(where)
            for window in {row: at for at, row in enumerate(batch.rows.tolist())}.values():
                last[window, int(where[window].nonzero()[-1])] = True
            where = last
        if self.pooling == "late":
            return where.double().cumsum(1) * where
        return where.double()
