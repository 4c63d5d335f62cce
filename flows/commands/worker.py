"""`byline worker` and `byline workers`: work through shards from the broker, and look at it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from flows.commands.options import (
    device_option,
    emit,
    json_option,
    open_workspace,
    workspace_option,
)
from flows.errors import BrokerError


@click.command("worker")
@workspace_option
@click.option("--name", default="worker", help="First part of the worker's name.")
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]),
    default="WARNING",
    help="How much the worker writes to stderr.",
)
@device_option
@json_option
def worker(
    folder: Path,
    name: str,
    log_level: str,
    device: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Run one worker: measure shards of the sample until stopped."""
    from flows.worker import run_worker  # noqa: PLC0415 - Celery is slow to import

    workspace = open_workspace(folder)
    run_worker(workspace, name=name, log_level=log_level, device=device)
    emit({"stopped": name}, [f"worker {name} stopped"], as_json=as_json)


@click.group("workers")
def workers() -> None:
    """Look at the workers."""


@workers.command("status")
@workspace_option
@json_option
def workers_status(folder: Path, as_json: bool) -> None:  # noqa: FBT001
    """Show what waits in the queue, which workers are alive, and which shards are parked."""
    from flows.worker_status import workers_status as look_at  # noqa: PLC0415 - as above

    status = look_at(open_workspace(folder))
    emit(asdict(status), status.lines(), as_json=as_json)
    if status.trouble:
        raise BrokerError(status.trouble)
