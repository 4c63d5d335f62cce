"""Every line of a log is accounted for, twice is once, and a sampled date never changes."""

import gzip
import hashlib
import json
import tracemalloc

import polars as pl
import pytest
import zstandard

from flows.artefacts import manifest_path
from flows.canonical_rows import IngestSettings, pseudonym
from flows.data_errors import ArtefactAlteredError, LogError, LogFormatUnknownError, LogMissingError
from flows.filter_keys import FilterSettings
from flows.ingest import ingest
from flows.ingest_schema import OUTPUTS_SCHEMA
from flows.quarantine import read_quarantine
from flows.row_spool import Merge, RowSpool
from tests.flows.nights import DAY, KEY, otel, run_ingest, write_log


def footing(counts):
    """Add up where the outputs and rejects of a log went."""
    return (
        counts["outputs"]
        + counts["replayed"]
        + counts["superseded"]
        + counts["other_date"]
        + sum(counts["rejected"].values())
        + sum(counts["not_output"].values())
    )


def test_every_line_is_an_output_or_counted_with_a_reason(tmp_path):
    """Records of one choice: the counts in the manifest add up to the lines read."""
    records = [otel(i, days=1) for i in range(100, 105)] + [otel(i) for i in range(20)]
    records += ["{not json", '"text"', otel(30, **{"gen_ai.output.messages": None})]
    records += [otel(31, **{"gen_ai.operation.name": "embeddings"}), otel(3)]
    write_log(tmp_path / "logs/a.jsonl", records)
    result = run_ingest(tmp_path)
    counts = result.manifest["counts"]
    assert footing(counts) == counts["records"] == len(records)
    assert counts["outputs"] == 20
    assert counts["replayed"] == 1
    assert counts["rejected"] == {"missing_output": 1, "not_json": 2}
    assert result.quarantined == 3


def test_the_table_has_the_agreed_columns_in_order_of_event_id(tmp_path):
    """Later steps rely on names, types and order."""
    write_log(tmp_path / "logs/a.jsonl", [otel(i) for i in (5, 1, 3)])
    frame = pl.read_parquet(run_ingest(tmp_path).outputs)
    assert dict(frame.schema) == {
        k: v() if isinstance(v, type) else v for k, v in OUTPUTS_SCHEMA.items()
    }
    assert frame["event_id"].is_sorted()
    row = frame.row(0, named=True)
    assert row["event_id"] == f"otel-genai:{1:032x}.{1:016x}"
    assert row["source_line"] == 2
    assert (row["prompt_text"], row["output_text"]) == ("Q", "Answer 1.")
    assert row["output_sha256"] == hashlib.sha256(b"Answer 1.").hexdigest()
    assert row["value_units"] == 1001
    assert str(row["ts_utc"]) == "2026-11-20 00:01:00+00:00"


def test_a_reject_keeps_its_place_and_its_own_words(tmp_path):
    """Whoever repairs a log must find the line; nothing is dropped silently."""
    write_log(tmp_path / "logs/a.jsonl", [otel(1), "{bad", otel(2)])
    run_ingest(tmp_path)
    (reject,) = read_quarantine(tmp_path / f"quarantine/{DAY}.jsonl")
    assert (reject.source_file, reject.source_line, reject.reason) == ("a.jsonl", 2, "not_json")
    assert reject.raw == "{bad"
    assert reject.raw_sha256 == hashlib.sha256(b"{bad").hexdigest()


def test_a_broken_line_belongs_to_the_nearest_date_and_is_counted_once(tmp_path):
    """A log of two days has each bad line in one day's quarantine, not in both."""
    lines = ["{first", otel(1), "{second", otel(2, days=1), "{third"]
    write_log(tmp_path / "logs/a.jsonl", lines)
    run_ingest(tmp_path)
    raws = [reject.raw for reject in read_quarantine(tmp_path / f"quarantine/{DAY}.jsonl")]
    assert raws == ["{first", "{second"]
    result = ingest(
        [tmp_path / "logs"],
        DAY.replace(day=21),
        tmp_path / "o.parquet",
        tmp_path / "q.jsonl",
        hmac_key=KEY,
    )
    assert [reject.raw for reject in read_quarantine(tmp_path / "q.jsonl")] == ["{third"]
    assert result.quarantined == 1


def test_reading_the_same_log_again_gives_the_same_bytes(tmp_path):
    """Idempotent to the byte: outputs, manifest and quarantine."""
    write_log(tmp_path / "logs/a.jsonl", [otel(i) for i in range(30)] + ["{"])
    result = run_ingest(tmp_path)
    files = [result.outputs, manifest_path(result.outputs), tmp_path / f"quarantine/{DAY}.jsonl"]
    before = [path.read_bytes() for path in files]
    run_ingest(tmp_path)
    assert [path.read_bytes() for path in files] == before


