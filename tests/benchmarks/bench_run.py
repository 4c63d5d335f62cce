"""Outputs against works by the public path: `attribute_outputs`, then `merge_shards`.

A small model reads the outputs; the works' rows are random numbers in the index's own form, as
many and as wide as asked for, so that reading, multiplying, sorting and writing cost what they
would. Each worker is a process with one thread and its own outputs, as `byline worker` is; the
table is then merged. Peaks are of each process, libraries and mapped pages included.

The default is a twentieth of 10,000 outputs on one worker: two workers share the rest on two
cores, and time grows with the outputs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from attribution.corpus import Document, write_corpus
from attribution.files import sha256_file
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.index_manifest import write_manifest
from attribution.index_store import documents_parquet
from attribution.run import AttributionRequest, AttributionResult, QueryText, attribute_outputs
from attribution.run import merge_shards as merge
from tests.attribution import toy
from tests.attribution.test_run import WORDS, tokenizer
from tests.benchmarks.children import peak_bytes, started

NUMBERS = 4096
TOKENS = 32


def index_of(folder: Path, works: int) -> Path:
    """Build an index of a small model, then put so many works of random rows into it."""
    torch.manual_seed(0)
    size = {"vocab_size": toy.VOCAB, "n_positions": 2 * TOKENS, "n_embd": 64}
    model = GPT2LMHeadModel(GPT2Config(**size, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0))
    model.save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, TOKENS)) for _ in range(256)]
    rows = [Document(f"d{n:03d}", f"g{n}", text=text) for n, text in enumerate(texts)]
    write_corpus(folder / "corpus.jsonl", rows)
    out = folder / "index"
    build_index(
        IndexConfig(
            folder / "model",
            folder / "corpus.jsonl",
            out,
            bytes_per_document=4 * NUMBERS,
            head=False,
            token_budget=4096,
        )
    )
    content = dict(GradientIndex.open(out).manifest.content)
    place = out / "groups" / "000000"
    width = len(GradientIndex.open(out).curvature(0).eigenvalues)
    with (place / "rows-0.bin").open("wb") as stream:
        for begin in range(0, works, 1000):
            shape = (min(1000, works - begin), width)
            draw.standard_normal(shape, dtype=np.float32).tofile(stream)
    table = {
        "group_id": [f"work-{n:06d}" for n in range(works)],
        "kind": ["trained"] * works,
        "documents": [1] * works,
        "tokens_scored": [TOKENS] * works,
    }
    documents_parquet(place / "groups.parquet", pl.DataFrame(table))
    files = {name: sha256_file(place / name) for name in ("groups.parquet", "rows-0.bin")}
    write_manifest(out, {**content, "groups": {"files": files, "groups": works, "name": "000000"}})
    print(f"index    {works} works x {width} numbers", flush=True)
    return out


def attributed(index: Path, out: Path, first: int, count: int, said: Connection) -> None:
    """Attribute outputs to all works; report seconds, peak and the manifest."""
    torch.set_num_threads(1)
    draw = np.random.default_rng(first)
    outputs = tuple(
        QueryText(f"output-{n:06d}", None, " ".join(draw.choice(WORDS, TOKENS)))
        for n in range(first, first + count)
    )
    before, begun = peak_bytes(), time.perf_counter()
    result = attribute_outputs(AttributionRequest(index, outputs, out))
    took = time.perf_counter() - begun
    said.send((took, before, peak_bytes(), str(result.manifest_path)))


def merged(shards: list[str], out: Path, said: Connection) -> None:
    """Merge shards; report seconds, peak and bytes."""
    results = [
        AttributionResult(
            Path(path.replace(".manifest.json", ".parquet")),
            Path(path.replace(".manifest.json", ".gains.parquet")),
            Path(path),
        )
        for path in shards
    ]
    begun = time.perf_counter()
    result = merge(results, out, "night")
    took = time.perf_counter() - begun
    said.send((took, peak_bytes(), result.influence_path.stat().st_size))


def main(argv: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth")
    parser.add_argument("--outputs", type=int, default=500, help="of all workers together")
    parser.add_argument("--works", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    outputs, works = (50, 10_000) if chosen.quick else (chosen.outputs, chosen.works)
    each = outputs // chosen.workers
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = index_of(folder, works)
        begun = time.perf_counter()
        waiting = [
            started(attributed, index, folder / "shards", number * each, each)
            for number in range(chosen.workers)
        ]
        said = [mine.recv() for mine in waiting]
        rows = each * chosen.workers * works
        took = max(entry[0] for entry in said)
        print(
            f"workers  {chosen.workers} x {each} outputs x {works} works: {took:.0f} s, "
            f"{rows / took / 1e6:.2f} million pairs a second, peak "
            f"{max(entry[2] for entry in said) / 2**30:.2f} GiB "
            f"({max(entry[1] for entry in said) / 2**30:.2f} before)",
            flush=True,
        )
        shards = [entry[3] for entry in said]
        assert json.loads(Path(shards[0]).read_bytes())["outputs"] == each
        seconds, peak, size = started(merged, shards, folder / "night").recv()
        print(
            f"merge    {rows} rows: {seconds:.0f} s, {size / rows:.1f} bytes a row, peak "
            f"{peak / 2**30:.2f} GiB; all in {time.perf_counter() - begun:.0f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
