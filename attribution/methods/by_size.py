"""The methods that pay without looking at any output: by size, equally, at random.

    by_size    the document's scored tokens
    equal      1 for each work, divided among its documents
    random     standard normal numbers from the seed

They are the floor of every comparison: a method that does no better than these
may look at outputs, but does not see them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attribution.methods.protocol import Declaration, MatrixTask, silence

_LIMITS = "reads no output: every output gets the same ranking"


@dataclass(frozen=True)
class BySize:
    """The baseline that reads nothing but lengths."""

    name = "by_size"
    declared = Declaration((), "one pass over lengths; nothing stored", _LIMITS)

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents]: each document's scored tokens."""
        sizes = torch.tensor([float(row.scored) for row in task.documents_encoded])
        return silence(sizes.double().expand(len(task.queries), -1).clone(), task)


@dataclass(frozen=True)
class Equal:
    """The baseline that counts works."""

    name = "equal"
    declared = Declaration((), "none", _LIMITS)

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents]: 1 for each work over its documents with text."""
        able = [row.scored > 0 for row in task.documents_encoded]
        works = [document.group_id for document in task.corpus]
        counts = Counter(work for work, one in zip(works, able, strict=True) if one)
        parts = torch.tensor([1.0 / max(1, counts[work]) for work in works], dtype=torch.float64)
        return silence(parts.expand(len(task.queries), -1).clone(), task)


@dataclass(frozen=True)
class RandomScores:
    """The baseline that reads nothing at all."""

    name = "random"
    declared = Declaration((), "none", "noise: shows what any measure gives by chance")

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents]: standard normal numbers, a function of the seed."""
        draw = np.random.Generator(np.random.Philox(task.seed))
        numbers = draw.standard_normal((len(task.queries), len(task.corpus)))
        return silence(torch.from_numpy(numbers), task)
