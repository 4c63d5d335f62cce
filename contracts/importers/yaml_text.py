"""Read YAML as text with line numbers: every scalar stays exactly as it was written.

1. 0.1 is the text 0.1, not a float near it; 2026-11-01 is the text, not a date; no stays no.
2. Every value and every key knows its line.
3. Repeated keys and aliases are faults: the first hides a value, the second makes a small file
   large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from contracts.errors import Fault

Path = tuple[str | int, ...]
_FOUND_CHARACTERS_MAX = 60
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(slots=True)
class YamlText:
    """One YAML document as lists, mappings and texts, with the line of each.

    Args:
        file: the name given in faults.
        value: the document; None if it could not be read.
        lines: line numbers, from 1, by path.
        faults: what is wrong with the YAML itself.
    """

    file: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, path: Path, found: object, expected: str) -> None:
        """Note a fault at a path, on the line of the nearest part of it that is there."""
        line = next(
            (self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), 1
        )
        self.faults.append(Fault(self.file, line, show_path(path), shorten(found), expected))


def read_yaml(text: str, *, file: str) -> YamlText:
    """Read one YAML document.

    Args:
        text: the YAML text.
        file: the name to give in faults.

    Returns:
        The document; look at its faults first.
    """
    result = YamlText(file)
    try:
        aliases = [
            token for token in yaml.scan(text, _Loader) if isinstance(token, yaml.AliasToken)
        ]
        node = yaml.compose(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = mark.line + 1 if mark else 1
        result.faults.append(Fault(file, line, "(file)", problem, "one YAML document"))
        return result
    for alias in aliases:
        line = alias.start_mark.line + 1
        result.faults.append(Fault(file, line, "(file)", f"*{alias.value}", "no aliases"))
    if node is None:
        result.faults.append(Fault(file, 1, "(file)", "nothing", "one YAML document"))
    elif not aliases:
        result.value = _plain(node, (), result)
    return result


def _plain(node: yaml.Node, path: Path, result: YamlText) -> Any:
    """Return a node as plain values, noting lines and repeated keys."""
    result.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, i), result) for i, item in enumerate(node.value)]
    assert isinstance(node, yaml.MappingNode), node
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in values:
            where = show_path((*path, key))
            result.faults.append(Fault(result.file, line, where, "the key again", "each key once"))
            continue
        result.lines[(*path, key)] = line
        values[key] = _plain(value_node, (*path, key), result)
    return values


def show_path(path: Path) -> str:
    """Write a path the way people do: terms[0].then.rate.

    >>> show_path(("terms", 0, "then", "rate"))
    'terms[0].then.rate'
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else str(part)
    return text or "(file)"


def shorten(found: object) -> str:
    """Write what was found, cut to a readable length."""
    if isinstance(found, Mapping):
        shown = "{" + ", ".join(str(key) for key in found) + "}"
    else:
        shown = repr(found)
    if len(shown) > _FOUND_CHARACTERS_MAX:
        shown = shown[:_FOUND_CHARACTERS_MAX] + "..."
    return shown
