"""Which format a log file has: asked of its first records, or given by name.

Adapters are asked in a fixed order, from the most to the least particular; the first that claims
one of the first records reads the whole file. The answer is recorded in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import orjson

from flows.data_errors import LogError, LogFormatUnknownError
from flows.logs.langfuse import Langfuse
from flows.logs.litellm import LiteLlm
from flows.logs.openai import BatchInputs, OpenAiBatch, OpenAiBatchInput, OpenAiCompletion
from flows.logs.otel import OtelGenAi
from flows.logs.plain import PlainJsonl
from flows.logs.reading import LogFile, reader_of
from flows.logs.record import LogAdapter

_PROBED = 20

FORMATS = (
    OtelGenAi.name,
    LiteLlm.name,
    OpenAiBatch.name,
    OpenAiBatchInput.name,
    OpenAiCompletion.name,
    Langfuse.name,
    PlainJsonl.name,
)


def make_adapters(
    field_map: Mapping[str, str] | None = None, inputs: BatchInputs | None = None
) -> tuple[LogAdapter, ...]:
    """Make the adapters in the order in which they are asked.

    Args:
        field_map: for plain JSONL, which is read only with a map.
        inputs: requests of batch input files.
    """
    plain = (PlainJsonl(field_map),) if field_map else ()
    return (
        OtelGenAi(),
        LiteLlm(),
        OpenAiBatchInput(),
        OpenAiBatch(inputs),
        OpenAiCompletion(),
        Langfuse(),
        *plain,
    )


def adapter_named(name: str, adapters: Sequence[LogAdapter]) -> LogAdapter:
    """Find an adapter by its format's name.

    Raises:
        LogError: there is none.
    """
    for adapter in adapters:
        if adapter.name == name:
            return adapter
    need = "; it needs a field map" if name == PlainJsonl.name else ""
    raise LogError(f"unknown log format {name!r}; known are {', '.join(FORMATS)}{need}")


def detect_format(file: LogFile, adapters: Sequence[LogAdapter]) -> LogAdapter | None:
    """Find the adapter for a file by its first records.

    Args:
        file: the log file.
        adapters: from `make_adapters`.

    Returns:
        The adapter, or None for a file without any record.

    Raises:
        LogFormatUnknownError: none of the first records is claimed by an adapter.
    """
    first = ""
    for _, line in islice(reader_of(file), _PROBED):
        first = first or line[:60].decode("utf-8", errors="replace")
        record = _decoded(line)
        for adapter in adapters:
            if record is not None and adapter.claims(record):
                return adapter
    if not first:
        return None
    raise LogFormatUnknownError(file.label, FORMATS, first)


def _decoded(line: bytes) -> dict[str, Any] | None:
    """Decode one line, None if it is no JSON object."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None
