"""How a row of numbers is stored: float32, float16, or eight bits with a scale.

1. float32 and float16 store the projected gradient itself.
2. int8 stores it in units of its expected size: coordinate j is divided by
   `step[j]`, the root of its damped eigenvalue, then by one scale for the row.
   After that all coordinates matter about equally to a score, so one number of
   bits for all of them wastes none.
3. A zero row stores as zeros and scores zero. A stored row never holds NaN.
4. A row's steps are folded into the query, so scoring multiplies plain codes.

Axes: N rows, D numbers of a row, B bytes of a stored row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attribution.errors import GradientIndexError

DTYPES = ("float32", "float16", "int8")
_SCALE_BYTES = 4


@dataclass(frozen=True)
class Codec:
    """Stores and reads rows of one checkpoint.

    Attributes:
        dtype: one of `DTYPES`.
        steps: [D], float32: the unit of each coordinate; ones unless int8.
    """

    dtype: str
    steps: Tensor

    @property
    def row_bytes(self) -> int:
        """Bytes of one stored row (B)."""
        return row_bytes(self.dtype, len(self.steps))

    def encode(self, rows: Tensor) -> np.ndarray:
        """Store rows.

        Args:
            rows: [N, D], float32, finite.

        Returns:
            [N, B], uint8.
        """
        if self.dtype == "float32":
            return rows.contiguous().numpy().astype("<f4", copy=False).view(np.uint8)
        if self.dtype == "float16":
            top = float(rows.abs().amax()) if rows.numel() else 0.0
            if top > 65000:
                raise GradientIndexError(
                    f"a projected gradient reaches {top:.3g}, above what float16 holds (65504); "
                    f"the row would be infinite. Build with dtype int8 or float32"
                )
            return rows.contiguous().half().numpy().astype("<f2", copy=False).view(np.uint8)
        units = rows / self.steps
        scale = units.abs().amax(1) / 127.0  # [N]
        codes = (units / scale.clamp(min=1e-38)[:, None]).round_().to(torch.int8)
        out = np.empty((len(rows), self.row_bytes), dtype=np.uint8)
        out[:, :_SCALE_BYTES] = scale.numpy().astype("<f4")[:, None].view(np.uint8)
        out[:, _SCALE_BYTES:] = codes.numpy().view(np.uint8)
        return out

    def fold(self, queries: Tensor) -> Tensor:
        """Turn preconditioned queries [Q, D] into what `dot` multiplies codes with."""
        return queries * self.steps if self.dtype == "int8" else queries

    def dot(self, stored: np.ndarray, folded: Tensor) -> Tensor:
        """Return products of stored rows and folded queries.

        Args:
            stored: [N, B], uint8, as `encode` made it.
            folded: [Q, D], float32, as `fold` made it.

        Returns:
            [N, Q], float32.
        """
        if self.dtype == "int8":
            scale = torch.from_numpy(stored[:, :_SCALE_BYTES].copy().view("<f4")[:, 0].copy())
            codes = torch.from_numpy(stored[:, _SCALE_BYTES:].view(np.int8)).float()
            return (codes @ folded.T) * scale[:, None]
        return self.decode(stored) @ folded.T

    def decode(self, stored: np.ndarray) -> Tensor:
        """Return rows [N, D], float32, of what `encode` made."""
        if self.dtype == "float32":
            return torch.from_numpy(stored.view("<f4"))
        if self.dtype == "float16":
            return torch.from_numpy(stored.view("<f2")).float()
        scale = torch.from_numpy(stored[:, :_SCALE_BYTES].copy().view("<f4")[:, 0].copy())
        codes = torch.from_numpy(stored[:, _SCALE_BYTES:].view(np.int8)).float()
        return codes * scale[:, None] * self.steps


def row_bytes(dtype: str, numbers: int) -> int:
    """Bytes of one stored row of so many numbers."""
    if dtype not in DTYPES:
        raise GradientIndexError(f"rows cannot be stored as {dtype!r}; choose one of {DTYPES}")
    if dtype == "int8":
        return numbers + _SCALE_BYTES
    return numbers * {"float32": 4, "float16": 2}[dtype]


def numbers_for(dtype: str, budget_bytes: int) -> int:
    """The most numbers a row of at most so many bytes holds; at least 1."""
    row_bytes(dtype, 1)
    if dtype == "int8":
        return max(1, budget_bytes - _SCALE_BYTES)
    return max(1, budget_bytes // {"float32": 4, "float16": 2}[dtype])
