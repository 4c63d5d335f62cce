"""`byline backfill`: several nights, one after the other."""

from __future__ import annotations

from datetime import date as Date  # noqa: N812 - `date` is the word everywhere
from pathlib import Path

import click

from flows.commands.options import (
    emit,
    engine_option,
    json_option,
    log_option,
    open_workspace,
    parse_date,
    workspace_option,
)


@click.command("backfill")
@workspace_option
@click.option(
    "--from", "first", callback=parse_date, required=True, help="First night, YYYY-MM-DD."
)
@click.option("--to", "last", callback=parse_date, required=True, help="Last night, YYYY-MM-DD.")
@log_option
@engine_option
@click.option("--approved-by", default=None, help="Who approves adjustments for late records.")
@json_option
def backfill(
    folder: Path,
    first: Date,
    last: Date,
    logs: tuple[str, ...],
    engine: str | None,
    approved_by: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Settle every night from one date to another, in order; nights that are settled stay.

    Stops at the first night that cannot be settled, since the seed of a night comes from the
    checkpoint before it; the same command goes on there.
    """
    from flows.backfill import backfill_nights  # noqa: PLC0415 - heavy, and only when run
    from flows.progress import Reporter  # noqa: PLC0415

    said = backfill_nights(
        open_workspace(folder),
        first,
        last,
        logs=logs or None,
        engine=engine,
        approved_by=approved_by,
        reporter=Reporter(),
    )
    nights = {
        name: steps["settle"] for steps_of in said.values() for name, steps in steps_of.items()
    }
    emit(
        {
            "from": first.isoformat(),
            "to": last.isoformat(),
            "nights": {
                name: {"settled_now": outcome.worked, **outcome.values}
                for name, outcome in nights.items()
            },
        },
        [
            f"{name}: {outcome.text}{'' if outcome.worked else ' (was done)'}"
            for name, outcome in nights.items()
        ],
        as_json=as_json,
    )
