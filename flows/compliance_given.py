"""What people hand to the compliance report: assertion, certified revenue, findings, roles.

A YAML file that the officer and the auditor keep; the report cites it by digest and adds nothing
to it. Unknown keys and missing ones are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from flows.artefacts import sha256_file
from flows.errors import FlowError
from reports.compliance_inputs import Assertion, Figure, Finding, ReservationFact

ASSERTION_FORMAT = "byline-assertion/1"
KEYS = (
    "format", "period", "assertion", "revenue", "reservations", "findings", "distribution", "roles",
    "signature",
)  # fmt: skip


@dataclass(frozen=True)
class Certificate:
    """The period's revenue as somebody certifies it, in whole currency of the pool ("8333.33")."""

    amount: str
    certified_by: str
    certified_on: str
    what: str = "revenue of the period"


_Fact = TypeVar("_Fact", Assertion, Certificate, Finding, ReservationFact)


class GivenFileError(FlowError):
    """A file handed to a report is not what it should be; no report was written."""

    def __init__(self, path: Path, what: str, remedy: str) -> None:
        super().__init__(f"{path}: {what}; no report was written. {remedy}")


@dataclass(frozen=True)
class Given:
    """What an assertion file says; None where it is silent.

    Args:
        source: the file and its digest, as the report cites it.
        assertion: the management's text, who signed it (an id), when.
        revenue: the certified revenue, by whom and when.
        reservations: rights reservations seen at sources.
        findings: open findings; empty when the auditor says there are none.
        distribution: who gets the report, by id.
        roles: roles, sub-processors, places: text by name.
    """

    source: str = ""
    assertion: Assertion | None = None
    revenue: Certificate | None = None
    reservations: tuple[ReservationFact, ...] | None = None
    findings: tuple[Finding, ...] | None = None
    distribution: tuple[str, ...] = ()
    roles: tuple[Figure, ...] = ()


def read_given(path: Path, period: str) -> Given:
    """Read an assertion file.

    Args:
        path: the YAML.
        period: YYYY-MM, which the file must name.

    Raises:
        GivenFileError: it is no such file, or about another period.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise GivenFileError(path, f"cannot be read ({problem})", "Mend the file") from problem
    if not isinstance(content, Mapping) or content.get("format") != ASSERTION_FORMAT:
        raise GivenFileError(path, f"expected format: {ASSERTION_FORMAT}", "Name the format")
    unknown = sorted(str(key) for key in set(content) - set(KEYS))
    if unknown:
        keys = ", ".join(KEYS)
        raise GivenFileError(path, f"unknown key {unknown[0]!r}", f"The keys are {keys}")
    if content.get("period") != period:
        said = content.get("period")
        raise GivenFileError(path, f"it is about {said!r}, not {period}", "Give that period's file")
    source = f"{path.name}, sha256 {sha256_file(path)[:16]}"
    signed, revenue = content.get("assertion"), content.get("revenue")
    roles = content.get("roles") or {}
    if not isinstance(roles, Mapping):
        raise GivenFileError(path, f"roles is {roles!r}", "Write one name: text a line")
    return Given(
        source,
        None if signed is None else _fact(path, "assertion", Assertion, signed),
        None if revenue is None else _fact(path, "revenue", Certificate, revenue),
        _facts(path, content, "reservations", ReservationFact),
        _facts(path, content, "findings", Finding),
        tuple(str(one) for one in content.get("distribution") or ()),
        tuple(Figure(str(name), str(text), source) for name, text in roles.items()),
    )


def _facts(
    path: Path, content: Mapping[str, Any], key: str, kind: type[_Fact]
) -> tuple[_Fact, ...] | None:
    if key not in content:
        return None
    given = content[key] or []
    if not isinstance(given, list):
        raise GivenFileError(path, f"{key} is {given!r}", "Write a list; an empty one says: none")
    return tuple(_fact(path, f"{key}[{n}]", kind, one) for n, one in enumerate(given))


def _fact(path: Path, where: str, kind: type[_Fact], given: Any) -> _Fact:
    """Make a fact from a mapping of texts; dates of YAML become their ISO text."""
    names = [item.name for item in fields(kind)]
    if not isinstance(given, Mapping) or set(given) - set(names):
        raise GivenFileError(path, f"{where} is {given!r}", f"Its keys are {', '.join(names)}")
    try:
        return kind(**{str(name): str(value).strip() for name, value in given.items()})
    except TypeError as problem:
        raise GivenFileError(path, f"{where}: {problem}", "Add what is missing") from problem
