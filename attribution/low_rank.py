"""Rows as low-rank matrices: of each layer's projected gradient only its leading directions.

A layer's part of a row is a matrix [r_in, r_out]. Stored are two factors of rank c,

    Z = gradient / steps   is about   U V^T,   U [r_in, c], V = Z^T U [r_out, c]

in c (r_in + r_out) numbers of sixteen bits in place of r_in r_out, so that the same bytes
reach over a much larger box of the eigenbasis.

1. U is orthonormal, found by subspace iteration from fixed signs: the same row gives the
   same bytes. The error is orthogonal to the row: its length along its own gradient is
   kept, as with fewer bits (rule 3 of `codec`).
2. A row whose matrix has rank c or less is kept exactly, but for sixteen bits.
3. Scores are those of the decoded rows; a scan costs what rows of full size cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attribution.errors import GradientIndexError
from attribution.projection import random_signs

LOW_RANK = {"lowrank1": 1, "lowrank2": 2, "lowrank4": 4, "lowrank8": 8}
_ITERATIONS = 4
_SCALE_BYTES = 4


@dataclass(frozen=True)
class LowRankCodec:
    """Stores and reads rows of one checkpoint; stands where a `Codec` does.

    Attributes:
        dtype: one of `LOW_RANK`.
        steps: [D], float32: the unit of each coordinate.
        shapes: (r_in, r_out) of each layer.
    """

    dtype: str
    steps: Tensor
    shapes: tuple[tuple[int, int], ...]

    @property
    def rank(self) -> int:
        """Directions kept of a layer (c)."""
        return LOW_RANK[self.dtype]

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers of a row that belong to each layer."""
        return tuple(a * b for a, b in self.shapes)

    @property
    def row_bytes(self) -> int:
        """Bytes of one stored row (B)."""
        return factor_bytes(self.shapes, self.rank)

    def encode(self, rows: Tensor) -> np.ndarray:
        """Store rows [N, D], float32, finite, as [N, B], uint8."""
        parts, first = [], 0
        for (a, b), width in zip(self.shapes, self.widths, strict=True):
            span = slice(first, first + width)
            units = (rows[:, span] / self.steps[span]).reshape(len(rows), a, b)
            parts.append(self._factors(units))
            first += width
        return np.concatenate(parts, axis=1) if parts else np.empty((len(rows), 0), np.uint8)

    def fold(self, queries: Tensor) -> Tensor:
        """Return preconditioned queries [Q, D] as they are."""
        return queries

    def dot(self, stored: np.ndarray, folded: Tensor) -> Tensor:
        """Return products [N, Q], float32, of stored rows and folded queries."""
        return self.decode(stored) @ folded.T

    def decode(self, stored: np.ndarray) -> Tensor:
        """Return rows [N, D], float32, of what `encode` made."""
        out = torch.empty(len(stored), len(self.steps))
        begin = first = 0
        for (a, b), width in zip(self.shapes, self.widths, strict=True):
            c = min(self.rank, a, b)
            end = begin + _SCALE_BYTES + 2 * c * (a + b)
            part = np.ascontiguousarray(stored[:, begin:end])
            scale = torch.from_numpy(part[:, :_SCALE_BYTES].copy().view("<f4"))  # [N, 1]
            both = torch.from_numpy(part[:, _SCALE_BYTES:].copy().view("<f2")).float()
            left = both[:, : c * a].reshape(-1, a, c)
            right = both[:, c * a :].reshape(-1, b, c)
            out[:, first : first + width] = (left @ right.mT).flatten(1) * scale
            begin, first = end, first + width
        return out * self.steps

    def _factors(self, units: Tensor) -> np.ndarray:
        """Return [N, bytes of the layer] of matrices [N, r_in, r_out]."""
        count, a, b = units.shape
        c = min(self.rank, a, b)
        span = random_signs("low rank", b, c, 0).float().expand(count, b, c)
        left = torch.linalg.qr(units @ span)[0]  # [N, r_in, c]
        for _ in range(_ITERATIONS):
            span = torch.linalg.qr(units.mT @ left)[0]
            left = torch.linalg.qr(units @ span)[0]
        # What sixteen bits leave of U is not quite orthonormal: V is fitted to that U.
        left = left.half().float()
        grams = left.mT @ left
        right = torch.linalg.solve(grams, (units.mT @ left).mT).mT  # [N, r_out, c]
        scale = right.abs().amax((1, 2)).clamp(min=1e-30)
        stored = torch.cat([left.flatten(1), (right / scale[:, None, None]).flatten(1)], 1)
        silent = units.abs().amax((1, 2)) == 0
        stored[silent], scale[silent] = 0.0, 0.0
        halves = stored.half().numpy().astype("<f2", copy=False).view(np.uint8)
        heads = scale[:, None].numpy().astype("<f4", copy=False).view(np.uint8)
        return np.concatenate([heads, halves], axis=1)


def factor_bytes(shapes: tuple[tuple[int, int], ...], rank: int) -> int:
    """Return the bytes of one row whose layers have these shapes."""
    return sum(_SCALE_BYTES + 2 * min(rank, a, b) * (a + b) for a, b in shapes)


def check_room(budget_bytes: int, rank: int, layers: int) -> None:
    """Refuse a budget that does not hold one number of each side of each layer.

    Raises:
        GradientIndexError: names both sizes.
    """
    least = factor_bytes(((1, 1),) * layers, rank)
    if budget_bytes < least:
        raise GradientIndexError(
            f"{budget_bytes} bytes a document and checkpoint are too few for {layers} layers of "
            f"rank {rank}: {least} are needed at least. Raise bytes_per_document"
        )
