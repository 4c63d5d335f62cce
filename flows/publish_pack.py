"""Gather the audit pack of a closed period: book, papers, and every file behind its entries.

1. Every file under evidence/ has a digest that an entry cites, or a manifest that is cited.
2. The draws of every night go along without a word of text: an outsider draws them again, and works
   out the estimates from them and the influence that the entries cite.
3. Nights of earlier periods that were taken back in this one bring their files too.
4. What the workspace no longer has is left out; `byline audit verify` and `reperform` say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from flows.artefacts import (
    canonical_json,
    is_as_recorded,
    manifest_path,
    read_manifest,
    sha256_file,
)
from flows.books import read_agreements
from flows.close import closing_file
from flows.close_plan import ClosePlan
from flows.close_work import INPUTS_FORMAT, cited_files, inputs_file
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.knowledge import catalogue_copy, listed_texts
from flows.night import Night
from flows.publish_book import BookView
from flows.publish_facts import closed_before
from flows.sampling import SAMPLE_FORMAT
from flows.settle import EVIDENCE_KINDS, agreements_list
from flows.workspace import Workspace
from ledger.audit_draws import DRAW_COLUMNS, DRAWS_FORMAT

POOL_FORMAT = "byline-pack-pool/1"
# What an entry may cite beside nights' manifests.
_OTHERS = frozenset({"agreements", "catalogue"})


def evidence_files(
    workspace: Workspace, plan: ClosePlan, view: BookView
) -> Iterator[tuple[str, bytes | Path]]:
    """Name every file behind the period's entries that may leave the house.

    Args:
        workspace: whose files.
        plan: the close of the period.
        view: the book as the period's statements cite it.
    """
    period = plan.accruals.period
    texts: set[str] = set()
    close = read_manifest(inputs_file(workspace, period), INPUTS_FORMAT, step="`byline close`")
    cited_by = [sealed.entry.evidence for sealed in view.entries]
    lists = {evidence["agreements"] for evidence in cited_by if "agreements" in evidence}
    for digest in sorted(lists | {str(close["agreements"])}):
        path = agreements_list(workspace, digest)
        texts |= listed_texts(workspace, digest)
        yield path.name, path
    for agreement in read_agreements(workspace).agreements:
        if agreement.payload_sha256 in texts:
            name = f"agreement.{agreement.agreement_id}.v{agreement.version}.yaml"
            yield name.replace(":", "_").replace("/", "_"), agreement.payload.encode("utf-8")
    shared = dict(cited_files(workspace, period))
    yield from shared.items()
    index = workspace.index / "manifest.json"
    if index.exists() and plan.accruals.nights:
        yield "index.manifest.json", index
    cited = {sealed.entry_id: sealed.entry.evidence for sealed in view.entries}
    for accrual in (*plan.accruals.nights, *plan.accruals.reversed_nights):
        evidence = cited.get(accrual.entry_id, {})
        if (known_then := evidence.get("catalogue")) is not None:
            path = catalogue_copy(workspace, known_then)
            if path not in shared.values():
                yield path.name, path
        yield from _night_files(accrual.night, evidence)


def _night_files(night: Night, evidence: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Name a night's manifests and tables, and what else its entry cites of the night."""
    for kind in EVIDENCE_KINDS:
        yield f"{kind}.{night.name}.manifest.json", night.manifest(kind)
    yield f"estimates.{night.works.name}", night.works
    yield f"estimates.{night.creators.name}", night.creators
    yield f"influence.{night.influence.name}", night.influence
    yield f"influence.{night.gains.name}", night.gains
    for kind in sorted(set(evidence) - set(EVIDENCE_KINDS) - _OTHERS):
        path = night.manifest(kind)
        if path.exists() and sha256_file(path) == evidence[kind]:
            yield f"{kind}.{path.name}", path
            for name in sorted(json.loads(path.read_bytes())["sha256"]):
                yield f"{kind}.{name}", path.with_name(name)


def night_draws(plan: ClosePlan) -> dict[str, bytes]:
    """Give the draws of a period's nights, by the name of the member below draws/."""
    nights = (*plan.accruals.nights, *plan.accruals.reversed_nights)
    made = {f"{a.night.name}.jsonl": draws_of(a.night) for a in nights}
    return {name: data for name, data in made.items() if data is not None}


def draws_of(night: Night) -> bytes | None:
    """Write a night's sampled outputs without their texts, as `ledger.audit_draws` reads them.

    Returns:
        The lines, or None where the workspace no longer has the tables that the manifests cite.
    """
    for path, form in ((night.sample, SAMPLE_FORMAT), (night.outputs, OUTPUTS_FORMAT)):
        files = read_manifest(manifest_path(path), form)["sha256"]
        if path.name not in files or not is_as_recorded(path, files[path.name]):
            return None
    outputs = pl.scan_parquet(night.outputs)
    places = outputs.select("event_id", "model_version", "territory")
    rows = pl.scan_parquet(night.sample).join(places, on="event_id", how="left").sort("event_id")
    counts = (
        outputs.filter(pl.col("payable"))
        .group_by("model_version", "territory")
        .agg(pl.len().cast(pl.Int64), pl.col("output_tokens").fill_null(0).sum().alias("tokens"))
        .sort("model_version", "territory", nulls_last=False)
        .collect(engine="streaming")
    )
    header = {
        "columns": list(DRAW_COLUMNS),
        "format": DRAWS_FORMAT,
        "night": night.name,
        "payable": counts.rows(),
    }
    drawn = rows.select(DRAW_COLUMNS).collect(engine="streaming").rows()
    return b"".join(canonical_json(value) for value in (header, *drawn))


def papers_for_reperformance(workspace: Workspace, period: str) -> dict[str, bytes | Path]:
    """Name what the close started from: pool, parties, what it left, what the one before left."""
    pool = workspace.settings.pool
    said = {"format": POOL_FORMAT, "pool_id": pool.id, "currency": pool.currency}
    files: dict[str, bytes | Path] = {
        "pool.json": canonical_json(said),
        "closing.json": closing_file(workspace, period),
    }
    parties = workspace.agreements / "parties.yaml"
    if parties.exists():
        files["parties.yaml"] = parties
    before = closed_before(workspace, period)
    if before:
        files[f"opening.{before[-1]}.json"] = closing_file(workspace, before[-1])
    return files
