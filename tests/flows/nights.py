"""Small nights for the tests of the data path: log lines, outputs, influence, in plain values."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path

import polars as pl

from flows.artefacts import manifest_path, sha256_file, write_manifest, write_parquet
from flows.ingest import IngestResult, ingest
from flows.ingest_schema import OUTPUTS_FORMAT, OUTPUTS_SCHEMA

DAY = date(2026, 11, 20)
KEY = b"k" * 32
DAY_NS = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp()) * 10**9


def otel(number: int, *, seconds: int = 60, days: int = 0, **attributes: object) -> dict:
    """Make one OpenTelemetry event; an attribute of None is left out."""
    values = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "acme-7b",
        "gen_ai.response.model": "acme-7b-2026-10",
        "gen_ai.usage.input_tokens": 4,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Q"}]}],
        "gen_ai.output.messages": [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": f"Answer {number}."}],
                "finish_reason": "stop",
            }
        ],
        "byline.value_units": str(1000 + number),
        "byline.currency": "USD/6",
        "tenant.id": f"tenant-{number % 3}",
        "enduser.id": f"user-{number % 7}",
        "geo.country.iso_code": "SE",
    }
    values.update({key.replace("__", "."): value for key, value in attributes.items()})
    nanoseconds = DAY_NS + days * 86_400 * 10**9 + number * seconds * 10**9
    return {
        "event_name": "gen_ai.client.inference.operation.details",
        "time_unix_nano": str(nanoseconds),
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "attributes": {key: value for key, value in values.items() if value is not None},
    }


def write_log(path: Path, records: list[dict | str]) -> Path:
    """Write records (or raw lines) as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def run_ingest(root: Path, **options: object) -> IngestResult:
    """Ingest everything under `root/logs` for the test's date."""
    return ingest(
        [root / "logs"],
        DAY,
        root / "outputs" / f"{DAY}.parquet",
        root / "quarantine" / f"{DAY}.jsonl",
        hmac_key=KEY,
        **options,
    )


def write_outputs(path: Path, rows: list[dict]) -> Path:
    """Write an outputs table with its manifest; what a row leaves out is filled in."""
    base = dict.fromkeys(OUTPUTS_SCHEMA)
    base |= {
        "model_version": "v1",
        "operation": "chat",
        "territory": "SE",
        "value_units": 1000,
        "payable": True,
        "prompt_text": "Q",
        "output_text": "A",
        "date": DAY,
    }
    frame = pl.DataFrame([{**base, **row} for row in rows], schema=OUTPUTS_SCHEMA)
    digest = write_parquet(path, frame.sort("event_id"))
    body = {"date": DAY.isoformat(), "batch_root": "ab" * 32, "currency": "USD/6"}
    write_manifest(
        manifest_path(path), OUTPUTS_FORMAT, inputs={}, files={path.name: digest}, body=body
    )
    return path


def write_influence(
    folder: Path,
    rows: list[tuple[str, str, str, int]],
    gains: dict[str, tuple[int, int]],
    name: str = str(DAY),
) -> tuple[Path, Path]:
    """Write influence and gains; a gain is (nanonats gained, tokens scored)."""
    schema = {
        "output_id": pl.String,
        "group_id": pl.String,
        "kind": pl.String,
        "influence_nanonats": pl.Int64,
    }
    table = pl.DataFrame(rows, schema=schema, orient="row").sort("output_id", "group_id")
    totals = dict.fromkeys(gains, 0)
    for output, _, kind, value in rows:
        totals[output] += value if kind == "trained" else 0
    measured = pl.DataFrame(
        [(q, gain, totals[q], tokens, 0.0) for q, (gain, tokens) in sorted(gains.items())],
        schema={
            "output_id": pl.String,
            "gain_nanonats": pl.Int64,
            "total_nanonats": pl.Int64,
            "tokens_scored": pl.Int32,
            "completeness": pl.Float64,
        },
        orient="row",
    )
    paths = (folder / f"{name}.parquet", folder / f"{name}.gains.parquet")
    for path, frame in zip(paths, (table, measured), strict=True):
        write_parquet(path, frame)
    files = {path.name: sha256_file(path) for path in paths}
    manifest = folder / f"{name}.manifest.json"
    write_manifest(manifest, "byline-influence/1", inputs={}, files=files, body={})
    return paths


def random_influence(
    outputs: list[str], works: int, decoys: int, seed: int
) -> tuple[list[tuple[str, str, str, int]], dict[str, tuple[int, int]]]:
    """Make signed influences with a positive total on every output but each tenth."""
    rng = random.Random(seed)
    rows, gains = [], {}
    for number, output in enumerate(outputs):
        mean = -1 if number % 10 == 9 else 1
        for w in range(works):
            value = int(rng.gauss(mean, 2) * 10**9 * (1 + w % 5))
            rows.append((output, f"w{w:02}", "trained", value))
        rows += [(output, f"d{d}", "decoy", rng.randint(-(10**8), 10**8)) for d in range(decoys)]
        gains[output] = (rng.randint(1, 9) * 10**10 if number % 7 else -5, 40)
    return rows, gains


def fractions(*parts: tuple[str, str]) -> list[tuple[str, Fraction]]:
    """Write splits as ("name", "1/3")."""
    return [(name, Fraction(share)) for name, share in parts]
