"""The Prefect flows `nightly`, `close`, `publish` and `reindex`: one Prefect task a step, no more.

Imported only when Prefect is wanted; `flows.engine.prefect_environment` must be in the
environment first. Ownership of retries: Celery sends a lost shard again, Prefect repeats a whole
step when the database or the broker was away or it took too long, as often as [engine] says; an
error of a room is never repeated, because it cannot heal by itself. Results are kept as JSON, and
each flow leaves tables and links that an operator reads beside the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from flows.accesses import Asked
from flows.engine import run_step, under_lock
from flows.engine_artifacts import Watched, keep_close, keep_index, keep_night, keep_reports
from flows.engine_month import close_said, publish_said, record_publication, reindex_said
from flows.failures import ROOMS
from flows.night import Night, StepOutcome
from flows.progress import Reporter, Step
from flows.schedule import day_before, month_before
from flows.settings import EngineSettings
from flows.workspace import Workspace

YESTERDAY = "yesterday"
LAST_MONTH = "last-month"
AS_JSON: Any = {"persist_result": True, "result_serializer": "json"}
_screens: list[Reporter] = []


@contextmanager
def shown_on(reporter: Reporter) -> Iterator[None]:
    """Have a command's flows show their steps on its screen: parameters of flows are JSON."""
    _screens.append(reporter)
    try:
        yield
    finally:
        _screens.pop()


def _screen() -> Reporter:
    """Give the screen of the command that runs the flow, or this process's own."""
    return _screens[-1] if _screens else Reporter()


def _by_command() -> bool:
    """Say whether a command runs the flow and has recorded who asked."""
    return bool(_screens)


def run_as_flow(night: Night, reporter: Reporter) -> dict[str, dict[str, StepOutcome]]:
    """Run a night and its late batches as the Prefect flow.

    Args:
        night: what to settle.
        reporter: shows one line a step.

    Returns:
        What each step said, by night and step.
    """
    with shown_on(reporter):
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


@task(name="step", retry_condition_fn=_may_heal, cache_policy=NO_CACHE, **AS_JSON)
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


@flow(name="nightly", flow_run_name="nightly-{date}", validate_parameters=False, **AS_JSON)
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

    found = under_lock(night, _screen(), run)
    keep_night(night, found)
    return {
        name: {step: outcome.as_dict() for step, outcome in steps.items()}
        for name, steps in found.items()
    }


@flow(name="close", flow_run_name="close-{period}", validate_parameters=False, **AS_JSON)
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
    workspace, period, screen = Workspace.open(Path(folder)), _period_of(period), _screen()

    def work() -> dict[str, Any]:
        return close_said(
            workspace, period, prepared_by=prepared_by, approved_by=approved_by, reporter=screen
        )

    said = _as_task("close", workspace.settings.engine, work)
    keep_close(said)
    return said


@flow(name="publish", flow_run_name="publish-{period}", validate_parameters=False, **AS_JSON)
def publish(
    folder: str, period: str = LAST_MONTH, actor: str = "", reason: str = ""
) -> dict[str, Any]:
    """Publish a closed period: the same function as `byline report`, the access recorded too.

    Args:
        folder: the workspace.
        period: YYYY-MM, closed, or `last-month`.
        actor: who asks, by id, for the access log; the payer when empty.
        reason: why, for the access log.

    Returns:
        Where statements, reports and audit pack lie.
    """
    workspace, period, screen = Workspace.open(Path(folder)), _period_of(period), _screen()
    if not _by_command():
        record_publication(workspace, period, Asked(actor, reason))

    def work() -> dict[str, Any]:
        return publish_said(workspace, period, screen)

    said = _as_task("publish", workspace.settings.engine, work)
    keep_reports(said)
    return said


@flow(name="reindex", flow_run_name="reindex", validate_parameters=False, **AS_JSON)
def reindex(folder: str, key: str | None = None, device: str | None = None) -> dict[str, Any]:
    """Build the gradient index, or finish one that was begun: as `byline index build` does.

    Args:
        folder: the workspace.
        key: private key (PEM) that signs it; the workspace's own, where it has one, when None.
        device: where the models run; the settings decide when None.

    Returns:
        Where the index is, and how many points of the training path it has.
    """
    workspace, screen = Workspace.open(Path(folder)), _screen()

    def work() -> dict[str, Any]:
        with screen.step("index") as step:
            watched = Watched(step, "reindex")
            return reindex_said(workspace, Path(key) if key else None, device, watched)

    said = _as_task("reindex", workspace.settings.engine, work)
    keep_index(workspace, said)
    return said


def _period_of(period: str) -> str:
    """Give the period a schedule means."""
    return month_before(datetime.now(tz=UTC)) if period == LAST_MONTH else period
