"""`byline ingest` and `byline nightly`."""

from __future__ import annotations

from datetime import date as Date  # noqa: N812 - `date` is the option's name
from pathlib import Path

import click

from flows.commands.options import (
    date_option,
    emit,
    engine_option,
    json_option,
    log_option,
    open_workspace,
    workspace_option,
)


@click.command("ingest")
@workspace_option
@date_option
@log_option
@json_option
def ingest(folder: Path, date: Date, logs: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001
    """Read one night's logs: canonical outputs, each payable or not, and a quarantine."""
    from flows.engine import run_step  # noqa: PLC0415 - heavy, and only when run
    from flows.locks import hold  # noqa: PLC0415
    from flows.night import Night  # noqa: PLC0415
    from flows.progress import Reporter  # noqa: PLC0415

    workspace = open_workspace(folder)
    night = Night(workspace, date, logs or (workspace.logs,))
    with hold(workspace.locks, f"night-{date.isoformat()}"):
        said = [run_step(name, night, Reporter()) for name in ("ingest", "filter")]
    values = {"date": date.isoformat(), **said[0].values, **said[1].values}
    emit(values, [f"outputs  {night.outputs}"], as_json=as_json)


@click.command("nightly")
@workspace_option
@date_option
@log_option
@engine_option
@click.option("--approved-by", default=None, help="Who approves an adjustment for late records.")
@json_option
def nightly(
    folder: Path,
    date: Date,
    logs: tuple[str, ...],
    engine: str | None,
    approved_by: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Settle one night: from its logs to balanced entries under a signed checkpoint."""
    from flows.engine import run_night  # noqa: PLC0415 - heavy, and only when run
    from flows.progress import Reporter  # noqa: PLC0415

    workspace = open_workspace(folder)
    said = run_night(
        workspace,
        date,
        logs=logs or None,
        engine=engine,
        approved_by=approved_by,
        reporter=Reporter(),
    )
    emit(
        {
            "date": date.isoformat(),
            "nights": {
                name: {step: outcome.values for step, outcome in steps.items()}
                for name, steps in said.items()
            },
        },
        [f"{name}: {steps['settle'].text}; {steps['seal'].text}" for name, steps in said.items()],
        as_json=as_json,
    )
