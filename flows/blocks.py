"""Pieces of tables on the disk: small, written one after the other into one file, read one by one.

A piece is an Arrow IPC stream, not packed: packing costs more time than writing. Where it lies and
how many rows it has is known to whoever wrote it; the file alone is of no use. For temporary
folders only.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import polars as pl


class Block(NamedTuple):
    """Where a piece lies: its file, where it begins, its bytes and its rows."""

    path: Path
    offset: int
    length: int
    rows: int


class BlockFile:
    """Takes pieces and writes them one after the other.

    Args:
        path: a file of its own, made anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")

    def add(self, frame: pl.DataFrame) -> Block:
        """Write one piece."""
        packed = io.BytesIO()
        # The oldest level copies what the rows need; newer ones would write whole shared buffers.
        frame.write_ipc_stream(packed, compat_level=pl.CompatLevel.oldest())
        offset = self._file.tell()
        self._file.write(packed.getbuffer())
        return Block(self.path, offset, self._file.tell() - offset, frame.height)

    def flush(self) -> None:
        """Hand everything written so far to the system, so that it can be read."""
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def read_block(block: Block) -> pl.DataFrame:
    """Read one piece."""
    with block.path.open("rb") as file:
        file.seek(block.offset)
        return pl.read_ipc_stream(io.BytesIO(file.read(block.length)))
