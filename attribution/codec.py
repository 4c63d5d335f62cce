"""How a row of numbers is stored: floats, or one to eight bits a number with a scale a layer.

1. float32 and float16 store the projected gradient itself.
2. int8, int4, int2 and int1 store it in units of its expected size: coordinate j is
   divided by `steps[j]`, the root of its damped eigenvalue. After that all
   coordinates matter about equally to a score, so one number of bits for all of
   them wastes none, and their rounding errors average out over thousands of them.
3. Each part of a row has one scale, chosen so that the error is orthogonal to the
   part: the length of a row along its own gradient is kept exactly. A part is a layer;
   at four bits at most `_PART[4]` numbers of one, because the few large numbers of a
   layer carry most of its influence, and are cut off where one scale serves all.
4. A zero row stores as zeros and scores zero. A stored row never holds NaN.
5. Steps are folded into the query, so scoring multiplies plain codes.

A code c of b bits stands for the level c - (2^b - 1) / 2: half-integers around zero. At
four bits it is c - 7, with a zero: numbers near it would else all be pushed away from it,
and do not cancel in the sum of a catalogue.

Axes: N rows, D numbers of a row, P parts, B bytes of a stored row.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from attribution.errors import GradientIndexError

BITS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4, "int2": 2, "int1": 1}
DTYPES = tuple(BITS)
_SCALE_BYTES = 4
_FLOAT16_MAX = 65504.0
_COLUMNS = 4096
_ROW_NUMBERS = 1 << 17
# Width of a level in units of the root mean square: the step that loses least of a
# normal variable for 1 and 2 bits (Max 1960); 4 and 8 bits cover the largest number instead.
_LEVEL = {1: 1.596, 2: 0.996}
# Numbers that share a scale at most, and what is taken off a code to get its level.
_PART = {4: 128}
_ZERO = {1: 0.5, 2: 1.5, 4: 7.0, 8: 127.5}


@dataclass(frozen=True)
class Codec:
    """Stores and reads rows of one checkpoint.

    Attributes:
        dtype: one of `DTYPES`.
        steps: [D], float32: the unit of each coordinate; not used by floats.
        widths: numbers of a row that belong to each layer.
    """

    dtype: str
    steps: Tensor
    widths: tuple[int, ...]

    @property
    def bits(self) -> int:
        """Bits of one number."""
        return BITS[self.dtype]

    @cached_property
    def parts(self) -> tuple[int, ...]:
        """Numbers that share a scale, in row order (rule 3)."""
        most = _PART.get(self.bits)
        if most is None:
            return self.widths
        return tuple(
            min(most, width - begin) for width in self.widths for begin in range(0, width, most)
        )

    @property
    def row_bytes(self) -> int:
        """Bytes of one stored row (B)."""
        return row_bytes(self.dtype, len(self.steps), len(self.parts))

    def encode(self, rows: Tensor) -> np.ndarray:
        """Store rows.

        Args:
            rows: [N, D], float32, finite.

        Returns:
            [N, B], uint8.

        Raises:
            GradientIndexError: a number is too large for float16.
        """
        if self.dtype == "float32":
            # A copy: rows are a view of a buffer that the next batch fills again.
            return rows.contiguous().numpy().astype("<f4", copy=True).view(np.uint8)
        if self.dtype == "float16":
            top = float(rows.abs().amax()) if rows.numel() else 0.0
            if top > _FLOAT16_MAX:
                raise GradientIndexError(
                    f"a projected gradient reaches {top:.3g}, above what float16 holds "
                    f"({_FLOAT16_MAX:.0f}); the row would be infinite. Build with int8 or float32"
                )
            return rows.contiguous().half().numpy().astype("<f2", copy=False).view(np.uint8)
        out = np.empty((len(rows), self.row_bytes), dtype=np.uint8)
        # Few rows at a time: what is made of them on the way stays in the cache.
        step = max(1, _ROW_NUMBERS // max(1, len(self.steps)))
        for begin in range(0, len(rows), step):
            self._encode_some(rows[begin : begin + step], out[begin : begin + step])
        return out

    def _encode_some(self, rows: Tensor, out: np.ndarray) -> None:
        """Store rows [N, D] in codes, into `out` [N, B]."""
        scales = np.empty((len(rows), len(self.parts)), dtype="<f4")
        codes = np.empty((len(rows), len(self.steps)), dtype=np.uint8)
        for span, parts in self._runs():
            count = parts.stop - parts.start
            shape = (len(rows) * count, (span.stop - span.start) // count)
            units = (rows[:, span] / self.steps[span]).reshape(shape)
            found, scale = _quantise(units, self.bits)
            codes[:, span] = found.view(len(rows), shape[1] * count).numpy()
            scales[:, parts] = scale.view(len(rows), count).numpy()
        head = _SCALE_BYTES * len(self.parts)
        out[:, :head] = scales.view(np.uint8)
        out[:, head:] = _pack(codes, self.bits)

    def fold(self, queries: Tensor) -> Tensor:
        """Turn preconditioned queries [Q, D] into what `dot` multiplies codes with."""
        return queries if self.bits >= 16 else queries * self.steps

    def dot(self, stored: np.ndarray, folded: Tensor) -> Tensor:
        """Return products of stored rows and folded queries.

        Args:
            stored: [N, B], uint8, as `encode` made it.
            folded: [Q, D], float32, as `fold` made it.

        Returns:
            [N, Q], float32.
        """
        if self.bits >= 16:
            return self.decode(stored) @ folded.T
        scales, codes = self._read(stored)
        out = torch.zeros(len(stored), len(folded))
        if self.bits in _PART:
            # A product for each small part would cost more than scaling the levels.
            for span, parts in self._runs():
                width = (span.stop - span.start) // (parts.stop - parts.start)
                step = _COLUMNS // width  # Whole parts in a block.
                for begin in range(parts.start, parts.stop, step):
                    some = slice(begin, min(begin + step, parts.stop))
                    first = span.start + (begin - parts.start) * width
                    block = slice(first, first + (some.stop - begin) * width)
                    levels = self._levels(codes[:, block]).view(len(out), some.stop - begin, width)
                    levels *= scales[:, some, None]
                    out.addmm_(levels.flatten(1), folded[:, block].T)
            return out
        first = 0
        for layer, width in enumerate(self.widths):
            part = torch.zeros_like(out)
            # Codes become floats a block of columns at a time: a block stays in the cache.
            for begin in range(first, first + width, _COLUMNS):
                block = slice(begin, min(begin + _COLUMNS, first + width))
                part.addmm_(self._levels(codes[:, block]), folded[:, block].T)
            out += scales[:, layer, None] * part
            first += width
        return out

    def decode(self, stored: np.ndarray) -> Tensor:
        """Return rows [N, D], float32, of what `encode` made."""
        if self.dtype == "float32":
            return torch.from_numpy(stored.view("<f4"))
        if self.dtype == "float16":
            return torch.from_numpy(stored.view("<f2")).float()
        scales, codes = self._read(stored)
        return self._levels(codes).mul_(self._spread(scales)).mul_(self.steps)

    def _runs(self) -> Iterator[tuple[slice, slice]]:
        """Yield (numbers, parts) of neighbouring parts of one width."""
        first = begin = 0
        for width, same in itertools.groupby(self.parts):
            count = len(list(same))
            yield slice(first, first + width * count), slice(begin, begin + count)
            first, begin = first + width * count, begin + count

    def _spread(self, scales: Tensor) -> Tensor:
        """Return the scale of every number, [N, D]."""
        return torch.repeat_interleave(scales, torch.tensor(self.parts), dim=1)

    def _levels(self, codes: Tensor) -> Tensor:
        """Return the levels that codes stand for, float32."""
        return codes.float().sub_(_ZERO[self.bits])

    def _read(self, stored: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return scales [N, P], float32, and codes [N, D], uint8."""
        head = _SCALE_BYTES * len(self.parts)
        scales = torch.from_numpy(np.ascontiguousarray(stored[:, :head]).view("<f4").copy())
        return scales, torch.from_numpy(_unpack(stored[:, head:], self.bits, len(self.steps)))


