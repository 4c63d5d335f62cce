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
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from flows.artefacts import (
    canonical_json,
    manifest_path,
    sha256_bytes,
    sink_parquet,
    verify_data,
    write_manifest,
)
from flows.canonical_rows import DAY_US, EPOCH_ORDINAL, IngestSettings, RowMaker
from flows.filter import FilterSettings, decide, exclusion_counts, keys_of
from flows.ingest_schema import OUTPUTS_FORMAT, OUTPUTS_SCHEMA
from flows.logs.detection import adapter_named, detect_format, make_adapters
from flows.logs.openai import BatchInputs, OpenAiBatch, OpenAiBatchInput
from flows.logs.reading import LogFile, find_logs, reader_of
from flows.logs.record import LogAdapter, NotAnOutputError, RejectedError
from flows.quarantine import Reject, RejectSpool, reading_order, write_quarantine
from flows.revisions import Revision, revised_rows, revision_sign
from flows.row_spool import RowSpool


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
    outputs: int = 0
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

    Returns:
        The paths and the manifest.

    Raises:
        LogError: a path names no file, a format is unknown, or a file is damaged.
        ArtefactError: the date is settled and its table was altered.
    """
    settings = settings or IngestSettings()
    settings = replace(settings, filters=filters) if filters else settings
    maker = RowMaker(settings, hmac_key, now_us)
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder,
        contextlib.closing(RejectSpool(Path(folder) / "rejects.jsonl")) as rejects,
    ):
        spool, tally = RowSpool(Path(folder)), _Tally(rejects)
        day = date.toordinal() - EPOCH_ORDINAL
        for file, adapter in _with_adapters(find_logs(paths), settings, Path(folder)):
            _read_file(file, adapter, maker, spool, tally, day)
        parts = spool.merged()
        counts = _counts(tally, spool)
        if settled:
            return _write_late(parts, date, out, quarantine, tally, counts, settings)
        manifest = _write_table(out, pl.scan_parquet(parts), date, tally, counts, settings)
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


def _with_adapters(
    files: Sequence[LogFile], settings: IngestSettings, folder: Path
) -> Iterator[tuple[LogFile, LogAdapter | None]]:
    """Pair each file with its adapter; batch inputs first, since outputs need their prompts."""
    with contextlib.closing(BatchInputs(folder / "requests.db")) as inputs:
        adapters = make_adapters(settings.field_map, inputs)
        given = adapter_named(settings.log_format, adapters) if settings.log_format else None
        paired = [(file, given or detect_format(file, adapters)) for file in files]
        for file, adapter in paired:
            if isinstance(adapter, OpenAiBatchInput):
                inputs.read(file)
        for file, adapter in paired:
            if isinstance(adapter, OpenAiBatch):
                adapter.label = file.label
            yield file, adapter


def _read_file(
    file: LogFile,
    adapter: LogAdapter | None,
    maker: RowMaker,
    spool: RowSpool,
    tally: _Tally,
    day: int,
) -> None:
    """Read one file's records into the spool, or into the tally."""
    if adapter is None:
        tally.formats[file.label] = "empty"
        empty = reader_of(file)
        tally.records += sum(1 for _ in empty)
        tally.inputs[file.label] = empty.sha256
        return
    path = tally.rejects.path.with_name("own.jsonl")
    with contextlib.closing(RejectSpool(path)) as own:
        first = _read_records(file, adapter, maker, spool, tally, day, own)
        for where, reject in own.dated():
            # Only now is the day known of what came before the first readable record.
            if (first if where is None else where) in (day, None):
                tally.rejects.add(reject)
            else:
                tally.other_date += 1


def _read_records(
    file: LogFile,
    adapter: LogAdapter,
    maker: RowMaker,
    spool: RowSpool,
    tally: _Tally,
    day: int,
    own: RejectSpool,
) -> int | None:
    """Read one file's records; give the day of the first one that can be read."""
    reader = reader_of(file)
    first: int | None = None
    nearest: int | None = None
    for number, line in reader:
        tally.records += 1
        try:
            days = _take(line, number, file, adapter, maker, spool, tally, day)
            nearest = days if days is not None else nearest
            first = nearest if first is None else first
        except NotAnOutputError as other:
            tally.not_output[str(other)] += 1
        except RejectedError as error:
            where = _own_day(line, adapter, nearest)
            own.add(Reject.of(file.label, number, error.reason, error.detail, line), where)
    tally.inputs[file.label] = reader.sha256
    tally.formats[file.label] = adapter.name
    return first


