"""LiteLLM, Langfuse, OpenAI batch, stored completions and plain JSONL, each by its own rules."""

import copy
import json
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from flows.artefacts import manifest_path
from flows.canonical_rows import IngestSettings
from flows.data_errors import LogError
from flows.logs.langfuse import Langfuse
from flows.logs.litellm import LiteLlm
from flows.logs.openai import OpenAiCompletion
from flows.logs.plain import PlainJsonl
from flows.logs.record import NotAnOutputError, RejectedError
from flows.quarantine import read_quarantine
from tests.flows.nights import DAY, run_ingest, write_log

NOON = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp())

LITELLM = {
    "id": "chatcmpl-a1",
    "call_type": "acompletion",
    "status": "success",
    "model": "acme-7b",
    "model_group": "acme",
    "startTime": NOON + 0.1,
    "endTime": NOON + 2.4,
    "prompt_tokens": 42,
    "completion_tokens": 118,
    "response_cost": 0.00021,
    "cache_hit": False,
    "end_user": "u-17",
    "request_tags": ["prod"],
    "messages": [{"role": "user", "content": "Write a sea poem"}],
    "response": {"choices": [{"finish_reason": "stop", "message": {"content": "The tide..."}}]},
    "metadata": {"user_api_key_hash": "9f", "user_api_key_team_id": "t1"},
    "hidden_params": {"litellm_model_name": "acme-7b-2026-10"},
    "error_str": None,
}
LANGFUSE = {
    "id": "obs-1",
    "trace_id": "tr-9",
    "project_id": "p1",
    "environment": "production",
    "type": "GENERATION",
    "start_time": "2026-11-20 12:00:00.100000",
    "end_time": "2026-11-20 12:00:02.400000",
    "level": "DEFAULT",
    "input": '[{"role":"user","content":"Write a sea poem"}]',
    "output": "The tide...",
    "provided_model_name": "acme-7b",
    "usage_details": {"input": 42, "output": 118, "total": 160},
    "total_cost": 0.00021,
    "user_id": "u-17",
    "metadata": {},
}
COMPLETION = {
    "id": "chatcmpl-a1",
    "object": "chat.completion",
    "created": NOON,
    "model": "acme-7b-2026-10",
    "choices": [{"index": 0, "message": {"content": "The tide..."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 42, "completion_tokens": 118},
    "metadata": {"tenant_id": "t1", "byline_value_units": "210"},
}
BATCH_INPUT = {
    "custom_id": "req-1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {
        "model": "acme-7b",
        "messages": [{"role": "user", "content": "Write a sea poem"}],
        "metadata": {"tenant_id": "t1", "byline_value_units": 210},
        "user": "u-17",
    },
}
BATCH = {
    "id": "batch_req_1",
    "custom_id": "req-1",
    "response": {
        "status_code": 200,
        "body": {k: v for k, v in COMPLETION.items() if k != "metadata"},
    },
    "error": None,
}


def changed(record, **fields):
    """Copy a record with some fields changed."""
    return copy.deepcopy(record) | fields


def one(adapter, record):
    """Read a record that must give one output."""
    assert adapter.claims(record)
    (output,) = adapter.outputs(record)
    return output


def test_every_format_gives_the_same_text_and_tokens(tmp_path):
    """The same call logged by five systems is the same prompt, output, tokens and value."""
    logs = tmp_path / "logs"
    write_log(logs / "litellm.jsonl", [LITELLM])
    write_log(logs / "langfuse.jsonl", [LANGFUSE])
    write_log(logs / "stored.jsonl", [changed(COMPLETION, messages=LITELLM["messages"])])
    write_log(logs / "night.input.jsonl", [BATCH_INPUT])
    write_log(logs / "night.output.jsonl", [BATCH])
    pl.DataFrame([changed(LANGFUSE, id="obs-2", metadata="{}")]).write_parquet(
        logs / "export.parquet"
    )
    result = run_ingest(tmp_path)
    frame = pl.read_parquet(result.outputs)
    assert frame["source_format"].to_list() == [
        "langfuse", "langfuse", "litellm", "openai-batch", "openai-completion",
    ]  # fmt: skip
    for column, value in {
        "prompt_text": "Write a sea poem",
        "output_text": "The tide...",
        "prompt_tokens": 42,
        "output_tokens": 118,
        "value_units": 210,
    }.items():
        assert set(frame[column]) == {value}, column
    counts = result.manifest["counts"]
    assert counts["not_output"] == {"batch input": 1}
    assert result.manifest["log_formats"]["export.parquet"] == "langfuse"


def test_litellm_is_read_by_its_own_names():
    """Dated by its end; tenant is the team; cost in dollars as it was written."""
    output = one(LiteLlm(), LITELLM)
    assert output.time_us == NOON * 10**6 + 2_400_000
    assert (output.tenant, output.user) == ("t1", "u-17")
    assert (output.model_id, output.model_version) == ("acme", "acme-7b-2026-10")
    assert (output.value, output.currency) == (Decimal("0.00021"), "USD")
    assert one(LiteLlm(), {"standard_logging_object": LITELLM}) == output


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("The tide", "The tide"),
        ([{"content": "The tide"}], "The tide"),
        ({"text": "The tide"}, "The tide"),
        (
            {
                "output": [
                    {"type": "message", "content": [{"type": "output_text", "text": "The tide"}]}
                ]
            },
            "The tide",
        ),
    ],
)
def test_litellm_responses_come_in_four_shapes(response, text):
    """Text, a list of messages, an object, and the Responses API's items."""
    assert one(LiteLlm(), changed(LITELLM, response=response)).output_text == text


