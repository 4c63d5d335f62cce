"""The rules that hold for every format, asked of every format through a whole ingest.

A choice is written as each system logs it: its text, None for a text that is not there, or TOOLS
for a choice of tool calls alone.
"""

import json

import polars as pl
import pytest

from flows.canonical_rows import IngestSettings
from tests.flows.nights import DAY_NS, otel, run_ingest, write_log
from tests.flows.test_logs_formats import (
    BATCH,
    BATCH_INPUT,
    COMPLETION,
    LANGFUSE,
    LITELLM,
    NOON,
    changed,
)

TOOLS = object()
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FIELDS = {"output": "reply", "time": "at", "model": "engine", "value": "paid"}


def chat(choices):
    """Write choices as OpenAI-style answers have them."""
    return [
        {
            "index": index,
            "message": {"content": None, "tool_calls": [CALL]}
            if text is TOOLS
            else {"content": text},
            "finish_reason": "stop",
        }
        for index, text in enumerate(choices)
    ]


def otel_log(choices):
    """Write the event of a call as OpenTelemetry has it."""
    parts = [
        [{"type": "tool_call", "name": "f", "arguments": {}}]
        if text is TOOLS
        else [] if text is None else [{"type": "text", "content": text}]
        for text in choices
    ]  # fmt: skip
    messages = [{"role": "assistant", "parts": p, "finish_reason": "stop"} for p in parts]
    return [otel(1, **{"gen_ai.output.messages": messages})]


def span_log(choices):
    """Write the same as a span, messages as JSON text under the older names."""
    (event,) = otel_log(choices)
    values = event["attributes"]
    attributes = {k: v for k, v in values.items() if "messages" not in k}
    attributes["gen_ai.completion"] = json.dumps(values["gen_ai.output.messages"])
    attributes["gen_ai.prompt"] = json.dumps(values["gen_ai.input.messages"])
    del event["event_name"]
    return [event | {"name": "chat acme-7b", "attributes": attributes}]


def litellm_log(choices):
    """Write the call as LiteLLM does."""
    return [changed(LITELLM, response={"choices": chat(choices)})]


def langfuse_log(choices):
    """Write the call as Langfuse exports it, output as JSON text."""
    return [changed(LANGFUSE, output=json.dumps({"choices": chat(choices)}))]


def batch_log(choices):
    """Write the call as a batch's input and output."""
    body = changed(BATCH["response"]["body"], choices=chat(choices))
    return [BATCH_INPUT, changed(BATCH, response={"status_code": 200, "body": body})]


def stored_log(choices):
    """Write the call as a stored completion."""
    return [changed(COMPLETION, choices=chat(choices))]


def plain_log(choices):
    """Write the call as lines of a gateway of one's own: one choice a line."""
    (text,) = choices
    reply = {"tool_calls": [CALL]} if text is TOOLS else text
    return [{"at": NOON, "engine": "m", "reply": reply, "paid": "0.00021"}]


FORMATS = [otel_log, span_log, litellm_log, langfuse_log, batch_log, stored_log, plain_log]


def night_of(folder, log, *choices, **options):
    """Ingest one call; give the rows, and what was rejected."""
    records = log(choices)
    if log is batch_log:
        write_log(folder / "logs/night.input.jsonl", records[:1])
    write_log(folder / "logs/night.output.jsonl", records[-1:])
    settings = IngestSettings(field_map=FIELDS)
    result = run_ingest(folder, settings=settings, **options)
    return pl.read_parquet(result.outputs), result.manifest["counts"]["rejected"]


@pytest.mark.parametrize("log", FORMATS)
def test_a_missing_text_is_loud(tmp_path, log):
    """A successful call without a text is rejected: content logging was probably off."""
    rows, rejected = night_of(tmp_path, log, None)
    assert (rows.height, rejected) == (0, {"missing_output": 1})


@pytest.mark.parametrize("log", FORMATS)
def test_a_redacted_text_keeps_its_row_without_the_text(tmp_path, log):
    """The call happened and is counted; there is nothing to attribute."""
    rows, rejected = night_of(tmp_path, log, "redacted-by-litellm")
    assert rows.select("output_text", "exclusion_reason").rows() == [(None, "redacted")]
    assert not rejected


@pytest.mark.parametrize("log", FORMATS)
def test_tool_calls_alone_are_an_output_without_text(tmp_path, log):
    """Tool calls are not attributed."""
    rows, rejected = night_of(tmp_path, log, TOOLS)
    assert rows.select("output_text", "exclusion_reason").rows() == [(None, "tool_call")]
    assert not rejected


@pytest.mark.parametrize("log", [each for each in FORMATS if each is not plain_log])
def test_each_choice_is_an_output_and_the_call_is_paid_once(tmp_path, log):
    """Choices are numbered from 0, the later ones named by it; values add up to the call's."""
    whole = night_of(tmp_path / "one", log, "First.")[0]["value_units"].item()
    rows, _ = night_of(tmp_path / "two", log, "First.", "Second.")
    assert rows["choice_index"].to_list() == [0, 1]
    assert rows["output_text"].to_list() == ["First.", "Second."]
    first, second = rows["event_id"]
    assert second == f"{first}/1"
    assert rows["value_units"].sum() == whole


@pytest.mark.parametrize("log", FORMATS)
def test_a_record_from_the_future_is_rejected(tmp_path, log):
    """A clock that runs ahead by more than the settings allow is said, not believed."""
    before = DAY_NS // 1000 - 400 * 10**6
    rows, rejected = night_of(tmp_path / "ahead", log, "Text.", now_us=before)
    assert (rows.height, rejected) == (0, {"clock_skew": 1})
    noon = (NOON + 3) * 10**6
    rows, rejected = night_of(tmp_path / "in time", log, "Text.", now_us=noon)
    assert (rows.height, rejected) == (1, {})


@pytest.mark.parametrize("log", [litellm_log, langfuse_log, batch_log, stored_log])
def test_a_piece_of_a_stream_is_rejected(tmp_path, log, monkeypatch):
    """A delta is a part of an answer that is logged whole elsewhere."""

    def pieces(choices):
        return [{"index": i, "delta": {"content": text}} for i, text in enumerate(choices)]

    monkeypatch.setitem(globals(), "chat", pieces)
    rows, rejected = night_of(tmp_path, log, "Fir")
    assert (rows.height, rejected) == (0, {"stream_partial": 1})
