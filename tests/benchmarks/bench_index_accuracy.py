"""How well the index predicts what removing documents does, against retraining.

Reads the retraining benchmark beside the repository (`../shared/bench/lds`, or the folder
in BYLINE_BENCH_LDS): a small real model, 743 documents of 40 creators, 48 outputs, and the
losses after retraining without some of them. Its own `score_truth.py` gives every figure.

Rows: this index at full rank and at 1/4, 1/16 and 1/64 of the float32 bytes, from the end
point alone, from start and end, and from all six checkpoints; the baselines beside them.
`--quick` scores start and end at 1/16 only; `--cache DIR` keeps score matrices between runs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from attribution.corpus import read_corpus, read_queries
from attribution.gradients import LossModel
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.influence import Attributor
from attribution.matrix_task import MatrixTask
from attribution.methods import METHODS
from attribution.model import load_model
from attribution.path import learning_rate_weights
from attribution.streaming import StreamConfig, checkpoint_scores
from attribution.tokens import encode_query

ROOT = Path(__file__).parents[2]
BENCH = Path(os.environ.get("BYLINE_BENCH_LDS", ROOT.parent / "shared" / "bench" / "lds"))
STEPS = (0, 17, 35, 70, 105, 141)
PATHS = {"end": (141,), "start + end": (0, 141), "all six": STEPS}
# Bytes are of one row at one checkpoint, against the tracked numbers as float32.
SIZES = {"1/4": ("int8", 4), "1/16": ("int8", 16), "1/64": ("int8", 64)}
TRACKED = 594_080


STREAMS = {
    "default": StreamConfig(fit_share=0.15),
    "dot": StreamConfig(curvature=False),
    "head": StreamConfig(fit_share=0.15, layers=("none",)),
    "last": StreamConfig(fit_share=0.15, head=False),
    "all": StreamConfig(fit_share=0.15, layers=("*",), head=False),
}


def folder_of(step: int) -> Path:
    """Return the weights of a step of the fine-tune."""
    if step == 0:
        return BENCH / "base"
    return BENCH / "model" if step == STEPS[-1] else BENCH / "checkpoints" / f"step-{step:03d}"


def judge(scores: np.ndarray) -> dict:
    """Return what the benchmark's own scorer says of a matrix."""
    spec = importlib.util.spec_from_file_location("score_truth", BENCH / "score_truth.py")
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.npy"
        np.save(path, scores.astype(np.float32))
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            scorer.main(BENCH, path)
    return json.loads(said.getvalue())


def print_head() -> None:
    """Print the table's head."""
    print(f"{'scores':34s} {'LDS documents':>19s} {'LDS creators':>19s} {'removal':>19s}", end="")
    print("  misallocated %  positive")
    print(f"{'':34s} {'':19s} {'':19s} {'':19s}  linear  norm.   totals %")


def print_row(name: str, scores: np.ndarray) -> dict:
    """Print one row: figures with 95 % intervals over queries."""
    said = judge(scores)
    cells = [
        f"{c['mean']:.3f} [{c['lo']:.2f}, {c['hi']:.2f}]"
        for c in (said["lds_doc"], said["lds_creator"], said["loco"])
    ]
    positive = 100 * float((scores.sum(1) > 0).mean())
    print(
        f"{name:34s} " + " ".join(f"{cell:>19s}" for cell in cells) + f"  "
        f"{said['misallocated_linear_pct']:6.1f} {said['misallocated_normalised_pct']:6.1f}"
        f"   {positive:5.0f}",
        flush=True,
    )
    return said


class Matrices:
    """Score matrices of single checkpoints, made once and kept."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        cache.mkdir(parents=True, exist_ok=True)
        self.task = MatrixTask(
            BENCH / "model",
            (),
            read_corpus(BENCH / "docs.jsonl"),
            read_queries(BENCH / "queries.jsonl"),
        )

    def full(self, step: int, name: str = "default") -> np.ndarray:
        """Return unweighted influence [48, 743] at a step, full rank, float32."""
        path = self.cache / f"full-{name}-{step:03d}.npy"
        if not path.exists():
            model = LossModel(load_model(folder_of(step)).model)
            config = STREAMS[name]
            np.save(path, checkpoint_scores(model, self.task, config)[0].numpy())
        return np.load(path)

    def stored(self, size: str, step: int) -> np.ndarray:
        """Return unweighted influence at a step from an index of a given size."""
        dtype, fraction = SIZES[size]
        path = self.cache / f"{dtype}-{fraction}-{step:03d}.npy"
        if not path.exists():
            folder = self.cache / f"index-{dtype}-{fraction}-{step:03d}"
            build_index(
                IndexConfig(
                    folder_of(step),
                    BENCH / "docs.jsonl",
                    folder,
                    bytes_per_document=4 * TRACKED // fraction,
                    dtype=dtype,
                    duplicate_threshold=None,
                )
            )
            index = GradientIndex.open(folder)
            queries = [encode_query(query, None) for query in self.task.queries]
            scores = Attributor(index).documents(queries).influence.numpy()
            order = np.argsort(index.documents["place"].to_numpy())
            np.save(path, scores[:, order])
        return np.load(path)


def along(parts: dict[int, np.ndarray]) -> np.ndarray:
    """Add checkpoints with learning-rate weights."""
    steps = sorted(parts)
    if len(steps) == 1:
        return parts[steps[0]]
    with np.load(BENCH / "recipe.npz") as recipe:
        weights = learning_rate_weights(steps, recipe["lr"].tolist())
    return sum(w * parts[s] for w, s in zip(weights, steps, strict=True))


def baselines(matrices: Matrices, *, quick: bool) -> None:
    """Print what needs no curvature."""
    for name in ("bm25", "hidden_states", "by_size"):
        print_row(name, METHODS[name].scores(matrices.task).numpy())
    if not quick:
        dots = {step: matrices.full(step, "dot") for step in (0, 141)}
        print_row("gradient dot, end", dots[141])
        print_row("gradient dot, start + end", along(dots))
    print_row("random", np.random.default_rng(0).standard_normal((48, 743)))


def main(argv: list[str] | None = None) -> int:
    """Print the table; 0 when it was made, also where the benchmark is not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--parts", action="store_true", help="also each part of the row alone")
    chosen = parser.parse_args(argv)
    if not (BENCH / "score_truth.py").is_file():
        print(f"skipped: no retraining benchmark at {BENCH} (set BYLINE_BENCH_LDS)")
        return 0
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        matrices = Matrices(chosen.cache or Path(folder))
        print_head()
        if chosen.quick:
            parts = {step: matrices.stored("1/16", step) for step in PATHS["start + end"]}
            print_row("index 1/16, start + end", along(parts))
        else:
            for path, steps in PATHS.items():
                print_row(f"index full rank, {path}", along({s: matrices.full(s) for s in steps}))
            if chosen.parts:
                for name in ("head", "last", "all"):
                    parts = {s: matrices.full(s, name) for s in PATHS["start + end"]}
                    print_row(f"{name} alone, full rank, start + end", along(parts))
            for size in SIZES:
                for path, steps in PATHS.items():
                    stored = {s: matrices.stored(size, s) for s in steps}
                    print_row(f"index {size} ({SIZES[size][0]}), {path}", along(stored))
        baselines(matrices, quick=chosen.quick)
        said = judge(np.zeros((48, 743)) + 1e-9)
        print(f"equal pay misallocates {said['misallocated_equal_pct']} %, ", end="")
        print(f"pay by number of documents {said['misallocated_by_size_pct']} % (linear)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
