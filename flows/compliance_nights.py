"""The nights of a period as the compliance report has them: logs, draws, filters, the method.

Every number is read from a night's manifests or tables; the tables name the file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

from contracts.period import Period
from flows.accruals import NightAccrual
from flows.appeals import read_appeals
from flows.artefacts import read_manifest
from flows.estimation import ESTIMATES_FORMAT, INFLUENCE_FORMAT
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.intake import quarantine_file, reconciliation_file
from flows.publish import ClosedPeriod
from flows.publish_facts import closed_before
from flows.quarantine import read_quarantine
from flows.reconciliation import RECONCILIATION_FORMAT
from flows.sampling import SAMPLE_FORMAT
from reports.compliance_inputs import FactTable, Figure, SamplingFact, UsageDay
from reports.render.text import DASH, amount, count, millionths, percent

TOP = 10
PPM = 10**6
OUTPUTS = "outputs/*.manifest.json"


def usage_day(night: NightAccrual) -> UsageDay:
    """Count a night's outputs, and set the gateway's count beside them."""
    path = night.night.manifest("outputs")
    counts = read_manifest(path, OUTPUTS_FORMAT)["counts"]
    sampled = read_manifest(night.night.manifest("sample"), SAMPLE_FORMAT)["sampled"]
    record = reconciliation_file(night.night)
    told = None
    if not night.night.late and record.exists():
        told = read_manifest(record, RECONCILIATION_FORMAT)
    return UsageDay(
        date=night.night.name,
        logged=counts["outputs"],
        payable=counts["payable"]["outputs"],
        sampled=int(sampled),
        # A late batch shares the quarantine of its date; a line is counted once.
        quarantined=0 if night.night.late else len(_quarantine(night)),
        source=f"outputs/{path.name}",
        gateway=told["gateway"]["calls"] if told else None,
        excluded={reason: entry["outputs"] for reason, entry in counts["excluded"].items()},
        gateway_gap=told["calls_gap"] if told else None,
    )


def calendar_figures(closed: ClosedPeriod) -> Iterator[Figure]:
    """Say which days of the period have a settled night, and how many late batches came."""
    period, nights = Period(closed.period), closed.plan.accruals.nights
    days = {(period.start + timedelta(days=n)).isoformat() for n in range(period.end.day)}
    had = {night.night.name[:10] for night in nights}
    late = [night.night.name for night in nights if night.night.late]
    missing = missing_days(closed)
    told = f"{len(days & had)} of {len(days)}"
    yield Figure("Days with a settled night", told, OUTPUTS)
    if missing:
        yield Figure("Days without one", _spans(missing), OUTPUTS)
    yield Figure("Late batches, booked as adjustments", count(len(late)), OUTPUTS)
    totals: Counter[str] = Counter()
    for night in nights:
        counts = read_manifest(night.night.manifest("outputs"), OUTPUTS_FORMAT)["counts"]
        for name in ("replayed", "superseded", "other_date"):
            totals[name] += int(counts.get(name, 0))
    yield Figure("Records logged twice, kept once", count(totals["replayed"]), OUTPUTS)
    yield Figure("Records replaced by a later one", count(totals["superseded"]), OUTPUTS)
    unread = sum(len(_quarantine(night)) for night in nights if not night.night.late)
    yield Figure("Lines that could not be read", count(unread), "quarantine/*.jsonl")


def _quarantine(night: NightAccrual) -> list[Any]:
    return list(read_quarantine(quarantine_file(night.night)))


def missing_days(closed: ClosedPeriod) -> list[str]:
    """List the days of a period without a settled night."""
    period = Period(closed.period)
    days = [(period.start + timedelta(days=n)).isoformat() for n in range(period.end.day)]
    had = {night.night.name[:10] for night in closed.plan.accruals.nights}
    return [day for day in days if day not in had]


def _spans(days: list[str]) -> str:
    """Write days of one month as spans: 01-03, 07."""
    numbers = [int(day[8:]) for day in days]
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(f"{a:02d}" if a == b else f"{a:02d} to {b:02d}" for a, b in spans)


def sampling_fact(night: NightAccrual) -> SamplingFact:
    """Describe a night's draw and the error it left."""
    path = night.night.manifest("sample")
    manifest = read_manifest(path, SAMPLE_FORMAT)
    rows = sorted(
        night.creators.select("share_ppt", "stderr_ppt", "outputs").iter_rows(),
        key=lambda row: -abs(row[0]),
    )
    relative = [Fraction(stderr, abs(share)) for share, stderr, _ in rows if share]
    bands = []
    for name, part in (("largest ten", relative[:TOP]), ("all others", relative[TOP:])):
        if part:
            error = median(part)
            bands.append((name, f"median {percent(round(error * 10**12))} of the share"))
    return SamplingFact(
        date=night.night.name,
        seed_hex=manifest["seed"],
        strata=len(manifest["strata"]),
        population=manifest["population"]["outputs"],
        sampled=manifest["sampled"],
        source=f"sample/{path.name}",
        error_bands=tuple(bands),
        creators_without_hit=sum(1 for _, _, outputs in rows if not outputs),
    )


