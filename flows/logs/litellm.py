"""LiteLLM's `standard_logging_object`, one a line, bare or under that key.

1. Times are epoch seconds; the output is dated by `endTime`.
2. `messages` and `response` may be text, a list or an object; redaction replaces their texts by
   "redacted-by-litellm".
3. The tenant is the team, else the organisation, else the key's hash. A request tag "test" or
   "byline-test" makes it a test.
4. The value is `byline_value_units` in `spend_logs_metadata`, else `response_cost`, which is in
   US dollars by the gateway's price list.
5. `cache_hit` is kept; whether a cached answer is paid is a matter of the settings.
6. Calls that are no generation (embeddings, rerankings, images ...) are not outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    truth,
    whole,
)

_GENERATIONS = ("completion", "responses", "anthropic_messages", "generate_content")


class LiteLlm:
    """Adapter for LiteLLM's standard logging payload."""

    name = "litellm"

    def claims(self, record: Mapping[str, Any]) -> bool:
        """Recognise the payload by the names only it has together."""
        payload = _payload(record)
        return "call_type" in payload and ("response_cost" in payload or "model_group" in payload)

    def moment(self, record: Mapping[str, Any]) -> int:
        """Read when the call ended."""
        payload = _payload(record)
        return time_us(payload.get("endTime") or payload.get("startTime"), "endTime")

    def outputs(self, record: Mapping[str, Any]) -> list[LoggedOutput]:
        """Turn one call into an output for each choice."""
        payload = _payload(record)
        kind = str(payload.get("call_type") or "")
        if not kind.removeprefix("a").endswith(_GENERATIONS):
            raise NotAnOutputError(kind or "call without a type")
        failed = payload.get("status") == "failure" or bool(payload.get("error_str"))
        choices = _choices(payload.get("response"), failed=failed)
        return finished(_call(payload, self.moment(record)), choices, failed=failed)


def _payload(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find the payload in the record, bare or wrapped."""
    for key in ("standard_logging_object", "standard_logging_payload"):
        if isinstance(record.get(key), dict):
            inner: Mapping[str, Any] = record[key]
            return inner
    return record


def _call(payload: Mapping[str, Any], moment: int) -> LoggedOutput:
    """Read what all choices of the call share."""
    metadata = payload.get("metadata") or {}
    spend = metadata.get("spend_logs_metadata") or {}
    hidden = payload.get("hidden_params") or {}
    response = payload.get("response")
    said = response.get("model") if isinstance(response, dict) else None
    version = str(said or hidden.get("litellm_model_name") or payload.get("model") or "")
    if not version:
        raise RejectedError("model", "neither response.model nor model is set")
    tenant = (
        metadata.get("user_api_key_team_id")
        or metadata.get("user_api_key_org_id")
        or metadata.get("user_api_key_hash")
    )
    units = whole(spend.get("byline_value_units"), "byline_value_units")
    tags = payload.get("request_tags") or ()
    return LoggedOutput(
        source_id=str(payload.get("id") or ""),
        choice_index=0,
        time_us=moment,
        revised_us=moment,
        tenant=str(tenant or ""),
        user=text_or_none(payload.get("end_user") or metadata.get("user_api_key_user_id")),
        model_id=str(payload.get("model_group") or payload.get("model") or version),
        model_version=version,
        operation=str(payload["call_type"]),
        finish_reason=None,
        status="ok",
        prompt_text=conversation_text(payload.get("messages")),
        output_text=None,
        prompt_tokens=whole(payload.get("prompt_tokens"), "prompt_tokens"),
        output_tokens=whole(payload.get("completion_tokens"), "completion_tokens"),
        cache_hit=truth(payload.get("cache_hit")),
        is_test="test" in tags or "byline-test" in tags,
        territory=None,
        value_units=units,
        value=None if units is not None else amount(payload.get("response_cost"), "response_cost"),
        currency=None if units is not None else "USD",
        exclusion=None,
    )


def _choices(response: object, *, failed: bool) -> list[Choice]:
    """Find the choices in any of the response's shapes."""
    if isinstance(response, list):
        return [Choice(i, *message_text(m)) for i, m in enumerate(response)]
    if not isinstance(response, dict):
        return [Choice(0, response)] if isinstance(response, str) else []
    if isinstance(response.get("output"), list):
        return _responses_api(response)
    if "choices" in response or ("object" in response and not failed):
        return chat_choices(response)
    return [Choice(0, *message_text(response))] if response else []


def _responses_api(response: Mapping[str, Any]) -> list[Choice]:
    """Join the message items of a Responses API answer into one choice."""
    messages = [item for item in response["output"] if item.get("type", "message") == "message"]
    tools = any(item.get("type") == "function_call" for item in response["output"])
    texts = [text for text, _ in map(message_text, messages) if text is not None]
    return [Choice(0, "\n".join(texts) if texts else None, tools)]
