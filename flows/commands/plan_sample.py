"""`byline plan-sample`: how many outputs an interval of a wanted width costs."""

from __future__ import annotations

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


@click.command("plan-sample")
@workspace_option
@date_option
@click.option(
    "--target-width",
    type=float,
    required=True,
    help="Wanted full width of the 95 % interval, as a part of the night's value: 0.01 is 1 %.",
)
@click.option(
    "--creator", "creators", multiple=True, help="Only for this creator; may be repeated."
)
@access_options
@json_option
def plan_sample(
    folder: Path,
    date: Date,
    target_width: float,
    creators: tuple[str, ...],
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Say how many outputs a night must sample for intervals of the wanted width.

    The plan rests on one night that was sampled and estimated: give its date.
    """
    from flows.sample_plan import plan_for_night  # noqa: PLC0415 - polars

    workspace = open_workspace(folder)
    plan = plan_for_night(workspace, date, target_width, creators)
    name = name_object(workspace, "estimates", date.isoformat())
    recorded = record_access(workspace, "view", name, asked)
    emit(
        {
            "date": date.isoformat(),
            "target_width": target_width,
            **asdict(plan),
            "access_recorded": recorded,
        },
        [
            f"pilot     {plan.pilot_size} of {plan.population} outputs of equal worth on {date}",
            f"widest    {plan.creator_id}: share +- {plan.pilot_half_width_ppt / 1e10:.4f} %",
            f"sample    {plan.target_size} outputs a night ([night] sample_size)",
            f"expected  share +- {plan.expected_half_width_ppt / 1e10:.4f} %, an expectation",
            *access_line(recorded=recorded),
        ],
        as_json=as_json,
    )
