"""OpenTelemetry GenAI in all its spellings gives one canonical output."""

import json

import pytest

from flows.logs.otel import OtelGenAi
from flows.logs.record import NotAnOutputError, RejectedError
from tests.flows.nights import DAY_NS, otel

ADAPTER = OtelGenAi()
SPAN = {
    "name": "chat acme-7b",
    "trace_id": "5b8a",
    "span_id": "51f0",
    "start_time_unix_nano": str(DAY_NS),
    "end_time_unix_nano": str(DAY_NS + 10**9),
    "attributes": {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "acme-7b",
        "gen_ai.usage.input_tokens": 42,
        "gen_ai.usage.output_tokens": 118,
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Sea poem"}]}]',
        "gen_ai.output.messages": '[{"role":"assistant","finish_reason":"stop",'
        '"parts":[{"type":"text","content":"The tide"}]}]',
    },
}


def one(record):
    """Read a record that must give one output."""
    assert ADAPTER.claims(record)
    (output,) = ADAPTER.outputs(record)
    return output


def test_an_event_of_the_current_convention_is_read_whole():
    """The example of the conventions, attribute by attribute."""
    output = one(
        otel(1, **{"gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}]})
    )
    assert output.source_id == f"{1:032x}.{1:016x}"
    assert output.time_us == (DAY_NS + 60 * 10**9) // 1000
    assert (output.model_id, output.model_version) == ("acme-7b", "acme-7b-2026-10")
    assert (output.prompt_text, output.output_text) == ("Be brief.\n\nQ", "Answer 1.")
    assert (output.finish_reason, output.status) == ("stop", "ok")
    assert (output.prompt_tokens, output.output_tokens) == (4, 9)
    assert (output.value_units, output.currency, output.territory) == (1001, "USD/6", "SE")
    assert (output.tenant, output.user) == ("tenant-1", "user-1")


def test_a_span_with_messages_as_json_text_is_the_same_output():
    """Span attributes cannot hold structures, so messages come as JSON strings."""
    output = one(SPAN)
    assert (output.prompt_text, output.output_text) == ("Sea poem", "The tide")
    assert output.time_us == (DAY_NS + 10**9) // 1000
    assert output.finish_reason == "stop"


def test_an_event_and_its_span_are_one_call():
    """Both carry trace and span, so whichever is read twice is counted once."""
    event = otel(1)
    span = SPAN | {"trace_id": event["trace_id"], "span_id": event["span_id"]}
    assert one(event).source_id == one(span).source_id


OLDER = {
    "gen_ai.system": "acme",
    "gen_ai.request.model": "acme-7b",
    "gen_ai.usage.prompt_tokens": 42,
    "gen_ai.usage.completion_tokens": 118,
}
PROMPT = json.dumps([{"role": "user", "content": "Sea poem"}])
COMPLETION = json.dumps([{"role": "assistant", "content": "The tide"}])


@pytest.mark.parametrize(
    "record",
    [
        SPAN | {"attributes": OLDER | {"gen_ai.prompt": PROMPT, "gen_ai.completion": COMPLETION}},
        SPAN
        | {
            "attributes": OLDER,
            "events": [
                {"name": "gen_ai.content.prompt", "attributes": {"gen_ai.prompt": PROMPT}},
                {
                    "name": "gen_ai.content.completion",
                    "attributes": {"gen_ai.completion": COMPLETION},
                },
            ],
        },
        SPAN
        | {
            "attributes": OLDER
            | {
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": "Sea poem",
                "gen_ai.completion.0.content": "The tide",
            }
        },
        SPAN
        | {
            "attributes": OLDER | {"gen_ai.prompt": "Sea poem"},
            "events": [
                {
                    "name": "gen_ai.choice",
                    "attributes": {"index": 0, "message": '{"content": "The tide"}'},
                }
            ],
        },
    ],
    ids=["attributes", "span events", "numbered", "choice events"],
)
def test_older_names_are_read_as_the_current_ones(record):
    """Emitters of last year are still in production."""
    output = one(record)
    assert (output.prompt_text, output.output_text) == ("Sea poem", "The tide")
    assert (output.prompt_tokens, output.output_tokens) == (42, 118)
    assert output.model_version == "acme-7b"


def test_a_choice_event_of_its_own_is_an_output_and_a_message_event_is_not():
    """Older instrumentation logs each message as an event; only choices are outputs."""
    base = {"time_unix_nano": str(DAY_NS), "trace_id": "a", "span_id": "b"}
    attributes = {"gen_ai.system": "acme", "gen_ai.response.model": "m"}
    body = {"index": 1, "finish_reason": "length", "message": {"content": "The tide"}}
    output = one(base | {"event_name": "gen_ai.choice", "attributes": attributes, "body": body})
    assert (output.choice_index, output.output_text, output.finish_reason) == (
        1,
        "The tide",
        "length",
    )
    with pytest.raises(NotAnOutputError, match=r"gen_ai\.user\.message"):
        ADAPTER.outputs(base | {"event_name": "gen_ai.user.message", "attributes": attributes})


def test_otlp_envelopes_are_unwrapped_with_their_resource():
    """The collector's file exporter writes batches with typed key-value pairs."""
    pairs = [{"key": k, "value": {"stringValue": str(v)}} for k, v in SPAN["attributes"].items()]
    pairs.append({"key": "byline.is_test", "value": {"boolValue": True}})
    span = {
        "traceId": "5b8a",
        "spanId": "51f0",
        "name": "chat acme-7b",
        "endTimeUnixNano": str(DAY_NS),
        "attributes": pairs,
    }
    resource = {"attributes": [{"key": "tenant.id", "value": {"stringValue": "t9"}}]}
    other = {"name": "GET /health", "spanId": "1", "traceId": "2", "endTimeUnixNano": "1"}
    envelope = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [other, span]}]}]}
    output = one(envelope)
    assert (output.tenant, output.is_test, output.prompt_tokens) == ("t9", True, 42)
    assert (
        ADAPTER.moment({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) == DAY_NS // 1000
    )
    with pytest.raises(NotAnOutputError):
        ADAPTER.outputs({"resourceSpans": [{"scopeSpans": [{"spans": [other]}]}]})


def test_each_choice_is_an_output_and_the_call_is_divided():
    """Two choices share the call's value and output tokens; the parts add up."""
    messages = [
        {"role": "assistant", "parts": [{"type": "text", "content": t}]} for t in ("A", "B")
    ]
    record = otel(1, **{"gen_ai.output.messages": messages, "byline.value_units": "11"})
    outputs = ADAPTER.outputs(record)
    assert [(o.choice_index, o.output_text) for o in outputs] == [(0, "A"), (1, "B")]
    assert sorted(o.value_units for o in outputs) == [5, 6]
    assert sum(o.output_tokens for o in outputs) == 9


@pytest.mark.parametrize("status", [{"code": 2}, {"status_code": "ERROR"}, "STATUS_CODE_ERROR"])
def test_a_failed_call_is_an_error_with_or_without_text(status):
    """Failure is told by error.type or by the span's status."""
    assert (
        one(otel(1, **{"error.type": "timeout", "gen_ai.output.messages": None})).status == "error"
    )
    assert one(SPAN | {"status": status}).status == "error"
    assert one(SPAN | {"status": {"code": 1}}).status == "ok"


def test_only_text_parts_are_text():
    """Tool calls, their responses and reasoning are not attributed."""
    parts = [
        {"type": "reasoning", "content": "hm"},
        {"type": "text", "content": "The"},
        {"type": "tool_call", "name": "f", "arguments": {}},
        {"type": "text", "content": "tide"},
    ]
    output = one(otel(1, **{"gen_ai.output.messages": [{"role": "assistant", "parts": parts}]}))
    assert (output.output_text, output.exclusion) == ("The\ntide", None)
    tools = [{"role": "assistant", "parts": parts[2:3], "finish_reason": "tool_call"}]
    output = one(otel(1, **{"gen_ai.output.messages": tools}))
    assert (output.output_text, output.exclusion) == (None, "tool_call")


@pytest.mark.parametrize(
    "mark", ["[REDACTED]", "<redacted>", "redacted-by-litellm", " (Redacted) "]
)
def test_a_redacted_text_keeps_its_row_and_is_not_payable(mark):
    """The call took place and had a value, but nothing is left to attribute."""
    messages = [{"role": "assistant", "content": mark}]
    output = one(otel(1, **{"gen_ai.output.messages": messages}))
    assert (output.output_text, output.exclusion) == (None, "redacted")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gen_ai.output.messages": None}, "missing_output"),
        ({"gen_ai.output.messages": "[{"}, "field"),
        ({"byline.value_units": "1.5"}, "field"),
        ({"gen_ai.usage.output_tokens": "many"}, "field"),
        ({"gen_ai.request.model": None, "gen_ai.response.model": None}, "model"),
    ],
)
def test_what_cannot_be_read_is_rejected_with_its_reason(change, reason):
    """Content logging off, broken JSON, wrong numbers: each has its own word."""
    with pytest.raises(RejectedError) as error:
        ADAPTER.outputs(otel(1, **change))
    assert error.value.reason == reason


def test_times_are_utc_and_a_time_without_zone_is_rejected():
    """An hour's error moves an output to another night."""
    record = otel(1)
    del record["time_unix_nano"]
    assert one(record | {"timestamp": "2026-11-20T01:30:00+02:00"}).time_us == (
        DAY_NS // 1000 - 30 * 60 * 10**6
    )
    with pytest.raises(RejectedError, match="without a time zone"):
        ADAPTER.outputs(record | {"timestamp": "2026-11-20T01:30:00"})
    with pytest.raises(RejectedError, match="no time_unix_nano"):
        ADAPTER.outputs(record)


def test_calls_that_generate_nothing_are_not_outputs():
    """Embeddings and tool executions are counted and left alone."""
    with pytest.raises(NotAnOutputError, match="embeddings"):
        ADAPTER.outputs(otel(1, **{"gen_ai.operation.name": "embeddings"}))
