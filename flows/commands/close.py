"""`byline close` and `byline report`."""

from __future__ import annotations

from pathlib import Path

import click

from contracts.money import format_units
from flows.accesses import Asked, name_object, record_access
from flows.commands.options import (
    access_options,
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


@click.command("report")
@workspace_option
@period_option
@access_options
@json_option
def report(folder: Path, period: str, asked: Asked, as_json: bool) -> None:  # noqa: FBT001
    """Write statements, settlement report, trial balance and audit pack of a closed period."""
    from flows.progress import Reporter  # noqa: PLC0415
    from flows.publish import publish_period  # noqa: PLC0415 - heavy, and only when run

    workspace = open_workspace(folder)
    name = name_object(workspace, "reports", period)
    recorded = record_access(workspace, "export", name, asked)
    published = publish_period(workspace, period, reporter=Reporter())
    emit(
        {
            "period": period,
            "access_recorded": recorded,
            "statements": [str(path) for path in published.statements],
            "settlement": str(published.folder / "settlement.pdf"),
            "audit_pack": str(published.pack),
        },
        [
            f"statements  {len(published.statements)} in {published.folder / 'statements'}",
            f"settlement  {published.folder / 'settlement.pdf'}",
            f"audit pack  {published.pack}",
        ],
        as_json=as_json,
    )
