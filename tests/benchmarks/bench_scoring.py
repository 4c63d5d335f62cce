"""What scoring costs: groups in a stream, opening a million rows, a large table, one trace.

The matrix rate beside the group level is measured in the same run, on the same threads, with
the same block; the time of a trace is what `byline trace` reports with the model loaded.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import polars as pl
import torch

from attribution import run_tables
from attribution.files import sha256_file
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.index_basis import save_basis
from attribution.index_manifest import write_manifest
from attribution.index_prefilter import build_prefilter, open_prefilter
from attribution.index_rows import SCHEMA
from attribution.index_store import RowWriter, documents_parquet, finish_shard
from attribution.influence import Attributor, score_blocks
from attribution.layers import TrackedLayer
from attribution.preconditioner import Curvature
from attribution.projection import LayerBasis
from attribution.trace import trace
from tests.benchmarks.children import peak_bytes, started

BENCH = Path(__file__).resolve().parents[3] / "shared" / "bench" / "lds"
LAYER = TrackedLayer("layer", 4, 4, bias=False, parameters=16)


def peak_gib() -> float:
    """Most memory this process ever held, mapped files included, GiB."""
    return peak_bytes() / (1 << 30)


def stream_groups(folder: Path, outputs: int, works: int, numbers: int, threads: int) -> None:
    """Score outputs against works from a mapped file, a block at a time, keeping only totals."""
    torch.set_num_threads(threads)
    path = folder / "rows.bin"
    draw = torch.Generator().manual_seed(0)
    if not path.exists():
        with path.open("wb") as stream:
            for _ in range(0, works, 1000):
                torch.randn(1000, numbers, generator=draw).numpy().tofile(stream)

    def mapped(part: slice) -> torch.Tensor:
        shape, offset = (part.stop - part.start, numbers), 4 * numbers * part.start
        return torch.from_numpy(np.memmap(path, "<f4", mode="c", offset=offset, shape=shape))

    queries = torch.randn(outputs, numbers, generator=draw)
    block = torch.randn(512, numbers, generator=draw)
    rates = []
    for _ in range(3):
        begun = time.perf_counter()
        queries @ block.T
        rates.append(2 * outputs * 512 * numbers / (time.perf_counter() - begun) / 1e9)
    totals = torch.zeros(outputs, dtype=torch.float64)
    begun = time.perf_counter()
    for _, part in score_blocks([queries], [mapped], works):
        totals += part.sum(1)
    took = time.perf_counter() - begun
    rate = 2 * outputs * works * numbers / took / 1e9
    print(
        f"groups   {outputs} outputs x {works} works x {numbers} numbers, {threads} threads: "
        f"{took:.1f} s, {rate:.0f} GFLOP/s, {rate / max(rates):.0%} of the matrix rate, "
        f"peak {peak_gib():.2f} GiB",
        flush=True,
    )
    assert bool(totals.isfinite().all())


def million_rows(folder: Path, rows: int, shards: int = 10) -> Path:
    """Write an index of very many tiny rows: what opening costs does not depend on their width."""
    each = rows // shards
    curvature = Curvature(torch.ones(16), torch.ones(1, dtype=torch.float64), (1.0,), (16,), 1)
    basis = LayerBasis(torch.eye(4), torch.eye(4))
    save_basis(folder / "bases" / "000", [LAYER], [basis], curvature)
    entries = []
    for s in range(shards):
        place = folder / "shards" / f"{s:06d}"
        writer = RowWriter(place, 0, 64)
        for _ in range(10):
            writer.append(np.zeros((each // 10, 64), np.uint8), [0.0] * (each // 10))
        ids = [f"d{s}-{i}" for i in range(each)]
        table = pl.DataFrame(
            {
                "document_id": ids,
                "group_id": [f"g{i % 1000}" for i in range(each)],
                "source_id": [None] * each,
                "kind": ["trained"] * each,
                "place": list(range(each)),
                "tokens_scored": [1] * each,
                "unit_weight": [1.0] * each,
            },
            schema=SCHEMA,
        )
        documents_parquet(place / "documents.parquet", table)
        entries.append({"name": place.name, "sha256": finish_shard(place, each, 1)})
    groups = folder / "groups" / "000000"
    groups.mkdir(parents=True)
    documents_parquet(groups / "groups.parquet", pl.DataFrame({"group_id": ["g"]}))
    (groups / "rows-0.bin").write_bytes(bytes(64))
    files = {name: sha256_file(groups / name) for name in ("groups.parquet", "rows-0.bin")}
    said = dataclasses.asdict(LAYER)
    content = {
        "bases": [
            {
                name: sha256_file(folder / "bases" / "000" / f"{name}.safetensors")
                for name in ("basis", "curvature")
            }
        ],
        "calibration": {"documents": 0, "rule": "none/1", "scale": 1.0},
        "checkpoints": [{"step": None, "weight": 1.0, "weights_sha256": ""}],
        "config": {"damping": 0.1, "dtype": "float32"},
        "format": "byline-index/2",
        "groups": {"files": files, "groups": 1, "name": "000000"},
        "layers": [said],
        "path_rule": "end_only/1",
        "shards": entries,
        "tombstones": [],
        "weight_changes": {},
    }
    write_manifest(folder, content)
    return folder


def open_cost(folder: Path, rows: int) -> None:
    """Open an index of many rows, five times; the first document table is read apart."""
    index = million_rows(folder, rows)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        opened = GradientIndex.open(index)
        times.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    height = opened.documents.height
    table = time.perf_counter() - begun
    print(
        f"open     {height} rows in 10 shards: {min(times) * 1000:.0f} ms to "
        f"{max(times) * 1000:.0f} ms; the document table at first use {table * 1000:.0f} ms"
    )


def trace_cost(folder: Path) -> None:
    """Trace texts with an index of the bench's 743 documents, exactly and with the prefilter."""
    config = IndexConfig(
        BENCH / "model",
        BENCH / "docs.jsonl",
        folder / "index",
        checkpoints=(BENCH / "base",),
        dtype="int8",
        bytes_per_document=65_536,
    )
    build_index(config)
    facts = build_prefilter(folder / "index")
    attributor = Attributor(GradientIndex.open(folder / "index"))
    prefilter = open_prefilter(attributor.index)
    lines = (BENCH / "queries.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    texts = [attributor.tokenizer.decode(json.loads(line)["input_ids"]) for line in lines]
    for name, chosen in (("exact", None), ("approximate", prefilter)):
        first, *rest = [trace(attributor, t, k=5, prefilter=chosen).milliseconds for t in texts]
        print(
            f"trace    {name:11s} 5 sources of 743 documents, 2 checkpoints: first {first} ms "
            f"(models loaded, rows hashed), then {min(rest)} to {max(rest)} ms"
        )
    print(
        f"         prefilter: {facts['recall']:.1%} of the strongest {facts['recall_of']} among "
        f"{facts['candidates']} candidates, least {facts['recall_least']:.0%}, measured on "
        f"{facts['recall_queries']} {facts['recall_queries_are']}"
    )


def demo_trace(demo: Path) -> None:
    """Trace outputs of the demo's first night with the demo's index, three to five sources."""
    begun = time.perf_counter()
    attributor = Attributor(GradientIndex.open(demo / "index"))
    night = min((demo / "outputs").glob("*.parquet"))
    texts = pl.read_parquet(night, columns=["output_text"])["output_text"].to_list()[:24]
    opened = time.perf_counter() - begun
    first = trace(attributor, texts[0], k=5).milliseconds
    took = [trace(attributor, t, k=3 + n % 3).milliseconds for n, t in enumerate(texts[1:])]
    index = attributor.index
    print(
        f"trace    demo        3 to 5 sources of {index.documents.height} documents, "
        f"{index.manifest.checkpoints} checkpoints: opened in {opened:.1f} s, first {first} ms "
        f"(checkpoints loaded, rows hashed), then {min(took)} to {max(took)} ms, median "
        f"{statistics.median(took):.0f}",
        flush=True,
    )


def _merge(folder: str, shards: int, outputs: int, works: int, said: Connection) -> None:
    """Write random shards, forget them, and merge them; report seconds and peak."""
    draw, parts = np.random.default_rng(0), []
    groups = pl.Series([f"work-{place:06d}" for place in range(works)])
    for shard in range(shards):
        ids = [f"output-{place:06d}" for place in range(shard, shards * outputs, shards)]
        gains = pl.DataFrame({"output_id": ids})
        table = pl.DataFrame(
            {
                "output_id": gains["output_id"][np.repeat(np.arange(outputs), works)],
                "group_id": groups[np.tile(np.arange(works), outputs)],
                "kind": pl.Series(["trained"])[np.zeros(outputs * works, dtype=np.int64)],
                "influence_nanonats": draw.normal(0, 1e6, outputs * works).astype(np.int64),
            }
        )
        path = Path(folder) / f"shard-{shard}.parquet"
        documents_parquet(path, table)
        parts.append(run_tables.Part.of(path, gains))
        del table
    begun, before = time.perf_counter(), peak_gib()
    run_tables.write_parts(Path(folder) / "merged.parquet", parts)
    size = (Path(folder) / "merged.parquet").stat().st_size
    said.send((time.perf_counter() - begun, before, peak_gib(), size))


def table_cost(folder: Path, shards: int, outputs: int, works: int) -> None:
    """Merge shards of outputs that interleave into one table, in a process of its own."""
    took, before, after, size = started(_merge, str(folder), shards, outputs, works).recv()
    rows = shards * outputs * works
    print(
        f"table    {shards * outputs} outputs x {works} works from {shards} shards: {took:.0f} s, "
        f"{rows / took / 1e6:.1f} million rows a second, {size / rows:.1f} bytes a row, peak "
        f"{after:.2f} GiB (one shard being written: {before:.2f})",
        flush=True,
    )


def main(argv: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["groups", "open", "table", "trace"])
    parser.add_argument("--demo", type=Path, help="trace with this workspace of `byline demo`")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args(argv)
    scale = 10 if chosen.quick else 1
    if chosen.demo is not None:
        demo_trace(chosen.demo)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.only in (None, "groups"):
            stream_groups(folder, 10_000 // scale, 100_000 // scale, 4096, chosen.threads)
        if chosen.only in (None, "open"):
            open_cost(folder / "million", 1_000_000 // scale)
        if chosen.only in (None, "table"):
            table_cost(folder, 8, 64, 100_000 // scale)
        if not BENCH.is_dir():
            print(f"trace    not measured: {BENCH.name} is not there")
            return 0
        if chosen.only in (None, "trace"):
            trace_cost(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
