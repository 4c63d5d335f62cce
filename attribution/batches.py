"""Which rows are read together: length-sorted batches under a token budget.

1. A batch plan is a function of the rows' lengths and the budget alone, so the
   same rows always make the same batches.
2. All windows of a document are in one batch: its gradient is one buffer row.
3. Longest first: the first batch is the largest the memory will ever see.
4. Padding stands at the right. Attention is causal, so padding is never looked
   at by a token that counts, and no attention mask is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.tokens import Encoded, windows

PAD = 0


@dataclass(frozen=True)
class Batch:
    """Windows that go through the model together.

    Axes: W windows of the batch, S positions of the longest of them.

    Attributes:
        documents: positions of the documents in the caller's list, one per buffer row.
        rows: [W], int64: the buffer row (index into `documents`) of each window.
        input_ids: [W, S], int64, padded at the right.
        scored: [W, S], bool: position t is True where token t is scored.
        live: [W, S], bool: positions before a window's last token; no other
            position can have a gradient.
    """

    documents: tuple[int, ...]
    rows: Tensor
    input_ids: Tensor
    scored: Tensor
    live: Tensor

    @property
    def single(self) -> bool:
        """Whether each window is a document of its own."""
        return len(self.documents) == len(self.rows)


def plan(encoded: Sequence[Encoded], context: int, token_budget: int) -> list[list[int]]:
    """Say which documents are read together.

    Args:
        encoded: the documents' tokens.
        context: the most tokens the model reads at once.
        token_budget: a batch's windows x its longest window stays at or below
            this, except for a document that alone is larger.

    Returns:
        Batches of positions in `encoded`, longest documents first. Documents
        without a scored token are in no batch.
    """
    # Lengths only: the windows themselves would be a second copy of the corpus.
    cut = [[len(w.input_ids) for w in windows(row, context)] for row in encoded]
    longest = [max(lengths, default=0) for lengths in cut]
    order = sorted((i for i, n in enumerate(longest) if n), key=lambda i: (-longest[i], i))
    batches: list[list[int]] = []
    width = count = 0
    for i in order:
        if not batches or (count + len(cut[i])) * width > token_budget:
            batches.append([])
            width, count = longest[i], 0
        batches[-1].append(i)
        count += len(cut[i])
    return batches


def collate(encoded: Sequence[Encoded], members: Sequence[int], context: int) -> Batch:
    """Lay the windows of some documents out as tensors.

    Args:
        encoded: the documents' tokens.
        members: positions in `encoded`; each has at least one scored token.
        context: the most tokens the model reads at once.
    """
    pieces = [(row, w) for row, i in enumerate(members) for w in windows(encoded[i], context)]
    size = max(len(w.input_ids) for _, w in pieces)
    input_ids = torch.full((len(pieces), size), PAD, dtype=torch.int64)  # [W, S]
    scored = torch.zeros((len(pieces), size), dtype=torch.bool)  # [W, S]
    live = torch.zeros_like(scored)  # [W, S]
    for k, (_, window) in enumerate(pieces):
        length = len(window.input_ids)
        input_ids[k, :length] = torch.tensor(window.input_ids, dtype=torch.int64)
        scored[k, window.prompt_length : length] = True
        live[k, : length - 1] = True
    rows = torch.tensor([row for row, _ in pieces])
    return Batch(tuple(members), rows, input_ids, scored, live)
