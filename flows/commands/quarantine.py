"""`byline quarantine list|show` and `byline sample check`: what was left out, and the draw."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import date as Date  # noqa: N812 - `date` is the option's name
from pathlib import Path

import click

from flows.accesses import Asked, access_line, name_object, record_access
from flows.commands.options import (
    access_options,
    date_option,
    emit,
    json_option,
    open_workspace,
    workspace_option,
)


@click.group("quarantine")
def quarantine() -> None:
    """Look at log lines that could not be read."""


@quarantine.command("list")
@workspace_option
@date_option
@json_option
def list_rejects(folder: Path, date: Date, as_json: bool) -> None:  # noqa: FBT001 - click
    """Count a night's rejected lines by reason and name where each is."""
    from flows.quarantine import read_quarantine  # noqa: PLC0415 - polars

    path = open_workspace(folder).root / "quarantine" / f"{date.isoformat()}.jsonl"
    rejects = list(read_quarantine(path))
    reasons = Counter(reject.reason for reject in rejects)
    emit(
        {
            "date": date.isoformat(),
            "reasons": dict(reasons),
            "rejects": [{k: v for k, v in asdict(r).items() if k != "raw"} for r in rejects],
        },
        [
            *(f"{r.source_file}:{r.source_line}  {r.reason}: {r.detail}" for r in rejects),
            f"{len(rejects)} rejected",
        ],
        as_json=as_json,
    )


@quarantine.command("show")
@workspace_option
@date_option
@click.argument("file")
@click.argument("line", type=int)
@access_options
@json_option
def show(
    folder: Path,
    date: Date,
    file: str,
    line: int,
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Show one rejected line as it was, with what was expected."""
    from flows.quarantine import read_quarantine  # noqa: PLC0415 - polars

    workspace = open_workspace(folder)
    path = workspace.root / "quarantine" / f"{date.isoformat()}.jsonl"
    for reject in read_quarantine(path):
        if (reject.source_file, reject.source_line) == (file, line):
            name = name_object(workspace, "quarantine", f"{date.isoformat()}/{file}:{line}")
            recorded = record_access(workspace, "view", name, asked)
            emit(
                {**asdict(reject), "access_recorded": recorded},
                [
                    f"{reject.reason}: {reject.detail}",
                    reject.raw,
                    *access_line(recorded=recorded),
                ],
                as_json=as_json,
            )
            return
    raise click.ClickException(f"{path} has no reject from {file}, line {line}")


@click.group("sample")
def sample() -> None:
    """Check a night's draw."""


@sample.command("check")
@workspace_option
@date_option
@click.argument("event_id")
@access_options
@json_option
def check(folder: Path, date: Date, event_id: str, asked: Asked, as_json: bool) -> None:  # noqa: FBT001
    """Prove whether one output was drawn: its probability, its number, and the seed."""
    from flows.draws import find_draw  # noqa: PLC0415 - polars

    workspace = open_workspace(folder)
    draw = find_draw(workspace, date, event_id)
    name = name_object(workspace, "sample", f"{date.isoformat()}/{event_id}")
    recorded = record_access(workspace, "view", name, asked)
    emit(
        {**asdict(draw), "access_recorded": recorded},
        [
            f"event     {draw.event_id}",
            f"seed      {draw.seed_hex}",
            f"draw      {draw.draw_hex} (HMAC-SHA256 of the event id under the seed)",
            f"pi        {draw.pi_ppt} of 10^12",
            "included  yes: draw / 2^256 < pi / 10^12"
            if draw.included
            else "included  no: draw / 2^256 >= pi / 10^12",
            *access_line(recorded=recorded),
        ],
        as_json=as_json,
    )
