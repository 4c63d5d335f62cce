"""The files of one shard: immutable rows, their ids, and a checksum for every chunk.

    shards/000000/
        documents.parquet     one line per row: ids, kind, place in the corpus, tokens
        rows-K.bin            rows of checkpoint K, back to back
        chunks-K.jsonl        one line per chunk: first row, rows, sha256, losses
        shard.json            digests of all of these; written last

1. A chunk's bytes are on disk before its line is. A line is the promise that
   the bytes it covers are whole; a build that died goes on after the last line,
   and bytes without a line are cut off.
2. The same documents make the same bytes, whether or not the build was killed.
3. A shard without shard.json is not finished, and nothing reads it.
4. A chunk is hashed before the first time its rows are used.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attribution.errors import IndexDamagedError, IndexIncompleteError
from attribution.files import canonical_json, sha256_file, write_atomically

SHARD_FORMAT = "byline-index-shard/1"


@dataclass(frozen=True, eq=False)
class Chunk:
    """A run of rows that is hashed as one.

    Attributes:
        first: its first row.
        rows: how many rows.
        sha256: of their bytes.
        losses: [rows], float64, summed loss of each row's document in nats; NaN where
            not finite.
    """

    first: int
    rows: int
    sha256: str
    losses: np.ndarray

    def as_line(self) -> bytes:
        """Return the journal line of this chunk."""
        return canonical_json(
            {
                "first": self.first,
                "losses": [None if math.isnan(v) else v for v in self.losses.tolist()],
                "rows": self.rows,
                "sha256": self.sha256,
            }
        )


class RowWriter:
    """Appends chunks of one checkpoint to a shard that is being built; one process at a time."""

    def __init__(self, folder: Path, checkpoint: int, row_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rows_path = folder / f"rows-{checkpoint}.bin"
        self._journal_path = folder / f"chunks-{checkpoint}.jsonl"
        self._row_bytes = row_bytes
        self.done = self._recover()

    def _recover(self) -> int:
        """Cut off what no journal line promises (rule 1); return rows that are whole."""
        done = good = 0
        if self._journal_path.exists():
            with self._journal_path.open("rb") as journal:
                for raw in journal:
                    chunk = _parse(raw)
                    if chunk is None:
                        break
                    done += chunk.rows
                    good += len(raw)
        size = self._rows_path.stat().st_size if self._rows_path.exists() else 0
        if size < done * self._row_bytes:
            raise IndexDamagedError(
                f"{self._rows_path} has {size} bytes but its journal promises "
                f"{done * self._row_bytes}; the shard was altered while unfinished. "
                f"Delete the index folder and build it again"
            )
        self._rows_path.touch()
        self._journal_path.touch()
        os.truncate(self._rows_path, done * self._row_bytes)
        os.truncate(self._journal_path, good)
        return done

    def append(self, stored: np.ndarray, losses: Sequence[float]) -> None:
        """Write one chunk: bytes first, then the line that promises them.

        Args:
            stored: [rows, row_bytes], uint8.
            losses: summed loss of each row's document; not finite where unknown.
        """
        assert stored.shape == (len(losses), self._row_bytes), (stored.shape, self._row_bytes)
        data = stored.tobytes()
        _append_durably(self._rows_path, data)
        kept = np.array(losses, dtype=np.float64)
        kept[~np.isfinite(kept)] = math.nan
        chunk = Chunk(self.done, len(losses), hashlib.sha256(data).hexdigest(), kept)
        _append_durably(self._journal_path, chunk.as_line())
        self.done += len(losses)


class ShardReader:
    """Reads a finished shard, memory-mapped.

    Attributes:
        name: the shard's folder name.
        rows: how many documents it holds.
    """

    def __init__(self, folder: Path, row_bytes: Sequence[int]) -> None:
        self.folder = folder
        self.name = folder.name
        path = folder / "shard.json"
        if not path.is_file():
            raise IndexIncompleteError(
                f"shard {folder} is not finished; run the same build again to complete it"
            )
        self.manifest: dict[str, Any] = json.loads(path.read_bytes())
        self.rows = int(self.manifest["documents"])
        self._row_bytes = list(row_bytes)
        self._checked: set[tuple[int, int]] = set()
        self._chunks: dict[int, list[Chunk]] = {}
        for checkpoint, width in enumerate(self._row_bytes):
            self._check_size(folder / f"rows-{checkpoint}.bin", self.rows * width)

    @staticmethod
    def _check_size(path: Path, wanted: int) -> None:
        size = path.stat().st_size if path.is_file() else -1
        if size != wanted:
            found = "is missing" if size < 0 else f"has {size} bytes"
            raise IndexDamagedError(
                f"{path} {found}, its shard promises {wanted}; nothing of this index is used. "
                f"Restore the file, or build the index again"
            )

    @property
    def documents(self) -> pl.DataFrame:
        """One line per row: ids, kind, place, tokens, unit weight; read again at each use."""
        path = self.folder / "documents.parquet"
        self._check_digest(path, self.manifest["files"][path.name])
        return pl.read_parquet(path)

    def chunks(self, checkpoint: int) -> list[Chunk]:
        """Return the chunks of a checkpoint, in row order."""
        if checkpoint not in self._chunks:
            path = self.folder / f"chunks-{checkpoint}.jsonl"
            self._check_digest(path, self.manifest["files"][path.name])
            with path.open("rb") as journal:
                chunks = [_parse(raw) for raw in journal]
            assert None not in chunks, f"{path} has a right digest and a wrong line"
            self._chunks[checkpoint] = [chunk for chunk in chunks if chunk is not None]
        return self._chunks[checkpoint]

    def stored(self, checkpoint: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row, [rows, B] uint8) of each chunk, hashed before its first use."""
        for number, chunk in enumerate(self.chunks(checkpoint)):
            yield chunk.first, self._part(checkpoint, number)

    def take(self, checkpoint: int, rows: np.ndarray) -> np.ndarray:
        """Return some rows, [n, B] uint8; only the chunks that hold them are read and hashed.

        Args:
            checkpoint: of the path.
            rows: [n], rising row numbers of this shard.
        """
        out = np.empty((len(rows), self._row_bytes[checkpoint]), dtype=np.uint8)
        for number, chunk in enumerate(self.chunks(checkpoint)):
            begin, end = np.searchsorted(rows, [chunk.first, chunk.first + chunk.rows])
            if begin < end:
                part = self._part(checkpoint, number)
                out[begin:end] = part[rows[begin:end] - chunk.first]
        return out

    def _part(self, checkpoint: int, number: int) -> np.ndarray:
        """Return the rows of a chunk, mapped, hashed where it was not before (rule 4).

        Chunk by chunk, so that pages which were read are not held as long as the index is open.
        """
        chunk = self.chunks(checkpoint)[number]
        width = self._row_bytes[checkpoint]
        if not chunk.rows:
            return np.empty((0, width), dtype=np.uint8)
        # Copy-on-write, because torch asks for a writable array; the file is not changed.
        path = self.folder / f"rows-{checkpoint}.bin"
        shape, offset = (chunk.rows, width), chunk.first * width
        part = np.memmap(path, dtype=np.uint8, mode="c", offset=offset, shape=shape)
        if (checkpoint, number) not in self._checked:
            found = hashlib.sha256(part.data).hexdigest()
            if found != chunk.sha256:
                raise IndexDamagedError(
                    f"{path}, rows {chunk.first} to {chunk.first + chunk.rows - 1}: "
                    f"sha256 {found[:12]}… is not the {chunk.sha256[:12]}… written at the "
                    f"build; the bytes were altered. Restore the shard or build it again"
                )
            self._checked.add((checkpoint, number))
        return part

    def losses(self, checkpoint: int) -> np.ndarray:
        """Return the summed loss of each row's document, [rows], float64, NaN where unknown."""
        parts = [chunk.losses for chunk in self.chunks(checkpoint)]
        return np.concatenate([np.empty(0), *parts])

    def verify(self) -> None:
        """Hash every file and every chunk.

        Raises:
            IndexDamagedError: names the first file or row range that differs.
        """
        for name, digest in sorted(self.manifest["files"].items()):
            self._check_digest(self.folder / name, digest)
        self._checked.clear()
        for checkpoint in range(len(self._row_bytes)):
            for _ in self.stored(checkpoint):
                pass

    @staticmethod
    def _check_digest(path: Path, wanted: str) -> None:
        found = sha256_file(path) if path.is_file() else "missing"
        if found != wanted:
            raise IndexDamagedError(
                f"{path}: sha256 {found[:12]}… is not the {wanted[:12]}… written at the build; "
                f"the file was altered. Restore it or build the index again"
            )


def documents_parquet(path: Path, table: pl.DataFrame) -> None:
    """Write a table with stable bytes, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    table.write_parquet(temporary, compression="zstd", statistics=False)
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)


def finish_shard(folder: Path, documents: int, checkpoints: int) -> str:
    """Write shard.json over the finished files, and return its SHA-256."""
    names = ["documents.parquet", *(f"chunks-{k}.jsonl" for k in range(checkpoints))]
    manifest = {
        "documents": documents,
        "files": {name: sha256_file(folder / name) for name in names},
        "format": SHARD_FORMAT,
    }
    data = canonical_json(manifest)
    write_atomically(folder / "shard.json", data)
    return hashlib.sha256(data).hexdigest()


def _parse(raw: bytes) -> Chunk | None:
    """Read a journal line; None where it is torn."""
    if not raw.endswith(b"\n"):
        return None
    try:
        said = json.loads(raw)
        losses = np.array(said["losses"], dtype=np.float64)
        return Chunk(said["first"], said["rows"], said["sha256"], losses)
    except (ValueError, KeyError, TypeError):
        return None


def _append_durably(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
