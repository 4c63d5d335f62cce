"""An approximate first look for the strongest documents, with faiss; exact numbers after it.

    prefilter/sketch.faiss     a sketch of every document, eight bits a number
    prefilter/prefilter.json   what it belongs to, and its recall, measured on this index

1. A document's sketch is its preconditioned row, over all checkpoints, hashed into a few
   thousand numbers with random signs (count sketch): inner products are kept on average.
2. Only who is looked at is approximate. Every candidate is scored again from its stored
   rows, so an influence that is shown is the exact one; a source can only be missed.
3. Recall is measured when it is made: the share of the exact strongest sources that are
   among the candidates, for decoys as queries, or documents (themselves left out) where
   there are no decoys.
4. It is made from a finished index and belongs to one manifest. After any change it is
   refused until it is made again. Money is never divided by it.

Axes: Q queries, N documents, D numbers of a row, M numbers of a sketch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor

from attribution.errors import GradientIndexError, IndexDamagedError, IndexMismatchError
from attribution.files import canonical_json, sha256_file, write_atomically
from attribution.index_manifest import locked
from attribution.index_read import GradientIndex
from attribution.influence import exact_scores

FORMAT = "byline-prefilter/1"
# Measured on the retraining benchmark, 743 rows of 64 KiB, 256 candidates: 1,024 numbers find
# 86 % of the ten strongest, 4,096 find 96 %, 8,192 find 99 %.
WIDTH = 4096
CANDIDATES = 256
STRONGEST = 10
QUERIES = 48
_BLOCK = 1024
# From here on an inverted file is worth its loss: a flat scan takes a tenth of a second.
_FLAT_MAX = 100_000
_TRAINING = 20_000


@dataclass(frozen=True)
class Prefilter:
    """An open prefilter.

    Attributes:
        facts: what prefilter.json says, its measured recall among it.
    """

    facts: dict[str, Any]
    _searcher: Any
    _hashes: list[tuple[Tensor, Tensor]]

    def candidates(self, index: GradientIndex, queries: Sequence[Tensor]) -> np.ndarray:
        """Return rows to look at for one output, rising.

        Args:
            index: the one it was made for.
            queries: per checkpoint [1, D], as `Attributor.queries` made them.
        """
        sketch = _sketch_of_queries(index, queries, self._hashes, self.facts["width"])
        _, found = self._searcher.search(sketch.numpy(), self.facts["candidates"])
        return np.unique(found[found >= 0])


def build_prefilter(
    folder: Path | str, *, width: int = WIDTH, candidates: int = CANDIDATES, seed: int = 0
) -> dict[str, Any]:
    """Make the prefilter of an index, and measure its recall on it.

    Args:
        folder: a finished index.
        width: numbers of a sketch (M).
        candidates: how many documents are scored exactly for one output.
        seed: of the hashes.

    Returns:
        What prefilter.json says: recall of the strongest ten, on how many queries.

    Raises:
        GradientIndexError: the index has no document to look for.
    """
    folder = Path(folder)
    with locked(folder):
        index = GradientIndex.open(folder)
        alive = _alive(index)
        if not alive.any():
            raise GradientIndexError(f"index {folder} holds no document; there is nothing to find")
        hashes = _hashes_of(index, width, seed)
        searcher = _searcher_of(index, hashes, width)
        facts = {
            "candidates": min(candidates, len(alive)),
            "faiss": faiss.__version__,
            "format": FORMAT,
            "index": index.manifest.sha256,
            "seed": seed,
            "width": width,
        }
        facts |= _recall(index, Prefilter(facts, searcher, hashes), alive)
        place = folder / "prefilter"
        data = faiss.serialize_index(searcher).tobytes()
        write_atomically(place / "sketch.faiss", data)
        facts["sha256"] = sha256_file(place / "sketch.faiss")
        write_atomically(place / "prefilter.json", canonical_json(facts))
        return facts


def open_prefilter(index: GradientIndex) -> Prefilter:
    """Open the prefilter of an index.

    Raises:
        IndexMismatchError: there is none, or it belongs to an earlier manifest.
        IndexDamagedError: its file was altered.
    """
    place = index.folder / "prefilter"
    if not (place / "prefilter.json").is_file():
        raise IndexMismatchError(
            f"index {index.folder} has no prefilter; make it with `byline index prefilter`, or "
            f"look at every document"
        )
    facts = json.loads((place / "prefilter.json").read_bytes())
    if facts["index"] != index.manifest.sha256:
        raise IndexMismatchError(
            f"the prefilter in {place} was made for index {facts['index'][:12]}…, this is "
            f"{index.manifest.sha256[:12]}…; it would miss what changed since. Make it again "
            f"with `byline index prefilter`"
        )
    path = place / "sketch.faiss"
    found = sha256_file(path) if path.is_file() else "missing"
    if found != facts["sha256"]:
        raise IndexDamagedError(
            f"{path}: sha256 {found[:12]}… is not the {facts['sha256'][:12]}… written with it; "
            f"make it again with `byline index prefilter`"
        )
    data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    hashes = _hashes_of(index, facts["width"], facts["seed"])
    return Prefilter(facts, faiss.deserialize_index(data), hashes)


def _alive(index: GradientIndex) -> np.ndarray:
    table = index.documents
    return (table["alive"] & (table["kind"] == "trained")).to_numpy()


def _hashes_of(index: GradientIndex, width: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return, per checkpoint, each number's place in the sketch and its sign, [D]."""
    out = []
    for k in range(index.manifest.checkpoints):
        numbers = len(index.curvature(k).eigenvalues)
        key = np.array([seed, 1 << 32 | k], dtype=np.uint64)
        raw = np.random.Philox(key=key).random_raw(numbers)
        places = torch.from_numpy((raw >> np.uint64(1)).astype(np.int64) % width)
        out.append((places, torch.from_numpy((raw & np.uint64(1)).astype(np.float32) * 2 - 1)))
    return out


