"""`byline schedule`: nights by the clock."""

from __future__ import annotations

from pathlib import Path

import click

from flows.commands.options import emit, json_option, open_workspace, workspace_option


@click.command("schedule")
@workspace_option
@click.option("--cron", default="30 2 * * *", show_default=True, help="When, in UTC; five fields.")
@json_option
def schedule(folder: Path, cron: str, as_json: bool) -> None:  # noqa: FBT001
    """Serve the nightly flow on a schedule; each run settles the day before it."""
    from flows.schedule import serve_nights  # noqa: PLC0415 - Prefect is slow to import

    serve_nights(open_workspace(folder), cron)
    emit({"stopped": True}, ["schedule stopped"], as_json=as_json)
