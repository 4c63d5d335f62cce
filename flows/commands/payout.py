"""`byline payout`: what is owed, approved by two people, told to the bank, and read back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flows.commands.options import (
    emit,
    json_option,
    open_workspace,
    parse_date,
    workspace_option,
)
from flows.commands.payout_register import hold, holds, list_batches, release, show_batch

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
batch_option = click.option("--batch", required=True, help="The batch, by id.")
by_option = click.option("--by", "actor", required=True, help="Who does it, by id.")


@click.group("payout")
def payout() -> None:
    """Pay what is owed: draft, approve, export, read the bank's answers, reconcile."""


@payout.command("bank")
@workspace_option
@click.option("--payee", required=True, help="The payee, by id.")
@click.argument("file", type=FILE)
@json_option
def bank(folder: Path, payee: str, file: Path, as_json: bool) -> None:  # noqa: FBT001
    """Store a payee's bank details (YAML or JSON) beside the book, where they can be erased."""
    import yaml  # noqa: PLC0415

    from flows.books import open_books  # noqa: PLC0415
    from flows.payouts import put_bank, read_bank  # noqa: PLC0415

    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    workspace = open_workspace(folder)
    with open_books(workspace) as books:
        details = read_bank(content if isinstance(content, dict) else {})
        commitment = put_bank(workspace, books, payee, details)
    emit(
        {"payee": payee, "commitment": commitment},
        [f"bank details of {payee} stored, commitment {commitment[:16]}"],
        as_json=as_json,
    )


@payout.command("prepare")
@workspace_option
@batch_option
@click.option("--prepared-by", required=True, help="Who prepares it; somebody else approves.")
@click.option(
    "--scheme",
    type=click.Choice(["iban", "us"]),
    default="iban",
    show_default=True,
    help="Accounts with an IBAN (pain.001), or in the United States (NACHA).",
)
@click.option("--hold", "holds", multiple=True, metavar="PAYEE=REASON", help="Do not pay him now.")
@json_option
def prepare(
    folder: Path,
    batch: str,
    prepared_by: str,
    scheme: str,
    holds: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
) -> None:
    """Draft a batch of everything that can be paid, and list the rest with the reason."""
    from flows.books import open_books  # noqa: PLC0415
    from flows.payouts import draft  # noqa: PLC0415

    wrong = [pair for pair in holds if not all(pair.partition("="))]
    if wrong:
        raise click.BadParameter(f"write PAYEE=REASON, got {wrong[0]!r}", param_hint="--hold")
    held = {pair.partition("=")[0]: pair.partition("=")[2] for pair in holds}
    workspace = open_workspace(folder)
    with open_books(workspace) as books:
        made = draft(workspace, books, batch, prepared_by=prepared_by, scheme=scheme, holds=held)
    show_batch(made, as_json=as_json)


@payout.command("approve")
@workspace_option
@batch_option
@click.option("--approved-by", required=True, help="Who approves it: not who prepared it.")
@json_option
def approve(folder: Path, batch: str, approved_by: str, as_json: bool) -> None:  # noqa: FBT001
    """Approve a draft, as the second person."""
    from flows.books import open_books  # noqa: PLC0415
    from flows.payout_events import approve_batch  # noqa: PLC0415

    workspace = open_workspace(folder)
    with open_books(workspace) as books:
        made = approve_batch(workspace, books, batch, approved_by)
    show_batch(made, as_json=as_json)


@payout.command("export")
@workspace_option
@batch_option
@by_option
@click.option(
    "--execute-on", callback=parse_date, required=True, help="The day the bank is to pay."
)
@click.option("--reason", default="", help="Why a batch is exported a second time.")
@json_option
def export(
    folder: Path,
    batch: str,
    actor: str,
    execute_on: Any,
    reason: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write the bank file of an approved batch, and book the money as on its way."""
    from flows.books import open_books  # noqa: PLC0415
    from flows.payout_events import export_batch  # noqa: PLC0415
    from flows.payout_files import read_export  # noqa: PLC0415

    workspace = open_workspace(folder)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with open_books(workspace) as books:
        path = export_batch(
            workspace,
            books,
            batch,
            created_at=now,
            execute_on=execute_on.isoformat(),
            actor=actor,
            reason=reason,
        )
    about = read_export(workspace, batch)
    assert about is not None
    emit({"batch": batch, "path": str(path), **about}, [str(path)], as_json=as_json)


@payout.command("read")
@workspace_option
@batch_option
@click.option("--on", "day", callback=parse_date, help="The day of rejections; today by default.")
@click.argument("file", type=FILE)
@json_option
def read(folder: Path, batch: str, day: Any, file: Path, as_json: bool) -> None:  # noqa: FBT001
    """Read a bank's answer (pain.002, camt.053) and book what it says."""
    from flows.books import open_books  # noqa: PLC0415
    from flows.payout_events import read_answer  # noqa: PLC0415

    workspace = open_workspace(folder)
    on = (day or datetime.now(UTC).date()).isoformat()
    with open_books(workspace) as books:
        said = read_answer(workspace, books, batch, file, day=on)
    emit(
        {
            "batch": batch,
            "booked": [[a.payout_id, a.event, a.code] for a in said.booked],
            "known": said.known,
            "unmatched": list(said.unmatched),
        },
        [
            *(f"{a.payout_id}  {a.event:<8} {a.code}" for a in said.booked),
            f"{len(said.booked)} booked, {said.known} known before",
            *(f"not of this batch, for a person: {text}" for text in said.unmatched),
        ],
        as_json=as_json,
    )


def _plain_event(name: str, text: str) -> click.Command:
    """Make a command of an event that moves no money."""

    @payout.command(name, help=text)
    @workspace_option
    @batch_option
    @by_option
    @json_option
    def command(folder: Path, batch: str, actor: str, as_json: bool) -> None:  # noqa: FBT001
        from flows.books import open_books  # noqa: PLC0415
        from flows.payout_events import reconcile_batch, record_event  # noqa: PLC0415

        workspace = open_workspace(folder)
        with open_books(workspace) as books:
            if name == "reconcile":
                made = reconcile_batch(workspace, books, batch, actor=actor)
            else:
                made = record_event(workspace, books, batch, name, actor=actor)
        show_batch(made, as_json=as_json)

    return command


_plain_event("reconcile", "Say that bank and books agree, when nothing is in transit any more.")
_plain_event("void", "Give a batch up before it is exported; what it held stays owed.")


@payout.command("reissue")
@workspace_option
@batch_option
@click.option("--as", "new_batch", required=True, help="Id of the new batch; never used before.")
@click.option("--prepared-by", required=True, help="Who prepares it.")
@json_option
def reissue(folder: Path, batch: str, new_batch: str, prepared_by: str, as_json: bool) -> None:  # noqa: FBT001
    """Draft what was rejected or returned again, under a message id of its own."""
    from flows.books import open_books  # noqa: PLC0415
    from flows.payout_events import reissue_batch  # noqa: PLC0415

    workspace = open_workspace(folder)
    with open_books(workspace) as books:
        made = reissue_batch(workspace, books, batch, new_batch, prepared_by=prepared_by)
    show_batch(made, as_json=as_json)


for _command in (list_batches, hold, release, holds):
    payout.add_command(_command)
