"""Appeals: a filter's decision taken back by a person, with a name and a reason, before or after.

1. A granted appeal is a line of `appeals/DATE.jsonl`: event, who granted it, why, when. Nothing is
   removed from it; granting twice is granting once.
2. Before the night is sampled its table is filtered anew with the appeal.
3. After that the table never changes. The output is put, payable, into a late batch, whose entry
   is an adjustment that a second person approves.
4. Where there is no text (an error, a redaction, a tool call, a text dropped by retention) nothing
   can be attributed, so there is nothing to grant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from pathlib import Path

import polars as pl

from flows.data_errors import AppealError
from flows.filter_keys import TEXTLESS
from flows.registers import read_register, write_register

APPEAL_FORMAT = "byline-appeal/1"


@dataclass(frozen=True)
class Appeal:
    """A granted appeal.

    Args:
        event_id: the output.
        reason: why the filter was wrong about it.
        granted_by: who decided.
        granted_on: the day, ISO.
        excluded_as: the filter's reason at that time.
    """

    event_id: str
    reason: str
    granted_by: str
    granted_on: str
    excluded_as: str


def read_appeals(path: Path) -> dict[str, Appeal]:
    """Read the granted appeals of a date, by event.

    Args:
        path: `appeals/DATE.jsonl`; it need not exist.

    Raises:
        ArtefactFormatError: a line is no appeal.
    """
    found: dict[str, Appeal] = {}
    for appeal in read_register(path, APPEAL_FORMAT, Appeal):
        found.setdefault(appeal.event_id, appeal)
    return found


def grant(
    path: Path, tables: list[Path], event_id: str, *, granted_by: str, reason: str, on: Date
) -> Appeal:
    """Grant the appeal of one excluded output.

    Args:
        path: `appeals/DATE.jsonl`.
        tables: `outputs/DATE.parquet` and its late batches.
        event_id: the output.
        granted_by: who decides.
        reason: why the filter was wrong.
        on: today.

    Returns:
        The appeal; the one already there if it was granted before.

    Raises:
        AppealError: there is no such output, it is payable, or it has no text to attribute.
    """
    appeals = read_appeals(path)
    if event_id in appeals:
        return appeals[event_id]
    if not granted_by or not reason.strip():
        raise AppealError(f"an appeal of {event_id} needs who grants it and why; nothing was kept")
    appeal = Appeal(event_id, reason, granted_by, on.isoformat(), _excluded_as(tables, event_id))
    write_register(path, APPEAL_FORMAT, [*appeals.values(), appeal])
    return appeal


def _excluded_as(tables: list[Path], event_id: str) -> str:
    """Give the filter's reason, if it is one that can be taken back."""
    rows = (
        pl.scan_parquet(tables)
        .filter(pl.col("event_id") == event_id)
        .select("payable", "exclusion_reason", pl.col("output_text").is_null().alias("wordless"))
        .collect()
    )
    if not rows.height:
        raise AppealError(f"no output {event_id!r} among {', '.join(t.name for t in tables)}")
    if rows["payable"].any():
        raise AppealError(f"output {event_id} is payable already; there is nothing to grant")
    _, reason, wordless = rows.row(0)
    if reason in TEXTLESS or wordless:
        raise AppealError(
            f"output {event_id} was excluded as {reason!r} and has no text that could be "
            f"attributed; an appeal cannot make it payable. Nothing was kept"
        )
    return str(reason)
