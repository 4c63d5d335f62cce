"""Langfuse: blob export of observations (JSONL or Parquet), and the older API objects.

1. Only observations of type GENERATION are outputs; spans and events are counted and left alone.
2. Times are UTC without a zone by the format's definition. Empty text means absent.
3. `updated_at` orders the versions of an observation: a later one replaces an earlier one.
4. The export's field groups can be switched off, so an observation without `output` is rejected.
5. Input and output may be text or JSON text. JSON is taken as chat messages only if it looks like
   them; otherwise it is what the model wrote.
6. Level ERROR is a failed call. Environments "test" and "ci" are tests.
7. The tenant is `tenant_id` in the metadata, else the project. The value is `byline_value_units`
   in the metadata, else `total_cost`, in US dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from flows.logs.messages import chat_choices, conversation_text, message_text
from flows.logs.record import (
    Choice,
    LoggedOutput,
    NotAnOutputError,
    RejectedError,
    amount,
    finished,
    text_or_none,
    time_us,
    whole,
)

_TYPES = {
    "GENERATION", "SPAN", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR",
    "EMBEDDING", "GUARDRAIL",
}  # fmt: skip
_MESSAGE_KEYS = {"role", "content", "parts", "choices", "tool_calls", "messages"}


class Langfuse:
    """Adapter for Langfuse observations."""

    name = "langfuse"

    def claims(self, record: Mapping[str, Any]) -> bool:
        """Recognise an observation by its type and its trace."""
        return record.get("type") in _TYPES and ("trace_id" in record or "traceId" in record)

    def moment(self, record: Mapping[str, Any]) -> int:
        """Read when the observation ended, else when it started."""
        value = _either(record, "end_time", "endTime") or _either(record, "start_time", "startTime")
        return time_us(value, "end_time", naive_is_utc=True)

    def outputs(self, record: Mapping[str, Any]) -> list[LoggedOutput]:
        """Turn one generation into an output for each choice."""
        if record.get("type") != "GENERATION":
            raise NotAnOutputError(f"langfuse {record.get('type')}")
        failed = record.get("level") == "ERROR"
        if "output" not in record and not failed:
            raise RejectedError("missing_output", "the export has no output; its io group is off")
        return finished(_call(record, self.moment(record)), _choices(record), failed=failed)


def _either(record: Mapping[str, Any], current: str, older: str) -> Any:
    """Read a field by its name in the export or in the older API; empty text is absent."""
    value = record.get(current, record.get(older))
    return None if value == "" else value


def _call(record: Mapping[str, Any], moment: int) -> LoggedOutput:
    """Read what all choices of the generation share."""
    metadata = _structure(record.get("metadata")) or {}
    metadata = metadata if isinstance(metadata, dict) else {}
    usage = (
        _structure(_either(record, "usage_details", "usageDetails") or record.get("usage")) or {}
    )
    usage = usage if isinstance(usage, dict) else {}
    model = str(_either(record, "provided_model_name", "model") or "")
    if not model:
        raise RejectedError("model", "provided_model_name is missing")
    revised = _either(record, "updated_at", "updatedAt")
    units = whole(metadata.get("byline_value_units"), "byline_value_units")
    cost = _either(record, "total_cost", "calculatedTotalCost")
    return LoggedOutput(
        source_id=str(record.get("id") or ""),
        choice_index=0,
        time_us=moment,
        revised_us=time_us(revised, "updated_at", naive_is_utc=True) if revised else moment,
        tenant=str(metadata.get("tenant_id") or _either(record, "project_id", "projectId") or ""),
        user=text_or_none(_either(record, "user_id", "userId")),
        model_id=model,
        model_version=str(metadata.get("model_version") or model),
        operation=str(_either(record, "name", "name") or "generation"),
        finish_reason=None,
        status="ok",
        prompt_text=conversation_text(_chat(record.get("input"))),
        output_text=None,
        prompt_tokens=whole(usage.get("input", usage.get("promptTokens")), "usage.input"),
        output_tokens=whole(usage.get("output", usage.get("completionTokens")), "usage.output"),
        cache_hit=False,
        is_test=record.get("environment") in ("test", "ci"),
        territory=None,
        value_units=units,
        value=None if units is not None else amount(cost, "total_cost"),
        currency=None if units is not None else "USD",
        exclusion=None,
    )


def _structure(value: object) -> object:
    """Decode JSON text if it is JSON; leave everything else."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _chat(value: object) -> object:
    """Decode a text as chat messages where it looks like them, else keep the text."""
    found = _structure(value)
    probe = found[0] if isinstance(found, list) and found else found
    if isinstance(probe, dict) and _MESSAGE_KEYS & set(probe):
        return found
    return value if isinstance(value, str) else (found if isinstance(found, str) else None)


def _choices(record: Mapping[str, Any]) -> list[Choice]:
    """Find the choices in the generation's output."""
    output = _chat(record.get("output"))
    if output in (None, ""):
        return []
    if isinstance(output, dict) and "choices" in output:
        return chat_choices(output)
    if isinstance(output, list):
        return [Choice(i, *message_text(m)) for i, m in enumerate(output)]
    return [Choice(0, *message_text(output))]
