"""The Prefect flows `nightly`, `close`, `publish` and `reindex`: one Prefect task a step, no more.

Imported only when Prefect is wanted; `flows.engine.prefect_environment` must be in the
environment first. Ownership of retries: Celery sends a lost shard again, Prefect repeats a whole
step when the database or the broker was away or it took too long, as often as [engine] says; an
error of a room is never repeated, because it cannot heal by itself. Results are kept as JSON, and
each flow leaves tables and links that an operator reads beside the run.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from flows.engine import run_step, under_lock
from flows.engine_artifacts import Watched, keep_close, keep_index, keep_night, keep_reports
from flows.failures import ROOMS
from flows.night import Night, StepOutcome
from flows.progress import Reporter, Step
from flows.schedule import day_before, month_before
from flows.settings import EngineSettings
from flows.workspace import Workspace

YESTERDAY = "yesterday"
LAST_MONTH = "last-month"
_reporter = Reporter()


def run_as_flow(night: Night, reporter: Reporter) -> dict[str, dict[str, StepOutcome]]:
    """Run a night and its late batches as the Prefect flow.

    Args:
        night: what to settle.
        reporter: shows one line a step.

    Returns:
        What each step said, by night and step.
    """
    global _reporter  # noqa: PLW0603 - a flow's parameters are JSON; the screen is not
    _reporter = reporter
    said = nightly(
        folder=str(night.workspace.home),
        date=night.date.isoformat(),
        logs=[str(log) for log in night.logs],
        approved_by=night.approved_by,
    )
    return {
        name: {step: StepOutcome(**outcome) for step, outcome in steps.items()}
        for name, steps in said.items()
    }


def _may_heal(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Repeat a step only for trouble that can pass."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, (*ROOMS, AssertionError))


@task(
    name="step",
    retry_condition_fn=_may_heal,
    cache_policy=NO_CACHE,
    persist_result=True,
    result_serializer="json",
)
def _step(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return work()


def _as_task(
    name: str, settings: EngineSettings, work: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Run one piece of work as a task with the retries and the time limit of the settings."""
    configured = _step.with_options(
        name=name,
        retries=settings.step_retries,
        retry_delay_seconds=settings.step_retry_delay_s,
        timeout_seconds=settings.step_timeout_s,
    )
    said: dict[str, Any] = configured(work)
    return said


@flow(name="nightly", flow_run_name="nightly-{date}", validate_parameters=False)
def nightly(
    folder: str,
    date: str = YESTERDAY,
    logs: list[str] | None = None,
    approved_by: str | None = None,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Settle one night and its late batches; an operator may run it by its parameters.

    Args:
        folder: the workspace.
        date: the night, YYYY-MM-DD; `yesterday` for a schedule.
        logs: log files, folders, globs or URLs; the workspace's `logs/` when None.
        approved_by: who approves an adjustment for late logs.

    Returns:
        What each step said, by night and step.
    """
    date = day_before(datetime.now(tz=UTC)) if date == YESTERDAY else date
    workspace = Workspace.open(Path(folder))
    night = Night.of(folder, date, logs or [str(workspace.logs)], "", approved_by)

    def run(name: str, one: Night, reporter: Reporter) -> StepOutcome:
        def watch(step: Step) -> Step:
            return Watched(step, f"{one.name}-{name}")

        def work() -> dict[str, Any]:
            return run_step(name, one, reporter, watch).as_dict()

        return StepOutcome(**_as_task(name, workspace.settings.engine, work))

    found = under_lock(night, _reporter, run)
    keep_night(night, found)
    return {
        name: {step: outcome.as_dict() for step, outcome in steps.items()}
        for name, steps in found.items()
    }


@flow(name="close", flow_run_name="close-{period}", validate_parameters=False)
def close(folder: str, period: str, prepared_by: str, approved_by: str) -> dict[str, Any]:
    """Close a period: the same function as `byline close`.

    Args:
        folder: the workspace.
        period: YYYY-MM, or `last-month`.
        prepared_by: who prepares the close.
        approved_by: who approves it: somebody else.

    Returns:
        The pool, what it became, and the checkpoint.
    """
    from flows.close import close_period  # noqa: PLC0415 - heavy, and only when run

    workspace, period = Workspace.open(Path(folder)), _period_of(period)

    def work() -> dict[str, Any]:
        result = close_period(
            workspace,
            period,
            prepared_by=prepared_by,
            approved_by=approved_by,
            reporter=_reporter,
        )
        divided = result.plan.apportionment
        return {
            "period": period,
            "pool_units": divided.pool_units,
            "destinations": {"paid": sum(divided.payable.values()), **divided.destinations},
            "creators_paid": len(divided.payable),
            "checkpoint": {"size": result.checkpoint.size, "root": result.checkpoint.root_hex},
        }

    said = _as_task("close", workspace.settings.engine, work)
    keep_close(workspace, said)
    return said


@flow(name="publish", flow_run_name="publish-{period}", validate_parameters=False)
def publish(folder: str, period: str = LAST_MONTH) -> dict[str, Any]:
    """Publish a closed period: the same function as `byline report`.

    Args:
        folder: the workspace.
        period: YYYY-MM, closed, or `last-month`.

    Returns:
        Where statements, reports and audit pack lie.
    """
    from flows.publish import publish_period  # noqa: PLC0415 - heavy, and only when run

    workspace, period = Workspace.open(Path(folder)), _period_of(period)

    def work() -> dict[str, Any]:
        published = publish_period(workspace, period, reporter=_reporter)
        return {
            "period": period,
            "statements": [str(path) for path in published.statements],
            "folder": str(published.folder),
            "audit_pack": str(published.pack),
        }

    said = _as_task("publish", workspace.settings.engine, work)
    keep_reports(said)
    return said


@flow(name="reindex", validate_parameters=False)
def reindex(folder: str) -> dict[str, Any]:
    """Build the gradient index, or finish one that was begun: as `byline index build` does.

    Args:
        folder: the workspace.

    Returns:
        Where the index is, and how many points of the training path it has.
    """
    from flows.build import build_workspace_index  # noqa: PLC0415 - heavy, and only when run

    workspace = Workspace.open(Path(folder))

    def work() -> dict[str, Any]:
        with _reporter.step("index") as step:
            watched = Watched(step, "reindex")
            content = build_workspace_index(
                workspace, lambda part, done, total: watched.update(done, total, part)
            )
            step.result(f"{len(content['checkpoints'])} points of the path")
        return {"index": str(workspace.index), "checkpoints": len(content["checkpoints"])}

    said = _as_task("reindex", workspace.settings.engine, work)
    keep_index(workspace, said)
    return said


def _period_of(period: str) -> str:
    """Give the period a schedule means."""
    return month_before(datetime.now(tz=UTC)) if period == LAST_MONTH else period
