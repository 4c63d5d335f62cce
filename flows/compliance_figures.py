"""How influence was measured in a period: the method, its completeness and its generic part."""

from __future__ import annotations

from collections.abc import Iterator

from flows.artefacts import read_manifest
from flows.estimation import ESTIMATES_FORMAT, INFLUENCE_FORMAT
from flows.publish import ClosedPeriod
from reports.compliance_inputs import Figure
from reports.render.text import count, percent, plural

PPT = 10**12


def method_figures(closed: ClosedPeriod) -> Iterator[Figure]:
    """Say how influence was measured, its completeness, its generic part, and what is unknown."""
    gains = totals = decoys = 0
    unexplained = documents = 0
    generic = 0
    nights = closed.plan.accruals.nights
    for night in nights:
        said = read_manifest(night.night.manifest("influence"), INFLUENCE_FORMAT)
        gains += int(said["completeness"]["gain_nanonats"])
        totals += int(said["completeness"]["total_nanonats"])
        decoys += int(said["decoy_nanonats"])
        estimates = read_manifest(night.night.manifest("estimates"), ESTIMATES_FORMAT)
        unexplained += int(estimates["unexplained_outputs"])
        documents = max(documents, int(estimates["decoy"]["documents"]))
        generic += sum(night.creators["generic_ppt"].to_list()) * night.pool_units
        points = plural(len(said["checkpoints"]), "checkpoint")
        yield Figure(
            f"Method of {night.night.name}",
            f"influence along the training path, {points}, {said['path_rule']}",
            f"influence/{night.night.name}.manifest.json",
        )
    source = "influence/*.manifest.json, completeness"
    if gains:
        yield Figure("Completeness", f"{100 * totals // gains} % of the measured gain", source)
    yield Figure("Outputs not explained", count(unexplained), "estimates/*.manifest.json")
    pool = closed.plan.accruals.pool_units
    if pool and documents:
        part = percent(generic // pool)
        text = f"{part} of the pools; {count(documents)} decoys"
        yield Figure("Generic part of shares", text, "estimates/*.creators.parquet, generic_ppt")
        yield Figure(
            "Specific part of shares", percent(PPT - generic // pool),
            "1 less the generic part",
        )  # fmt: skip
