"""Closed periods without a model: real logs, samples, books and closes over drawn influence."""

import json
import random
from datetime import date

import polars as pl

from flows.artefacts import sha256_file, write_manifest, write_parquet
from flows.close import close_period
from flows.demo.story import write_agreements
from flows.engine import run_night
from flows.estimation import INFLUENCE_FORMAT
from flows.night import StepOutcome
from flows.nightly import STEPS
from flows.setup import make_workspace
from tests.simulation.tiny import calls, write_log

PEOPLE = {"prepared_by": "accountant-1", "approved_by": "controller-1"}
# Outputs are worth 5 to 50 USD each, so that payees are owed more than coins.
VALUE_SCALE = 10_000
SETTINGS = {
    "night": {"sample_size": 24},
    "pool": {"rate_ppm": 500_000},
    "sign": {"origin": "byline.example/papers"},
    "statement": {"contact": "royalties@example.org"},
    "payout": {"name": "Example Models", "iban": "DE89370400440532013000"},
}


def make_catalogue(workspace, creators):
    """One work with one document a creator."""
    names = [f"pkg:{number:05d}" for number in range(creators)]
    works = [
        {
            "work_id": f"work:{number:05d}",
            "title": f"Work {number}",
            "splits": [{"party_id": name, "share": "1"}],
        }
        for number, name in enumerate(names)
    ]
    documents = [
        {"document_id": f"work:{n:05d}/text", "work_id": f"work:{n:05d}"} for n in range(creators)
    ]
    catalogue = {
        "format": "byline-catalogue/1",
        "sources": [],
        "parties": [{"party_id": name, "kind": "creator"} for name in names],
        "works": works,
        "documents": documents,
    }
    workspace.catalogue.write_text(json.dumps(catalogue), encoding="utf-8")
    rows = [{"document_id": d["document_id"], "text": f"Text {d['work_id']}."} for d in documents]
    workspace.corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return names


def drawn_influence(works, decoys=3):
    """Make an attribute step that draws influence instead of measuring it."""

    def step(night, _step):
        outputs = sorted(pl.read_parquet(night.sample, columns=["event_id"])["event_id"].to_list())
        draw = random.Random(night.name)
        size = {w: draw.uniform(1, 3) for w in works}
        rows, gains = [], []
        for output in outputs:
            mine = [(w, "trained", int(draw.gauss(size[w], 0.5) * 10**9)) for w in works]
            mine += [(f"decoy:{n}", "decoy", draw.randint(-(10**8), 10**8)) for n in range(decoys)]
            rows += [(output, *row) for row in mine]
            total = sum(units for _, kind, units in mine if kind == "trained")
            gains.append((output, max(total, 10**10), total, 40, 1.0))
        schema = {"output_id": pl.String, "group_id": pl.String, "kind": pl.String}
        schema["influence_nanonats"] = pl.Int64
        table = pl.DataFrame(rows, schema=schema, orient="row")
        measured = pl.DataFrame(
            gains,
            schema={
                "output_id": pl.String,
                "gain_nanonats": pl.Int64,
                "total_nanonats": pl.Int64,
                "tokens_scored": pl.Int32,
                "completeness": pl.Float64,
            },
            orient="row",
        )
        write_parquet(night.influence, table.sort("output_id", "kind", "group_id"))
        write_parquet(night.gains, measured.sort("output_id"))
        total = sum(row[2] for row in gains)
        body = {
            "checkpoints": [{"step": 0, "weight": 1.0}],
            "completeness": {
                "gain_nanonats": sum(row[1] for row in gains),
                "ratio": 1.0,
                "total_nanonats": total,
            },
            "decoy_nanonats": 0,
            "groups": len(works),
            "outputs": len(outputs),
            "path_rule": "drawn for a test",
        }
        files = {"influence": sha256_file(night.influence), "gains": sha256_file(night.gains)}
        manifest = night.manifest("influence")
        write_manifest(manifest, INFLUENCE_FORMAT, inputs={}, files=files, body=body)
        return StepOutcome(f"{len(outputs)} outputs")

    return step


def closed_months(monkeypatch, folder, months, *, creators=14, year=2026, settings=None, first=1):
    """Make a workspace and settle and close the first months of a year, one night each.

    Args:
        monkeypatch: puts drawn influence in the place of measured one.
        folder: the workspace.
        months: how many.
        creators: how many; two of them are not under contract, one has an advance.
        year: which.
        settings: settings that differ from SETTINGS, by section.
        first: the first month to settle; those before are there already.
    """
    workspace = make_workspace(folder, settings={**SETTINGS, **(settings or {})})
    names = make_catalogue(workspace, creators)
    write_agreements(workspace.agreements, workspace.catalogue, names, date(year, 1, 1), "main")
    works = [f"work:{number:05d}" for number in range(creators)]
    monkeypatch.setitem(STEPS, "attribute", drawn_influence(works))
    for month in range(first, months + 1):
        day = date(year, month, 20)
        log = workspace.logs / f"{day}.otel.jsonl"
        drawn = calls(random.Random(month), 40 + month)
        write_log(log, day, [(p, o, units * VALUE_SCALE) for p, o, units in drawn], start=0)
        run_night(workspace, day, logs=[log])
        close_period(workspace, f"{year}-{month:02d}", **PEOPLE)
    return workspace
