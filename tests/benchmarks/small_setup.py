"""A set-up so small that everything can be retrained: a run of seconds, made here with its truth.

The text and the way are those of `llama_setup`, the model a tenth of its size, the batches
large, so that the run answers smoothly to what is left out. Where a run takes seconds,
`unrolled` can follow each output alone, every method can have its top-k removed, and small
removals can be retrained by the dozen, also in other orders of the documents.

    python -m tests.benchmarks.small_setup                 # the truth, continued if begun
    python -m tests.benchmarks.small_setup --orders 77,78  # small removals in further orders
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from attribution.evaluation.removal import TruthPlan, build_truth
from attribution.evaluation.setup import open_setup
from tests.benchmarks.llama_setup import LlamaSettings, Run, prepare

SETTINGS = LlamaSettings(
    vocab=512,
    width=32,
    inner=64,
    layers=2,
    heads=2,
    key_heads=1,
    base=Run(1, 32, 5e-3, (0.0, 1.0)),
    tune=Run(3, 48, 4e-3, (0.0, 0.25, 0.5, 0.75, 1.0)),
    queries=24,
)
# A small removal is of 8 of the 525 documents.
PLAN = TruthPlan(halves=20, coalitions=60, drops=60, drop_share=0.015, seed=5)


def make(orders: tuple[int, ...] = ()) -> Path:
    """Make what is missing of the set-up and its truth, and return its folder.

    Args:
        orders: seeds; small removals are repeated in these orders of the documents.
    """
    folder = prepare(settings=SETTINGS).folder
    run = open_setup(folder).retrains()
    (folder / "truth").mkdir(exist_ok=True)
    plan = replace(PLAN, orders=orders, repeated=("base", "drop"))
    build_truth(run, folder / "truth", plan, progress=_say)
    return folder


def _say(done: int, whole: int) -> None:
    if done % 10 == 0 or done == whole:
        print(f"retrains: {done} of {whole}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Make the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", default="", help="seeds with commas")
    named = parser.parse_args(argv).orders
    print(f"the truth is whole: {make(tuple(int(one) for one in named.split(',') if one))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
