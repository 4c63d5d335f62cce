"""Retrains of a truth, by whichever workers are there; the broker is only a hint.

1. A message names the set-up's folder, the truth's folder, the plan and one retrain. A worker
   must see both folders where the sender does.
2. The truth's folder alone says what is done. The sender works from the front of the list, and
   workers from its end; where they meet, one retrain may be made twice, to the same numbers.
3. Without workers, or when the broker is away, the sender makes all of them.
4. Retrains have a queue of their own, so that no night waits behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.broker import Broker
from flows.errors import BrokerError
from flows.settings import BrokerSettings
from flows.tasks import RETRAIN, retrain_queue

if TYPE_CHECKING:
    from attribution.evaluation.removal import Job, RetrainSetup, TruthPlan
    from attribution.evaluation.truth import Truth

Progress = Callable[[int, int], None]
Say = Callable[[str], None]


def build_by_workers(
    setup: Path,
    out: Path,
    plan: TruthPlan,
    settings: BrokerSettings,
    *,
    processes: int,
    progress: Progress,
    say: Say,
) -> Truth:
    """Make the retrains that are missing, with the help of workers, and read all of them.

    Args:
        setup: the set-up's folder.
        out: the truth's folder, continued if begun.
        plan: which retrains.
        settings: the broker; an empty url works in this process.
        processes: retrains made here at the same time.
        progress: told (retrains there, retrains in all).
        say: told in one line when no worker can be asked.

    Raises:
        RecipeError: the folder holds retrains of another set-up, or of other draws.
    """
    from attribution.evaluation.removal import build_truth, claim, jobs_of  # noqa: PLC0415 - torch
    from attribution.evaluation.setup import open_setup  # noqa: PLC0415

    setup, out = setup.resolve(), out.resolve()
    run = open_setup(setup).retrains()
    broker = None
    if settings.url:
        claim(run, out, plan.seed)
        missing = [job.name for job in jobs_of(run, plan) if not (out / f"{job.name}.npz").exists()]
        broker = Broker(settings)
        try:
            _send(broker, setup, out, plan, missing)
        except BrokerError as fault:
            say(f"every retrain is made here: {fault}")
    try:
        return build_truth(run, out, plan, processes=processes, progress=progress)
    finally:
        if broker is not None:
            broker.take_back()
            broker.close()


def _send(broker: Broker, setup: Path, out: Path, plan: TruthPlan, names: Sequence[str]) -> None:
    """Ask for retrains, the last first (rule 2)."""
    queue = retrain_queue(broker.settings)
    for name in reversed(names):
        broker.ask(RETRAIN, [str(setup), str(out), asdict(plan), name], name, queue)


def make_retrain(setup: str, out: str, plan: Mapping[str, Any], name: str) -> bool:
    """Make one retrain, unless it is there; what a worker runs.

    Args:
        setup: the set-up's folder.
        out: the truth's folder.
        plan: `TruthPlan` as plain values.
        name: of the retrain.

    Returns:
        True when it was made now.

    Raises:
        RecipeError: the truth's folder is of another set-up, or the retrain of other draws.
        BrokerError: the plan has no such retrain.
    """
    from attribution.evaluation.removal import claim, make_one  # noqa: PLC0415 - torch

    folder = Path(out)
    if (folder / f"{name}.npz").exists():
        return False
    run, jobs = _jobs(setup, tuple(sorted((k, _hashable(v)) for k, v in plan.items())))
    if name not in jobs:
        raise BrokerError(
            f"a message asks for retrain {name!r}, and its plan has none of that name; nothing "
            f"was made. Sender and worker must be of the same version"
        )
    claim(run, folder, int(plan["seed"]))
    make_one(jobs[name], folder)
    return True


def _hashable(value: Any) -> Any:
    """Turn what JSON made of a tuple back."""
    return tuple(value) if isinstance(value, list) else value


@lru_cache(maxsize=1)
def _jobs(setup: str, plan: tuple[tuple[str, Any], ...]) -> tuple[RetrainSetup, dict[str, Job]]:
    """Open a set-up once for all the retrains of a plan."""
    from attribution.evaluation.removal import TruthPlan, jobs_of  # noqa: PLC0415 - torch
    from attribution.evaluation.setup import open_setup  # noqa: PLC0415

    run = open_setup(Path(setup)).retrains()
    return run, {job.name: job for job in jobs_of(run, TruthPlan(**dict(plan)))}
