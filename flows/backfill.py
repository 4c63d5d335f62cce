"""Several nights in order, as if each had been run on its day.

1. Dates go up by one; each night has its own lock, so a backfill and a nightly run of one date
   refuse each other by name, and other dates go on.
2. A settled night is found done and stays as it is; a night that died is finished.
3. The first night that cannot be settled stops the backfill: the seed of a night comes from the
   checkpoint before it, and nights in another order would draw other samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from datetime import timedelta
from pathlib import Path

from flows.engine import run_night
from flows.errors import NightError
from flows.night import StepOutcome
from flows.progress import Reporter
from flows.workspace import Workspace


def backfill_nights(
    workspace: Workspace,
    first: Date,
    last: Date,
    *,
    logs: Sequence[str | Path] | None = None,
    engine: str | None = None,
    approved_by: str | None = None,
    reporter: Reporter | None = None,
) -> dict[str, dict[str, dict[str, StepOutcome]]]:
    """Settle the nights of a range of dates.

    Args:
        workspace: the installation.
        first: the first night.
        last: the last night, not before the first.
        logs: files, folders, globs or fsspec URLs; the workspace's `logs/` when None.
        engine: `inline` or `prefect`; the settings decide when None.
        approved_by: who approves the adjustments of late batches.
        reporter: shows one line a step.

    Returns:
        For each date what `run_night` gave.

    Raises:
        NightError: the range is empty.
        FlowError: a night cannot be settled; those before it are, and the text names it.
    """
    if last < first:
        raise NightError(f"--from {first} is after --to {last}; no night was run")
    reporter = reporter or Reporter(enabled=False)
    said = {}
    for day in range((last - first).days + 1):
        date = first + timedelta(days=day)
        reporter.say(f"night of {date.isoformat()}")
        said[date.isoformat()] = run_night(
            workspace, date, logs=logs, engine=engine, approved_by=approved_by, reporter=reporter
        )
    return said
