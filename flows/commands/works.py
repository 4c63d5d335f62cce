"""`byline works unmatched|match`: money that waits for an owner, and the owner."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date as Date  # noqa: N812 - `date` is the option's name
from pathlib import Path

import click

from contracts.money import format_units
from flows.accesses import Asked, access_line, name_object, record_access
from flows.commands.options import (
    access_options,
    emit,
    json_option,
    open_workspace,
    parse_date,
    workspace_option,
)


@click.group("works")
def works() -> None:
    """Find works whose money stands in suspense, and give them their owners."""


@works.command("unmatched")
@workspace_option
@click.option(
    "--standing",
    "standings",
    type=click.Choice(["unmatched", "disputed", "unlicensed"]),
    multiple=True,
    help="Which suspense; unmatched and disputed by default.",
)
@click.option("--search", default="", help="Only works whose id, title or identifier contains it.")
@access_options
@json_option
def unmatched(
    folder: Path,
    standings: tuple[str, ...],
    search: str,
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """List works whose money stands in suspense, with how much and for how long."""
    from flows.works_desk import suspended_works  # noqa: PLC0415 - heavy, and only when run

    workspace = open_workspace(folder)
    recorded = record_access(workspace, "view", name_object(workspace, "works", "suspense"), asked)
    chosen = standings or ("unmatched", "disputed")
    rows = suspended_works(workspace, standings=chosen, search=search)
    currency = workspace.settings.pool.currency
    totals = {currency: 0}
    for row in rows:
        totals[row.currency] = totals.get(row.currency, 0) + row.units
    emit(
        {
            "currency": currency,
            "works": [asdict(row) for row in rows],
            "total_units": totals[currency],
            "totals": totals,
            "access_recorded": recorded,
        },
        [
            *(
                f"{row.period}  {row.age_months:>3} months  {row.standing:<10} "
                f"{format_units(row.units, row.currency):>16} {row.currency}  {row.work_id}  "
                f"{row.pool_id}" + ("" if row.is_final else "  (open period)")
                for row in rows
            ),
            f"{len(rows)} lines, "
            + ", ".join(f"{format_units(units, code)} {code}" for code, units in totals.items()),
            *access_line(recorded=recorded),
        ],
        as_json=as_json,
    )


@works.command("match")
@workspace_option
@click.argument("work_id")
@click.option(
    "--owner", "owners", multiple=True, required=True, help="PARTY=SHARE, such as anna=60%."
)
@click.option("--decided-by", required=True, help="Who decides.")
@click.option("--reason", required=True, help="The claim or decision it rests on.")
@click.option(
    "--from",
    "starts",
    callback=parse_date,
    default=None,
    help="First day of the shares; since ever by default, which pays earlier suspense too.",
)
@json_option
def match(
    folder: Path,
    work_id: str,
    owners: tuple[str, ...],
    decided_by: str,
    reason: str,
    starts: Date | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Give a work its owners; the next close pays what stood in suspense."""
    from flows.works_desk import match_work  # noqa: PLC0415 - heavy, and only when run

    pairs = [pair.rpartition("=") for pair in owners]
    wrong = next(
        (
            pair
            for pair, (party, _, share) in zip(owners, pairs, strict=True)
            if not (party and share)
        ),
        None,
    )
    if wrong is not None:
        raise click.BadParameter(f"{wrong!r} is not PARTY=SHARE", param_hint="--owner")
    work = match_work(
        open_workspace(folder),
        work_id,
        {party: share for party, _, share in pairs},
        decided_by=decided_by,
        reason=reason,
        starts=starts,
    )
    splits = [
        {"party_id": part.party_id, "share": str(part.share)}
        for part in work.splits
        if part.effective_to is None
    ]
    emit(
        {"work_id": work_id, "splits": splits, "decided_by": decided_by},
        [
            f"{work_id}: " + ", ".join(f"{row['party_id']} {row['share']}" for row in splits),
            "the next close pays what stood in suspense to those under agreement",
        ],
        as_json=as_json,
    )
