"""`byline statement`, `byline statement verify` and `byline statements`: what creators are sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from flows.accesses import Asked, access_line, name_object, record_access
from flows.commands.options import (
    access_options,
    emit,
    json_option,
    open_workspace,
    parse_period,
    period_option,
    workspace_option,
)

FILE = click.Path(path_type=Path, dir_okay=False)
FORMATS = ("pdf", "csv", "xlsx", "json", "html")
NEEDED = ("creator", "period", "output_format")

restate_option = click.option(
    "--restate", default="", help="Why statements that would read differently are issued anew."
)


@click.group("statement", invoke_without_command=True)
@workspace_option
@click.option("--creator", help="The creator or payee, by id.")
@click.option("--period", callback=parse_period, help="The settlement period, YYYY-MM.")
@click.option("--format", "output_format", type=click.Choice(FORMATS), help="What to write.")
@click.option(
    "--layout",
    type=click.Choice(["summary", "detail"]),
    default="summary",
    show_default=True,
    help="One line a work, or one a work and month.",
)
@restate_option
@access_options
@json_option
@click.pass_context
def statement(context: click.Context, /, **chosen: Any) -> None:
    """Write one creator's statement, or verify one that was sent."""
    if context.invoked_subcommand is not None:
        return
    missing = [name for name in NEEDED if not chosen[name]]
    if missing:
        named = ", ".join(f"--{name.removeprefix('output_')}" for name in missing)
        raise click.UsageError(f"a statement needs {named}; or give the command verify", context)
    _write_one(**chosen)


def _write_one(
    *,
    folder: Path,
    creator: str,
    period: str,
    output_format: str,
    layout: str,
    restate: str,
    asked: Asked,
    as_json: bool,
) -> None:
    from flows.publish import publish_statements  # noqa: PLC0415 - heavy, and only when run
    from flows.publish_statements import formats_of  # noqa: PLC0415

    workspace = open_workspace(folder)
    name = name_object(workspace, "statements", f"{period}/{creator}")
    recorded = record_access(workspace, "view", name, asked)
    (done,) = publish_statements(
        workspace,
        period,
        creators=[creator],
        formats=formats_of([output_format], layout),
        restate=restate,
    )
    made = done.statement
    emit(
        {
            "statement": made.number,
            "version": made.inputs.header.version,
            "payable_units": made.payable_units,
            "closing_units": made.closing_units,
            "sha256": made.sha256,
            "files": [str(path) for path in done.files],
            "written": done.written,
            "access_recorded": recorded,
        },
        [*(str(path) for path in done.files), *access_line(recorded=recorded)],
        as_json=as_json,
    )


@statement.command("verify")
@click.argument("file", type=FILE)
@click.option("--key", required=True, help="The log's public key: a file, or its text.")
@click.option("--checkpoint", type=FILE, help="A checkpoint you hold.")
@json_option
def verify_statement(file: Path, key: str, checkpoint: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Prove a statement's JSON: its sums, and every entry it cites, under a signed root."""
    show_verified(file, key, checkpoint, as_json=as_json)


def show_verified(file: Path, key: str, checkpoint: Path | None, *, as_json: bool) -> None:
    """Verify a statement's JSON and print what was established.

    Raises:
        ReportError: the statement is not what it says.
        VerificationError: an entry that it cites is not in the book.
    """
    from contracts.money import format_units  # noqa: PLC0415
    from ledger.checkpoint import read_verifiers  # noqa: PLC0415
    from reports.statement_proof import held_note, verify_statement_file  # noqa: PLC0415

    checked = verify_statement_file(
        file.read_bytes(),
        read_verifiers(key),
        held=held_note(checkpoint.read_bytes()) if checkpoint else None,
        name=file.name,
    )
    found = checked.statement
    currency = found.inputs.header.currency
    payable = f"{format_units(found.payable_units, currency)} {currency.partition('/')[0]}"
    compared = (
        "the checkpoint you hold leads to it: nothing before it was rewritten"
        if checked.compared_with_held
        else "not compared with a checkpoint of yours: give one you hold"
    )
    emit(
        {
            "ok": True,
            "statement": found.number,
            "payable_units": found.payable_units,
            "entries": checked.entries,
            "checkpoint": {"size": checked.checkpoint.size, "root": checked.checkpoint.root_hex},
            "compared_with_held": checked.compared_with_held,
        },
        [
            f"statement {found.number}: {checked.entries} entries proved, payable {payable}",
            f"checkpoint of {checked.checkpoint.size} leaves, root {checked.checkpoint.root_hex}",
            compared,
        ],
        as_json=as_json,
    )


@click.command("statements")
@workspace_option
@period_option
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    default=("pdf", "csv", "json"),
    show_default=True,
    help="What to write; may be given again.",
)
@click.option(
    "--layout",
    "layouts",
    type=click.Choice(["summary", "detail"]),
    multiple=True,
    default=("summary",),
    show_default=True,
    help="Layouts of PDF and CSV; may be given again.",
)
@click.option("--processes", default=0, help="How many processes; 0 for one a core.")
@restate_option
@access_options
@json_option
def statements(
    folder: Path,
    period: str,
    formats: tuple[str, ...],
    layouts: tuple[str, ...],
    processes: int,
    restate: str,
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write the statements of every creator; what is written already stays as it is."""
    from flows.progress import Reporter  # noqa: PLC0415
    from flows.publish import publish_statements  # noqa: PLC0415 - heavy, and only when run
    from flows.publish_statements import formats_of  # noqa: PLC0415

    workspace = open_workspace(folder)
    recorded = record_access(
        workspace, "export", name_object(workspace, "statements", period), asked
    )
    issued = publish_statements(
        workspace,
        period,
        formats=[name for layout in layouts for name in formats_of(formats, layout)],
        restate=restate,
        processes=processes,
        reporter=Reporter(),
    )
    written = sum(one.written for one in issued)
    place = workspace.reports(period) / "statements"
    emit(
        {
            "period": period,
            "statements": len(issued),
            "written": written,
            "payable_units": sum(one.statement.payable_units for one in issued),
            "folder": str(place),
            "access_recorded": recorded,
        },
        [f"{len(issued)} statements in {place}, {written} of them written now"],
        as_json=as_json,
    )
