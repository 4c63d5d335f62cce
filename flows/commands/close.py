"""`byline close`."""

from __future__ import annotations

from pathlib import Path

import click

from contracts.money import format_units
from flows.commands.options import (
    emit,
    engine_option,
    json_option,
    open_workspace,
    period_option,
    workspace_option,
)


@click.command("close")
@workspace_option
@period_option
@click.option("--prepared-by", required=True, help="Who prepares the close.")
@click.option("--approved-by", required=True, help="Who approves it: somebody else.")
@engine_option
@json_option
def close(
    folder: Path,
    period: str,
    prepared_by: str,
    approved_by: str,
    engine: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Divide the period's pool, calculate every agreement, and shut the period for ever."""
    from flows.engine_month import run_close  # noqa: PLC0415 - heavy, and only when run
    from flows.progress import Reporter  # noqa: PLC0415

    said = run_close(
        open_workspace(folder),
        period,
        prepared_by=prepared_by,
        approved_by=approved_by,
        engine=engine,
        reporter=Reporter(),
    )
    emit(
        said,
        [
            f"{name:<14} {format_units(units, said['currency']):>16}"
            for name, units in [("pool", said["pool_units"]), *said["destinations"].items()]
        ],
        as_json=as_json,
    )