def _sketched(rows: Tensor, hashed: tuple[Tensor, Tensor], width: int) -> Tensor:
    """Return [n, M], float32, of rows [n, D]."""
    places, signs = hashed
    return torch.zeros(len(rows), width).index_add_(1, places, rows * signs)


def _root(index: GradientIndex, k: int) -> Tensor:
    """Return the root of the preconditioner: each side of a product carries one."""
    return index.inverse(k).sqrt().float()


def _sketch_of_queries(
    index: GradientIndex,
    queries: Sequence[Tensor],
    hashes: Sequence[tuple[Tensor, Tensor]],
    width: int,
) -> Tensor:
    out = torch.zeros(len(queries[0]), width)
    for k, part in enumerate(queries):
        root = _root(index, k)
        out += _sketched(torch.where(root > 0, part / root, 0.0), hashes[k], width)
    return out


def _searcher_of(index: GradientIndex, hashes: Sequence[tuple[Tensor, Tensor]], width: int) -> Any:
    """Return a faiss index whose entries are the documents, in row order."""
    total = index.documents.height
    lists = int(4 * total**0.5)
    kind = "SQ8" if total <= _FLAT_MAX else f"IVF{lists},SQ8"
    searcher = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
    sample = np.unique(np.linspace(0, total - 1, min(total, _TRAINING)).astype(np.int64))
    searcher.train(_sketch_of_rows(index, sample, hashes, width))
    for begin in range(0, total, _BLOCK):
        rows = np.arange(begin, min(begin + _BLOCK, total))
        searcher.add(_sketch_of_rows(index, rows, hashes, width))
    if total > _FLAT_MAX:
        faiss.extract_index_ivf(searcher).nprobe = max(1, lists // 32)
    return searcher


def _sketch_of_rows(
    index: GradientIndex,
    rows: np.ndarray,
    hashes: Sequence[tuple[Tensor, Tensor]],
    width: int,
) -> np.ndarray:
    out = np.zeros((len(rows), width), dtype=np.float32)
    for begin in range(0, len(rows), _BLOCK):
        part = rows[begin : begin + _BLOCK]
        for k in range(index.manifest.checkpoints):
            made = index.codec(k).decode(index.take(k, part)) * _root(index, k)
            out[begin : begin + len(part)] += _sketched(made, hashes[k], width).numpy()
    return out


def _recall(index: GradientIndex, prefilter: Prefilter, alive: np.ndarray) -> dict[str, Any]:
    """Measure the share of the exact strongest that are among the candidates (rule 3)."""
    decoys = np.flatnonzero((index.documents["kind"] == "decoy").to_numpy())
    pool = decoys if len(decoys) else np.flatnonzero(alive)
    asked = np.unique(pool[np.linspace(0, len(pool) - 1, min(len(pool), QUERIES)).astype(int)])
    queries = []
    for k, weight in enumerate(index.manifest.path_weights):
        rows = index.codec(k).decode(index.take(k, asked))
        queries.append((rows.double() * index.inverse(k) * weight).float())
    exact = exact_scores(index, queries, np.arange(len(alive))).numpy()  # [Q, N]
    shares = []
    for q, row in enumerate(asked):
        able = alive.copy()
        able[row] = False
        order = np.lexsort((np.arange(len(alive)), -exact[q]))
        wanted = [n for n in order.tolist() if able[n]][:STRONGEST]
        seen = set(prefilter.candidates(index, [part[q : q + 1] for part in queries]).tolist())
        shares.append(len(seen.intersection(wanted)) / max(1, len(wanted)))
    return {
        "recall": round(float(np.mean(shares)), 4),
        "recall_least": round(float(np.min(shares)), 4),
        "recall_of": STRONGEST,
        "recall_queries": len(asked),
        "recall_queries_are": "decoys" if len(decoys) else "documents",
    }
