"""The documents a fit of the curvature reads, with the numbers their labels are drawn by.

1. A sample of the documents, chosen by what they say and the seed, as their sampled labels
   are: the order of the corpus changes nothing.
2. Batches are made when they are read and not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from attribution.batches import Batch, collate, plan
from attribution.gradients import label_draws
from attribution.tokens import Encoded, lengths_of, pick


def sample_documents(
    encoded: Sequence[Encoded], share: float, *, documents_min: int, seed: int
) -> list[int]:
    """Choose the documents a fit reads (rule 1): positions in `encoded`, in order.

    Args:
        encoded: the documents.
        share: of those with something to score.
        documents_min: but never fewer than this many, or all there are.
        seed: of the draw.
    """
    lengths, prompts = lengths_of(encoded)
    able = np.flatnonzero(lengths > prompts)
    wanted = min(len(able), max(documents_min, round(share * len(able))))
    numbers = (_drawn_number(seed, encoded[int(i)].key) for i in able)
    drawn = np.fromiter(numbers, dtype=np.uint64, count=len(able))
    chosen: list[int] = np.sort(able[np.argsort(drawn, kind="stable")[:wanted]]).tolist()
    return chosen


def _drawn_number(seed: int, key: int) -> int:
    said = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8).digest()
    return int.from_bytes(said, "big")


class DrawnBatches:
    """Batches of the chosen documents, each with the numbers its labels come from.

    They are made again at each reading: kept, they would be a sixth of the corpus.
    """

    def __init__(
        self,
        encoded: Sequence[Encoded],
        chosen: Sequence[int],
        seed: int,
        context: int,
        token_budget: int,
    ) -> None:
        """Plan the batches.

        Args:
            encoded: the documents.
            chosen: positions of those that are read.
            seed: of the labels.
            context: the most tokens the model reads at once.
            token_budget: see `batches.plan`.
        """
        self._rows = pick(encoded, chosen)
        self._seed, self._context = seed, context
        self._plan = plan(self._rows, context, token_budget)

    def __iter__(self) -> Iterator[tuple[Batch, Tensor]]:
        """Yield (batch, [T] numbers of its scored tokens)."""
        for part in self._plan:
            batch = collate(self._rows, part, self._context)
            keys = {i: self._rows[i].key for i in part}
            yield batch, label_draws(keys, batch, self._seed)