def test_litellm_failures_tests_redactions_and_other_calls():
    """A failure has no text and is an error; a redacted call keeps its row; embeddings are none."""
    failure = changed(LITELLM, status="failure", response=None, error_str="boom", response_cost=0)
    assert one(LiteLlm(), failure).status == "error"
    redacted = changed(LITELLM, response={"text": "redacted-by-litellm"})
    assert one(LiteLlm(), redacted).exclusion == "redacted"
    assert one(LiteLlm(), changed(LITELLM, request_tags=["byline-test"])).is_test
    assert one(LiteLlm(), changed(LITELLM, cache_hit="True")).cache_hit
    with pytest.raises(NotAnOutputError, match="aembedding"):
        LiteLlm().outputs(changed(LITELLM, call_type="aembedding"))
    with pytest.raises(RejectedError) as error:
        LiteLlm().outputs(changed(LITELLM, response=None))
    assert error.value.reason == "missing_output"
    chunk = {"object": "chat.completion.chunk", "choices": [{"delta": {"content": "T"}}]}
    with pytest.raises(RejectedError) as error:
        LiteLlm().outputs(changed(LITELLM, response=chunk))
    assert error.value.reason == "stream_partial"


def test_langfuse_times_are_utc_and_empty_text_is_absent():
    """The export writes UTC without a zone, and "" where there is nothing."""
    output = one(Langfuse(), changed(LANGFUSE, user_id=""))
    assert output.time_us == NOON * 10**6 + 2_400_000
    assert (output.user, output.tenant) == (None, "p1")
    with pytest.raises(RejectedError) as error:
        Langfuse().outputs(changed(LANGFUSE, output=""))
    assert error.value.reason == "missing_output"
    without = {k: v for k, v in LANGFUSE.items() if k != "output"}
    with pytest.raises(RejectedError, match="io group is off"):
        Langfuse().outputs(without)


def test_langfuse_reads_both_generations_of_names():
    """The older API's camelCase objects are the same observation."""
    older = {
        "id": "obs-1",
        "traceId": "tr-9",
        "projectId": "p1",
        "type": "GENERATION",
        "startTime": "2026-11-20T12:00:00.100Z",
        "endTime": "2026-11-20T12:00:02.400Z",
        "input": [{"role": "user", "content": "Write a sea poem"}],
        "output": {"role": "assistant", "content": "The tide..."},
        "model": "acme-7b",
        "usage": {"promptTokens": 42, "completionTokens": 118},
        "calculatedTotalCost": 0.00021,
        "userId": "u-17",
    }
    ours, theirs = one(Langfuse(), LANGFUSE), one(Langfuse(), older)
    assert theirs._replace(operation=ours.operation) == ours


def test_langfuse_json_that_the_model_wrote_is_its_output():
    """Only what looks like chat messages is taken apart."""
    written = '{"answer": 42}'
    assert one(Langfuse(), changed(LANGFUSE, output=written)).output_text == written
    assert (
        one(Langfuse(), changed(LANGFUSE, output="[sic] the tide")).output_text == "[sic] the tide"
    )


def test_langfuse_spans_are_counted_and_errors_are_errors():
    """Only generations are outputs; level ERROR is a failed call."""
    with pytest.raises(NotAnOutputError, match="langfuse SPAN"):
        Langfuse().outputs(changed(LANGFUSE, type="SPAN"))
    assert one(Langfuse(), changed(LANGFUSE, level="ERROR", output="")).status == "error"
    assert one(Langfuse(), changed(LANGFUSE, environment="test")).is_test


