"""What every log adapter hands over, and the three things it may say about a record.

An adapter turns one raw record into outputs, or says that it is not an output at all
(`NotAnOutputError`, counted and left alone: an evaluation's score, a user's message), or that it
should have been one and cannot be read (`RejectedError`, quarantined with a reason and a detail).

Rules that hold for every format:

1. One choice of one call is one output; choices are numbered from 0.
2. Only text parts are text: tool calls, their responses and reasoning are not attributed. A choice
   of tool calls alone is an output without text, excluded as "tool_call".
3. A call that failed is an output with status "error", text or not. A successful call whose text
   is absent is rejected ("missing_output"): content logging was probably off, which must be loud.
4. A text replaced by a redaction mark keeps its row, without text, excluded as "redacted".
5. A piece of a stream is rejected ("stream_partial"); the whole answer is another record.
6. Times are UTC microseconds. A time without a zone is rejected ("time_zone"), except where the
   format defines it as UTC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

from contracts.split import split_signed

REDACTED = re.compile(
    r"\s*[\[<(*]*\s*(?:redacted(?:[-_ ]by[-_ ][\w-]+)?|content[-_ ]redacted|removed by policy)"
    r"\s*[\]>)*]*\s*",
    re.IGNORECASE,
)
_MARK_LENGTH_MAX = 64
_US = 1_000_000


class LoggedOutput(NamedTuple):
    """One output as a log tells it, before ids are pseudonymised.

    `source_id` may be empty: the raw record's digest then stands in. `revised_us` orders the
    versions of one output. `value` is text or a number in whole currency, `value_units` in units;
    at most one of them is given. `exclusion` is set where the format itself decides.
    """

    source_id: str
    choice_index: int
    time_us: int
    revised_us: int
    tenant: str
    user: str | None
    model_id: str
    model_version: str
    operation: str
    finish_reason: str | None
    status: str
    prompt_text: str | None
    output_text: str | None
    prompt_tokens: int | None
    output_tokens: int | None
    cache_hit: bool
    is_test: bool
    territory: str | None
    value_units: int | None
    value: Decimal | None
    currency: str | None
    exclusion: str | None


class Choice(NamedTuple):
    """One choice of a call: its number, text, whether it has tool calls, and why it ended."""

    number: int
    text: str | None
    tools: bool = False
    finish_reason: str | None = None


class NotAnOutputError(Exception):
    """The record is well-formed and is no model output; its kind is the argument."""


class RejectedError(Exception):
    """The record cannot be read as an output."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class LogAdapter(Protocol):
    """Reads one log format."""

    name: str

    def claims(self, record: Mapping[str, Any]) -> bool:
        """Say whether a decoded record looks like this format."""
        ...

    def outputs(self, record: Mapping[str, Any]) -> list[LoggedOutput]:
        """Turn a decoded record into outputs.

        Raises:
            NotAnOutputError: it is something else of the same format.
            RejectedError: it should be an output and cannot be read.
        """
        ...

    def moment(self, record: Mapping[str, Any]) -> int:
        """Read a record's time in microseconds, so that a reject lands on its own date.

        Raises:
            RejectedError: it has none that can be read.
        """
        ...


def divide_call(call: LoggedOutput, choices: int) -> list[LoggedOutput]:
    """Divide a call's value and tokens among its choices; the parts add up to the call's.

    Args:
        call: the call, with the whole value and all output tokens.
        choices: how many choices it has, at least 1.

    Returns:
        One record a choice, numbered from 0, prompt tokens on each as they were read once.
    """
    if choices == 1:
        return [call]
    even = [Fraction(1, choices)] * choices
    units = call.value_units and split_signed(call.value_units, even)
    tokens = call.output_tokens and split_signed(call.output_tokens, even)
    money = call.value and call.value / choices
    return [
        call._replace(
            choice_index=i,
            value_units=units[i] if units else call.value_units,
            output_tokens=tokens[i] if tokens else call.output_tokens,
            value=money,
        )
        for i in range(choices)
    ]


