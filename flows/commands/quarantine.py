"""`byline quarantine ...` and `byline sample check`: what was left out of a night, and its draw."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
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
    """Look at what was left out of a night: unreadable lines, and outputs that a filter took."""


@quarantine.command("list")
@workspace_option
@date_option
@click.option("--excluded", is_flag=True, help="Name every output that a filter took out, too.")
@json_option
def list_rejects(folder: Path, date: Date, excluded: bool, as_json: bool) -> None:  # noqa: FBT001
    """Count a night's rejected lines and filtered outputs by reason, and name them."""
    from contracts.money import show_money  # noqa: PLC0415 - only here
    from flows.intake import excluded_outputs, tables_of  # noqa: PLC0415 - polars
    from flows.night import Night  # noqa: PLC0415
    from flows.quarantine import read_quarantine  # noqa: PLC0415

    workspace = open_workspace(folder)
    rejects = list(read_quarantine(workspace.root / "quarantine" / f"{date.isoformat()}.jsonl"))
    reasons = Counter(reject.reason for reject in rejects)
    night = Night(workspace, date, ())
    outputs = excluded_outputs(tables_of(night)) if night.outputs.exists() else []
    taken = Counter(reason for _, reason, _ in outputs)
    named = outputs if excluded else []
    coin = workspace.settings.pool.currency
    emit(
        {
            "date": date.isoformat(),
            "reasons": dict(reasons),
            "rejects": [{k: v for k, v in asdict(r).items() if k != "raw"} for r in rejects],
            "excluded": dict(taken),
            "excluded_outputs": [
                {"event_id": event, "reason": reason, "value_units": units}
                for event, reason, units in named
            ],
        },
        [
            *(f"{r.source_file}:{r.source_line}  {r.reason}: {r.detail}" for r in rejects),
            *(
                f"{event}  {reason}, {show_money(units or 0, coin)}"
                for event, reason, units in named
            ),
            f"{len(rejects)} rejected, {len(outputs)} excluded"
            + "".join(f"; {count} {reason}" for reason, count in sorted(taken.items())),
        ],
        as_json=as_json,
    )


@quarantine.command("replay")
@workspace_option
@date_option
@click.option("--dry-run", is_flag=True, help="Only say what can be read now; write nothing.")
@json_option
def replay(folder: Path, date: Date, dry_run: bool, as_json: bool) -> None:  # noqa: FBT001
    """Read a night's rejected lines again with today's settings; what can be read becomes a log.

    The next `byline nightly --date` takes that log: into the night's table, or, once the night is
    sampled, into a late batch that a second person approves.
    """
    from flows.replay import replay_night  # noqa: PLC0415 - polars

    workspace = open_workspace(folder)
    answers, path = replay_night(workspace, date, dry_run=dry_run)
    readable = [a for a in answers if a.outputs and not a.reason]
    still = Counter(a.reason or "not an output" for a in answers if a not in readable)
    emit(
        {
            "date": date.isoformat(),
            "rejects": len(answers),
            "readable": len(readable),
            "outputs": sum(a.outputs for a in readable),
            "still_rejected": dict(sorted(still.items())),
            "log": str(path) if path else None,
        },
        [
            *(
                f"{a.reject.source_file}:{a.reject.source_line}  {a.reason}: {a.detail}"
                for a in answers
                if a not in readable
            ),
            f"{len(readable)} of {len(answers)} can be read now"
            + (f"; written to {path}, run `byline nightly --date {date}`" if path else ""),
        ],
        as_json=as_json,
    )


@quarantine.command("appeal")
@workspace_option
@date_option
@click.argument("event_id")
@click.option("--granted-by", required=True, help="Who takes the filter's decision back, by id.")
@click.option("--reason", required=True, help="Why the filter was wrong about this output.")
@json_option
def appeal(
    folder: Path,
    date: Date,
    event_id: str,
    granted_by: str,
    reason: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Take a filter's decision about one output back, with who and why.

    The next `byline nightly --date` pays it: in the night itself, or, once the night is sampled,
    as an adjustment that needs --approved-by.
    """
    from flows.appeals import grant  # noqa: PLC0415 - polars
    from flows.intake import appeals_file, tables_of  # noqa: PLC0415
    from flows.night import Night  # noqa: PLC0415

    workspace = open_workspace(folder)
    tables = tables_of(Night(workspace, date, ()))
    granted = grant(
        appeals_file(workspace, date),
        tables,
        event_id,
        granted_by=granted_by,
        reason=reason,
        on=datetime.now(tz=UTC).date(),
    )
    emit(
        asdict(granted),
        [f"{granted.event_id}: {granted.excluded_as} taken back by {granted.granted_by}"],
        as_json=as_json,
    )


@quarantine.command("accept-revision")
@workspace_option
@date_option
@click.argument("event_id")
@click.option("--accepted-by", required=True, help="Who accepts the revised value, by id.")
@click.option("--reason", required=True, help="Why the revised value is right.")
@json_option
def accept_revision(
    folder: Path,
    date: Date,
    event_id: str,
    accepted_by: str,
    reason: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Accept the value of a record that changed after its night was sampled.

    The next `byline nightly --date` posts the difference as an adjustment; --approved-by must be
    somebody else.
    """
    from flows.intake import quarantine_file, revisions_file  # noqa: PLC0415 - polars
    from flows.night import Night  # noqa: PLC0415
    from flows.revisions import accept  # noqa: PLC0415

    workspace = open_workspace(folder)
    accepted = accept(
        revisions_file(workspace, date),
        quarantine_file(Night(workspace, date, ())),
        event_id,
        accepted_by=accepted_by,
        reason=reason,
        on=datetime.now(tz=UTC).date(),
    )
    emit(
        asdict(accepted),
        [f"{accepted.event_id}: revised value accepted by {accepted.accepted_by}"],
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
