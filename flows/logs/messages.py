"""Texts out of chat messages, in the shapes that gateways and SDKs log them.

A message is `{role, content}` or `{role, parts}`; content is text, null, or a list of parts; a part
is text or `{type, text|content}`. Only parts of type "text" (also "input_text" and "output_text")
are text. Several texts are joined by one line break, messages by a blank line, so that a single
message comes out exactly as it was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from flows.logs.record import Choice, RejectedError

_TEXT_TYPES = {"text", "input_text", "output_text"}


def decoded(value: object, field: str) -> object:
    """Decode a value that may be JSON text, as span attributes are.

    Raises:
        RejectedError: it begins like JSON and is not.
    """
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise RejectedError("field", f"{field} is not valid JSON: {error}") from None
    return value


def message_text(message: object) -> tuple[str | None, bool]:
    """Give a message's text, and whether it has tool calls.

    Args:
        message: one message in any of the shapes above, or plain text.

    Returns:
        The joined text parts, None when there are none; and whether tool calls are there.
    """
    if isinstance(message, str):
        return message, False
    if not isinstance(message, dict):
        return None, False
    parts = message["parts"] if "parts" in message else message.get("content", message.get("text"))
    tools = bool(message.get("tool_calls") or message.get("function_call"))
    if isinstance(parts, str):
        return parts, tools
    if not isinstance(parts, list):
        return None, tools
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            kind = part.get("type", "text")
            if kind in _TEXT_TYPES:
                content = part.get("content", part.get("text"))
                texts.extend([content] if isinstance(content, str) else [])
            tools = tools or kind in ("tool_call", "tool_use", "function_call")
    return ("\n".join(texts) if texts else None), tools


def conversation_text(messages: object) -> str | None:
    """Join the texts of a conversation; None when there is none."""
    if isinstance(messages, str):
        return messages or None
    if isinstance(messages, dict):
        messages = messages.get("messages", [messages])
    if not isinstance(messages, list):
        return None
    if len(messages) == 1:
        return message_text(messages[0])[0]
    texts = [text for text, _ in map(message_text, messages) if text]
    return "\n\n".join(texts) or None


def chat_choices(body: Mapping[str, Any]) -> list[Choice]:
    """Take the choices out of an OpenAI-style completion.

    Args:
        body: a `chat.completion` or `text_completion` object.

    Returns:
        The choices, in the order of the answer.

    Raises:
        RejectedError: it is a piece of a stream, or its choices are no list.
    """
    if str(body.get("object", "")).endswith(".chunk"):
        raise RejectedError("stream_partial", "the record is one chunk of a streamed answer")
    choices = body.get("choices")
    if not isinstance(choices, list):
        raise RejectedError("missing_output", "the response has no list of choices")
    found = []
    for place, choice in enumerate(choices):
        if not isinstance(choice, dict):
            raise RejectedError("field", f"choice {place} is not an object")
        if "delta" in choice and "message" not in choice:
            raise RejectedError("stream_partial", "the record has a delta instead of a message")
        text, tools = message_text(choice.get("message", choice.get("text")))
        index = int(choice.get("index", place))
        found.append(Choice(index, text, tools, choice.get("finish_reason")))
    return found
