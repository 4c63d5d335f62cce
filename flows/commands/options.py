"""What every command shares: the workspace option, `--json`, and how a result is printed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date as Date  # noqa: N812 - `date` is the option's name
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from flows.accesses import Asked
from flows.workspace import Workspace

Function = TypeVar("Function", bound=Callable[..., Any])


def workspace_option(function: Function) -> Function:
    """Add `--dir`, the workspace folder, as `folder`."""
    return click.option(
        "--dir",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(),
        envvar="BYLINE_DIR",
        show_default="current folder",
        help="Workspace folder.",
    )(function)


def json_option(function: Function) -> Function:
    """Add `--json` as `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object instead of text."
    )(function)


def engine_option(function: Function) -> Function:
    """Add `--engine`."""
    return click.option(
        "--engine",
        type=click.Choice(["inline", "prefect"]),
        default=None,
        help="Run the steps in plain Python or as a Prefect flow; the settings decide by default.",
    )(function)


def device_option(function: Function) -> Function:
    """Add `--device`."""
    return click.option(
        "--device",
        metavar="NAME",
        default=None,
        help="Run the model on cpu, cuda or cuda:N; auto finds out. [attribution] device decides "
        "where this is not given.",
    )(function)


def access_options(function: Function) -> Function:
    """Add `--actor` and `--reason`, put together as `asked`: who looks, and why."""

    @functools.wraps(function)
    def with_asked(*args: Any, actor: str, reason: str, **kwargs: Any) -> Any:
        return function(*args, asked=Asked(actor, reason), **kwargs)

    actor = click.option(
        "--actor", default="", help="Who asks, by id, for the access log; the payer by default."
    )
    reason = click.option(
        "--reason", default="", help="Why, for the access log, which keeps it for ever."
    )
    return cast("Function", actor(reason(with_asked)))


def date_option(function: Function) -> Function:
    """Add `--date`, the night."""
    return click.option(
        "--date", callback=parse_date, required=True, help="The night, YYYY-MM-DD (UTC)."
    )(function)


def log_option(function: Function) -> Function:
    """Add `--log` as `logs`."""
    return click.option(
        "--log",
        "logs",
        multiple=True,
        help="Log file, folder, glob or fsspec URL; may be given again. logs/ by default.",
    )(function)


def period_option(function: Function) -> Function:
    """Add `--period`, a month."""
    return click.option(
        "--period", callback=parse_period, required=True, help="The settlement period, YYYY-MM."
    )(function)


def parse_date(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
    """Read an ISO date, or say how one is written.

    Raises:
        click.BadParameter: it is not a date.
    """
    if value is None:
        return None
    try:
        return Date.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a date; write YYYY-MM-DD") from error


def parse_period(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
    """Check a monthly period; an option that was not given stays None.

    Raises:
        click.BadParameter: it is not a period.
    """
    if value is None:
        return None
    try:
        return datetime.strptime(value + "-01", "%Y-%m-%d").date().strftime("%Y-%m")  # noqa: DTZ007 - a month has no zone
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a period; write YYYY-MM") from error


def open_workspace(folder: Path) -> Workspace:
    """Open the workspace a command was pointed at."""
    return Workspace.open(folder)


def emit(result: Mapping[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Print a command's result once, for a machine or for a person.

    Args:
        result: the result as plain values.
        lines: the same for a person.
        as_json: which of the two.
    """
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False, sort_keys=False))
    else:
        for line in lines:
            click.echo(line)
