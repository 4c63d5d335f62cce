"""The ground truth of the second set-up, by retraining: made once, resumed where it stopped.

    python -m tests.benchmarks.llama_truth             # about half an hour of one core
    python -m tests.benchmarks.llama_truth --part 1/2  # half of it, beside another process

What is retrained is `PLAN`: each creator removed, random coalitions of the creators, random
halves of the documents; and the removals of the largest creators again with the documents in
another order, which is the noise of one truth.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np

from attribution.evaluation.removal import Job, TruthPlan, claim, jobs_of, make_one
from attribution.evaluation.setup import open_setup
from tests.benchmarks.llama_setup import LlamaSettings, cache_root, folder_of, prepare

PLAN = TruthPlan(halves=40, coalitions=60, orders=(77,), seed=5)
REPEATED = 12


def jobs(folder: Path) -> list[Job]:
    """List every retrain of the truth."""
    setup = open_setup(folder).retrains()
    sizes = Counter(setup.groups)
    large = {name for name, _ in sizes.most_common(REPEATED)}

    def wanted(job: Job) -> bool:
        gone = {setup.groups[place] for place in np.flatnonzero(~job.mask)}
        return not job.name.startswith("loco77-") or gone <= large

    return [job for job in jobs_of(setup, PLAN) if wanted(job)]


def truth_folder() -> Path | None:
    """Return the set-up's folder where all of its truth is there, else None."""
    folder = folder_of(cache_root(), LlamaSettings())
    if not (folder / "truth" / "truth.json").is_file():
        return None
    missing = [j.name for j in jobs(folder) if not (folder / "truth" / f"{j.name}.npz").exists()]
    if missing:
        print(
            f"{len(missing)} retrains of {folder / 'truth'} are still missing, {missing[0]} first"
        )
    return None if missing else folder


def make_truth(part: tuple[int, int] = (1, 1)) -> Path:
    """Make what is missing of the set-up and of its truth, and return the set-up's folder.

    Args:
        part: (which, of how many) parts of the retrains to make, from 1.
    """
    folder = prepare().folder
    truth = folder / "truth"
    truth.mkdir(exist_ok=True)
    listed = jobs(folder)
    claim(listed[0].setup, truth, PLAN.seed)
    missing = [job for job in listed if not (truth / f"{job.name}.npz").exists()]
    mine = missing[part[0] - 1 :: part[1]]
    began = time.perf_counter()
    for done, job in enumerate(mine, start=1):
        make_one(job, truth)
        left = (time.perf_counter() - began) / done * (len(mine) - done) / 60
        print(f"{job.name}: {done} of {len(mine)}, about {left:.0f} min left", flush=True)
    return folder


def main(argv: list[str] | None = None) -> int:
    """Make the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default="1/1", help="which part of how many, such as 1/2")
    which, whole = parser.parse_args(argv).part.split("/")
    print(f"the truth is whole: {make_truth((int(which), int(whole)))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
