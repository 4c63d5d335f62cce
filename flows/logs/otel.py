"""OpenTelemetry GenAI: inference events, and spans, in current and in older attribute names.

Read are

- the event `gen_ai.client.inference.operation.details` (semantic conventions for generative AI,
  status Development), messages as structures;
- spans with the same attributes, messages as structures or as JSON text;
- the older `gen_ai.system`, `gen_ai.usage.prompt_tokens|completion_tokens`, `gen_ai.prompt` and
  `gen_ai.completion` (JSON text, as attributes or in span events `gen_ai.content.*`), numbered
  `gen_ai.prompt.0.content`, and `gen_ai.choice` events with a body;
- one record a line, flat or wrapped as OTLP JSON (`resourceSpans`, `resourceLogs`), attributes as
  an object or as a list of `{key, value: {stringValue}}`.

The source's id is trace and span (an event and its span are one call), else the response id.
`error.type` or a span status ERROR makes the output not payable. Money and flags come from
`byline.value_units` (whole units as text), `byline.currency`, `byline.is_test`; the customer from
`tenant.id`, the user from `enduser.id` or `user.id`, the territory from `geo.country.iso_code`.
`user_agent.synthetic.type` says "bot" or "test" of a caller that is no person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flows.logs.messages import conversation_text, decoded, message_text
from flows.logs.record import (
    Choice,
    LoggedOutput,
    NotAnOutputError,
    RejectedError,
    finished,
    nano_to_us,
    text_or_none,
    time_us,
    truth,
    whole,
)

_TIMES = (
    "time_unix_nano",
    "timeUnixNano",
    "end_time_unix_nano",
    "endTimeUnixNano",
    "start_time_unix_nano",
    "startTimeUnixNano",
    "observed_time_unix_nano",
    "observedTimeUnixNano",
)
_MESSAGE_EVENTS = (
    "gen_ai.user.message",
    "gen_ai.system.message",
    "gen_ai.assistant.message",
    "gen_ai.tool.message",
    "gen_ai.content.prompt",
)
_OUTPUTLESS = ("embeddings", "execute_tool", "create_agent")


class OtelGenAi:
    """Adapter for OpenTelemetry GenAI records."""

    name = "otel-genai"

    def claims(self, record: Mapping[str, Any]) -> bool:
        """Recognise a GenAI record by its attributes or its OTLP envelope."""
        if "resourceSpans" in record or "resourceLogs" in record:
            return True
        name = str(record.get("event_name") or record.get("eventName") or "")
        if name.startswith("gen_ai."):
            return True
        return any(key.startswith("gen_ai.") for key in _plain(record.get("attributes")))

    def outputs(self, record: Mapping[str, Any]) -> list[LoggedOutput]:
        """Turn an event, a span or an OTLP envelope into outputs."""
        if "resourceSpans" not in record and "resourceLogs" not in record:
            return _one_record(record)
        found: list[LoggedOutput] = []
        for inner in _unwrapped(record):
            try:
                found.extend(_one_record(inner))
            except NotAnOutputError:
                continue
        if not found:
            raise NotAnOutputError("otlp batch without an inference")
        return found

    def moment(self, record: Mapping[str, Any]) -> int:
        """Read the time of a record, or of the first in an envelope."""
        return _time(next(_unwrapped(record), record))


def _one_record(record: Mapping[str, Any]) -> list[LoggedOutput]:
    """Turn one event or span into its outputs, one per choice."""
    attributes = _plain(record.get("attributes"))
    name = str(record.get("event_name") or record.get("eventName") or record.get("name") or "")
    operation = str(attributes.get("gen_ai.operation.name") or "chat")
    if name in _MESSAGE_EVENTS or operation in _OUTPUTLESS:
        raise NotAnOutputError(name if name in _MESSAGE_EVENTS else operation)
    if not name.startswith("gen_ai.") and not any(k.startswith("gen_ai.") for k in attributes):
        raise NotAnOutputError("record without gen_ai attributes")
    failed = _failed(record, attributes)
    choices = _choices(record, attributes, name) or [Choice(0, None)]
    call = _common(record, attributes, _plain(record.get("resource")), operation)
    reasons = attributes.get("gen_ai.response.finish_reasons")
    if isinstance(reasons, list):
        # The call's list is the second source of why a choice ended.
        choices = [
            c if c.finish_reason or i >= len(reasons) else c._replace(finish_reason=str(reasons[i]))
            for i, c in enumerate(choices)
        ]
    outputs = finished(call, choices, failed=failed)
    if attributes.get("user_agent.synthetic.type") == "bot":
        return [output._replace(exclusion=output.exclusion or "bot") for output in outputs]
    return outputs


def _common(
    record: Mapping[str, Any],
    attributes: Mapping[str, Any],
    resource: Mapping[str, Any],
    operation: str,
) -> LoggedOutput:
    """Read what all choices of a call share."""
    model = str(attributes.get("gen_ai.request.model") or "")
    version = str(attributes.get("gen_ai.response.model") or model)
    if not version:
        raise RejectedError(
            "model", "neither gen_ai.response.model nor gen_ai.request.model is set"
        )
    moment = _time(record)
    cached = attributes.get("byline.cache_hit", attributes.get("gen_ai.response.cache_hit"))
    environment = resource.get(
        "deployment.environment.name", resource.get("deployment.environment")
    )
    return LoggedOutput(
        source_id=_source_id(record, attributes),
        choice_index=0,
        time_us=moment,
        revised_us=moment,
        tenant=str(attributes.get("tenant.id") or resource.get("tenant.id") or ""),
        user=text_or_none(attributes.get("enduser.id", attributes.get("user.id"))),
        model_id=model or version,
        model_version=version,
        operation=operation,
        finish_reason=None,
        status="ok",
        prompt_text=_prompt(record, attributes),
        output_text=None,
        prompt_tokens=_tokens(attributes, "input_tokens", "prompt_tokens"),
        output_tokens=_tokens(attributes, "output_tokens", "completion_tokens"),
        cache_hit=truth(cached),
        is_test=truth(attributes.get("byline.is_test"))
        or environment in ("test", "ci")
        or attributes.get("user_agent.synthetic.type") == "test",
        territory=text_or_none(attributes.get("geo.country.iso_code")),
        value_units=whole(attributes.get("byline.value_units"), "byline.value_units"),
        value=None,
        currency=text_or_none(attributes.get("byline.currency")),
        exclusion=None,
    )


def _tokens(attributes: Mapping[str, Any], current: str, older: str) -> int | None:
    """Read a token count by its current or its older name."""
    field = f"gen_ai.usage.{current}"
    return whole(attributes.get(field, attributes.get(f"gen_ai.usage.{older}")), field)


def _failed(record: Mapping[str, Any], attributes: Mapping[str, Any]) -> bool:
    """Say whether the call failed: error.type, or a span status of ERROR."""
    status = record.get("status")
    code = status.get("code", status.get("status_code")) if isinstance(status, dict) else status
    return bool(attributes.get("error.type")) or code in (2, "ERROR", "STATUS_CODE_ERROR")


def _time(record: Mapping[str, Any]) -> int:
    """Read when the output was complete, in microseconds since 1970."""
    for field in _TIMES:
        if record.get(field):
            return nano_to_us(record[field], field)
    for field in ("timestamp", "end_time", "start_time", "time"):
        if record.get(field):
            return time_us(record[field], field)
    raise RejectedError("time", "the record has no time_unix_nano, end time or timestamp")


def _source_id(record: Mapping[str, Any], attributes: Mapping[str, Any]) -> str:
    """Name the call by trace and span, else by the response id; "" when it has neither."""
    context = record.get("context") or record.get("span_context") or {}
    trace = record.get("trace_id") or record.get("traceId") or context.get("trace_id")
    span = record.get("span_id") or record.get("spanId") or context.get("span_id")
    if trace and span:
        return f"{trace}.{span}"
    return str(attributes.get("gen_ai.response.id") or "")


def _choices(record: Mapping[str, Any], attributes: Mapping[str, Any], name: str) -> list[Choice]:
    """Find the output messages under any of their names."""
    messages = attributes.get("gen_ai.output.messages")
    if messages is None and isinstance(record.get("body"), dict):
        body = record["body"]
        messages = body.get("gen_ai.output.messages")
        if messages is None and name == "gen_ai.choice":
            return [_older_choice(body)]
    if messages is None:
        messages = attributes.get("gen_ai.completion")
    if messages is not None:
        return list(_numbered(decoded(messages, "gen_ai.output.messages")))
    numbered = _flat(attributes, "gen_ai.completion.")
    if numbered:
        return [Choice(i, *message_text(m), m.get("finish_reason")) for i, m in enumerate(numbered)]
    found = []
    for event, fields in _span_events(record):
        if event == "gen_ai.choice":
            found.append(_older_choice(fields))
        elif event == "gen_ai.content.completion":
            content = decoded(fields.get("gen_ai.completion"), "gen_ai.completion")
            found.extend(_numbered(content))
        elif event == "gen_ai.client.inference.operation.details":
            content = decoded(fields.get("gen_ai.output.messages"), "gen_ai.output.messages")
            found.extend(_numbered(content))
    return found


def _numbered(messages: object) -> Iterator[Choice]:
    """Number output messages; a single text is one message."""
    if isinstance(messages, (str, dict)):
        messages = [messages]
    if not isinstance(messages, list):
        return
    for index, message in enumerate(messages):
        reason = message.get("finish_reason") if isinstance(message, dict) else None
        yield Choice(index, *message_text(message), text_or_none(reason))


def _older_choice(fields: Mapping[str, Any]) -> Choice:
    """Read a `gen_ai.choice` event: index, finish_reason and message."""
    message = decoded(fields.get("message", fields.get("content")), "message")
    index = whole(fields.get("index"), "index") or 0
    return Choice(index, *message_text(message), text_or_none(fields.get("finish_reason")))


def _prompt(record: Mapping[str, Any], attributes: Mapping[str, Any]) -> str | None:
    """Join system instructions and input messages, under any of their names."""
    fields = attributes
    if "gen_ai.input.messages" not in attributes:
        fields = {**_body(record), **attributes}
        for event, inner in _span_events(record):
            if event in ("gen_ai.content.prompt", "gen_ai.client.inference.operation.details"):
                fields = {**inner, **fields}
    messages = fields.get("gen_ai.input.messages", fields.get("gen_ai.prompt"))
    if messages is None:
        messages = _flat(fields, "gen_ai.prompt.") or None
    asked = conversation_text(decoded(messages, "gen_ai.input.messages"))
    system = decoded(fields.get("gen_ai.system_instructions"), "gen_ai.system_instructions")
    if not system:
        return asked
    told = message_text({"parts": system})[0]
    return "\n\n".join(text for text in (told, asked) if text) or None


def _body(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a log record's body where it is an object."""
    body = record.get("body")
    return body if isinstance(body, dict) else {}


