"""Installations on paper: real books, agreements and closes, with nights whose estimates are given.

What a model would have measured is written straight into the night's tables; from there on every
step is the real one, so a year of months takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date as Date  # noqa: N812
from pathlib import Path

import polars as pl

from contracts.earnings import Earnings
from flows.artefacts import sha256_file, write_manifest, write_parquet
from flows.books import open_books
from flows.cells import CELLS_FORMAT
from flows.close import CloseResult, close_period
from flows.estimation import ESTIMATES_FORMAT, INFLUENCE_FORMAT
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.knowledge import KnowledgeBase
from flows.night import Night
from flows.ownership import splits_on
from flows.positive import POSITIVE_FORMAT
from flows.sampling import SAMPLE_FORMAT
from flows.settle import settle_step
from flows.setup import make_workspace
from flows.workspace import Workspace
from ledger import chart
from tests.databases import fresh_book

PEOPLE = {"prepared_by": "accountant-1", "approved_by": "controller-1"}
PPT = 10**12
COLUMNS = ("outputs", "share_ppt", "stderr_ppt", "low_ppt", "high_ppt", "accrual_units")
FORMATS = {"outputs": OUTPUTS_FORMAT, "sample": SAMPLE_FORMAT, "influence": INFLUENCE_FORMAT}
Owners = Mapping[str, Mapping[str, str]]


def paper_workspace(folder: Path, *, currency: str = "USD/2", ledger_url: str = "") -> Workspace:
    """Make an installation without a model; on SQLite its books are a copy made once a session."""
    settings = {"pool": {"currency": currency}}
    if not ledger_url:
        folder.mkdir(parents=True)
        with fresh_book("sqlite", folder) as url:
            Path(url.removeprefix("sqlite:///")).rename(folder / "byline.db")
    return make_workspace(folder, settings=settings, ledger_url=ledger_url)


def write_works(
    workspace: Workspace, owners: Owners, parties: set[str] | None = None, **marks: dict
) -> None:
    """Write the catalogue: shares by work and party; `marks` adds fields such as dispute."""
    named = {party for shares in owners.values() for party in shares} | (parties or set())
    works = [
        {
            "work_id": work,
            "title": work.upper(),
            "splits": [{"party_id": p, "share": share} for p, share in sorted(shares.items())],
            **marks.get(work, {}),
        }
        for work, shares in sorted(owners.items())
    ]
    data = {
        "format": "byline-catalogue/1",
        "sources": [],
        "parties": [{"party_id": name} for name in sorted(named)],
        "works": works,
        "documents": [],
    }
    workspace.catalogue.parent.mkdir(parents=True, exist_ok=True)
    workspace.catalogue.write_text(json.dumps(data), encoding="utf-8")
    lines = ["format: byline-parties/1", "parties:"]
    lines += [f"  - party_id: {name}" for name in sorted(named | {"operator"})]
    (workspace.agreements / "parties.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def agree(
    workspace: Workspace, licensor: str, *lines: str, version: int = 1, starts: str = "2026-01-01"
) -> Path:
    """Write an agreement of a licensor; without YAML lines it takes part in the main pool."""
    text = [
        "format: byline-agreement/1",
        f"agreement_id: agr-{licensor}",
        f"version: {version}",
        f"licensor: {licensor}",
        "licensee: operator",
        f"currency: {workspace.settings.pool.currency}",
        f"effective_from: {starts}",
        *(lines or ("terms: [{term_id: pool, then: {basis: pool_share, pool: main}}]",)),
    ]
    path = workspace.agreements / f"{licensor}.v{version}.yaml"
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def settle(
    workspace: Workspace,
    day: str,
    accrued: Mapping[str, int | Mapping[str, int]],
    *,
    unexplained: int = 0,
    late: str = "",
    outputs: int = 100,
    positive: Mapping[str, int | Mapping[str, int]] | None = None,
    stderr_ppt: Mapping[str, int] | None = None,
) -> None:
    """Settle a night whose works accrued what is given, in units.

    What a work accrued may be given by territory; `positive` is what it accrued by
    per_output_positive/1, `stderr_ppt` the standard error of works and owners, else none.
    """
    places = {w: a if isinstance(a, Mapping) else {"SE": a} for w, a in accrued.items()}
    accrued = {w: sum(by_place.values()) for w, by_place in places.items()}
    date = Date.fromisoformat(day)
    night = Night(workspace, date, (), late, PEOPLE["approved_by"])
    pool = sum(accrued.values()) + unexplained
    _write_outputs(night, outputs, pool)
    files = _write_tables(night, "estimates", accrued, pool, stderr_ppt or {})
    body = {
        "date": day,
        "pool_id": "main",
        "pool_units": pool,
        "unexplained_units": unexplained,
        "apportionment": "signed_linear/1",
        "population": {"outputs": outputs},
    }
    manifest = night.manifest("estimates")
    write_manifest(manifest, ESTIMATES_FORMAT, inputs={}, files=files, body=body)
    _write_cells(night, "cells", places, pool)
    if positive is not None:
        places = {w: a if isinstance(a, Mapping) else {"SE": a} for w, a in positive.items()}
        _write_positive(night, places, pool, stderr_ppt or {})
    settle_step(night, None)


def _write_tables(
    night: Night, kind: str, accrued: Mapping[str, int], pool: int, errors: Mapping[str, int]
) -> dict[str, str]:
    """Write a night's tables of works and creators, and give their digests."""
    works = [
        (w, 5, units * PPT // pool if pool else 0, errors.get(w, 0), 0, 0, units)
        for w, units in accrued.items()
    ]
    splits = splits_on(KnowledgeBase(night.workspace).present.catalogue, night.date)
    owners = {name for work in accrued for name, _ in splits.get(work, [("unmatched", 1)])}
    creators = [(name, 5, 0, errors.get(name, 0), 0, 0, 0) for name in sorted(owners)]
    files = {}
    for part, key, table in (("works", "work_id", works), ("creators", "creator_id", creators)):
        schema = {key: pl.String, **dict.fromkeys(COLUMNS, pl.Int64)}
        path = night.table(kind, part)
        frame = pl.DataFrame(sorted(table), schema=schema, orient="row")
        files[path.name] = write_parquet(path, frame)
    return files


def _write_positive(
    night: Night,
    places: Mapping[str, Mapping[str, int]],
    pool: int,
    errors: Mapping[str, int],
) -> None:
    """Write what every work accrued by per_output_positive/1."""
    accrued = {w: sum(by_place.values()) for w, by_place in places.items()}
    files = _write_tables(night, "positive", accrued, pool, errors)
    known = KnowledgeBase(night.workspace).present
    estimates = sha256_file(night.manifest("estimates"))
    inputs = {"estimates": estimates, "catalogue": known.catalogue_sha256}
    path = night.manifest("positive")
    write_manifest(path, POSITIVE_FORMAT, inputs=inputs, files=files, body={})
    _write_cells(night, "positive-cells", places, pool)


def _write_cells(
    night: Night, kind: str, places: Mapping[str, Mapping[str, int]], pool: int
) -> None:
    """Write what every work accrued by territory, all of it from one model."""
    rows = [
        (work, "v1", territory, units, str(units), "0", "0")
        for work, by_place in sorted(places.items())
        for territory, units in sorted(by_place.items())
    ]
    columns = ("work_id", "model_version", "territory", "accrual_units", "y", "square", "cross")
    table = night.table(kind)
    digest = write_parquet(table, pl.DataFrame(rows, schema=columns, orient="row"))
    body = {"denominator": str(pool or 1), "noise_square": "0", "random": 2}
    cited = {"estimates": sha256_file(night.manifest("estimates"))}
    if kind != "cells":
        cited["positive"] = sha256_file(night.manifest("positive"))
    path = night.manifest(kind)
    write_manifest(path, CELLS_FORMAT, inputs=cited, files={table.name: digest}, body=body)


def _write_outputs(night: Night, outputs: int, pool: int) -> None:
    """Write a night's outputs, and manifests of the steps whose files nobody reads here."""
    frame = pl.DataFrame(
        {
            "payable": [True] * outputs,
            "model_version": ["v1"] * outputs,
            "territory": ["SE"] * outputs,
            "output_tokens": [10] * outputs,
        },
        schema_overrides={"output_tokens": pl.Int64},
    )
    digest = write_parquet(night.outputs, frame)
    population = {"outputs": outputs, "value_units": pool or 1}
    body = {"date": night.date.isoformat(), "population": population, "sampled": outputs}
    for kind, form in FORMATS.items():
        files = {night.outputs.name: digest} if kind == "outputs" else {}
        write_manifest(night.manifest(kind), form, inputs={}, files=files, body=body)


def close(workspace: Workspace, period: str) -> CloseResult:
    """Close a period."""
    return close_period(workspace, period, **PEOPLE)


def owed(workspace: Workspace, party: str, currency: str = "USD/2") -> int:
    """Return what a payee is owed by the books."""
    with open_books(workspace) as books:
        return -books.balance(chart.royalties_payable(party), currency)


def standing(workspace: Workspace, account: str, currency: str = "USD/2") -> int:
    """Return what stands on a liability account by the books."""
    with open_books(workspace) as books:
        return -books.balance(account, currency)


def by_party(closed: CloseResult) -> dict[str, Earnings]:
    """Return each licensor's calculation."""
    return {result.licensor: result for result in closed.plan.earnings}