def test_order_of_lines_and_packing_change_nothing_but_their_places(tmp_path):
    """The batch root depends on the records, not on how the log was cut or packed."""
    records = [otel(i) for i in range(40)]
    roots = set()
    text = [json.dumps(r) + "\n" for r in records]
    for name, order, pack in (
        ("plain", text, lambda data: data),
        ("gz", text[::-1], gzip.compress),
        ("zst", text[7:] + text[:7], zstandard.compress),
    ):
        path = tmp_path / name / "logs" / ("a.jsonl" + ("" if name == "plain" else "." + name))
        path.parent.mkdir(parents=True)
        path.write_bytes(pack("".join(order).encode()))
        result = run_ingest(tmp_path / name)
        roots.add(result.manifest["batch_root"])
        assert result.manifest["counts"]["outputs"] == 40
    assert len(roots) == 1


def test_batch_root_is_recomputed_from_a_plain_listing(tmp_path):
    """An auditor needs sha256sum and the list of records, nothing of ours."""
    write_log(tmp_path / "logs/a.jsonl", [otel(i) for i in range(5)])
    result = run_ingest(tmp_path)
    rows = pl.read_parquet(result.outputs).sort("event_id")
    listing = "byline-batch/1\n" + "".join(
        f"{r['event_id']} {r['raw_sha256']}\n" for r in rows.to_dicts()
    )
    assert hashlib.sha256(listing.encode()).hexdigest() == result.manifest["batch_root"]


def test_a_later_revision_replaces_the_record_before_sampling(tmp_path):
    """Until the date is sampled the newest version of an output counts, once."""
    older, newer = otel(1), otel(1, **{"byline.value_units": "7"})
    newer["time_unix_nano"] = str(int(older["time_unix_nano"]) + 10**9)
    write_log(tmp_path / "logs/a.jsonl", [newer, older])
    result = run_ingest(tmp_path)
    assert result.manifest["counts"]["superseded"] == 1
    assert pl.read_parquet(result.outputs)["value_units"].to_list() == [7]


def test_a_late_file_makes_a_late_batch_and_leaves_the_settled_table(tmp_path):
    """A date that was sampled never changes; what comes later is kept apart, once."""
    write_log(tmp_path / "logs/a.jsonl", [otel(i) for i in range(10)])
    settled = run_ingest(tmp_path)
    before = settled.outputs.read_bytes(), manifest_path(settled.outputs).read_bytes()
    write_log(tmp_path / "logs/b.jsonl", [otel(i) for i in range(8, 13)])
    late = run_ingest(tmp_path, settled=True)
    assert (settled.outputs.read_bytes(), manifest_path(settled.outputs).read_bytes()) == before
    assert late.new_late is not None
    assert pl.read_parquet(late.new_late).height == 3
    root = json.loads(manifest_path(late.new_late).read_text())["batch_root"]
    assert late.new_late.name == f"{DAY}.late-{root[:12]}.parquet"
    again = run_ingest(tmp_path, settled=True)
    assert again.new_late is None
    assert again.late == late.late == (late.new_late,)


def test_a_second_late_file_is_a_batch_of_its_own(tmp_path):
    """Each late arrival is settled by itself; earlier late batches stay as they are."""
    write_log(tmp_path / "logs/a.jsonl", [otel(0)])
    run_ingest(tmp_path)
    write_log(tmp_path / "logs/b.jsonl", [otel(1)])
    first = run_ingest(tmp_path, settled=True)
    write_log(tmp_path / "logs/c.jsonl", [otel(2), otel(1), otel(0)])
    second = run_ingest(tmp_path, settled=True)
    assert second.new_late not in (None, first.new_late)
    assert len(second.late) == 2
    assert pl.read_parquet(second.new_late)["value_units"].to_list() == [1002]


def test_a_late_duplicate_of_a_settled_output_is_not_paid_again(tmp_path):
    """The settled one stays payable even when the late one claims an earlier time."""
    write_log(tmp_path / "logs/a.jsonl", [otel(5)])
    run_ingest(tmp_path)
    twin = otel(5) | {"trace_id": "f" * 32, "time_unix_nano": otel(1)["time_unix_nano"]}
    write_log(tmp_path / "logs/b.jsonl", [twin])
    late = run_ingest(tmp_path, settled=True)
    assert pl.read_parquet(late.new_late)["exclusion_reason"].to_list() == ["duplicate"]


def test_a_record_revised_after_sampling_goes_to_a_person(tmp_path):
    """A settled value is not overwritten; both digests are shown."""
    write_log(tmp_path / "logs/a.jsonl", [otel(1)])
    run_ingest(tmp_path)
    write_log(tmp_path / "logs/a.jsonl", [otel(1, **{"byline.value_units": "99"})])
    late = run_ingest(tmp_path, settled=True)
    assert late.new_late is None
    (reject,) = read_quarantine(tmp_path / f"quarantine/{DAY}.jsonl")
    assert reject.reason == "revised_after_sample"
    assert "99 units" in reject.detail


def test_an_altered_settled_table_stops_the_late_batch(tmp_path):
    """Late records are compared with the settled ones, so those must be intact."""
    write_log(tmp_path / "logs/a.jsonl", [otel(1)])
    result = run_ingest(tmp_path)
    result.outputs.write_bytes(result.outputs.read_bytes()[:-1])
    with pytest.raises(ArtefactAlteredError):
        run_ingest(tmp_path, settled=True)


