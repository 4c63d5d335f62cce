"""Which rows are read together: length-sorted batches under a token budget.

1. A batch plan is a function of the rows' lengths and the budget alone, so the
   same rows always make the same batches.
2. All windows of a document are in one batch: its gradient is one buffer row.
3. Longest first: the first batch is the largest the memory will ever see.
4. Padding stands at the right. Attention is causal, so padding is never looked
   at by a token that counts, and no attention mask is needed.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from torch import Tensor

from attribution.tokens import Encoded, cuts, lengths_of, windows

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


class Plan(Sequence[list[int]]):
    """Batches of positions: eight bytes a document, and eight a batch."""

    def __init__(self, order: np.ndarray, begins: Sequence[int]) -> None:
        """Keep a plan.

        Args:
            order: [n], positions of the documents in the order they are read.
            begins: where in `order` each batch begins.
        """
        self._order, self._bounds = order, array("Q", [*begins, len(order)])

    @property
    def order(self) -> np.ndarray:
        """Positions of the documents in the order they are read, [n], int64."""
        return self._order

    def __len__(self) -> int:
        """Return how many batches there are."""
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, place: int) -> list[int]: ...

    @overload
    def __getitem__(self, place: slice) -> list[list[int]]: ...

    def __getitem__(self, place: int | slice) -> list[int] | list[list[int]]:
        """Return the positions of a batch's documents."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        at = range(len(self))[place]
        members: list[int] = self._order[self._bounds[at] : self._bounds[at + 1]].tolist()
        return members


def plan(encoded: Sequence[Encoded], context: int, token_budget: int) -> Plan:
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
    # Lengths only: the tokens themselves would be a second copy of the corpus.
    lengths, prompts = lengths_of(encoded)
    longest = np.where(lengths > prompts, np.minimum(lengths, context), 0)  # [N]
    count = np.ones(len(longest), dtype=np.int64)  # [N]
    for i in np.flatnonzero((lengths > context) & (longest > 0)).tolist():
        sizes = [end - begin for begin, end, _ in cuts(int(lengths[i]), int(prompts[i]), context)]
        longest[i], count[i] = max(sizes), len(sizes)
    order = np.argsort(-longest, kind="stable")
    order = order[: int((longest > 0).sum())]
    begins = array("Q")
    width = windows_so_far = 0
    for place, i in enumerate(order):
        more = int(count[i])
        if not begins or (windows_so_far + more) * width > token_budget:
            begins.append(place)
            width, windows_so_far = int(longest[i]), 0
        windows_so_far += more
    return Plan(order, begins)


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
