"""Single figures of the compliance report: versions, method and its validation, privacy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version

from flows.artefacts import read_manifest, sha256_file
from flows.estimation import ESTIMATES_FORMAT, INFLUENCE_FORMAT
from flows.publish import ClosedPeriod
from flows.publish_inputs import model_versions
from ledger.checkpoint import read_checkpoint
from reports.compliance_inputs import Figure
from reports.render.text import count, percent

PPT = 10**12


def version_figures(closed: ClosedPeriod) -> Iterator[Figure]:
    """Name model, corpus, catalogue, index and code."""
    workspace = closed.workspace
    versions = ", ".join(model_versions(closed.plan)) or "none logged"
    yield Figure("Model versions logged", versions, "outputs/*.parquet, column model_version")
    files = {
        "Model recipe": workspace.model / "recipe.json",
        "Corpus": workspace.corpus,
        "Catalogue": workspace.catalogue,
        "Index": workspace.index / "manifest.json",
    }
    for label, path in files.items():
        if path.exists():
            yield Figure(label, sha256_file(path), workspace.relative(path))
    yield Figure("Code", f"byline {version('byline')}", "`byline --version`")


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
        points = len(said["checkpoints"])
        yield Figure(
            f"Method of {night.night.name}",
            f"influence along the training path, {points} checkpoints, {said['path_rule']}",
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


def privacy_figures(closed: ClosedPeriod) -> Iterator[Figure]:
    """Count texts dropped, erasures, and who looked at raw text."""
    dropped = 0
    for night in closed.plan.accruals.nights:
        manifest = read_manifest(night.night.manifest("estimates"), ESTIMATES_FORMAT)
        assert manifest["name"] == night.night.name, manifest["name"]
        dropped += b'"retention"' in night.night.manifest("outputs").read_bytes()
    actions = Counter(record.access.action for record in closed.books.accesses())
    nights = len(closed.plan.accruals.nights)
    yield Figure("Nights whose texts were dropped", f"{dropped} of {nights}", "outputs manifests")
    where = "access records in entries.jsonl"
    yield Figure("Erasures of personal data", count(actions["erase"]), where)
    yield Figure("Traces of texts", count(actions["trace"]), where)
    yield Figure("Views and exports", count(actions["view"] + actions["export"]), where)
    stored = closed.books.checkpoints()
    size = read_checkpoint(stored[-1].note).size
    yield Figure("Log that holds these records", f"{count(size)} leaves", "checkpoint.note")