def time_us(value: object, field: str, *, naive_is_utc: bool = False) -> int:
    """Read a time as microseconds since 1970 UTC.

    Args:
        value: ISO 8601 text, or epoch seconds as a number.
        field: its name, for the error text.
        naive_is_utc: the format defines times without a zone as UTC.

    Raises:
        RejectedError: "time" if it cannot be read, "time_zone" if it has no zone.
    """
    if isinstance(value, bool) or value is None or value == "":
        raise RejectedError("time", f"{field} is missing")
    if isinstance(value, int | float | Decimal):
        return int(Decimal(repr(value) if isinstance(value, float) else value) * _US)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise RejectedError("time", f"{field} is {value!r}, not an ISO 8601 time") from None
    if moment.tzinfo is None:
        if not naive_is_utc:
            raise RejectedError("time_zone", f"{field} is {value!r}, without a time zone")
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * _US + delta.microseconds


def nano_to_us(value: object, field: str) -> int:
    """Read nanoseconds since 1970 (text or number) as microseconds.

    Raises:
        RejectedError: it is missing or no whole number.
    """
    try:
        return int(value) // 1000  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        raise RejectedError("time", f"{field} is {value!r}, not nanoseconds since 1970") from None


def whole(value: object, field: str) -> int | None:
    """Read an optional whole number, given as a number or as text.

    Raises:
        RejectedError: it is something else.
    """
    if value is None or value == "":
        return None
    if type(value) is int:
        return value
    try:
        number = int(value)  # type: ignore[call-overload]
        exact = not isinstance(value, bool) and (isinstance(value, str) or number == value)
    except (TypeError, ValueError):
        exact = False
    if not exact:
        raise RejectedError("field", f"{field} is {value!r}, not a whole number")
    return int(number)


def amount(value: object, field: str) -> Decimal | None:
    """Read an optional amount of money exactly as it was written.

    Raises:
        RejectedError: it is not a finite number.
    """
    if value is None or value == "":
        return None
    try:
        # repr gives back the shortest digits, which is what the log said.
        number = Decimal(repr(value) if isinstance(value, float) else str(value))
    except InvalidOperation:
        raise RejectedError("field", f"{field} is {value!r}, not an amount") from None
    if not number.is_finite():
        raise RejectedError("field", f"{field} is {value!r}, not a finite amount")
    return number


def text_or_none(value: object) -> str | None:
    """Give a non-empty text, or None for an absent or empty one."""
    return str(value) if value not in (None, "") else None


def truth(value: object) -> bool:
    """Read a flag given as a boolean, a number or the text true/false."""
    return value in (True, 1, "true", "True", "1")


def finished(call: LoggedOutput, choices: list[Choice], *, failed: bool) -> list[LoggedOutput]:
    """Make one output of each choice of a call, by the rules of this module.

    Args:
        call: what the choices share, with the whole call's value and tokens.
        choices: the choices; none counts as one without text.
        failed: the call failed.

    Raises:
        RejectedError: "missing_output".
    """
    choices = choices or [Choice(0, None)]
    parts = divide_call(call, len(choices))
    found = []
    for part, (number, text, tools, reason) in zip(parts, choices, strict=True):
        kept, exclusion = settle_text(text, failed=failed, tools_only=tools and not text)
        found.append(
            part._replace(
                choice_index=number,
                finish_reason=reason,
                status="error" if failed else "ok",
                output_text=kept,
                exclusion=exclusion,
            )
        )
    return found


def settle_text(
    text: str | None, *, failed: bool, tools_only: bool
) -> tuple[str | None, str | None]:
    """Apply the rules for absent, redacted and tool-only texts.

    Args:
        text: the choice's text; None if the log has none.
        failed: the call failed.
        tools_only: the choice consists of tool calls.

    Returns:
        The text to keep, and the reason to exclude the output or None.

    Raises:
        RejectedError: "missing_output".
    """
    if text is not None and len(text) <= _MARK_LENGTH_MAX and REDACTED.fullmatch(text):
        return None, "redacted"
    if text is None and not failed and not tools_only:
        raise RejectedError("missing_output", "the record has no output text; is content logged?")
    if tools_only and not text:
        return None, "tool_call"
    return text, None
