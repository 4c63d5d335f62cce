"""`byline audit`: packs, verification and samples; what an outsider runs."""

from __future__ import annotations

import os
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
from flows.commands.reperform import reperform, sample
from flows.commands.statement import show_verified

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("audit")
def audit() -> None:
    """Hand out and check audit packs."""


@audit.command("pack")
@workspace_option
@period_option
@click.option(
    "--with-frame",
    is_flag=True,
    help="Add every logged output, without texts: whoever verifies draws the samples from all.",
)
@access_options
@json_option
def pack(folder: Path, period: str, with_frame: bool, asked: Asked, as_json: bool) -> None:  # noqa: FBT001
    """Write the audit pack of a closed period: book, evidence, statements, verifier."""
    from flows.progress import Reporter  # noqa: PLC0415
    from flows.publish import publish_period  # noqa: PLC0415 - heavy, and only when run

    workspace = open_workspace(folder)
    recorded = record_access(workspace, "export", name_object(workspace, "packs", period), asked)
    published = publish_period(workspace, period, with_frame=with_frame, reporter=Reporter())
    emit(
        {"audit_pack": str(published.pack), "access_recorded": recorded},
        [str(published.pack)],
        as_json=as_json,
    )


@audit.command("verify")
@click.argument("pack_file", metavar="PACK|STATEMENT", type=FILE)
@click.option("--key", required=True, help="The log's public key: a file, or its text.")
@click.option(
    "--against",
    multiple=True,
    type=FILE,
    help="A checkpoint you hold, or with a statement an earlier one's JSON; may be repeated.",
)
@json_option
def verify(pack_file: Path, key: str, against: tuple[Path, ...], as_json: bool) -> None:  # noqa: FBT001
    """Recompute a pack or a statement without database or network; name the first difference."""
    from ledger.audit import run_verify  # noqa: PLC0415 - only here

    with pack_file.open("rb") as file:
        is_statement = file.read(1) == b"{"
    if is_statement:
        if len(against) > 1:
            raise click.UsageError("a statement is compared with one checkpoint at a time")
        show_verified(pack_file, key, against[0] if against else None, as_json=as_json)
        return

    report = run_verify(pack_file, key, against, workers=os.cpu_count() or 1)
    emit(report.as_json(), report.lines(), as_json=as_json)
    if not report.ok:
        raise click.exceptions.Exit(1)


@audit.command("witness")
@click.argument("pack_file", metavar="PACK", type=FILE)
@click.option("--state", required=True, type=FILE, help="What this witness remembers; a file.")
@click.option("--key", required=True, help="The log's public key: a file, or its text.")
@click.option(
    "--witness-key", required=True, type=FILE, help="The witness's own key; made if missing."
)
@click.option(
    "--name",
    default="witness.example/w1",
    show_default=True,
    help="Name of a witness key that is made.",
)
@click.option("--out", type=FILE, help="Write the cosigned checkpoint here too.")
@json_option
def witness(
    pack_file: Path,
    state: Path,
    key: str,
    witness_key: Path,
    name: str,
    out: Path | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Verify a pack and cosign its checkpoint, unless the book was rolled back or forked."""
    from flows.witness import witness_with_files  # noqa: PLC0415 - only here

    done = witness_with_files(
        pack_file, state, log_key=key, witness_key=witness_key, name=name, out=out
    )
    emit(done.as_json(), done.lines(), as_json=as_json)


audit.add_command(sample)
audit.add_command(reperform)
