"""What an evaluation by retraining says of the attribution methods: validation and agreement.

1. The file is the `evaluation.json` of `byline evaluate run`; by default that of the workspace.
2. Agreement is between what each creator would be paid by two methods over the evaluation's
   outputs: the rank correlation, and the money that would change hands. It needs a table of
   `byline-scoreboard/2`; an older one has no shares, and the report says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.artefacts import sha256_file
from flows.compliance_given import GivenFileError
from flows.workspace import Workspace
from reports.compliance_inputs import FactTable, Figure
from reports.render.text import DASH

SCOREBOARD_FORMATS = ("byline-scoreboard/1", "byline-scoreboard/2")
MONEY, RULE = "linear/removal", "linear"
# The method that pays, by its names among those judged.
PAYING = ("ekfac_index", "ekfac")


def evaluation_file(workspace: Workspace, chosen: Path | None) -> Path | None:
    """Name the evaluation to read: the one chosen, the workspace's own, or None."""
    own = workspace.root / "evaluation" / "evaluation.json"
    return chosen or (own if own.exists() else None)


def evaluation_facts(
    workspace: Workspace,
    path: Path | None,
) -> tuple[tuple[Figure, ...], tuple[FactTable, ...]]:
    """Give LDS, misallocated money, what decoys say, and how far the methods agree.

    Args:
        workspace: where the report is made.
        path: `evaluation.json` of `byline evaluate run`; None when there is none.

    Returns:
        Figures of the method that pays, and one table of all methods; nothing without a file.

    Raises:
        GivenFileError: it is another file.
    """
    if path is None:
        return (), ()
    try:
        result = json.loads(path.read_bytes())
        if result["format"] not in SCOREBOARD_FORMATS:
            raise ValueError(result["format"])  # noqa: TRY301
        rows = [row for row in result["rows"] if "skipped" not in row]
        inside = path.resolve().is_relative_to(workspace.root)
        name = workspace.relative(path.resolve()) if inside else path.name
        source = f"{name}, sha256 {sha256_file(path)[:16]}"
        paying = _paying(rows)
        figures = tuple(_figures(result, rows, paying, source))
        tables = (_side_by_side(rows, paying, source),) if rows else ()
    except (ValueError, KeyError, TypeError) as problem:
        told = f"is not what `byline evaluate run` writes ({problem!r})"
        raise GivenFileError(path, told, "Give its evaluation.json") from problem
    return figures, tables


def _paying(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Find the method that pays; where it was not judged, the one that misallocates least."""
    for name in PAYING:
        for row in rows:
            if row["name"] == name or row.get("method") == name:
                return row
    judged = [row for row in rows if MONEY in row.get("misallocated", {})]
    return min(judged, key=lambda row: row["misallocated"][MONEY], default=None)


def _figures(
    result: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    paying: Mapping[str, Any] | None,
    source: str,
) -> Iterator[Figure]:
    truth = result["truth"]
    yield Figure(
        "Evaluation by retraining",
        f"{truth['documents']} documents of {truth['creators']} creators, {truth['queries']} "
        f"outputs, {sum(truth['retrains'].values())} retrains",
        source,
    )
    ranked = sorted(
        (row["misallocated"][MONEY], row["name"])
        for row in rows
        if MONEY in row.get("misallocated", {})
    )
    if ranked:
        (low, best), (high, worst) = ranked[0], ranked[-1]
        text = f"{len(ranked)}: {low:.1f} % ({best}) to {high:.1f} % ({worst}) misallocated"
        yield Figure("Methods side by side", text, source)
    if paying is None:
        return
    name = paying["name"]
    for label, key in (("documents", "lds_documents"), ("creators", "lds_creators")):
        if paying.get(key):
            yield Figure(f"LDS over {label}, {name}", _interval(paying[key]), source)
    if MONEY in paying.get("misallocated", {}):
        yield Figure(f"Misallocated money, {name}", f"{_money(paying)} of the pool", source)
    if (generic := _generic(paying)) != DASH:
        yield Figure(f"Generic part by decoys, {name}", generic, source)
    if moved := [_moved(row, paying) for row in rows if row is not paying and _shares(row)]:
        text = f"{min(moved):.1f} % to {max(moved):.1f} % of the pool"
        yield Figure(f"Money that another method than {name} would move", text, source)


def _side_by_side(
    rows: Sequence[Mapping[str, Any]], paying: Mapping[str, Any] | None, source: str
) -> FactTable:
    lines = []
    for row in sorted(rows, key=lambda one: one.get("misallocated", {}).get(MONEY, 1e9)):
        both = paying is not None and _shares(row) and _shares(paying)
        rank = f"{_rank_correlation(_shares(row), _shares(paying)):.2f}" if both else DASH
        moved = f"{_moved(row, paying):.1f} %" if both else DASH
        is_it = row is paying
        lines.append(
            (
                f"{row['name']} (pays)" if is_it else row["name"],
                _interval(row.get("lds_documents")),
                _money(row),
                _generic(row),
                DASH if is_it else rank,
                DASH if is_it else moved,
            )
        )
    heads = (
        "=Method",
        ">LDS documents",
        ">Misallocated, %",
        ">Generic",
        ">Rank agreement",
        ">Moves",
    )
    label = "Methods side by side: validation, and agreement with the one that pays"
    return FactTable(label, heads, tuple(lines), source)


def _shares(row: Mapping[str, Any] | None) -> Sequence[float]:
    """Give what each creator would be paid of a pool of 1, or nothing."""
    found: Sequence[float] = (row or {}).get("shares", {}).get(RULE, ())
    return found


def _moved(row: Mapping[str, Any], paying: Mapping[str, Any] | None) -> float:
    """Give the money that would change hands, in per cent of the pool."""
    pairs = zip(_shares(row), _shares(paying), strict=True)
    return 50 * sum(abs(a - b) for a, b in pairs)


def _rank_correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Spearman's correlation: Pearson's, over ranks with ties averaged; 0 where all are equal."""
    a, b = _ranks(left), _ranks(right)
    mean = (len(a) + 1) / 2
    top = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    below = sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b)
    return float(top / below**0.5) if below else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks, place = [0.0] * len(values), 0
    while place < len(order):
        last = place
        while last + 1 < len(order) and values[order[last + 1]] == values[order[place]]:
            last += 1
        for tied in order[place : last + 1]:
            ranks[tied] = (place + last) / 2 + 1
        place = last + 1
    return ranks


def _interval(found: Mapping[str, float] | None) -> str:
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" if found else DASH


def _money(row: Mapping[str, Any]) -> str:
    if MONEY not in row.get("misallocated", {}):
        return DASH
    low, high = row["misallocated_interval"][MONEY]
    return f"{row['misallocated'][MONEY]:.1f} % [{low:.1f}, {high:.1f}]"


def _generic(row: Mapping[str, Any]) -> str:
    part = (row.get("decoys") or {}).get("generic_share")
    return DASH if part is None else f"{100 * part:.0f} %"
