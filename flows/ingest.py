"""Log files to the canonical table of one date: every line is accounted for, and twice is once.

    outputs/DATE.parquet              the night's outputs, payable or not, sorted by event_id
    outputs/DATE.late-SHA12.parquet   outputs that arrived after DATE was sampled, one file a batch
    quarantine/DATE.jsonl             lines that should be outputs and cannot be read

1. A line is an output (or several), something else (counted as not_output), of another date
   (counted), or rejected (quarantined with reason, file, line, digest and text). Counts foot.
2. The same logs give the same bytes; a record read again changes nothing; a later revision of a
   record replaces it as long as the date is not sampled.
3. Once the date is sampled its table never changes. New records, and outputs whose exclusion was
   appealed with success, become a late batch, named by its batch root; revised ones are
   quarantined until a person accepts them (`flows.revisions`): their differences are batches too.
4. batch_root = SHA256("byline-batch/1" LF, then for every output in the order of ids
   event_id SP raw_sha256 LF). It fixes the night's seed before anything is scored, and anybody with
   a list of the records can recompute it with sha256sum.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from flows.artefacts import (
    canonical_json,
    manifest_path,
    sha256_bytes,
    sink_parquet,
    verify_data,
    write_manifest,
)
from flows.canonical_rows import EPOCH_ORDINAL, IngestSettings
from flows.decoding import Answer, Decoded, Decoding, Piece, decode
from flows.filter import decide, exclusion_counts
from flows.filter_keys import FilterSettings, KeyTable, put_down, write_keys
from flows.ingest_schema import OUTPUTS_FORMAT, OUTPUTS_SCHEMA
from flows.logs.detection import adapter_named, detect_format, make_adapters
from flows.logs.openai import BatchInputs, OpenAiBatchInput
from flows.logs.reading import LogFile, find_logs, reader_of
from flows.quarantine import RejectSpool, reading_order, write_quarantine
from flows.revisions import TOKENS_DIFFER, Revision, revised_rows, revision_sign
from flows.row_spool import RANGE_ROWS, Merge, SortedBlock
from flows.scratch import scratch_folder


@dataclass(frozen=True)
class IngestResult:
    """What an ingest left behind.

    Args:
        outputs: `outputs/DATE.parquet`.
        manifest: its manifest.
        late: every late batch of the date, oldest name first; the settling of each is idempotent.
        new_late: the (first) late batch this run has written, if any.
        quarantined: rejects of the date, all reasons together.
    """

    outputs: Path
    manifest: dict[str, Any]
    late: tuple[Path, ...]
    new_late: Path | None
    quarantined: int


@dataclass
class _Tally:
    """What happened to the lines so far."""

    rejects: RejectSpool
    records: int = 0
    other_date: int = 0
    not_output: Counter[str] = field(default_factory=Counter)
    inputs: dict[str, str] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)


def ingest(  # noqa: PLR0913 - one argument more than elsewhere: the night's whole intake
    paths: Sequence[str | Path],
    date: Date,
    out: Path,
    quarantine: Path,
    hmac_key: bytes,
    *,
    settings: IngestSettings | None = None,
    filters: FilterSettings | None = None,
    settled: bool = False,
    now_us: int | None = None,
    processes: int = 0,
) -> IngestResult:
    """Read log files and write the table of one date, its manifest and its quarantine.

    Args:
        paths: files, folders, globs or fsspec URLs.
        date: the UTC date whose outputs are wanted.
        out: `outputs/DATE.parquet`.
        quarantine: `quarantine/DATE.jsonl`.
        hmac_key: the installation's key for pseudonyms.
        settings: how records become rows, and which of them are not paid for.
        filters: which outputs are not paid for, instead of those in the settings.
        settled: the date is sampled already; new records become a late batch.
        now_us: time of the run in microseconds since 1970, for the clock skew rule.
        processes: how many decode a long log; 0 = one a processor. The outcome is the same.

    Returns:
        The paths and the manifest.

    Raises:
        LogError: a path names no file, a format is unknown, or a file is damaged.
        ArtefactError: the date is settled and its table was altered.
    """
    settings = settings or IngestSettings()
    settings = replace(settings, filters=filters) if filters else settings
    with (
        scratch_folder(out.parent, f".{out.name}.") as folder,
        contextlib.closing(RejectSpool(folder / "rejects.jsonl")) as rejects,
    ):
        tally = _Tally(rejects)
        day = date.toordinal() - EPOCH_ORDINAL
        decoding = Decoding(settings, hmac_key, now_us, day, folder, with_keys=not settled)
        merge = Merge(_read_logs(find_logs(paths), decoding, tally, processes))
        rows = put_down(merge, folder / "merged", settings.filters)
        for left in folder.glob("*.blocks"):
            left.unlink()
        counts = _counts(tally, merge)
        if settled:
            return _write_late(rows.rows, date, out, quarantine, tally, counts, settings)
        manifest = _write_table(out, rows, date, tally, counts, settings)
        rejected = write_quarantine(quarantine, rejects)
    return IngestResult(out, manifest, late_batches(out), None, sum(rejected.values()))


def late_batches(out: Path) -> tuple[Path, ...]:
    """List the late batches of a date that are complete, by name."""
    found = sorted(out.parent.glob(f"{out.stem}.late-*.parquet"))
    return tuple(path for path in found if manifest_path(path).exists())


def batch_root(rows: pl.LazyFrame) -> str:
    """Compute the root of a batch from its rows in the order of event_id, as hex."""
    digest = hashlib.sha256(b"byline-batch/1\n")
    line = pl.concat_str(pl.col("event_id"), pl.lit(" "), pl.col("raw_sha256"), pl.lit("\n"))
    for piece in rows.select(line.alias("line")).collect_batches(maintain_order=True):
        digest.update("".join(piece["line"].to_list()).encode("utf-8"))
    return digest.hexdigest()


def _read_logs(
    files: Sequence[LogFile], decoding: Decoding, tally: _Tally, processes: int
) -> list[SortedBlock]:
    """Read all logs; the rows go to the disk, what happened to the lines into the tally."""
    blocks: list[SortedBlock] = []
    pieces = _pieces(files, decoding, tally)
    path = tally.rejects.path.with_name("own.jsonl")
    with contextlib.closing(decode(pieces, decoding, processes)) as answers:
        found = _each_piece(answers, blocks)
        for _, of_file in groupby(found, key=lambda decoded: decoded.label):
            with contextlib.closing(RejectSpool(path)) as own:
                first = _tally_file(of_file, tally, own)
                for where, reject in own.dated():
                    # Only now is the day known of what came before the first readable record.
                    if (first if where is None else where) in (decoding.day, None):
                        tally.rejects.add(reject)
                    else:
                        tally.other_date += 1
    return blocks


def _pieces(files: Sequence[LogFile], decoding: Decoding, tally: _Tally) -> Iterator[Piece]:
    """Walk over the pieces of all logs; batch inputs first, since outputs need their prompts."""
    settings = decoding.settings
    with contextlib.closing(BatchInputs(decoding.requests)) as inputs:
        adapters = make_adapters(settings.field_map, inputs)
        given = adapter_named(settings.log_format, adapters) if settings.log_format else None
        paired = [(file, given or detect_format(file, adapters)) for file in files]
        for file, adapter in paired:
            if isinstance(adapter, OpenAiBatchInput):
                inputs.read(file)
        inputs.keep()
    for file, found in paired:
        reader, adapter = reader_of(file), found
        for first, lines in reader.pieces():
            # A file that had no record when it was probed may have grown since.
            adapter = adapter or detect_format(file, adapters)
            if adapter is None:
                continue
            yield Piece(file.label, adapter.name, first, lines)
        tally.inputs[file.label] = reader.sha256
        tally.formats[file.label] = adapter.name if adapter else "empty"


def _each_piece(answers: Iterable[Answer], blocks: list[SortedBlock]) -> Iterator[Decoded]:
    """Walk over the pieces of answers, in the order of the logs, gathering the blocks."""
    for answer in answers:
        blocks += answer.blocks
        yield from answer.pieces


def _tally_file(pieces: Iterable[Decoded], tally: _Tally, own: RejectSpool) -> int | None:
    """Add up one file's pieces; give the day of the first record that can be read."""
    first: int | None = None
    nearest: int | None = None
    for piece in pieces:
        tally.records += piece.records
        tally.other_date += piece.other_date
        tally.not_output += piece.not_output
        for where, reject in piece.rejects:
            own.add(reject, nearest if where is None else where)
        first = piece.first if first is None else first
        nearest = nearest if piece.last is None else piece.last
    return first


