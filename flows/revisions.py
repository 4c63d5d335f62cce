"""Revisions: a record that changed after its night was sampled pays its difference, by two people.

1. The next ingest finds a logged output again with other bytes and puts it into the quarantine:
   "revised_after_sample" when its texts are the same and it was paid for, so that its difference
   can be paid; "revised_otherwise" when not. Nothing is posted.
2. An accepted revision is a line of `revisions/DATE.jsonl`: event, digest of the revised record,
   who, why, when. A record that changes once more needs a line of its own.
3. The next night takes it: the difference between its value and what was paid for so far is a late
   batch (raised values in one, lowered ones in another, whose pool is taken back). The record's
   influence divides the difference, as it would have divided the value.
4. Its entry is an adjustment, approved by somebody else than who accepted the revision.
5. A batch of differences has no outputs of its own: it counts for no fee per output. Its rows hold
   the difference in output tokens, up or down, which counts for fees per token (batches made before
   this rule hold the revised count and count for nothing; their manifests do not say "tokens").
   Where the tokens alone changed there is no value to share by, and nothing is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from pathlib import Path
from typing import Any

import polars as pl

from flows.artefacts import manifest_path, read_manifest
from flows.data_errors import RevisionError
from flows.ingest_schema import OUTPUTS_FORMAT, OUTPUTS_SCHEMA
from flows.quarantine import Reject, read_quarantine
from flows.registers import read_register, write_register

REVISION_FORMAT = "byline-revision/1"
VALUE_REVISED = "revised_after_sample"
OTHERWISE_REVISED = "revised_otherwise"
TOKENS_DIFFER = "difference"
REVISED = frozenset({VALUE_REVISED, OTHERWISE_REVISED})


@dataclass(frozen=True)
class Revision:
    """An accepted revision.

    Args:
        event_id: the output.
        raw_sha256: digest of the revised record as logged.
        reason: why the revised value is right.
        accepted_by: who decided.
        accepted_on: the day, ISO.
        found: what the quarantine said of it.
    """

    event_id: str
    raw_sha256: str
    reason: str
    accepted_by: str
    accepted_on: str
    found: str


@dataclass(frozen=True)
class Revised:
    """The logged records that differ from what was settled.

    Args:
        rejects: those that nobody has accepted, as rejects in the order of events.
        raised: accepted ones whose value rose or stayed, with the difference as their value and
            the difference in tokens, of either sign, as their output tokens.
        lowered: accepted ones whose value fell, with the difference, above zero, as their value.
        accepted_by: who accepted them.
    """

    rejects: tuple[Reject, ...]
    raised: pl.DataFrame
    lowered: pl.DataFrame
    accepted_by: tuple[str, ...]


def read_revisions(path: Path) -> tuple[Revision, ...]:
    """Read the accepted revisions of a date, oldest first.

    Args:
        path: `revisions/DATE.jsonl`; it need not exist.

    Raises:
        ArtefactFormatError: a line is no revision.
    """
    return tuple(read_register(path, REVISION_FORMAT, Revision))


def accept(
    path: Path, quarantine: Path, event_id: str, *, accepted_by: str, reason: str, on: Date
) -> Revision:
    """Accept the revision of one output as it stands in the quarantine.

    Args:
        path: `revisions/DATE.jsonl`.
        quarantine: `quarantine/DATE.jsonl`.
        event_id: the output.
        accepted_by: who decides.
        reason: why the revised value is right.
        on: today.

    Returns:
        The revision; the one already there if this very record was accepted before.

    Raises:
        RevisionError: no such revision is in the quarantine, or not its value alone changed.
    """
    if not accepted_by or not reason.strip():
        raise RevisionError(f"a revision of {event_id} needs who accepts it and why; nothing kept")
    reject = _rejected(quarantine, event_id)
    known = read_revisions(path)
    for revision in known:
        if (revision.event_id, revision.raw_sha256) == (event_id, reject.raw_sha256):
            return revision
    revision = Revision(
        event_id, reject.raw_sha256, reason, accepted_by, on.isoformat(), reject.detail
    )
    write_register(path, REVISION_FORMAT, [*known, revision])
    return revision


def _rejected(quarantine: Path, event_id: str) -> Reject:
    """Find the reject of a revised output whose difference can be paid."""
    of_event = [
        reject
        for reject in read_quarantine(quarantine)
        if reject.reason in REVISED and reject.detail.startswith(f"{event_id} ")
    ]
    if not of_event:
        raise RevisionError(
            f"{quarantine.name} has no revision of {event_id!r}; run `byline nightly` on the logs "
            f"that hold it, then `byline quarantine list`. Nothing was kept"
        )
    if of_event[0].reason != VALUE_REVISED:
        raise RevisionError(f"{of_event[0].detail}. Nothing was kept")
    return of_event[0]


def revised_rows(
    rows: pl.LazyFrame, tables: Sequence[Path], revisions: Sequence[Revision]
) -> Revised:
    """Compare logged rows with the settled ones.

    Args:
        rows: rows of the outputs table as the logs say now, one for each event.
        tables: `outputs/DATE.parquet` and its late batches.
        revisions: what was accepted, oldest first.

    Returns:
        The rejects, and the rows of differences to settle.
    """
    stood, columns = _standing(tables, revisions), list(OUTPUTS_SCHEMA)
    changed = (
        rows.join(stood, on="event_id")
        .filter(pl.col("raw_sha256") != pl.col("known_sha256"))
        .sort("event_id")
        .collect(engine="streaming")
        .unique("event_id", keep="first", maintain_order=True)
    )
    latest = {revision.event_id: revision for revision in revisions}
    paid = _paid_units(tables, changed["event_id"])
    counted = _counted_tokens(tables, changed["event_id"])
    marked = changed.with_columns(
        pl.Series("paid", [paid.get(e) for e in changed["event_id"]], dtype=pl.Int64),
        pl.Series("counted", [counted.get(e, 0) for e in changed["event_id"]], dtype=pl.Int64),
        pl.Series(
            "accepted",
            [e in latest and latest[e].raw_sha256 == raw for e, raw in _pairs(changed)],
            dtype=pl.Boolean,
        ),
    ).with_columns(_is_value_alone().alias("alone"))
    taken = marked.filter("alone", "accepted").with_columns(
        pl.col("output_tokens").fill_null(0) - pl.col("counted")
    )
    difference = pl.col("value_units") - pl.col("paid")
    names = {latest[event].accepted_by for event in taken["event_id"]}
    return Revised(
        tuple(_rejects(marked.filter(~(pl.col("alone") & pl.col("accepted"))))),
        taken.filter(difference >= 0).with_columns(value_units=difference).select(columns),
        taken.filter(difference < 0).with_columns(value_units=-difference).select(columns),
        tuple(sorted(names)),
    )


def revision_sign(table: Path) -> int:
    """Say whether a table holds differences: 1 raised, -1 lowered, 0 outputs.

    Args:
        table: `outputs/DATE.parquet` or one of its late batches.
    """
    return int(revision_of(table).get("sign", 0))


def counts_tokens(table: Path) -> bool:
    """Say whether a table's output tokens count: outputs, or differences that say they are such."""
    revision = revision_of(table)
    return not revision or revision.get("tokens") == TOKENS_DIFFER


