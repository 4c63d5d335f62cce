"""`byline plan-sample`: how many outputs an interval of a wanted width costs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date as Date  # noqa: N812 - `date` is the option's name
from pathlib import Path

import click

from flows.commands.options import (
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
@json_option
def plan_sample(
    folder: Path,
    date: Date,
    target_width: float,
    creators: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
) -> None:
    """Say how many outputs a night must sample for intervals of the wanted width.

    The plan rests on one night that was sampled and estimated: give its date.
    """
    from flows.sample_plan import plan_for_night  # noqa: PLC0415 - polars

    plan = plan_for_night(open_workspace(folder), date, target_width, creators)
    emit(
        {"date": date.isoformat(), "target_width": target_width, **asdict(plan)},
        [
            f"pilot     {plan.pilot_size} of {plan.population} outputs of equal worth on {date}",
            f"widest    {plan.creator_id}: share +- {plan.pilot_half_width_ppt / 1e10:.4f} %",
            f"sample    {plan.target_size} outputs a night ([night] sample_size)",
            f"expected  share +- {plan.expected_half_width_ppt / 1e10:.4f} %, an expectation",
        ],
        as_json=as_json,
    )
