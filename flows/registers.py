"""Registers of what persons decided: lines of JSON that are added to and never changed.

Each line names its format; the file is written whole, so that a line is there or is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flows.artefacts import canonical_json, write_bytes
from flows.data_errors import ArtefactFormatError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Line = TypeVar("Line", bound=DataclassInstance)


def read_register(path: Path, form: str, kind: type[Line]) -> list[Line]:
    """Read a register, oldest line first.

    Args:
        path: the file; it need not exist.
        form: the format that every line must name.
        kind: what a line is read as.

    Raises:
        ArtefactFormatError: a line is something else.
    """
    found = []
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            known = entry.pop("format") == form
            found.append(kind(**entry))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtefactFormatError(f"{path}, line {number}", form, line) from error
        if not known:
            raise ArtefactFormatError(f"{path}, line {number}", form, line)
    return found


def write_register(path: Path, form: str, entries: Iterable[Line]) -> None:
    """Write a register with all of its lines."""
    lines = [canonical_json({"format": form, **asdict(entry)}) for entry in entries]
    write_bytes(path, b"".join(lines))