def _flat(attributes: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Gather `prefix.0.role`, `prefix.0.content`, ... into messages."""
    found: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if key.startswith(prefix):
            number, _, field = key[len(prefix) :].partition(".")
            if number.isdigit() and field:
                found.setdefault(int(number), {})[field] = value
    return [found[number] for number in sorted(found)]


def _span_events(record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Walk over the events inside a span."""
    events = record.get("events")
    for event in events if isinstance(events, list) else ():
        if isinstance(event, dict):
            yield str(event.get("name") or ""), _plain(event.get("attributes"))


def _plain(attributes: object) -> Mapping[str, Any]:
    """Give attributes as an object, whether logged so or as OTLP key-value pairs."""
    if isinstance(attributes, dict):
        inner = attributes.get("attributes")
        return _plain(inner) if isinstance(inner, list) and len(attributes) == 1 else attributes
    if not isinstance(attributes, list):
        return {}
    return {
        str(pair["key"]): _otlp_value(pair.get("value"))
        for pair in attributes
        if isinstance(pair, dict) and "key" in pair
    }


def _otlp_value(value: object) -> object:
    """Give the plain value of an OTLP AnyValue."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    kind, inner = next(iter(value.items()))
    if kind == "arrayValue":
        return [_otlp_value(item) for item in inner.get("values", ())]
    if kind == "kvlistValue":
        return _plain(inner.get("values", ()))
    return int(inner) if kind == "intValue" else inner


def _unwrapped(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Take the spans and log records out of an OTLP envelope, each with its resource."""
    for outer, scopes, inner in (
        ("resourceSpans", "scopeSpans", "spans"),
        ("resourceLogs", "scopeLogs", "logRecords"),
    ):
        for group in record.get(outer) or ():
            resource = _plain((group.get("resource") or {}).get("attributes"))
            for scope in group.get(scopes) or ():
                for item in scope.get(inner) or ():
                    body = item.get("body")
                    plain = {**item, "body": _otlp_value(body)} if body is not None else item
                    yield {**plain, "resource": resource}
