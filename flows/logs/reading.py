"""Lines of log files, wherever they lie and however they are packed.

1. A path is a file, a folder (all log files in it, by name), a glob, or an fsspec URL of either.
2. `.gz` and `.zst` are unpacked while reading; nothing is held but one chunk.
3. A plain local file that grows while it is read is read up to its size at the start.
4. The digest is of the unpacked bytes that were read, so packing a log changes nothing.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import fsspec
import orjson
import polars as pl
import zstandard

from flows.data_errors import LogError, LogMissingError

_CHUNK_BYTES = 1 << 20
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")
_PACKED = (".gz", ".zst", ".zstd")
_GLOB = set("*?[")


@dataclass(frozen=True)
class LogFile:
    """One log file.

    Args:
        location: a local path or an fsspec URL.
        label: its name in records and errors; never a folder of this machine.
    """

    location: str
    label: str

    @property
    def is_parquet(self) -> bool:
        """Whether it is a parquet file."""
        return self.location.endswith(".parquet")


def find_logs(paths: Sequence[str | Path]) -> list[LogFile]:
    """List the log files that paths, folders, globs and URLs name, each once, by label.

    Raises:
        LogMissingError: one of them names no file.
        LogError: two different files would have the same label.
    """
    found: dict[str, str] = {}
    for path in paths:
        locations = _expand(str(path))
        if not locations:
            raise LogMissingError(str(path))
        for location in locations:
            found.setdefault(_identity(location), location)
    labelled: dict[str, str] = {}
    for location in found.values():
        label = location.rstrip("/").rsplit("/", 1)[-1]
        if label in labelled:
            label = "/".join(location.rstrip("/").split("/")[-2:])
        if label in labelled:
            raise LogError(
                f"{labelled[label]} and {location} would both be called {label}; rename one of "
                f"them, records name their file so. Nothing was ingested"
            )
        labelled[label] = location
    return [LogFile(labelled[label], label) for label in sorted(labelled)]


class LineReader:
    """Reads a log file line by line; afterwards it knows digest and size.

    Args:
        file: the file; not parquet.
    """

    def __init__(self, file: LogFile) -> None:
        self.file = file
        self.lines = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The sha256 of what was read so far, unpacked."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Walk over the lines that are not empty, with their 1-based numbers.

        Raises:
            LogError: a packed file ends in the middle, or the file cannot be read.
        """
        for first, lines in self.pieces():
            yield from numbered(first, lines)

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Walk over pieces of whole lines, each with the number of its first line.

        Raises:
            LogError: a packed file ends in the middle, or the file cannot be read.
        """
        carry: list[bytes] = []
        for chunk in self._chunks():
            self._digest.update(chunk)
            lines, end, rest = chunk.rpartition(b"\n")
            if end:
                whole = b"".join([*carry, lines])
                carry = []
                yield self.lines + 1, whole
                self.lines += whole.count(b"\n") + 1
            if rest:
                carry.append(rest)
        if carry:
            yield self.lines + 1, b"".join(carry)

    def _chunks(self) -> Iterator[bytes]:
        """Walk over unpacked chunks."""
        limit = _plain_size(self.file.location)
        try:
            with _opened(self.file.location) as stream:
                while limit is None or limit > 0:
                    chunk = stream.read(_CHUNK_BYTES if limit is None else min(_CHUNK_BYTES, limit))
                    if not chunk:
                        return
                    limit = None if limit is None else limit - len(chunk)
                    yield chunk
        except (EOFError, gzip.BadGzipFile, zstandard.ZstdError) as error:
            raise LogError(
                f"{self.file.label}: the packed file ends early or is damaged after line "
                f"{self.lines} ({error}); wait until it is complete. Nothing was ingested"
            ) from error
        except OSError as error:
            raise LogError(f"{self.file.label}: cannot be read: {error}") from error


class ParquetReader:
    """Reads a parquet log row by row, each row as the JSON line it would be.

    Args:
        file: a parquet file.
    """

    def __init__(self, file: LogFile) -> None:
        self.file = file
        self.sha256 = ""

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Walk over pieces of rows as JSON lines, each with the number of its first row.

        Raises:
            LogError: the file is not parquet or is damaged.
        """
        first, held, size = 1, list[bytes](), 0
        for number, line in self:
            held.append(line)
            size += len(line)
            if size >= _CHUNK_BYTES:
                yield first, b"\n".join(held)
                first, held, size = number + 1, [], 0
        if held:
            yield first, b"\n".join(held)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Walk over the rows with their 1-based numbers.

        Raises:
            LogError: the file is not parquet or is damaged.
        """
        digest = hashlib.sha256()
        number = 0
        with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
            with _opened(self.file.location) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    copy.write(chunk)
            copy.flush()
            self.sha256 = digest.hexdigest()
            try:
                for batch in pl.scan_parquet(copy.name).collect_batches(maintain_order=True):
                    for row in batch.iter_rows(named=True):
                        number += 1
                        yield number, orjson.dumps(row, default=str, option=orjson.OPT_NAIVE_UTC)
            except pl.exceptions.PolarsError as error:
                raise LogError(
                    f"{self.file.label}: cannot be read as parquet after row {number}: {error}; "
                    f"nothing was ingested"
                ) from error


def numbered(first: int, lines: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk over the lines of a piece that are not empty, with their numbers."""
    for number, line in enumerate(lines.split(b"\n"), start=first):
        if line and not line.isspace():
            yield number, line


