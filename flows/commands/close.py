"""`byline close`."""

from __future__ import annotations

from pathlib import Path

import click

from contracts.money import format_units
from flows.commands.options import (
    emit,
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
@json_option
def close(
    folder: Path,
    period: str,
    prepared_by: str,
    approved_by: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Divide the period's pool, calculate every agreement, and shut the period for ever."""
    from flows.close import close_period  # noqa: PLC0415 - heavy, and only when run
    from flows.progress import Reporter  # noqa: PLC0415

    result = close_period(
        open_workspace(folder),
        period,
        prepared_by=prepared_by,
        approved_by=approved_by,
        reporter=Reporter(),
    )
    divided = result.plan.apportionment
    currency = result.plan.accruals.currency
    amounts = {"paid": sum(divided.payable.values()), **divided.destinations}
    emit(
        {
            "period": period,
            "pool_units": divided.pool_units,
            "destinations": amounts,
            "creators_paid": len(divided.payable),
            "checkpoint": {
                "size": result.checkpoint.size,
                "root": result.checkpoint.root_hex,
            },
        },
        [
            f"{name:<14} {format_units(units, currency):>16}"
            for name, units in [("pool", divided.pool_units), *amounts.items()]
        ],
        as_json=as_json,
    )
