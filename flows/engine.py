"""Run the steps of a night in order, in plain Python or as a Prefect flow; `engine_month` the rest.

Both engines call the same step functions with the same arguments; they differ in who watches.
Prefect starts a small server on this machine (or uses the one in the settings), writes only
below `prefect/` in the workspace, keeps results as JSON, and sends no telemetry.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from pathlib import Path

from flows.intake import late_nights
from flows.locks import hold
from flows.night import Night, StepOutcome
from flows.nightly import STEPS
from flows.progress import Reporter, Step
from flows.retention import drop_due
from flows.workspace import Workspace

NightSaid = dict[str, StepOutcome]
StepRunner = Callable[[str, Night, Reporter], StepOutcome]


def run_night(
    workspace: Workspace,
    date: Date,
    *,
    logs: Sequence[str | Path] | None = None,
    engine: str | None = None,
    approved_by: str | None = None,
    reporter: Reporter | None = None,
) -> dict[str, dict[str, StepOutcome]]:
    """Settle one night, and every late batch of it that is not settled yet.

    Args:
        workspace: the installation.
        date: the night.
        logs: files, folders, globs or fsspec URLs; the workspace's `logs/` when None.
        engine: `inline` or `prefect`; the settings decide when None.
        approved_by: who approves the adjustments of late batches.
        reporter: shows one line a step; nothing is shown when None.

    Returns:
        What each step said, by night and step; the night itself first.

    Raises:
        LockHeldError: another process settles this night.
        FlowError: a step cannot be done; what was done before it stays.
    """
    reporter = reporter or Reporter(enabled=False)
    night = Night(workspace, date, tuple(logs or (workspace.logs,)), "", approved_by)
    if by_prefect(workspace, engine):
        # Prefect reads its environment when it is imported, and takes seconds to import.
        from flows.engine_prefect import run_as_flow  # noqa: PLC0415

        return run_as_flow(night, reporter)
    return under_lock(night, reporter, run_step)


def under_lock(night: Night, reporter: Reporter, run: StepRunner) -> dict[str, NightSaid]:
    """Run every step of a night and of its late batches while nobody else may.

    Args:
        night: what to settle.
        reporter: told what an operator must know beside the steps.
        run: runs one step by its name; the engines differ in this only.

    Returns:
        What each step said, by night and step; the night itself first.

    Raises:
        LockHeldError: another process settles this night.
    """
    with hold(night.workspace.locks, f"night-{night.date.isoformat()}") as died:
        if died:
            reporter.say(f"     taking over from {died}, which did not finish")
        said = {night.name: {name: run(name, night, reporter) for name in STEPS}}
        for late in late_nights(night):
            reporter.say(f"     late records of {night.date.isoformat()}, batch {late.late}")
            said[late.name] = {name: run(name, late, reporter) for name in STEPS}
        for name in drop_due(night.workspace, datetime.now(tz=UTC).date()):
            reporter.say(f"     texts of {name} dropped: older than the settings keep them")
    return said


def run_step(
    name: str, night: Night, reporter: Reporter, watch: Callable[[Step], Step] | None = None
) -> StepOutcome:
    """Run one step and show its line; `watch` may put itself between the step and its screen."""
    with reporter.step(name) as step:
        outcome = STEPS[name](night, watch(step) if watch else step)
        step.result(outcome.text if outcome.worked else f"{outcome.text} (was done)")
    return outcome


def by_prefect(workspace: Workspace, engine: str | None) -> bool:
    """Say whether Prefect runs the steps; if it does, its environment is set.

    Args:
        workspace: whose settings decide when `engine` is None.
        engine: `inline`, `prefect` or None.

    Returns:
        True when Prefect does.
    """
    if (engine or workspace.settings.engine.name) != "prefect":
        return False
    os.environ.update(prefect_environment(workspace))
    return True


def prefect_environment(workspace: Workspace) -> Mapping[str, str]:
    """Give the environment Prefect must see before it is imported.

    Args:
        workspace: whose folder holds everything Prefect writes.

    Returns:
        Environment variables: quiet, local, no telemetry, enough time to start.
    """
    settings = workspace.settings.engine
    workspace.prefect_home.mkdir(parents=True, exist_ok=True)
    environment = {
        "PREFECT_HOME": str(workspace.prefect_home),
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        # Twenty seconds, the default, were not enough on two busy cores.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(settings.startup_timeout_s),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
        "DO_NOT_TRACK": "1",
    }
    if settings.prefect_api_url:
        environment["PREFECT_API_URL"] = settings.prefect_api_url
    return environment
