"""The most memory a build takes, at corpora of very different size.

Each build runs in a process of its own. The peak is the process's resident memory, mapped
files included, less what it was with libraries and model loaded. It is one batch, the chunk
that is written, one shard's table of names, the block in which works are summed (here the same
number of them at every size), and what is kept for each document: where it stands, its length,
its work and its loss. The last is what is left when two sizes are subtracted; some of it is
allocators' and grows in steps.

The documents are short and the model is small, so that a corpus of 47,000 is read in minutes;
neither changes what is held for a document.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from attribution.corpus import Document, write_corpus
from attribution.index import IndexConfig, build_index
from attribution.model import load_model
from tests.benchmarks.children import peak_bytes, started

SIZES = (743, 5_944, 47_552)
WORKS = 64
VOCABULARY, CONTEXT = 512, 32
# Small, so that the smallest corpus fills a batch, a chunk and a shard as the others do.
TOKEN_BUDGET, CHUNK_BYTES, SHARD_DOCUMENTS = 1 << 11, 1 << 17, SIZES[0]
_MEBIBYTE = 1 << 20


def small_model(folder: Path) -> Path:
    """Save a model of random weights."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=64,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(folder / "model")
    return folder / "model"


def corpus_of(count: int, path: Path) -> Path:
    """Write a corpus of random short documents, one in fifty a copy of another."""
    draw = np.random.default_rng(0)
    rows: list[Document] = []
    for place in range(count):
        ids = draw.integers(1, VOCABULARY, draw.integers(12, CONTEXT)).tolist()
        if place % 50 == 49:
            ids = list(rows[place - 7].input_ids or ())
        work = f"work-{place * WORKS // count:06d}"
        rows.append(Document(f"document-{place:08d}", work, None, tuple(ids)))
    write_corpus(path, rows)
    return path


def build_here(model: Path, corpus: Path, out: Path, answer: Connection) -> None:
    """Build an index and send the peak before and after."""
    torch.set_num_threads(1)
    load_model(model)
    before = peak_bytes()
    build_index(
        IndexConfig(
            model,
            corpus,
            out,
            bytes_per_document=256,
            dtype="int8",
            token_budget=TOKEN_BUDGET,
            chunk_bytes=CHUNK_BYTES,
            shard_documents=SHARD_DOCUMENTS,
        )
    )
    answer.send((before, peak_bytes()))


def measured(model: Path, corpus: Path, out: Path) -> tuple[int, int]:
    """Return the peaks of a process that builds an index: libraries and model alone, and all."""
    before, after = started(build_here, model, corpus, out).recv()
    return before, after


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the two smaller sizes")
    parser.add_argument("--sizes", type=int, nargs="+", help="other numbers of documents")
    chosen = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    last: tuple[int, int] | None = None
    with tempfile.TemporaryDirectory() as scratch:
        model = small_model(Path(scratch))
        for count in chosen.sizes or (SIZES[:2] if chosen.quick else SIZES):
            corpus = corpus_of(count, Path(scratch) / f"{count}.jsonl")
            before, after = measured(model, corpus, Path(scratch) / f"index-{count}")
            grown = ""
            if last is not None:
                each = (after - last[1]) / (count - last[0])
                grown = f"   {each:7.0f} bytes for each document more"
            last = (count, after)
            print(
                f"{count:7d} documents   corpus {corpus.stat().st_size / _MEBIBYTE:6.1f} MiB"
                f"   libraries and model {before / _MEBIBYTE:6.0f} MiB"
                f"   build {(after - before) / _MEBIBYTE:6.0f} MiB more{grown}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
