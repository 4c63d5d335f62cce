"""`byline worker`: work through shards from the broker."""

from __future__ import annotations

from pathlib import Path

import click

from flows.commands.options import emit, json_option, open_workspace, workspace_option


@click.command("worker")
@workspace_option
@click.option("--name", default="worker", help="First part of the worker's name.")
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]),
    default="WARNING",
    help="How much the worker writes to stderr.",
)
@json_option
def worker(folder: Path, name: str, log_level: str, as_json: bool) -> None:  # noqa: FBT001
    """Run one worker: measure shards of the sample until stopped."""
    from flows.worker import run_worker  # noqa: PLC0415 - Celery is slow to import

    workspace = open_workspace(folder)
    run_worker(workspace, name=name, log_level=log_level)
    emit({"stopped": name}, [f"worker {name} stopped"], as_json=as_json)