def test_names_of_tenants_and_users_are_not_kept(tmp_path):
    """Only keyed pseudonyms leave the log; another key gives other pseudonyms."""
    write_log(tmp_path / "logs/a.jsonl", [otel(1)])
    frame = pl.read_parquet(run_ingest(tmp_path).outputs)
    assert frame["tenant_hmac"][0] == pseudonym(KEY, "tenant", "tenant-1")
    assert pseudonym(KEY, "tenant", "x") != pseudonym(KEY, "user", "x")
    assert pseudonym(KEY, "tenant", "x") != pseudonym(b"z" * 32, "tenant", "x")
    text = "".join(str(frame[column].to_list()) for column in frame.columns)
    assert "tenant-1" not in text
    assert "user-1" not in text


def test_names_that_prompts_may_repeat_are_not_written_down(tmp_path):
    """The manifest fixes which list was used by its digest, not by the people on it."""
    write_log(tmp_path / "logs/a.jsonl", [otel(1)])
    filters = FilterSettings(names={"a writer": "party_1"})
    manifest = run_ingest(tmp_path, filters=filters).manifest
    assert manifest["filters"]["names"]["count"] == 1
    assert "a writer" not in json.dumps(manifest)


def test_an_empty_night_is_a_table_without_rows(tmp_path):
    """A day without traffic is an ordinary night: a nil report, not an error."""
    write_log(tmp_path / "logs/a.jsonl", [otel(1, days=1)])
    result = run_ingest(tmp_path)
    assert pl.read_parquet(result.outputs).height == 0
    assert result.manifest["counts"]["other_date"] == 1


def test_memory_holds_one_run_however_long_the_log(tmp_path):
    """Runs are merged by ranges of ids: unique, sorted, last revision kept, none lost."""
    frames, counts = [], []
    for run_rows, range_rows in ((7, 10), (7, 1), (1000, 1000)):
        spool = RowSpool(tmp_path, f"{run_rows}-{range_rows}", run_rows=run_rows)
        for place, number in enumerate([*range(60), *range(20), *range(55, 60)]):
            row = dict.fromkeys(OUTPUTS_SCHEMA)
            row |= {"event_id": f"e{number:03}", "raw_sha256": f"{place % 5}", "date": 0}
            row |= {"source_file": "f", "source_line": place, "ts_utc": 0}
            spool.add((*row.values(), place))
        merge = Merge(spool.taken(), range_rows=range_rows)
        frames.append(pl.concat(list(merge)))
        counts.append((merge.replayed, merge.superseded))
    assert all(frame.equals(frames[0]) for frame in frames)
    assert frames[0]["event_id"].to_list() == [f"e{i:03}" for i in range(60)]
    assert len(set(counts)) == 1
    assert sum(counts[0]) == 25


def test_memory_holds_no_reject_however_many(tmp_path):
    """A log of nothing but broken lines is quarantined a piece at a time."""
    line = '{"broken": "' + "x" * 8000
    write_log(tmp_path / "logs/a.jsonl", [otel(1), *[line] * 4000])
    tracemalloc.start()
    result = run_ingest(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.manifest["counts"]["rejected"] == {"not_json": 4000}
    assert result.quarantined == 4000
    assert peak < 10 << 20 < 4000 * len(line)


@pytest.mark.parametrize("path", ["nothing-here", "none-*.jsonl"])
def test_a_path_that_names_no_log_is_an_error(tmp_path, path):
    """An empty night must come from an empty log, not from a typing mistake."""
    with pytest.raises(LogMissingError, match="no log file found"):
        ingest([tmp_path / path], DAY, tmp_path / "o.parquet", tmp_path / "q.jsonl", hmac_key=KEY)


def test_an_unknown_format_is_named_with_the_known_ones(tmp_path):
    """The error shows the line's beginning, so that a person can tell what it is."""
    write_log(tmp_path / "logs/a.jsonl", [{"some": "thing"}])
    with pytest.raises(LogFormatUnknownError, match=r"a\.jsonl.*some.*otel-genai"):
        run_ingest(tmp_path)
    assert not (tmp_path / "quarantine").exists()


def test_a_damaged_packed_file_stops_the_ingest(tmp_path):
    """Half a gzip file is not half a night."""
    data = gzip.compress("\n".join(json.dumps(otel(i)) for i in range(50)).encode())
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/a.jsonl.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(LogError, match="ends early or is damaged"):
        run_ingest(tmp_path)
    assert not list((tmp_path / "outputs").glob("*"))


def test_value_rules_of_the_settings(tmp_path):
    """Value per output or per token replaces what the log says or leaves out."""
    write_log(tmp_path / "logs/a.jsonl", [otel(1, **{"byline.value_units": None})])
    assert run_ingest(tmp_path).manifest["counts"]["rejected"] == {"missing_value": 1}
    per_token = IngestSettings(value_from="per_output_token", value_units_each=5)
    assert run_ingest(tmp_path, settings=per_token).manifest["counts"]["value_units"] == 45
    flat = IngestSettings(value_from="per_output", value_units_each=5)
    assert run_ingest(tmp_path, settings=flat).manifest["counts"]["value_units"] == 5
