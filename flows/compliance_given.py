"""What people and other runs hand to the compliance report: a signed assertion, an evaluation.

1. The assertion is a YAML file that the officer and the auditor keep; the report cites it by
   digest and adds nothing to it. Unknown keys and missing ones are refused.
2. The evaluation is the JSON of `byline evaluate run`; by default `evaluation/evaluation.json` of
   the workspace. What it does not have, the report says it does not have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from flows.artefacts import sha256_file
from flows.errors import FlowError
from flows.workspace import Workspace
from reports.compliance_inputs import Assertion, Figure, Finding, ReservationFact

ASSERTION_FORMAT = "byline-assertion/1"
SCOREBOARD_FORMATS = ("byline-scoreboard/1", "byline-scoreboard/2")
KEYS = ("format", "period", "assertion", "reservations", "findings", "distribution", "roles")
MONEY = "linear/removal"
_Fact = TypeVar("_Fact", Assertion, Finding, ReservationFact)


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
        reservations: rights reservations seen at sources.
        findings: open findings; empty when the auditor says there are none.
        distribution: who gets the report, by id.
        roles: roles, sub-processors, places: text by name.
    """

    source: str = ""
    assertion: Assertion | None = None
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
    signed = content.get("assertion")
    roles = content.get("roles") or {}
    if not isinstance(roles, Mapping):
        raise GivenFileError(path, f"roles is {roles!r}", "Write one name: text a line")
    return Given(
        source,
        None if signed is None else _fact(path, "assertion", Assertion, signed),
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


def evaluation_file(workspace: Workspace, chosen: Path | None) -> Path | None:
    """Name the evaluation to read: the one chosen, the workspace's own, or None."""
    own = workspace.root / "evaluation" / "evaluation.json"
    return chosen or (own if own.exists() else None)


def evaluation_figures(path: Path) -> Iterator[Figure]:
    """Give LDS, misallocated money and what decoys say, method by method.

    Args:
        path: `evaluation.json` of `byline evaluate run`.

    Raises:
        GivenFileError: it is another file.
    """
    try:
        result = json.loads(path.read_bytes())
        if result["format"] not in SCOREBOARD_FORMATS:
            raise ValueError(result["format"])  # noqa: TRY301
        rows = [row for row in result["rows"] if "skipped" not in row]
        yield from _figures(result, rows, f"{path.name}, sha256 {sha256_file(path)[:16]}")
    except (ValueError, KeyError, TypeError) as problem:
        told = f"is not what `byline evaluate run` writes ({problem!r})"
        raise GivenFileError(path, told, "Give its evaluation.json") from problem


def _figures(
    result: Mapping[str, Any], rows: list[Mapping[str, Any]], source: str
) -> Iterator[Figure]:
    truth = result["truth"]
    yield Figure(
        "Evaluation by retraining",
        f"{truth['documents']} documents of {truth['creators']} creators, {truth['queries']} "
        f"outputs, {sum(truth['retrains'].values())} retrains",
        source,
    )
    if any("misallocated" in row for row in rows):
        ranked = sorted((row["misallocated"][MONEY], row["name"]) for row in rows)
        (low, best), (high, worst) = ranked[0], ranked[-1]
        text = f"{len(rows)}: {low:.1f} % ({best}) to {high:.1f} % ({worst}) misallocated"
        yield Figure("Methods side by side", text, source)
    for row in rows:
        name = row["name"]
        for label, key in (("documents", "lds_documents"), ("creators", "lds_creators")):
            if found := row.get(key):
                text = f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
                yield Figure(f"LDS over {label}, {name}", text, source)
        if MONEY in row.get("misallocated", {}):
            low, high = row["misallocated_interval"][MONEY]
            text = f"{row['misallocated'][MONEY]:.1f} % [{low:.1f}, {high:.1f}] of the pool"
            yield Figure(f"Misallocated money, {name}", text, source)
        generic = (row.get("decoys") or {}).get("generic_share")
        if generic is not None:
            yield Figure(f"Generic part by decoys, {name}", f"{100 * generic:.0f} %", source)
