"""Methods chosen by name, with their options, and what their rows in a table are called."""

from __future__ import annotations

from collections.abc import Sequence

from attribution.errors import ScoringError
from attribution.methods import METHODS, Method, options_of, with_options


def methods_by_name(names: Sequence[str], options: Sequence[str] = ()) -> list[Method]:
    """Return methods by name; all of them for none.

    Args:
        names: of methods, one of them as often as wanted: "bidirectional:mode=paper".
        options: "method.option=value", for any of them; what stands at a name wins.

    Raises:
        ScoringError: an unknown name, option or value.
    """
    chosen: dict[str, dict[str, str]] = {}
    for text in options:
        left, equals, value = text.partition("=")
        method, dot, option = left.partition(".")
        if not (equals and dot) or method not in METHODS:
            raise ScoringError(
                f"{text!r} sets no option of a method; write METHOD.OPTION=VALUE with one of "
                f"{', '.join(METHODS)}"
            )
        chosen.setdefault(method, {})[option] = value
    found = []
    for text in names or METHODS:
        name, *own = text.split(":")
        if name not in METHODS or not all("=" in one for one in own):
            raise ScoringError(
                f"there is no attribution method {text!r}; write NAME or NAME:OPTION=VALUE, and "
                f"choose among {', '.join(METHODS)}"
            )
        settings = chosen.get(name, {}) | dict(one.split("=", 1) for one in own)
        found.append(with_options(METHODS[name], settings))
    return found


def labels(methods: Sequence[Method]) -> list[str]:
    """Name the rows: the method, and of one that comes several times what differs.

    Returns:
        Names such as "bm25", or "bidirectional mode=paper" beside "bidirectional".
    """
    found = []
    for method in methods:
        plain = options_of(METHODS.get(method.name, method))
        others = [options_of(one) for one in methods if one.name == method.name]
        own = [
            f"{key}={value}"
            for key, value in options_of(method).items()
            if value != plain.get(key) and any(one[key] != value for one in others)
        ]
        found.append(" ".join([method.name, *own]))
    return found
