"""Sampling and estimation at full size: 10 million outputs, 20,000 creators, 60 s and 2 GiB.

The population has 10 million payable outputs in six strata. The sample is the 500 that attribution
would take; its influence table is dense, one row for every sampled output and each of 20,000 works
of 20,000 creators (10 million rows), with decoys. Sampling and estimation run in a process of their
own, so that its peak memory is theirs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl

from flows.artefacts import manifest_path, sink_parquet, write_manifest
from flows.estimation import Ownership, Pool, estimate
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.sampling import draw_sample, night_seed
from tests.flows.nights import DAY

SECONDS_MAX = 60.0
BYTES_MAX = 2 << 30


def write_population(folder: Path, outputs: int) -> Path:
    """Write an outputs table with every column that sampling reads."""
    path = folder / "outputs.parquet"
    number = pl.int_range(outputs, dtype=pl.Int64)
    value = (number * 7919 % 100_003 + 1) * pl.when(number % 1000 == 0).then(500).otherwise(1)
    frame = pl.select(number.alias("n")).lazy()
    name = pl.lit("bench:") + number.cast(pl.String).str.zfill(12)
    frame = frame.select(
        name.alias("event_id"),
        (pl.lit("v") + (pl.col("n") % 3).cast(pl.String)).alias("model_version"),
        pl.when(pl.col("n") % 2 == 0).then(pl.lit("SE")).otherwise(pl.lit("US")).alias("territory"),
        value.alias("value_units"),
        pl.lit(value=True).alias("payable"),
        pl.lit("a prompt").alias("prompt_text"),
        pl.lit("an output").alias("output_text"),
    )
    files = {path.name: sink_parquet(path, frame)}
    body = {"date": str(DAY), "batch_root": "ab" * 32, "currency": "USD/6"}
    write_manifest(manifest_path(path), OUTPUTS_FORMAT, inputs={}, files=files, body=body)
    return path


def write_influence(folder: Path, sample: Path, works: int, decoys: int) -> tuple[Path, Path]:
    """Write a dense influence table for a sample, and its gains."""
    rng = np.random.default_rng(7)
    names = [f"w{i:06}" for i in range(works)] + [f"x{i:06}" for i in range(decoys)]
    kinds = ["trained"] * works + ["decoy"] * decoys
    base = pl.DataFrame({"group_id": names, "kind": kinds})
    parts, gains = [], []
    for event in pl.read_parquet(sample, columns=["event_id"])["event_id"]:
        nanonats = rng.normal(2e5, 1e6, works + decoys).astype(np.int64)
        total = int(nanonats[:works].sum())
        row = base.select(pl.lit(event).alias("output_id"), "group_id", "kind")
        parts.append(row.with_columns(pl.Series("influence_nanonats", nanonats)))
        gains.append((event, total, total, 60, 1.0))
    schema = ["output_id", "gain_nanonats", "total_nanonats", "tokens_scored", "completeness"]
    paths = (folder / "night.parquet", folder / "night.gains.parquet")
    frames = (pl.concat(parts).lazy(), pl.DataFrame(gains, schema=schema, orient="row").lazy())
    files = {
        path.name: sink_parquet(path, frame) for path, frame in zip(paths, frames, strict=True)
    }
    path = folder / "night.manifest.json"
    write_manifest(path, "byline-influence/1", inputs={}, files=files, body={})
    return paths


def draw(folder: Path, size: int) -> dict[str, float]:
    """Draw the sample of the population and measure it."""
    started = (time.perf_counter(), time.process_time())
    manifest = draw_sample(
        folder / "outputs.parquet",
        folder / "sample.parquet",
        seed_hex=night_seed("", "ab" * 32, DAY),
        target_size=size,
        strata=("model_version", "territory"),
    )
    return measured(started, sampled=manifest["sampled"])


def estimated(folder: Path, works: int) -> dict[str, float]:
    """Estimate the night and measure it."""
    splits = {f"w{i:06}": [(f"creator-{i:06}", Fraction(1))] for i in range(works)}
    sizes = dict.fromkeys(splits, 5)
    started = (time.perf_counter(), time.process_time())
    result = estimate(
        influence=folder / "night.parquet",
        gains=folder / "night.gains.parquet",
        sample=folder / "sample.parquet",
        ownership=Ownership(splits, sizes),
        out_dir=folder,
        name="night",
        pool=Pool("main", 10**12),
    )
    return measured(started, explained=result.manifest["explained_outputs"])


def measured(started: tuple[float, float], **facts: float) -> dict[str, float]:
    """Give wall and processor seconds since `started`, and the peak memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    return {"seconds": wall, "cpu_seconds": cpu, "peak_bytes": peak, **facts}


def child(folder: Path, step: str, size: int) -> dict[str, float]:
    """Run one step in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--folder",
        str(folder),
        "--step",
        step,
        "--size",
        str(size),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path.cwd())
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return values


def line(step: str, size: str, facts: dict[str, float]) -> str:
    """Write one row of the table."""
    return (
        f"{step:<9} {size:<45} {facts['seconds']:7.1f} s  {facts['cpu_seconds']:7.1f} s processor  "
        f"{facts['peak_bytes'] / 2**30:5.2f} GiB"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 0 when it keeps its limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--step", choices=("sample", "estimate"))
    parser.add_argument("--size", type=int)
    options = parser.parse_args(argv)
    if options.step:
        run = draw if options.step == "sample" else estimated
        print(json.dumps(run(options.folder, options.size)))
        return 0
    outputs, works, sample = (500_000, 2_000, 100) if options.quick else (10_000_000, 20_000, 500)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_population(folder, outputs)
        drawn = child(folder, "sample", sample)
        write_influence(folder, folder / "sample.parquet", works, works // 20)
        made = child(folder, "estimate", works)
    rows = int(drawn["sampled"]) * (works + works // 20)
    seconds = drawn["seconds"] + made["seconds"]
    peak = max(drawn["peak_bytes"], made["peak_bytes"])
    print(line("sample", f"{outputs:,} outputs", drawn))
    print(line("estimate", f"{rows:,} influence rows, {works:,} creators", made))
    print(f"together  {seconds:.1f} s of {SECONDS_MAX:.0f} s, {peak / 2**30:.2f} of 2 GiB")
    return int(seconds > SECONDS_MAX or peak > BYTES_MAX)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    raise SystemExit(main())
