"""Representation similarity: centred cosine of mean hidden states of the last layer.

The mean is over the positions that predict a scored token. The documents' mean
vector is taken from both sides before the cosine.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attribution.batches import collate, plan
from attribution.gradients import LossModel
from attribution.methods.protocol import MatrixTask
from attribution.tokens import Encoded


class HiddenStates:
    """The representation baseline."""

    name = "hidden_states"

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], cosines in [-1, 1]."""
        documents, silent = _means(task, task.documents_encoded)
        queries, mute = _means(task, task.queries_encoded)
        centre = documents[~silent].mean(0)
        left = torch.nn.functional.normalize(queries - centre, dim=1)
        right = torch.nn.functional.normalize(documents - centre, dim=1)
        out = left @ right.T
        out[mute] = 0.0
        out[:, silent] = 0.0
        return out


@torch.no_grad()
def _means(task: MatrixTask, encoded: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
    """Return mean hidden states [n, H], float64, and which rows had nothing to read [n]."""
    model = LossModel(task.model.model)
    sums: Tensor | None = None
    counts = torch.zeros(len(encoded), dtype=torch.float64)
    for members in plan(encoded, task.model.context, task.token_budget):
        batch = collate(encoded, members, task.model.context)
        hidden = model.trunk(input_ids=batch.input_ids.to(model.device), use_cache=False)
        where = torch.zeros_like(batch.scored)
        where[:, :-1] = batch.scored[:, 1:]
        top = hidden.last_hidden_state.double().cpu() * where[:, :, None]  # [W, S, H]
        if sums is None:
            sums = torch.zeros(len(encoded), top.shape[-1], dtype=torch.float64)
        owner = torch.tensor(members)[batch.rows]
        sums.index_add_(0, owner, top.sum(1))
        counts.index_add_(0, owner, where.sum(1).double())
    assert sums is not None, "no row has a scored token"
    return sums / counts.clamp(min=1)[:, None], counts == 0
