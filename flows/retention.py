"""Texts are dropped when they are no longer needed; what proves the numbers stays.

1. Prompt and output texts of a date go from its outputs, late batches and sample, and the raw lines
   from its quarantine. Digests, weights, draws, values and influence stay.
2. No manifest changes, so everything that cites one still does: `X.retention.json` beside a table
   names the day and the table's sha256 before and after, and whoever verifies it accepts both.
   It is written before the table, so that a kill in between leaves nothing that looks altered.
3. Only a night that is settled loses its texts: before that they are still to be attributed.
4. Dropping twice is dropping once. A file that was altered is not touched.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from datetime import timedelta
from pathlib import Path

import polars as pl

from flows.artefacts import (
    RETENTION_FORMAT,
    atomic_path,
    canonical_json,
    recorded_sha256,
    retention_path,
    sha256_file,
    sink_parquet,
    verify_data,
    write_bytes,
)
from flows.books import open_books
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.intake import late_nights, quarantine_file
from flows.night import Night
from flows.quarantine import read_quarantine, write_quarantine
from flows.sampling import SAMPLE_FORMAT
from flows.settle import is_settled
from flows.workspace import Workspace

_TEXTS = ("prompt_text", "output_text")


def drop_due(workspace: Workspace, today: Date, only: Date | None = None) -> dict[str, int]:
    """Drop the texts of every settled night that is older than the settings keep them.

    Args:
        workspace: whose nights.
        today: what "older" is counted from.
        only: this night alone, however old it is; it must be settled all the same.

    Returns:
        For each night that still had texts, how many tables and raw lines lost them.

    Raises:
        ArtefactError: a table was altered since it was written; it is not touched.
    """
    days = workspace.settings.retention.texts_days
    if only is None and days < 0:
        return {}
    last = only or today - timedelta(days=days)
    dropped: dict[str, int] = {}
    with open_books(workspace) as books:
        for night in _nights(workspace):
            due = night.date == only if only else night.date <= last and not _is_dropped(night)
            if due and is_settled(night, books):
                count = _drop_night(night, today)
                dropped |= {night.name: count} if count else {}
    return dropped


def drop_texts(path: Path, form: str, on: Date) -> bool:
    """Drop the texts of an outputs or sample table.

    Args:
        path: the table.
        form: its format.
        on: the date of the dropping, for the note beside it.

    Returns:
        Whether there was anything to drop.

    Raises:
        ArtefactError: the table was altered since it was written.
    """
    before = recorded_sha256(verify_data(path, form), path.name)
    if sha256_file(path) != before:
        return False
    empty = [pl.lit(None, dtype=pl.String).alias(name) for name in _TEXTS]
    with atomic_path(path) as lean:
        after = sink_parquet(lean, pl.scan_parquet(path).with_columns(empty))
        note = {"format": RETENTION_FORMAT, "texts_dropped_on": on.isoformat()}
        note |= {"before": before, "after": after}
        write_bytes(retention_path(path), canonical_json(note))
    return True


def drop_raw(path: Path) -> int:
    """Drop the raw lines of a date's quarantine; digests and reasons stay.

    Returns:
        How many lines were dropped.
    """
    dropped = sum(bool(reject.raw) for reject in read_quarantine(path))
    if dropped:
        write_quarantine(path, (replace(reject, raw="") for reject in read_quarantine(path)))
    return dropped


def _nights(workspace: Workspace) -> list[Night]:
    """List every ingested night with its late batches, by date."""
    names = sorted((workspace.root / "outputs").glob("????-??-??.manifest.json"))
    nights = [Night(workspace, Date.fromisoformat(path.name[:10]), ()) for path in names]
    return [each for night in nights for each in (night, *late_nights(night))]


def _is_dropped(night: Night) -> bool:
    """Say without reading whole tables whether a night has lost its texts; the sample is last."""
    if not retention_path(night.sample).exists():
        return False
    said = pl.scan_parquet(night.sample).select(pl.col("output_text").is_not_null().any())
    return not said.collect().item()


def _drop_night(night: Night, on: Date) -> int:
    """Drop the texts of one night's tables, and the raw lines if it is no late batch."""
    raw = 0 if night.late else drop_raw(quarantine_file(night))
    tables = ((night.outputs, OUTPUTS_FORMAT), (night.sample, SAMPLE_FORMAT))
    return raw + sum(drop_texts(path, form, on) for path, form in tables)