def revision_of(table: Path) -> dict[str, Any]:
    """Give what a table's manifest says of the revisions in it; empty for a table of outputs."""
    manifest = read_manifest(manifest_path(table), OUTPUTS_FORMAT)
    return dict(manifest.get("revision", {}))


def _pairs(frame: pl.DataFrame) -> Iterator[tuple[str, str]]:
    return frame.select("event_id", "raw_sha256").iter_rows()


def _standing(tables: Sequence[Path], revisions: Sequence[Revision]) -> pl.LazyFrame:
    """Give each settled event with the record in force: the one settled, or the last one taken."""
    settled = pl.scan_parquet(list(tables)).select(
        "event_id",
        pl.col("raw_sha256").alias("known_sha256"),
        pl.col("prompt_sha256").alias("known_prompt"),
        pl.col("output_sha256").alias("known_output"),
    )
    events = sorted({revision.event_id for revision in revisions})
    touched = settled.filter(pl.col("event_id").is_in(events)).collect(engine="streaming")
    there = set(touched.select("event_id", "known_sha256").iter_rows())
    force = {
        revision.event_id: revision.raw_sha256
        for revision in revisions
        if (revision.event_id, revision.raw_sha256) in there
    }
    first = touched.unique("event_id", keep="first", maintain_order=True)
    now = [force.get(e, raw) for e, raw in first.select("event_id", "known_sha256").iter_rows()]
    first = first.with_columns(pl.Series("known_sha256", now, dtype=pl.String))
    return pl.concat([settled.filter(~pl.col("event_id").is_in(events)), first.lazy()])


def _paid_units(tables: Sequence[Path], events: pl.Series) -> dict[str, int]:
    """Add up what each event was paid for: its value, and every difference since."""
    paid: dict[str, int] = {}
    for table in tables:
        sign = revision_sign(table) or 1
        rows = pl.scan_parquet(table).filter(
            pl.col("payable") & pl.col("event_id").is_in(events.implode())
        )
        for event, units in rows.select("event_id", "value_units").collect().iter_rows():
            paid[event] = paid.get(event, 0) + sign * units
    return paid


def _counted_tokens(tables: Sequence[Path], events: pl.Series) -> dict[str, int]:
    """Add up the output tokens that each event was counted with, and every difference since."""
    counted: dict[str, int] = {}
    for table in tables:
        if not counts_tokens(table):
            continue
        rows = pl.scan_parquet(table).filter(
            pl.col("payable") & pl.col("event_id").is_in(events.implode())
        )
        tokens = rows.select("event_id", pl.col("output_tokens").fill_null(0)).collect()
        for event, count in tokens.iter_rows():
            counted[event] = counted.get(event, 0) + count
    return counted


def _is_value_alone() -> pl.Expr:
    """Say whether an output was paid for, still would be, and says the same words as before."""
    return (
        pl.col("paid").is_not_null()
        & pl.col("known_prompt").eq_missing(pl.col("prompt_sha256"))
        & pl.col("known_output").eq_missing(pl.col("output_sha256"))
        & pl.col("output_text").is_not_null()
        & pl.col("exclusion_reason").is_null()
        & (pl.col("status") != "error")
        & ~pl.col("is_test")
    )


def _rejects(frame: pl.DataFrame) -> Iterator[Reject]:
    """Make a reject of every revised record that is not settled."""
    for row in frame.iter_rows(named=True):
        event, paid = row["event_id"], row["paid"]
        was = "was not paid for" if paid is None else f"was paid for with {paid} units"
        detail = (
            f"{event} {was} as record {row['known_sha256']} and is now {row['raw_sha256']}, "
            f"value {row['value_units']} units"
        )
        if row["alone"]:
            detail += "; `byline quarantine accept-revision` pays the difference as an adjustment"
        else:
            detail += (
                "; not its value alone changed (texts, status or what was paid for), so its "
                "difference cannot be divided: a person must adjust it in the open period"
            )
        place = (row["source_file"], row["source_line"])
        reason = VALUE_REVISED if row["alone"] else OTHERWISE_REVISED
        yield Reject(*place, reason, detail, row["raw_sha256"], "")