def _own_day(line: bytes, adapter: LogAdapter, nearest: int | None) -> int | None:
    """Give the day of a rejected line: its own if it can be read, else the nearest before it."""
    try:
        return adapter.moment(orjson.loads(line)) // DAY_US
    except (RejectedError, orjson.JSONDecodeError, AttributeError, TypeError):
        return nearest


def _take(
    line: bytes,
    number: int,
    file: LogFile,
    adapter: LogAdapter,
    maker: RowMaker,
    spool: RowSpool,
    tally: _Tally,
    day: int,
) -> int | None:
    """Read one line; give the day of its (first) output.

    Raises:
        NotAnOutputError: it is something else.
        RejectedError: it cannot be read.
    """
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RejectedError("not_json", f"{error}") from None
    if not isinstance(record, dict):
        raise RejectedError("not_json", f"expected an object, got {type(record).__name__}")
    outputs = adapter.outputs(record)
    digest = hashlib.sha256(line).hexdigest()
    rows = []
    for output in outputs:
        if output.time_us // DAY_US == day:
            rows.append(maker.row(output, adapter.name, file.label, number, digest))
        else:
            tally.other_date += 1
    for row in rows:
        spool.add(row)
    tally.outputs += len(rows)
    return outputs[0].time_us // DAY_US if outputs else None


def _counts(tally: _Tally, spool: RowSpool) -> dict[str, Any]:
    """Say what happened to every record, for the manifest."""
    return {
        "records": tally.records,
        "other_date": tally.other_date,
        "not_output": dict(sorted(tally.not_output.items())),
        "rejected": dict(sorted(tally.rejects.reasons.items())),
        "replayed": spool.replayed,
        "superseded": spool.superseded,
    }


def _write_table(
    out: Path,
    rows: pl.LazyFrame,
    date: Date,
    tally: _Tally,
    counts: dict[str, Any],
    settings: IngestSettings,
    settled: pl.LazyFrame | None = None,
    revision: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Filter the rows and write them with their manifest; accepted revisions are paid for."""
    if revision:
        paid = rows.select("event_id").collect()["event_id"]
        appeals = settings.filters.appeals | frozenset(paid)
        settings = replace(settings, filters=replace(settings.filters, appeals=appeals))
    keys = keys_of(rows, settings.filters, rank=1).collect(engine="streaming")
    if settled is None:
        decisions = decide(keys, settings.filters, rows)
    else:
        known = keys_of(settled, settings.filters).collect(engine="streaming")
        every = pl.concat([frame.select("event_id", "output_text") for frame in (settled, rows)])
        both = decide(pl.concat([known, keys]), settings.filters, every)
        decisions = both.join(keys.select("event_id"), on="event_id", how="semi").sort("event_id")
    counts = {**counts, **exclusion_counts(keys, decisions)}
    assert keys["event_id"].equals(decisions["event_id"]), "rows and decisions are in one order"
    reasons = decisions.select("exclusion_reason").lazy()
    del keys, decisions
    # Both sides are in the order of event_id, so they are laid side by side, not joined.
    plain = rows.drop("payable", "exclusion_reason")
    final = (
        pl.concat([plain, reasons], how="horizontal")
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
    settled = pl.scan_parquet([table for table in tables if not revision_sign(table)])
    rows = pl.scan_parquet(list(parts))
    revised = revised_rows(rows, tables, settings.revisions)
    won = _appealed(settled, settings.filters.appeals)
    new = rows.join(settled.select("event_id"), on="event_id", how="anti")
    batches = {0: pl.concat([new, won.lazy()]).sort("event_id")}
    batches |= {1: revised.raised.lazy(), -1: revised.lowered.lazy()}
    counts = {**counts, "revised_after_sample": len(revised.rejects)}
    written = []
    for sign, fresh in batches.items():
        events = (won if not sign else fresh.collect())["event_id"].implode()
        if not fresh.select(pl.len()).collect(engine="streaming").item():
            continue
        late = out.with_name(f"{out.stem}.late-{batch_root(fresh)[:12]}.parquet")
        others = settled.filter(~pl.col("event_id").is_in(events))
        facts = {"sign": sign, "accepted_by": list(revised.accepted_by)} if sign else {}
        _write_table(late, fresh, date, tally, counts, settings, others, facts)
        written.append(late)
    rejects = sorted(revised.rejects, key=reading_order)
    rejected = write_quarantine(quarantine, heapq.merge(tally.rejects, rejects, key=reading_order))
    new_late = written[0] if written else None
    return IngestResult(out, manifest, late_batches(out), new_late, sum(rejected.values()))


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
