"""Run the steps of a night in order, in plain Python or as a Prefect flow.

Both engines call the same step functions with the same arguments; they differ in who watches.
Prefect starts a small server on this machine (or uses the one in the settings), writes only
below `prefect/` in the workspace, keeps results as JSON, and sends no telemetry.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from flows.nightly import STEPS, Night, StepOutcome
from flows.progress import Reporter
from flows.workspace import Workspace


def run_steps(night: Night, reporter: Reporter, *, engine: str) -> dict[str, StepOutcome]:
    """Run every step of a night.

    Args:
        night: what to settle.
        reporter: shows one line a step.
        engine: `inline` or `prefect`.

    Returns:
        What each step said, by its name, in order.
    """
    if engine == "prefect":
        os.environ.update(prefect_environment(night.workspace))
        # Prefect reads its environment when it is imported, and takes seconds to import.
        from flows.engine_prefect import run_as_flow  # noqa: PLC0415

        return run_as_flow(night, reporter)
    return {name: run_step(name, night, reporter) for name in STEPS}


def run_step(name: str, night: Night, reporter: Reporter) -> StepOutcome:
    """Run one step and show its line."""
    with reporter.step(name) as step:
        outcome = STEPS[name](night, step)
        step.result(outcome.text if outcome.worked else f"{outcome.text} (was done)")
    return outcome


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
