"""Put reports into their folder, whole or not at all.

A report is written beside its place, forced to disk and renamed; whoever sees
the name sees the whole file. Nothing is left under the name when it fails.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from reports.errors import UnwritableReportError


def write_report(path: Path, data: bytes) -> None:
    """Write one file atomically, making its folder.

    Raises:
        UnwritableReportError: no room, no right, or not a folder.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as problem:
        raise UnwritableReportError(str(path), problem.strerror or str(problem)) from problem


def write_reports(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write several files into a folder, in the order of their names."""
    paths = []
    for name, data in sorted(files.items()):
        write_report(folder / name, data)
        paths.append(folder / name)
    return paths
