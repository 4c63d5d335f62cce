"""OpenAI-style batch output, joined to its input, and stored chat completions.

1. A batch output line has no prompt: it stands in the input file under the same `custom_id`. The
   input named like the output ("night.input.jsonl" beside "night.output.jsonl") is asked first,
   then all inputs. Without an answer the line is rejected ("missing_prompt"); two inputs with
   different prompts under one id reject it too ("ambiguous_prompt").
2. A status code other than 200, or an `error`, is a failed call.
3. `created` is in epoch seconds. The tenant is `tenant_id` in the request's metadata, the user is
   the request's `user`, the value `byline_value_units` in the metadata.
4. A stored completion is the same `chat.completion` object with `metadata`; its messages are kept
   where the dump has them.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from flows.logs.messages import chat_choices, conversation_text
from flows.logs.reading import LogFile, reader_of
from flows.logs.record import (
    LoggedOutput,
    NotAnOutputError,
    RejectedError,
    finished,
    text_or_none,
    time_us,
    truth,
    whole,
)

_ROLE_WORDS = re.compile(r"[._-]?(inputs?|outputs?|requests?|results?|responses?)(?=[._-]|$)")


class BatchInputs:
    """The requests of batch input files, on the disk: prompts by file and `custom_id`.

    Args:
        path: a SQLite file in a temporary folder.
    """

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=OFF")
        self._base.execute("PRAGMA synchronous=OFF")
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS request(custom_id TEXT, family TEXT, body BLOB)"
        )
        self._base.execute("CREATE INDEX IF NOT EXISTS by_id ON request(custom_id, family)")
        self._base.execute("BEGIN")

    def add(self, label: str, record: Mapping[str, Any]) -> None:
        """Keep one request."""
        row = (str(record["custom_id"]), family(label), orjson.dumps(record.get("body") or {}))
        self._base.execute("INSERT INTO request VALUES (?, ?, ?)", row)

    def read(self, file: LogFile) -> None:
        """Keep all requests of a batch input file; lines that are none are reported by ingest."""
        for _, line in reader_of(file):
            with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
                self.add(file.label, orjson.loads(line))

    def keep(self) -> None:
        """Let other processes that open the same file see what was read so far."""
        self._base.execute("COMMIT")
        self._base.execute("BEGIN")

    def find(self, label: str, custom_id: str) -> Mapping[str, Any]:
        """Find the request of an output line.

        Raises:
            RejectedError: "missing_prompt" or "ambiguous_prompt".
        """
        query = "SELECT DISTINCT family, body FROM request WHERE custom_id = ?"
        rows = self._base.execute(query, (custom_id,)).fetchall()
        bodies = {body for name, body in rows if name == family(label)} or {b for _, b in rows}
        if not bodies:
            raise RejectedError("missing_prompt", f"no batch input has custom_id {custom_id!r}")
        if len(bodies) > 1:
            raise RejectedError(
                "ambiguous_prompt", f"{len(bodies)} different requests have custom_id {custom_id!r}"
            )
        body: Mapping[str, Any] = orjson.loads(bodies.pop())
        return body

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()


def family(label: str) -> str:
    """Give what the names of a batch's input and output have in common."""
    return _ROLE_WORDS.sub("", label.lower())


class OpenAiBatchInput:
    """Adapter for batch input files: nothing but prompts for the outputs."""

    name = "openai-batch-input"

    def claims(self, record: Mapping[str, Any]) -> bool:
        """Recognise a request by its four fields."""
        return {"custom_id", "method", "url", "body"} <= set(record)

    def moment(self, record: Mapping[str, Any]) -> int:
        """Refuse: a request has no time."""
        raise RejectedError("time", "a batch request has no time")

    def outputs(self, record: Mapping[str, Any]) -> list[LoggedOutput]:
        """Refuse: a request is not an output."""
        raise NotAnOutputError("batch input")


class OpenAiBatch:
    """Adapter for batch output files.

    Args:
        inputs: the requests; None when the files are only probed.
    """

    name = "openai-batch"

    def __init__(self, inputs: BatchInputs | None = None) -> None:
        self.inputs = inputs
        self.label = ""

    def claims(self, record: Mapping[str, Any]) -> bool:
        """Recognise an output line by its join key and its response."""
        return "custom_id" in record and ("response" in record or "error" in record)

    def moment(self, record: Mapping[str, Any]) -> int:
        """Read when the completion was created."""
        response = record.get("response") or {}
        return time_us((response.get("body") or {}).get("created"), "response.body.created")

    def outputs(self, record: Mapping[str, Any]) -> list[LoggedOutput]:
        """Turn one answered request into an output for each choice."""
        response = record.get("response") or {}
        body = response.get("body") or {}
        failed = bool(record.get("error")) or response.get("status_code", 200) != 200
        assert self.inputs is not None, "the batch inputs are read before the outputs"
        request = self.inputs.find(self.label, str(record["custom_id"]))
        merged = {**body, "metadata": request.get("metadata") or body.get("metadata")}
        merged["model"] = body.get("model") or request.get("model")
        call = _call(merged, request.get("messages", request.get("prompt")), self.moment(record))
        call = call._replace(
            source_id=str(record.get("id") or ""),
            user=text_or_none(request.get("user")),
            operation="batch",
        )
        return finished(call, [] if failed else chat_choices(body), failed=failed)


class OpenAiCompletion:
    """Adapter for stored chat completions and plain text completions."""

    name = "openai-completion"

    def claims(self, record: Mapping[str, Any]) -> bool:
        """Recognise a completion by its object name."""
        kind = str(record.get("object", "")).removesuffix(".chunk")
        return kind in ("chat.completion", "text_completion")

    def moment(self, record: Mapping[str, Any]) -> int:
        """Read when the completion was created."""
        return time_us(record.get("created"), "created")

    def outputs(self, record: Mapping[str, Any]) -> list[LoggedOutput]:
        """Turn a completion into an output for each choice."""
        choices = chat_choices(record)
        messages = record.get("messages", record.get("prompt"))
        return finished(_call(record, messages, self.moment(record)), choices, failed=False)


def _call(body: Mapping[str, Any], messages: object, moment: int) -> LoggedOutput:
    """Read what all choices of a completion share."""
    metadata = body.get("metadata") or {}
    usage = body.get("usage") or {}
    model = str(body.get("model") or "")
    if not model:
        raise RejectedError("model", "model is missing")
    return LoggedOutput(
        source_id=str(body.get("id") or ""),
        choice_index=0,
        time_us=moment,
        revised_us=moment,
        tenant=str(metadata.get("tenant_id") or ""),
        user=text_or_none(metadata.get("user_id") or body.get("user")),
        model_id=str(metadata.get("model_id") or model),
        model_version=model,
        operation="chat" if body.get("object") != "text_completion" else "text_completion",
        finish_reason=None,
        status="ok",
        prompt_text=conversation_text(messages),
        output_text=None,
        prompt_tokens=whole(usage.get("prompt_tokens"), "usage.prompt_tokens"),
        output_tokens=whole(usage.get("completion_tokens"), "usage.completion_tokens"),
        cache_hit=False,
        is_test=truth(metadata.get("byline_is_test")),
        territory=text_or_none(metadata.get("territory")),
        value_units=whole(metadata.get("byline_value_units"), "byline_value_units"),
        value=None,
        currency=text_or_none(metadata.get("byline_currency")),
        exclusion=None,
    )