def reader_of(file: LogFile) -> LineReader | ParquetReader:
    """Give the reader for a file."""
    return ParquetReader(file) if file.is_parquet else LineReader(file)


def _expand(path: str) -> list[str]:
    """List what a path names: itself, the logs of a folder, or a glob's matches."""
    if "://" in path:
        return _expand_url(path)
    local = Path(path)
    if local.is_dir():
        return sorted(str(p) for p in local.iterdir() if p.is_file() and _is_log(p.name))
    if local.is_file():
        return [str(local)]
    if _GLOB & set(path):
        pattern = local if not local.is_absolute() else local.relative_to(local.anchor)
        matches = Path(local.anchor).glob(str(pattern))
        return sorted(str(p) for p in matches if p.is_file() and _is_log(p.name))
    return []


def _expand_url(url: str) -> list[str]:
    """List what an fsspec URL names."""
    system, inner = fsspec.core.url_to_fs(url)
    if _GLOB & set(inner):
        return sorted(system.unstrip_protocol(match) for match in system.glob(inner))
    if system.isdir(inner):
        names = [name for name in system.ls(inner, detail=False) if _is_log(str(name))]
        return sorted(system.unstrip_protocol(name) for name in names)
    return [url] if system.exists(inner) else []


def _is_log(name: str) -> bool:
    """Say whether a folder's file is a log by its name; hidden files are not."""
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return name.endswith(_SUFFIXES) and not name.rsplit("/", 1)[-1].startswith(".")


def _identity(location: str) -> str:
    """Give the same text for two spellings of one file."""
    return location if "://" in location else str(Path(location).resolve())


def _plain_size(location: str) -> int | None:
    """Give the size of a plain local file now, None for any other."""
    if "://" in location or location.endswith(_PACKED):
        return None
    return Path(location).stat().st_size


@contextlib.contextmanager
def _opened(location: str) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, unpacked."""
    with contextlib.ExitStack() as stack:
        raw: IO[bytes]
        if "://" in location:
            raw = stack.enter_context(fsspec.open(location, "rb"))
        else:
            raw = stack.enter_context(Path(location).open("rb"))
        if location.endswith(".gz"):
            raw = cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=raw)))
        elif location.endswith((".zst", ".zstd")):
            unpacker = zstandard.ZstdDecompressor()
            raw = stack.enter_context(unpacker.stream_reader(raw, read_across_frames=True))
        yield raw
