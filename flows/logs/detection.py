"""Which format a log file has: asked of its first records, or given by name.

Adapters are asked in a fixed order, from the most to the least particular; the first that claims
one of the first records reads the whole file. The answer is recorded in the manifest.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import orjson

from flows.data_errors import LogError, LogFormatUnknownError
from flows.logs.otel import OtelGenAi
from flows.logs.reading import LineReader, LogFile
from flows.logs.record import LogAdapter

_PROBED = 20

ADAPTERS: tuple[LogAdapter, ...] = (OtelGenAi(),)


def adapter_named(name: str) -> LogAdapter:
    """Find an adapter by its format's name.

    Raises:
        LogError: there is none.
    """
    for adapter in ADAPTERS:
        if adapter.name == name:
            return adapter
    known = ", ".join(adapter.name for adapter in ADAPTERS)
    raise LogError(f"unknown log format {name!r}; known are {known}")


def detect_format(file: LogFile) -> LogAdapter | None:
    """Find the adapter for a file by its first records.

    Returns:
        The adapter, or None for a file without any record.

    Raises:
        LogFormatUnknownError: none of the first records is claimed by an adapter.
    """
    first = ""
    for _, line in islice(LineReader(file), _PROBED):
        first = first or line[:60].decode("utf-8", errors="replace")
        record = _decoded(line)
        for adapter in ADAPTERS:
            if record is not None and adapter.claims(record):
                return adapter
    if not first:
        return None
    raise LogFormatUnknownError(file.label, tuple(a.name for a in ADAPTERS), first)


def _decoded(line: bytes) -> dict[str, Any] | None:
    """Decode one line, None if it is no JSON object."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None