def _counts(tally: _Tally, merge: Merge) -> dict[str, Any]:
    """Say what happened to every record, for the manifest."""
    return {
        "records": tally.records,
        "other_date": tally.other_date,
        "not_output": dict(sorted(tally.not_output.items())),
        "rejected": dict(sorted(tally.rejects.reasons.items())),
        "replayed": merge.replayed,
        "superseded": merge.superseded,
    }


def _write_table(
    out: Path,
    table: KeyTable,
    date: Date,
    tally: _Tally,
    counts: dict[str, Any],
    settings: IngestSettings,
    settled: KeyTable | None = None,
    revision: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Filter the rows and write them with their manifest."""
    whole = settled.before(table) if settled else table
    reasons = decide(whole, settings.filters, table.rows[0].parent)[whole.settled :]
    counts = {**counts, **exclusion_counts(table.column("value_units"), reasons)}
    rows = pl.scan_parquet(list(table.rows))
    # Both sides are in the order of event_id, so they are laid side by side, not joined.
    plain = rows.drop("payable", "exclusion_reason")
    final = (
        pl.concat([plain, reasons.cast(pl.String).to_frame().lazy()], how="horizontal")
        .with_columns(pl.col("exclusion_reason").is_null().alias("payable"))
        .select(list(OUTPUTS_SCHEMA))
    )
    root = batch_root(rows)
    digest = sink_parquet(out, final)
    return write_manifest(
        manifest_path(out),
        OUTPUTS_FORMAT,
        inputs=tally.inputs,
        files={out.name: digest},
        body={
            "date": date.isoformat(),
            "batch_root": root,
            "currency": settings.currency,
            "log_formats": tally.formats,
            "counts": counts,
            "filters": plain_filters(settings.filters),
            **_revision_facts(settings.revisions, revision),
        },
    )


def _write_late(
    parts: Sequence[Path],
    date: Date,
    out: Path,
    quarantine: Path,
    tally: _Tally,
    counts: dict[str, Any],
    settings: IngestSettings,
) -> IngestResult:
    """Keep what is new since the date was sampled as a batch of its own."""
    manifest = verify_data(out, OUTPUTS_FORMAT, step="`byline ingest`")
    tables = [out, *late_batches(out)]
    settled = [table for table in tables if not revision_sign(table)]
    known = pl.scan_parquet(settled)
    rows = pl.scan_parquet(list(parts))
    revised = revised_rows(rows, tables, settings.revisions)
    won = _appealed(known, settings.filters.appeals)
    new = rows.join(known.select("event_id"), on="event_id", how="anti")
    batches = {0: pl.concat([new, won.lazy()]).sort("event_id")}
    batches |= {1: revised.raised.lazy(), -1: revised.lowered.lazy()}
    counts = {**counts, "revised_after_sample": len(revised.rejects)}
    written = []
    for sign, fresh in batches.items():
        events = (won if not sign else fresh.collect())["event_id"]
        # Accepted revisions are paid for whatever a filter says.
        paid = replace(settings.filters, appeals=settings.filters.appeals | frozenset(events))
        own = replace(settings, filters=paid) if sign else settings
        table = put_down(_pieces_of(fresh), parts[0].with_name(f"batch{sign}"), own.filters)
        if not table.height:
            continue
        late = out.with_name(f"{out.stem}.late-{batch_root(fresh)[:12]}.parquet")
        folder = parts[0].with_name(f"settled{sign}")
        keys = write_keys(_pieces_of(known), folder, own.filters, events)
        facts = {"sign": sign, "accepted_by": list(revised.accepted_by)} if sign else {}
        facts |= {"tokens": TOKENS_DIFFER} if sign else {}
        before = KeyTable(tuple(settled), tuple(keys))
        _write_table(late, table, date, tally, counts, own, before, facts)
        written.append(late)
    rejects = sorted(revised.rejects, key=reading_order)
    rejected = write_quarantine(quarantine, heapq.merge(tally.rejects, rejects, key=reading_order))
    new_late = written[0] if written else None
    return IngestResult(out, manifest, late_batches(out), new_late, sum(rejected.values()))


def _pieces_of(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Read rows a piece at a time, in their order."""
    return rows.collect_batches(chunk_size=RANGE_ROWS, maintain_order=True)


def _appealed(settled: pl.LazyFrame, appeals: frozenset[str]) -> pl.DataFrame:
    """Find the settled rows whose exclusion was taken back and that are payable nowhere yet."""
    asked = settled.filter(pl.col("event_id").is_in(sorted(appeals))).collect(engine="streaming")
    paid = asked.filter(pl.col("payable"))["event_id"].implode()
    lost = asked.filter(~pl.col("event_id").is_in(paid) & pl.col("output_text").is_not_null())
    return lost.unique("event_id", keep="first", maintain_order=True)


def _revision_facts(
    known: Sequence[Revision], revision: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Say which revisions were accepted by then, and whether the table holds differences."""
    facts = {"revisions": [[r.event_id, r.raw_sha256] for r in known]} if known else {}
    return {**facts, "revision": dict(revision)} if revision else facts


def plain_filters(filters: FilterSettings) -> dict[str, Any]:
    """Give the filters' settings as JSON."""
    values = dict(vars(filters))
    values["test_tenants"] = sorted(filters.test_tenants)
    values["appeals"] = sorted(filters.appeals)
    values["bot_users"] = sorted(filters.bot_users)
    # Names of people stay in the settings; the manifest only fixes which list was used.
    names = dict(sorted((filters.names or {}).items()))
    values["names"] = {"count": len(names), "sha256": sha256_bytes(canonical_json(names))}
    values["self_dealing"] = dict(sorted((filters.self_dealing or {}).items()))
    return values