def strata_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """Show each stratum's frame, the size asked for, and the mean weight that follows."""
    currency, rows = closed.plan.accruals.currency, []
    for night in closed.plan.accruals.nights:
        for one in read_manifest(night.night.manifest("sample"), SAMPLE_FORMAT)["strata"]:
            size = int(one["size"])
            weight = millionths(one["outputs"] * PPM // size) if size else DASH
            rows.append(
                (
                    night.night.name,
                    one["stratum"],
                    count(one["outputs"]),
                    amount(int(one["value_units"]), currency),
                    count(size),
                    count(one["certain"]),
                    weight,
                )
            )
    heads = ("Night", "=Stratum", ">Frame", ">Value", ">Size", ">Certain", ">Weight")
    yield FactTable("Strata", heads, tuple(rows), "sample/*.manifest.json, strata")


def filter_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """Show the rules in force when the nights were filtered, and who took a decision back."""
    rules: dict[str, set[str]] = {}
    for night in closed.plan.accruals.nights:
        said = read_manifest(night.night.manifest("outputs"), OUTPUTS_FORMAT)["filters"]
        for name, value in said.items():
            if name != "appeals":
                rules.setdefault(name, set()).add(_rule(value))
    rows = tuple((name.replace("_", " "), "; ".join(sorted(v))) for name, v in rules.items())
    names = ("=Rule", "Value, by night where it changed")
    yield FactTable("Rules in force", names, rows, "outputs/*.manifest.json, filters")
    lines = tuple(
        (one.event_id, one.excluded_as.replace("_", " "), one.granted_by, one.granted_on)
        for one in appeals(closed)[:TOP]
    )
    heads = ("=Output", "Excluded as", "Granted by", "On")
    yield FactTable("Appeals granted", heads, lines, "appeals/*.jsonl")


def appeals(closed: ClosedPeriod) -> list[Any]:
    """List the appeals against a filter that were granted for the period's days."""
    folder = closed.workspace.root / "appeals"
    paths = sorted(folder.glob(f"{closed.period}-??.jsonl"))
    return [one for path in paths for one in read_appeals(path).values()]


def _rule(value: object) -> str:
    if isinstance(value, dict) and set(value) == {"count", "sha256"}:
        return f"{value['count']} names, sha256 {value['sha256'][:16]}"
    if isinstance(value, list | dict):
        return f"{len(value)} entries" if value else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "any number" if value == 0 else str(value)


def night_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """Show completeness, calibration and what is unexplained night by night: the drift."""
    currency, rows = closed.plan.accruals.currency, []
    for night in closed.plan.accruals.nights:
        said = read_manifest(night.night.manifest("influence"), INFLUENCE_FORMAT)
        estimates = read_manifest(night.night.manifest("estimates"), ESTIMATES_FORMAT)
        gain = int(said["completeness"]["gain_nanonats"])
        total = int(said["completeness"]["total_nanonats"])
        scale = said.get("calibration", {}).get("scale")
        rows.append(
            (
                night.night.name,
                f"{100 * total // gain} %" if gain else DASH,
                f"{scale:.6f}" if scale is not None else DASH,
                count(int(estimates["unexplained_outputs"])),
                amount(int(estimates["unexplained_units"]), currency),
                percent(int(estimates["decoy"]["share_ppt"])),
            )
        )
    first = ("=Night", ">Completeness", ">Calibration", ">Unexplained", ">Their value")
    heads = (*first, ">Decoys' level")
    source = "influence/*.manifest.json and estimates/*.manifest.json"
    yield FactTable("Night by night: what would show a drift", heads, tuple(rows), source)


def change_figures(closed: ClosedPeriod) -> Iterator[Figure]:
    """Say whether index, path, preconditioner or rule changed against the period before."""
    earlier = closed_before(closed.workspace, closed.period)
    source = "influence/*.manifest.json of both periods"
    if not earlier:
        yield Figure("Changes of method", "none: this is the first closed period", source)
        return
    now = _methods(closed.workspace.root, closed.period)
    then = _methods(closed.workspace.root, earlier[-1])
    changed = [name for name in sorted({*now, *then}) if now.get(name) != then.get(name)]
    told = "; ".join(changed) or "none"
    yield Figure(f"Changes of method since {earlier[-1]}", told, source)
    if changed:
        yield Figure(
            "Their effect on money", "not measured: run the night again with the method before",
            "`byline nightly` in a copy of the workspace",
        )  # fmt: skip


def _methods(root: Path, period: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in sorted((root / "influence").glob(f"{period}-*.manifest.json")):
        said = json.loads(path.read_bytes())
        facts = {
            "index": said.get("inputs", {}).get("index", ""),
            "path rule": said.get("path_rule", ""),
            "preconditioner": str(said.get("preconditioner", "")),
            "code of attribution": str(said.get("code_version", "")),
        }
        for name, value in facts.items():
            found.setdefault(name, set()).add(value)
    return found


def index_figures(closed: ClosedPeriod) -> Iterator[Figure]:
    """Say what of the model the index tracks, how, and at which checkpoints."""
    path = closed.workspace.index / "manifest.json"
    if not path.exists():
        return
    said = json.loads(path.read_bytes())
    covered, source = said["coverage"], "index/manifest.json"
    tracked, whole = covered["parameters_tracked"], covered["parameters_total"]
    part = percent(round(Fraction(tracked * 10**12, whole)))
    yield Figure("Layers tracked", ", ".join(covered["layers"])[:200], source)
    yield Figure("Parameters tracked", f"{count(tracked)} of {count(whole)}, {part}", source)
    config = said["config"]
    text = f"{config['projection']}, {config['dtype']}, damping {config['damping']}"
    yield Figure("Projection, stored as", text, source)
    points = ", ".join(
        f"step {one['step']} weighs {one['weight']:.3f}" for one in said["checkpoints"]
    )
    yield Figure("Checkpoints", points[:300], source)
