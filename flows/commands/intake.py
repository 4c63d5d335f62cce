"""`byline reconcile` and `byline retention`: a night's counts, and its texts."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from datetime import date as Date  # noqa: N812 - `date` is the option's name
from pathlib import Path

import click

from flows.commands.options import (
    date_option,
    emit,
    json_option,
    open_workspace,
    parse_date,
    workspace_option,
)
from flows.errors import NightError


@click.command("reconcile")
@workspace_option
@date_option
@click.option("--calls", type=click.IntRange(min=0), help="Calls that the gateway counts.")
@click.option("--value-units", type=int, help="What it charged for them, in units of the pool.")
@click.option("--source", default="gateway", help="Where the numbers come from.")
@json_option
def reconcile(
    folder: Path,
    date: Date,
    calls: int | None,
    value_units: int | None,
    source: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Compare a night's counts with the gateway's total; a gap is an error, exit code 1.

    The total is kept: every later run of the night compares again, and a night that is not
    sampled yet is not settled while there is a gap.
    """
    from contracts.money import show_money  # noqa: PLC0415 - only here
    from flows.intake import gateway_file, reconcile_night  # noqa: PLC0415 - polars
    from flows.night import Night  # noqa: PLC0415
    from flows.reconciliation import GatewayTotal, keep_total, read_total  # noqa: PLC0415

    workspace = open_workspace(folder)
    path = gateway_file(workspace, date)
    if calls is not None:
        keep_total(path, GatewayTotal(calls, value_units, source))
    total = read_total(path)
    if total is None:
        raise NightError(
            f"no gateway total is known for {date.isoformat()}, so nothing was compared; "
            f"give it with --calls N, and --value-units V if the gateway says that too"
        )
    found = reconcile_night(Night(workspace, date, ()), total)
    ours, theirs, gap = (
        "no value" if units is None else show_money(units, workspace.settings.pool.currency)
        for units in (found.value_units, total.value_units, found.value_gap_units)
    )
    emit(
        asdict(found),
        [
            f"ours     {found.calls} calls ({found.rejected} rejected), {ours}",
            f"theirs   {total.calls} calls, {theirs} ({total.source})",
            f"gap      {found.calls_gap} calls, {gap}: within tolerance",
        ],
        as_json=as_json,
    )


@click.command("retention")
@workspace_option
@click.option(
    "--date",
    "date",
    callback=parse_date,
    default=None,
    help="Drop the texts of this settled night now; else of all that are due by the settings.",
)
@json_option
def retention(folder: Path, date: Date | None, as_json: bool) -> None:  # noqa: FBT001
    """Drop the texts of settled nights; digests, weights, draws and influence stay."""
    from flows.retention import drop_due  # noqa: PLC0415 - polars

    workspace = open_workspace(folder)
    dropped = drop_due(workspace, datetime.now(tz=UTC).date(), date)
    days = workspace.settings.retention.texts_days
    emit(
        {"texts_days": days, "dropped": dropped},
        [
            *(
                f"{name}  texts dropped from {count} tables and lines"
                for name, count in dropped.items()
            ),
            f"{len(dropped)} nights lost their texts",
        ],
        as_json=as_json,
    )
