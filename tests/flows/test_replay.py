"""Rejects can be listed, shown and read again; totals are compared; texts go, proofs stay."""

import json
from datetime import date

import polars as pl
import pytest

from flows.artefacts import retention_path, sha256_file, verify_data
from flows.canonical_rows import IngestSettings
from flows.data_errors import ArtefactAlteredError, LogError, ReconciliationError
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.logs.openai import BatchInputs
from flows.quarantine import read_quarantine
from flows.reconciliation import GatewayTotal, reconcile, write_reconciliation
from flows.replay import list_quarantine, replay, show_reject, write_replay
from flows.retention import drop_raw, drop_texts
from flows.sampling import SAMPLE_FORMAT, draw_sample
from tests.flows.nights import DAY, KEY, otel, run_ingest, write_log

QUARANTINE = f"quarantine/{DAY}.jsonl"
WITHOUT_VALUE = otel(5, **{"byline.value_units": None})


@pytest.fixture
def night(tmp_path):
    """A night of three outputs, one line that is no JSON and one without a value."""
    write_log(tmp_path / "logs/a.jsonl", [*(otel(i) for i in range(3)), "{bad", WITHOUT_VALUE])
    run_ingest(tmp_path)
    return tmp_path


def test_rejects_are_counted_by_date_and_reason(night):
    """The list is what an operator looks at in the morning."""
    assert list_quarantine(night / "quarantine") == {str(DAY): {"missing_value": 1, "not_json": 1}}
    assert list_quarantine(night / "nothing") == {}


def test_one_reject_is_shown_by_its_place_or_its_digest(night):
    """FILE:LINE as the list shows it, or the first digits of the raw sha256."""
    reject = show_reject(night / QUARANTINE, "a.jsonl:4")
    assert reject.raw == "{bad"
    assert show_reject(night / QUARANTINE, reject.raw_sha256[:8]) == reject
    with pytest.raises(LogError, match="0 rejects"):
        show_reject(night / QUARANTINE, "a.jsonl:1")


def test_replay_with_better_settings_makes_a_log_that_the_next_ingest_reads(night):
    """What could not be read yesterday and can today becomes an output, once."""
    rejects = list(read_quarantine(night / QUARANTINE))
    assert [r.reason for r in replay(rejects, IngestSettings(), KEY)] == [
        "not_json",
        "missing_value",
    ]
    settings = IngestSettings(value_from="per_output", value_units_each=7)
    answers = replay(rejects, settings, KEY)
    assert [(r.outputs, r.reason) for r in answers] == [(0, "not_json"), (1, "")]
    path = write_replay(night / "logs", str(DAY), answers)
    assert path == write_replay(night / "logs", str(DAY), answers)
    (night / "logs/a.jsonl").unlink()
    result = run_ingest(night, settings=settings, settled=True)
    assert pl.read_parquet(result.new_late)["value_units"].to_list() == [7]
    assert write_replay(night / "logs", str(DAY), answers[:1]) is None


def test_replay_says_what_it_cannot_do(night):
    """A line whose raw text is gone, and one that no adapter claims, stay where they are."""
    drop_raw(night / QUARANTINE)
    rejects = list(read_quarantine(night / QUARANTINE))
    assert {r.reason for r in replay(rejects, IngestSettings(), KEY)} == {"raw_lost"}
    batch = {"custom_id": "r", "response": {"body": {}}}
    write_log(night / "logs/b.jsonl", [batch])
    run_ingest(night)
    (reject,) = [r for r in read_quarantine(night / QUARANTINE) if r.source_file == "b.jsonl"]
    assert replay([reject], IngestSettings(), KEY)[0].reason == "missing_prompt"
    inputs = BatchInputs(night / "requests.db")
    inputs.add("b.jsonl", {"custom_id": "r", "body": {"model": "m", "messages": []}})
    assert replay([reject], IngestSettings(), KEY, batch_inputs=inputs)[0].reason == "time"
    inputs.close()


def compare(night, total, **options):
    """Reconcile a night of three outputs and two rejects."""
    table = night / f"outputs/{DAY}.parquet"
    found = reconcile(DAY, [table], night / QUARANTINE, total, **options)
    path = night / f"outputs/{DAY}.reconciliation.json"
    write_reconciliation(path, found, [table])
    return json.loads(path.read_text())


def test_totals_that_agree_are_kept_as_evidence(night):
    """Rejected calls count as calls, since the gateway has billed them."""
    kept = compare(night, GatewayTotal(5, 3003))
    assert (kept["calls"], kept["rejected"], kept["calls_gap"], kept["value_gap_units"]) == (
        5,
        2,
        0,
        0,
    )
    assert kept["within_tolerance"]


@pytest.mark.parametrize("total", [GatewayTotal(6), GatewayTotal(4), GatewayTotal(5, 3004)])
def test_a_gap_is_loud_and_still_written(night, total):
    """More or fewer, calls or money: the night must not be settled before it is explained."""
    with pytest.raises(ReconciliationError, match=r"a gap of .* Find the missing or repeated log"):
        compare(night, total)
    kept = json.loads((night / f"outputs/{DAY}.reconciliation.json").read_text())
    assert not kept["within_tolerance"]


def test_a_gap_within_the_tolerance_is_no_finding(night):
    """Gateways round; the settings say how much."""
    assert compare(night, GatewayTotal(6), tolerance_ppm=200_000)["calls_gap"] == -1


def test_dropped_texts_leave_digests_weights_and_the_chain(night):
    """After attribution the words may go; whatever cites the table still finds its digest."""
    outputs, sample = night / f"outputs/{DAY}.parquet", night / "sample.parquet"
    draw = {"seed_hex": "00" * 32, "target_size": 2}
    before = draw_sample(outputs, sample, **draw)["inputs"]
    kept = pl.read_parquet(outputs).drop("prompt_text", "output_text")
    for path, form in ((outputs, OUTPUTS_FORMAT), (sample, SAMPLE_FORMAT)):
        assert drop_texts(path, form, date(2026, 12, 1))
        assert not drop_texts(path, form, date(2027, 1, 1))
        frame = pl.read_parquet(path)
        assert (
            frame["prompt_text"].null_count() == frame["output_text"].null_count() == frame.height
        )
        note = json.loads(retention_path(path).read_text())
        assert note["texts_dropped_on"] == "2026-12-01"
        assert note["before"] == verify_data(path, form)["sha256"][path.name]
        assert note["after"] == sha256_file(path)
    assert pl.read_parquet(outputs).drop("prompt_text", "output_text").equals(kept)
    assert draw_sample(outputs, sample, **draw)["inputs"] == before
    assert sorted(p.name for p in outputs.parent.iterdir()) == [
        f"{DAY}.manifest.json", f"{DAY}.parquet", f"{DAY}.retention.json",
    ]  # fmt: skip


def test_an_altered_table_is_not_rewritten(night):
    """Retention must not launder a table that somebody changed."""
    path = night / f"outputs/{DAY}.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArtefactAlteredError):
        drop_texts(path, OUTPUTS_FORMAT, DAY)
    assert not retention_path(path).exists()


def test_raw_lines_go_and_reasons_stay(night):
    """The quarantine still says where, why, and of which bytes."""
    before = [(r.source_line, r.reason, r.raw_sha256) for r in read_quarantine(night / QUARANTINE)]
    assert drop_raw(night / QUARANTINE) == 2
    assert drop_raw(night / QUARANTINE) == 0
    after = list(read_quarantine(night / QUARANTINE))
    assert [(r.source_line, r.reason, r.raw_sha256) for r in after] == before
    assert not any(r.raw for r in after)
