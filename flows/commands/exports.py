"""`byline export ads|dsr`: the books and statements in the file forms of other houses' tools."""

from __future__ import annotations

from pathlib import Path

import click

from flows.accesses import Asked, name_object, record_access
from flows.commands.options import (
    access_options,
    emit,
    json_option,
    open_workspace,
    period_option,
    workspace_option,
)

out_option = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder; reports/PERIOD/exports by default.",
)


@click.group("export")
def export() -> None:
    """Write a closed period in the file forms of other houses' tools."""


@export.command("ads")
@workspace_option
@period_option
@out_option
@access_options
@json_option
def ads(
    folder: Path,
    period: str,
    out: Path | None,
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write the general ledger as AICPA Audit Data Standard files."""
    from flows.disclosures import export_ads  # noqa: PLC0415
    from flows.publish import closed_period  # noqa: PLC0415

    workspace = open_workspace(folder)
    recorded = record_access(workspace, "export", name_object(workspace, "ads", period), asked)
    with closed_period(workspace, period) as closed:
        paths = export_ads(closed, out or workspace.reports(period) / "exports")
    _show(period, paths, recorded=recorded, as_json=as_json)


@export.command("dsr")
@workspace_option
@period_option
@click.option("--recipient", required=True, help="To whom it is reported, by id.")
@out_option
@access_options
@json_option
def dsr(
    folder: Path,
    period: str,
    recipient: str,
    out: Path | None,
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write the statements as one TSV in DDEX-DSR style (the style only, no conformance)."""
    from flows.disclosures import export_dsr  # noqa: PLC0415
    from flows.publish import closed_period  # noqa: PLC0415

    workspace = open_workspace(folder)
    recorded = record_access(workspace, "export", name_object(workspace, "dsr", period), asked)
    with closed_period(workspace, period) as closed:
        paths = export_dsr(closed, out or workspace.reports(period) / "exports", recipient)
    _show(period, paths, recorded=recorded, as_json=as_json)


def _show(period: str, paths: list[Path], *, recorded: bool, as_json: bool) -> None:
    emit(
        {"period": period, "files": [str(path) for path in paths], "access_recorded": recorded},
        [str(path) for path in paths],
        as_json=as_json,
    )
