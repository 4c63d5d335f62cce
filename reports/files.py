"""Put reports into their folder, whole or not at all.

A report is written beside its place, forced to disk and renamed; whoever sees
the name sees the whole file. Nothing is left under the name when it fails.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.errors import UnwritableReportError


def write_report(path: Path, data: bytes) -> None:
    """Write one file atomically, making its folder.

    Raises:
        UnwritableReportError: no room, no right, or not a folder.
    """
    _write([(path, data)])


def write_reports(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write several files into a folder, in the order of their names.

    All are on the disk before the first takes its name, so a disk that fills leaves none.

    Raises:
        UnwritableReportError: no room, no right, or not a folder.
    """
    pairs = [(folder / name, data) for name, data in sorted(files.items())]
    _write(pairs)
    return [path for path, _ in pairs]


def _write(files: Sequence[tuple[Path, bytes]]) -> None:
    waiting = [path.with_name(f".{path.name}.{os.getpid()}.tmp") for path, _ in files]
    path = Path()
    try:
        try:
            for temporary, (path, data) in zip(waiting, files, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            for temporary, (path, _) in zip(waiting, files, strict=True):
                temporary.replace(path)
        finally:
            for temporary in waiting:
                temporary.unlink(missing_ok=True)
    except OSError as problem:
        raise UnwritableReportError(str(path), problem.strerror or str(problem)) from problem
