"""Files that are whole or absent: the small disk edge of the attribution room.

1. A file is written beside its final place and moved there when complete, so a
   reader, a full disk or a kill never meets half a file.
2. A folder is built the same way: beside its place, moved when complete. What a
   killed process left half-built is swept away by the next that builds there.
3. JSON is canonical: sorted keys, no spaces, UTF-8, one trailing newline, so
   that equal content has an equal digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value in its one canonical form, with a trailing newline."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return (text + "\n").encode("utf-8")


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of bytes, in lowercase hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in lowercase hex, without loading it whole."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all (temporary file, fsync, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def folder_when_complete(final: Path) -> Iterator[Path]:
    """Give a fresh folder beside `final` that takes its place when the block ends well.

    Args:
        final: the folder that shall appear, whole, or not at all. One that is
            there already is replaced.

    Yields:
        The temporary folder to fill. It is removed when the block fails.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    _sweep(final)
    mark = f".{final.name}.building.{os.getpid()}."
    building = Path(tempfile.mkdtemp(dir=final.parent, prefix=mark))
    building.chmod(0o755)
    try:
        yield building
        for path in sorted(building.rglob("*")):
            if path.is_file():
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
        # The old folder steps aside first: rename cannot replace a folder with content.
        aside = building.with_name(building.name + ".old")
        if final.exists():
            final.replace(aside)
        building.replace(final)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


class ScratchFile:
    """A file without a name, for what is too large to keep; gone when nothing uses it."""

    def __init__(self, folder: Path | None = None) -> None:
        """Open one in a folder; in the system's temporary folder when left out."""
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as it is used
        weakref.finalize(self, file.close)
        self._handle = file.fileno()
        self.size = 0

    def append(self, data: bytes) -> None:
        """Write bytes at the end."""
        self.write(self.size, data)

    def write(self, begin: int, data: bytes) -> None:
        """Write bytes at a place."""
        done = 0
        while done < len(data):
            done += os.pwrite(self._handle, data[done:], begin + done)
        self.size = max(self.size, begin + len(data))

    def read(self, begin: int, size: int) -> bytes:
        """Return bytes that were written."""
        parts, done = [], 0
        while done < size:
            parts.append(os.pread(self._handle, size - done, begin + done))
            assert parts[-1], (begin, size, self.size)
            done += len(parts[-1])
        return b"".join(parts)


def _sweep(final: Path) -> None:
    """Remove half-built folders whose process is gone."""
    for left in final.parent.glob(f".{final.name}.building.*"):
        process = left.name.split(".building.", 1)[1].split(".", 1)[0]
        if process.isdigit() and not _alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
