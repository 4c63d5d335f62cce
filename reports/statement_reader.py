"""Read a statement back from its JSON, trusting no number in it.

1. The inputs are read into the same dataclasses they came from; an unknown or
   missing field, or a number that is not whole, is an error that names it.
2. The statement is made again from the inputs, with every check of
   `reports.statement`; totals in the file are never believed.
3. The SHA-256 and the totals in the file must be those of the statement made.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from fractions import Fraction
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from reports.errors import StatementFileError
from reports.statement import FORMAT, Statement, build_statement
from reports.statement_inputs import StatementInputs


def read_statement(data: bytes, name: str = "statement.json") -> Statement:
    """Read and re-make a statement from the bytes of its JSON file.

    Args:
        data: the file.
        name: what to call it in errors.

    Raises:
        StatementFileError: not a statement, a field is wrong, or the file's digest
            or totals are not those that follow from its inputs.
        ReportError: the inputs do not foot.
    """
    document = parse_statement(data, name)
    inputs = _read(StatementInputs, document["inputs"], name, "inputs")
    statement = build_statement(inputs)
    if document.get("sha256") != statement.sha256:
        raise StatementFileError(name, "sha256", str(document.get("sha256")), statement.sha256)
    stated = document.get("totals", {})
    for total, units in {
        "earned": statement.earned_units,
        "net": statement.net_units,
        "payable": statement.payable_units,
        "closing": statement.closing_units,
    }.items():
        found = str(stated.get(total, {}).get("units"))
        if found != str(units):
            raise StatementFileError(name, f"totals.{total}.units", found, str(units))
    return statement


def parse_statement(data: bytes, name: str) -> dict[str, Any]:
    """Parse the JSON of a statement file as far as its format line.

    Raises:
        StatementFileError: not JSON, or not of the format this version writes.
    """
    try:
        document = json.loads(data)
    except ValueError as problem:
        raise StatementFileError(name, "file", str(problem), "a JSON object") from problem
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = str(document.get("format")) if isinstance(document, dict) else "no object"
        raise StatementFileError(name, "format", found, FORMAT)
    if not isinstance(document.get("inputs"), dict):
        raise StatementFileError(name, "inputs", "absent", "an object")
    return document


def _read(kind: Any, value: Any, name: str, place: str) -> Any:
    """Read one JSON value as the annotated type `kind`."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        inner = [option for option in get_args(kind) if option is not type(None)]
        assert len(inner) == 1, f"{place}: a union of several types cannot be read"
        return None if value is None else _read(inner[0], value, name, place)
    if origin is tuple:
        if not isinstance(value, list):
            raise StatementFileError(name, place, repr(value)[:60], "a list")
        item = get_args(kind)[0]
        return tuple(_read(item, part, name, f"{place}[{i}]") for i, part in enumerate(value))
    if origin is Mapping or (isinstance(origin, type) and issubclass(origin, Mapping)):
        item = get_args(kind)[1]
        if not isinstance(value, dict):
            raise StatementFileError(name, place, repr(value)[:60], "an object")
        return {key: _read(item, part, name, f"{place}.{key}") for key, part in value.items()}
    if is_dataclass(kind):
        return _read_dataclass(kind, value, name, place)
    return _read_scalar(kind, value, name, place)


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Resolve the types of a dataclass's fields; once, for many statements are read in a row."""
    return get_type_hints(kind)


def _read_dataclass(kind: Any, value: Any, name: str, place: str) -> Any:
    if not isinstance(value, dict):
        raise StatementFileError(name, place, repr(value)[:60], "an object")
    hints = _hints(kind)
    known = {item.name: item for item in fields(kind)}
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise StatementFileError(name, f"{place}.{unknown[0]}", "present", "no such field")
    arguments = {}
    for field_name, item in known.items():
        where = f"{place}.{field_name}"
        if field_name in value:
            arguments[field_name] = _read(hints[field_name], value[field_name], name, where)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise StatementFileError(name, where, "absent", "a value")
    return kind(**arguments)


def _read_scalar(kind: Any, value: Any, name: str, place: str) -> Any:
    if kind is str and isinstance(value, str):
        return value
    if kind is bool and isinstance(value, bool):
        return value
    if kind in (int, Fraction) and isinstance(value, str):
        try:
            return kind(value)
        except (ValueError, ZeroDivisionError) as problem:
            raise StatementFileError(name, place, value[:60], f"a {kind.__name__}") from problem
    raise StatementFileError(name, place, repr(value)[:60], f"a {kind.__name__} as text")
