"""What every attribution method is given and what it gives back.

1. A method is a function of its task: model, path, documents and queries in their
   file order, and a seed.
2. It returns one number per query and document; positive means helped.
3. A document or query with nothing to score gets zero, never NaN.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from attribution.matrix_task import MatrixTask

__all__ = ["MatrixTask", "Method"]


class Method(Protocol):
    """One attribution method."""

    name: str

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], float64, in file order, positive = helped."""
        ...
