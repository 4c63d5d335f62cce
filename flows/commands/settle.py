"""`byline settle --what-if`: what a period would have paid under another agreement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from contracts.earnings import Earnings
from contracts.money import format_units
from flows.accesses import Asked, access_line, name_object, record_access
from flows.commands.options import (
    access_options,
    emit,
    json_option,
    open_workspace,
    period_option,
    workspace_option,
)


@click.command("settle")
@workspace_option
@period_option
@click.option(
    "--what-if",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="An agreement file, signed or not, tried in place of the version in force.",
)
@access_options
@json_option
def settle(folder: Path, period: str, file: Path, asked: Asked, as_json: bool) -> None:  # noqa: FBT001
    """Work out a period with another agreement, without posting or writing anything."""
    from flows.what_if import what_if  # noqa: PLC0415 - heavy, and only when run

    workspace = open_workspace(folder)
    recorded = record_access(workspace, "view", name_object(workspace, "what-if", period), asked)
    tried = what_if(workspace, period, file)
    rows = [_row(name, old, new) for name, old, new in tried.changed()]
    currency = workspace.settings.pool.currency
    moved = tried.destinations()
    emit(
        {
            "period": period,
            "posted": False,
            "tried": [agreement.name for agreement in tried.agreements],
            "changed": rows,
            "destinations": {
                name: {"before": old, "after": new} for name, (old, new) in moved.items()
            },
            "access_recorded": recorded,
        },
        [
            f"tried {', '.join(a.name for a in tried.agreements)} in {period}; nothing was posted",
            *(
                f"{row['agreement_id']}: royalty {_money(row, 'royalty')}, adjustments "
                f"{_money(row, 'adjustment')}, net {_money(row, 'net')}"
                for row in rows
            ),
            *(
                f"{name}: {format_units(old, currency)} -> {format_units(new, currency)}"
                for name, (old, new) in moved.items()
            ),
            f"{len(rows)} agreements come out differently",
            *access_line(recorded=recorded),
        ],
        as_json=as_json,
    )


def _row(name: str, old: Earnings | None, new: Earnings | None) -> dict[str, Any]:
    """Describe one agreement before and after."""
    some = new or old
    assert some is not None, name
    row: dict[str, Any] = {"agreement_id": name, "currency": some.currency}
    for what in ("royalty", "adjustment", "net", "payable"):
        field = f"{what}_units"
        row[f"{what}_before_units"] = getattr(old, field) if old else 0
        row[f"{what}_after_units"] = getattr(new, field) if new else 0
    return row


def _money(row: dict[str, Any], what: str) -> str:
    before, after = row[f"{what}_before_units"], row[f"{what}_after_units"]
    return f"{format_units(before, row['currency'])} -> {format_units(after, row['currency'])}"
