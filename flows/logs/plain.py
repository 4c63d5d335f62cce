"""Plain JSONL of any shape, read by a field map.

A field map says for each canonical field which field of the record holds it, with dots for inner
objects: `{"output": "reply.text", "time": "at", "model": "engine"}`. `output`, `time` and `model`
must be mapped; `id`, `prompt`, `tenant`, `user`, `version`, `operation`, `finish_reason`, `error`,
`prompt_tokens`, `output_tokens`, `cache_hit`, `is_test`, `territory`, `value` (an amount in whole
currency), `value_units`, `currency` and `revised` may be.

Times are ISO 8601 with a zone, or epoch seconds. An `error` that is not empty is a failed call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows.data_errors import LogError
from flows.logs.messages import conversation_text, message_text
from flows.logs.record import (
    Choice,
    LoggedOutput,
    RejectedError,
    amount,
    finished,
    text_or_none,
    time_us,
    truth,
    whole,
)

REQUIRED = ("output", "time", "model")
OPTIONAL = (
    "id", "prompt", "tenant", "user", "version", "operation", "finish_reason", "error",
    "prompt_tokens", "output_tokens", "cache_hit", "is_test", "territory", "value",
    "value_units", "currency", "revised",
)  # fmt: skip


@dataclass(frozen=True)
class PlainJsonl:
    """Adapter for JSONL with a field map.

    Args:
        fields: canonical field to the path of the record's field.
    """

    fields: Mapping[str, str]
    name = "jsonl"

    def __post_init__(self) -> None:
        """Check the map.

        Raises:
            LogError: a field is unknown, or a needed one is not mapped.
        """
        unknown = sorted(set(self.fields) - set(REQUIRED) - set(OPTIONAL))
        missing = [field for field in REQUIRED if field not in self.fields]
        if unknown or missing:
            raise LogError(
                f"field map: unknown {unknown}, missing {missing}; must map {', '.join(REQUIRED)} "
                f"and may map {', '.join(OPTIONAL)}"
            )

    def claims(self, record: Mapping[str, Any]) -> bool:
        """Claim a record that has the mapped time and model."""
        return self._get(record, "time") is not None and self._get(record, "model") is not None

    def moment(self, record: Mapping[str, Any]) -> int:
        """Read the mapped time."""
        return time_us(self._get(record, "time"), self.fields["time"])

    def outputs(self, record: Mapping[str, Any]) -> list[LoggedOutput]:
        """Turn a record into its one output."""
        model = text_or_none(self._get(record, "model"))
        if model is None:
            raise RejectedError("model", f"{self.fields['model']} is missing")
        moment = self.moment(record)
        revised = self._get(record, "revised")
        units = whole(self._get(record, "value_units"), "value_units")
        call = LoggedOutput(
            source_id=str(self._get(record, "id") or ""),
            choice_index=0,
            time_us=moment,
            revised_us=moment if revised is None else time_us(revised, self.fields["revised"]),
            tenant=str(self._get(record, "tenant") or ""),
            user=text_or_none(self._get(record, "user")),
            model_id=model,
            model_version=str(self._get(record, "version") or model),
            operation=str(self._get(record, "operation") or "generation"),
            finish_reason=text_or_none(self._get(record, "finish_reason")),
            status="ok",
            prompt_text=conversation_text(self._get(record, "prompt")),
            output_text=None,
            prompt_tokens=whole(self._get(record, "prompt_tokens"), "prompt_tokens"),
            output_tokens=whole(self._get(record, "output_tokens"), "output_tokens"),
            cache_hit=truth(self._get(record, "cache_hit")),
            is_test=truth(self._get(record, "is_test")),
            territory=text_or_none(self._get(record, "territory")),
            value_units=units,
            value=None if units is not None else amount(self._get(record, "value"), "value"),
            currency=text_or_none(self._get(record, "currency")),
            exclusion=None,
        )
        text, tools = message_text(self._get(record, "output"))
        failed = bool(self._get(record, "error"))
        choices = [Choice(0, text, tools, call.finish_reason)]
        return finished(call, choices, failed=failed)

    def _get(self, record: Mapping[str, Any], field: str) -> Any:
        """Follow a mapped path; None where it leads nowhere."""
        path = self.fields.get(field)
        value: Any = record if path else None
        for step in (path or "").split("."):
            if not isinstance(value, dict):
                return None
            value = value.get(step)
        return value
