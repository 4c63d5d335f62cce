"""How well the index predicts what removing documents does, against retraining, on two set-ups.

    gpt2    the retraining benchmark beside the repository (`../shared/bench/lds`, or the
            folder in BYLINE_BENCH_LDS); the default layers were chosen on it
    llama   trained by this benchmark from text every machine has (tests.benchmarks.llama_setup);
            the head's damping and the path weights were compared on both. Its truth takes half
            an hour of one core, once: `python -m tests.benchmarks.llama_truth`; without it the
            set-up is skipped

Rows: this index at full rank and at 1/4, 1/16 and 1/64 of the float32 bytes, from the end
point alone, from start and end, and from all checkpoints; other choices of layers; the
baselines. All figures with 95 % intervals over outputs.

Columns: LDS over random halves of documents and of creators; rank correlation with each
creator's removal; misallocated money, by summed nats and with each output divided by its own
positive total, against the removal truth and, by summed nats, the coalition truth (where it
has as many retrains as creators and a positive cross-validated fit); how the totals of the
outputs agree with what training measurably gained for them (correlation; and the spread of
total over gain once all outputs together are scaled to 100 %): completeness output by output,
which needs no retraining.

`--quick` scores start and end at 1/16 only; `--cache DIR` keeps score matrices between runs;
`--only NAME` takes one set-up; `--set-up DIR` any other folder; `--rows TEXT` only some rows.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from attribution.evaluation.lds import Interval, ceilings, evaluate
from attribution.evaluation.truth import Truth
from attribution.methods import METHODS
from tests.benchmarks.index_matrices import SIZES, Matrices
from tests.benchmarks.llama_truth import truth_folder

ROOT = Path(__file__).parents[2]
BENCH = Path(os.environ.get("BYLINE_BENCH_LDS", ROOT.parent / "shared" / "bench" / "lds"))
QUICK = "index 1/16, start + end"
Row = Callable[[], np.ndarray]
BASELINES = ("bm25", "hidden_states", "by_size", "equal", "random")
CHOICES = (
    ("head", "start + end"),
    ("last", "start + end"),
    ("all linear", "end"),
    ("all linear", "start + end"),
    ("all linear", "all"),
    ("gradient dot", "end"),
    ("gradient dot", "start + end"),
    ("gradient dot, all linear", "end"),
    ("gradient dot, all linear", "start + end"),
)


def coalition_usable(truth: Truth) -> bool:
    """Whether there are retrains enough for a coalition truth, and its validated fit positive."""
    retrains = len(truth.losses.get("creator", ()))
    return retrains >= len(truth.creators) and float(truth.banzhaf.fit.mean()) > 0


def print_head(truth: Truth) -> None:
    """Print the table's head."""
    enough = len(truth.losses.get("creator", ())) >= 10
    fit = f"{truth.banzhaf.fit.mean():.2f}" if enough else "too few retrains"
    print(f"retrains: { {kind: len(rows) for kind, rows in truth.losses.items()} }")
    print(f"cross-validated fit of the coalition truth: {fit}")
    print(
        f"{'':38s} {'LDS documents':>17s} {'LDS creators':>17s} {'removal':>17s}"
        f" {'misallocated %':>17s} {'normalised %':>17s} {'coalition %':>17s}"
        "  totals: r  p10-p90 %  positive %"
    )


def print_row(matrices: Matrices, name: str, scores: np.ndarray) -> None:
    """Print one row: figures with 95 % intervals over outputs."""
    said = evaluate(np.asarray(scores, dtype=np.float64), matrices.truth)
    cells = [_cell(c) for c in (said.lds_documents, said.lds_creators, said.removal_rank)]
    for rule in ("linear/removal", "normalised/removal", "linear/coalition"):
        usable = "coalition" not in rule or coalition_usable(matrices.truth)
        cells.append(
            "{:.1f} [{:.1f}, {:.1f}]".format(
                said.misallocated[rule], *said.misallocated_interval[rule]
            )
            if usable and rule in said.misallocated
            else "-"
        )
    totals = scores.sum(1)
    # Where every output has the same total, as with pay by size, there is no correlation.
    varies = np.ptp(totals) > 1e-9 * np.abs(totals).max()
    agree = f"{np.corrcoef(totals, matrices.gains)[0, 1]:.2f}" if varies else "-"
    ratio = totals / matrices.gains * (matrices.gains.sum() / totals.sum())
    low, high = np.quantile(100 * ratio, [0.1, 0.9])
    print(
        f"{name:38s} " + " ".join(f"{cell:>17s}" for cell in cells) + f"  {agree:>9s}"
        f"  {low:4.0f}-{high:<4.0f}  {100 * float((totals > 0).mean()):9.0f}",
        flush=True,
    )


def _cell(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{interval.mean:.3f} [{interval.low:.2f}, {interval.high:.2f}]"


def index_rows(matrices: Matrices) -> Iterator[tuple[str, Row]]:
    """Yield name and scores of this index: full rank, then each size, along each path."""
    for path, steps in matrices.paths.items():
        yield f"index full rank, {path}", partial(along, matrices, steps, matrices.full)
    for size, (path, steps) in itertools.product(SIZES, matrices.paths.items()):
        yield (
            f"index {size}, {path}",
            partial(along, matrices, steps, partial(matrices.stored, size)),
        )


def choice_rows(matrices: Matrices) -> Iterator[tuple[str, Row]]:
    """Yield what other choices of layers, and no curvature, would give at full rank."""
    for name, path in CHOICES:
        full = partial(matrices.full, name=name)
        yield f"{name}, {path}", partial(along, matrices, matrices.paths[path], full)


def baseline_rows(matrices: Matrices) -> Iterator[tuple[str, Row]]:
    """Yield the baselines."""
    for name in BASELINES:
        yield name, partial(_scores, matrices, name)


def along(
    matrices: Matrices, steps: Sequence[int], made: Callable[[int], np.ndarray]
) -> np.ndarray:
    """Make the matrices of some steps and add them along the path."""
    return matrices.along({step: made(step) for step in steps})


def _scores(matrices: Matrices, name: str) -> np.ndarray:
    return np.asarray(METHODS[name].scores(matrices.task).numpy())


def print_table(matrices: Matrices, wanted: str) -> None:
    """Print the rows of one set-up whose name contains `wanted`; no other is made."""
    print_head(matrices.truth)
    for rows in (index_rows(matrices), choice_rows(matrices), baseline_rows(matrices)):
        for name, make in rows:
            if wanted in name or (wanted == QUICK and name in BASELINES):
                print_row(matrices, name, make())
    for name, value in ceilings(matrices.truth).items():
        print(f"   noise of the truth: {name:28s} {value:8.2f}")


def main(argv: list[str] | None = None) -> int:
    """Print the tables; 0 when they were made, also where a set-up is not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--only", choices=("gpt2", "llama"))
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--set-up", type=Path, help="a set-up folder with its truth")
    chosen = parser.parse_args(argv)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    folders: dict[str, Path | None] = {
        "gpt2": BENCH if (BENCH / "retrain").is_dir() else None,
        "llama": truth_folder(),
    }
    if chosen.set_up:
        folders = {"given": chosen.set_up}
    with tempfile.TemporaryDirectory() as scratch:
        for name, folder in folders.items():
            if chosen.only not in (None, name):
                continue
            if folder is None:
                print(f"skipped {name}: no truth by retraining here (see --help)")
                continue
            print(f"\n{name}: {folder.name}")
            matrices = Matrices(name, folder, chosen.cache or Path(scratch))
            print_table(matrices, QUICK if chosen.quick else chosen.rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