def _quantise(units: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return codes [N, W], uint8, and scales [N], float32, of one part's numbers."""
    zero = _ZERO[bits]
    if bits in _LEVEL:
        width = units.square().mean(1).sqrt() * _LEVEL[bits]
    else:
        width = units.abs().amax(1) / zero
    codes = (units / width.clamp(min=1e-38)[:, None] + zero).round_().clamp_(0, 2 * zero)
    levels = codes - zero
    # Rule 3: scale * levels has the same product with the part as the part with itself.
    length = units.double().square().sum(1)
    along = (units.double() * levels).sum(1)
    scale = torch.where(along > 0, length / along.clamp(min=1e-300), 0.0)
    return codes.to(torch.uint8), scale.float()


def _pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Put 8 / bits codes into each byte, the first in the lowest bits; [N, ceil(D bits / 8)]."""
    per = 8 // bits
    if per == 1:
        return codes
    count, numbers = codes.shape
    padded = np.zeros((count, -(-numbers // per) * per), dtype=np.uint8)
    padded[:, :numbers] = codes
    # Both axes are named: with no row there is nothing to infer one from.
    parts = padded.reshape(count, padded.shape[1] // per, per)
    packed = np.zeros(parts.shape[:2], dtype=np.uint8)
    for place in range(per):
        packed |= parts[:, :, place] << (bits * place)
    return packed


def _unpack(packed: np.ndarray, bits: int, numbers: int) -> np.ndarray:
    """Undo `_pack`: the codes, [N, numbers], uint8."""
    per = 8 // bits
    if per == 1:
        # A copy where the bytes are a read-only map: torch takes writable memory only.
        return packed if packed.flags.writeable else packed.copy()
    codes = np.empty((len(packed), packed.shape[1] * per), dtype=np.uint8)
    for place in range(per):
        codes[:, place::per] = (packed >> (bits * place)) & ((1 << bits) - 1)
    return codes[:, :numbers]


def row_bytes(dtype: str, numbers: int, parts: int) -> int:
    """Bytes of one stored row of so many numbers in so many parts (rule 3)."""
    if dtype not in BITS:
        raise GradientIndexError(f"rows cannot be stored as {dtype!r}; choose one of {DTYPES}")
    head = _SCALE_BYTES * parts if BITS[dtype] < 16 else 0
    return head + -(-numbers * BITS[dtype] // 8)


def numbers_for(dtype: str, budget_bytes: int, layers: int) -> int:
    """The most numbers a row of at most so many bytes holds, however the layers share them.

    Raises:
        GradientIndexError: not even one number a layer fits.
    """
    head = row_bytes(dtype, 0, layers)
    most = _PART.get(BITS[dtype], 0)
    scale = 8 * _SCALE_BYTES if most else 0
    numbers = (budget_bytes - head) * 8 * max(most, 1) // (BITS[dtype] * max(most, 1) + scale)
    if numbers < layers:
        raise GradientIndexError(
            f"{budget_bytes} bytes a document and checkpoint are too few for {layers} layers as "
            f"{dtype}: {head + -(-layers * BITS[dtype] // 8)} are needed at least. Raise "
            f"bytes_per_document"
        )
    return numbers
