"""The Prefect flow `nightly`: one Prefect task a step, nothing else.

Imported only when Prefect is wanted; `flows.engine.prefect_environment` must be in the
environment first. Ownership of retries: Celery sends a lost shard again, Prefect repeats a whole
step twice when the database or the broker was away; an error of a room is never repeated,
because it cannot heal by itself.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from flows.engine import run_step
from flows.failures import ROOMS
from flows.night import Night, StepOutcome
from flows.nightly import STEPS
from flows.progress import Reporter
from flows.schedule import day_before
from flows.workspace import Workspace

STEP_TIMEOUT_S = 6 * 3600
YESTERDAY = "yesterday"
_reporter = Reporter()


def run_as_flow(night: Night, reporter: Reporter) -> dict[str, StepOutcome]:
    """Run a planned night as the Prefect flow.

    Args:
        night: what to settle.
        reporter: shows one line a step.

    Returns:
        What each step said, by its name, in order.
    """
    global _reporter  # noqa: PLW0603 - a flow's parameters are JSON; the screen is not
    _reporter = reporter
    said = nightly(**night.parameters())
    return {name: StepOutcome(**outcome) for name, outcome in said.items()}


def _may_heal(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Repeat a step only for trouble that can pass."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, (*ROOMS, AssertionError))


@task(
    name="step",
    task_run_name="{name}",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=_may_heal,
    timeout_seconds=STEP_TIMEOUT_S,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def _step(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return run_step(name, Night.of(**parameters), _reporter).as_dict()


@flow(name="nightly", flow_run_name="nightly-{date}{late}", validate_parameters=False)
def nightly(
    folder: str,
    date: str,
    logs: list[str] | None = None,
    late: str = "",
    approved_by: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Settle one night or one late batch; an operator may run it by its parameters.

    Args:
        folder: the workspace.
        date: the night, YYYY-MM-DD; `yesterday` for a schedule.
        logs: log files, folders or globs; the workspace's `logs/` when None.
        late: digest of a late batch that is on the disk; empty for the night itself.
        approved_by: who approves an adjustment for late logs.

    Returns:
        What each step said, by its name.
    """
    date = day_before(datetime.now(tz=UTC)) if date == YESTERDAY else date
    parameters = {
        "folder": folder,
        "date": date,
        "logs": logs or [str(Workspace.open(Path(folder)).logs)],
        "late": late,
        "approved_by": approved_by,
    }
    said = {name: _step(name, parameters) for name in STEPS}
    rows = "\n".join(f"| {name} | {outcome['text']} |" for name, outcome in said.items())
    create_markdown_artifact(
        f"| step | result |\n|---|---|\n{rows}\n",
        key=f"nightly-{date}{'-' if late else ''}{late}",
        description=f"The night of {date}",
    )
    return said