def test_a_langfuse_update_replaces_the_observation(tmp_path):
    """`updated_at` decides which version stands, whatever the order of lines."""
    newer = changed(LANGFUSE, output="The tide, again", updated_at="2026-11-20 13:00:00")
    older = changed(LANGFUSE, updated_at="2026-11-20 12:30:00")
    write_log(tmp_path / "logs/a.jsonl", [newer, older])
    frame = pl.read_parquet(run_ingest(tmp_path).outputs)
    assert frame["output_text"].to_list() == ["The tide, again"]


def test_stored_completions_and_chunks():
    """A stored completion is read; a chunk of a stream is not an answer."""
    output = one(OpenAiCompletion(), COMPLETION)
    assert (output.tenant, output.value_units, output.prompt_text) == ("t1", 210, None)
    with pytest.raises(RejectedError) as error:
        OpenAiCompletion().outputs(changed(COMPLETION, object="chat.completion.chunk"))
    assert error.value.reason == "stream_partial"


def batch_night(folder, outputs, **inputs):
    """Ingest batch files; give rows and reasons of rejects."""
    for name, records in inputs.items():
        write_log(folder / f"logs/{name}.input.jsonl", records)
    write_log(folder / "logs/a.output.jsonl", outputs)
    result = run_ingest(folder)
    rejects = read_quarantine(folder / f"quarantine/{DAY}.jsonl")
    return pl.read_parquet(result.outputs), [reject.reason for reject in rejects]


def test_a_batch_output_without_its_input_is_rejected(tmp_path):
    """Without the prompt the output cannot be attributed; the input file repairs it."""
    frame, reasons = batch_night(tmp_path, [BATCH])
    assert (frame.height, reasons) == (0, ["missing_prompt"])
    frame, reasons = batch_night(tmp_path, [BATCH], a=[BATCH_INPUT])
    assert (frame.height, reasons) == (1, [])
    assert frame["event_id"].to_list() == ["openai-batch:batch_req_1"]


def test_one_custom_id_in_two_batches_is_joined_by_the_files_names(tmp_path):
    """The input named like the output wins; otherwise two different prompts reject the line."""
    other = copy.deepcopy(BATCH_INPUT)
    other["body"]["messages"][0]["content"] = "Another prompt"
    frame, reasons = batch_night(tmp_path / "x", [BATCH], a=[BATCH_INPUT], b=[other])
    assert frame["prompt_text"].to_list() == ["Write a sea poem"]
    assert reasons == []
    _, reasons = batch_night(tmp_path / "y", [BATCH], b=[BATCH_INPUT], c=[other])
    assert reasons == ["ambiguous_prompt"]


def test_a_failed_batch_request_is_an_error_output(tmp_path):
    """A status other than 200 has no choices and earns nothing."""
    failed = copy.deepcopy(BATCH)
    failed["response"]["status_code"] = 500
    failed["response"]["body"] = {"created": NOON, "error": {"message": "boom"}}
    frame, reasons = batch_night(tmp_path, [failed], a=[BATCH_INPUT])
    assert frame["status"].to_list() == ["error"]
    assert reasons == []


FIELDS = {"output": "reply.text", "time": "at", "model": "engine", "prompt": "ask", "value": "paid"}


def test_plain_jsonl_is_read_by_its_field_map(tmp_path):
    """Any gateway's JSON is enough, given where its fields are."""
    record = {
        "reply": {"text": "The tide"},
        "at": "2026-11-20T12:00:00Z",
        "engine": "m",
        "ask": "Q",
        "paid": 0.25,
    }
    write_log(tmp_path / "logs/a.jsonl", [record])
    result = run_ingest(tmp_path, settings=IngestSettings(field_map=FIELDS))
    row = pl.read_parquet(result.outputs).row(0, named=True)
    assert (row["output_text"], row["prompt_text"], row["value_units"]) == (
        "The tide",
        "Q",
        250_000,
    )
    assert row["event_id"].startswith("jsonl:raw-")
    assert json.loads(manifest_path(result.outputs).read_text())["log_formats"] == {
        "a.jsonl": "jsonl"
    }


def test_a_wrong_field_map_is_refused():
    """Missing and unknown fields are both named."""
    with pytest.raises(LogError, match=r"unknown \['colour'\], missing \['output', 'model'\]"):
        PlainJsonl({"time": "at", "colour": "c"})


def test_a_given_format_is_used_without_asking(tmp_path):
    """The operator may name the format; a name nobody knows is an error."""
    write_log(tmp_path / "logs/a.jsonl", [LITELLM])
    settings = IngestSettings(log_format="langfuse")
    assert run_ingest(tmp_path, settings=settings).manifest["counts"]["not_output"] == {
        "langfuse None": 1
    }
    for name in ("helicone", "jsonl"):
        with pytest.raises(LogError, match="unknown log format"):
            run_ingest(tmp_path, settings=IngestSettings(log_format=name))
