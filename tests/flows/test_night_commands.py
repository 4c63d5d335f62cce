"""Nights in an operator's hands: backfill, appeals, replay, gateway totals, retention, plans."""

import json
import random
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from flows import cli
from flows.backfill import backfill_nights
from flows.books import open_books
from flows.close import check_nights
from flows.data_errors import ReconciliationError
from flows.engine import run_night
from flows.errors import LockHeldError, NightError
from flows.locks import hold
from flows.quarantine import QUARANTINE_FORMAT
from flows.sampling import SAMPLE_SCHEMA
from flows.seal import latest_root
from flows.workspace import Workspace
from tests.simulation.tiny import DAYS, calls, copy_of, tiny, write_log

NIGHT = DAYS[0].isoformat()
SILENT = DAYS[0] - timedelta(days=1)


@pytest.fixture
def home(tmp_path):
    """An installation of the test's own."""
    return copy_of(tiny(), tmp_path / "home")


def root_of(workspace):
    """Give the root that the book was last sealed with."""
    with open_books(workspace) as books:
        return latest_root(books)


def command(capsys, workspace, *words, code=0):
    """Run a command on the workspace; give its JSON, or its error text when it must fail."""
    found = cli.run([*words, "--dir", str(workspace.home), "--json"])
    said = capsys.readouterr()
    assert found == code, said.err
    return json.loads(said.out) if code == 0 else said.err


def tamed(workspace, monkeypatch, **settings):
    """Open the workspace with other settings."""
    for name, value in settings.items():
        monkeypatch.setenv(f"BYLINE_{name}", value)
    return Workspace.open(workspace.home)


def test_a_backfill_is_the_nights_in_order_and_again_it_is_nothing(home, tmp_path, capsys):
    """The same root as night by night; a second time every night is found done."""
    other = copy_of(tiny(), tmp_path / "other")
    for day in DAYS:
        run_night(other, day)
    words = ("backfill", "--from", str(DAYS[0]), "--to", str(DAYS[1]))
    first = command(capsys, home, *words)
    assert [night["settled_now"] for night in first["nights"].values()] == [True, True]
    assert root_of(home) == root_of(other)
    again = command(capsys, home, *words)
    assert [night["settled_now"] for night in again["nights"].values()] == [False, False]
    assert root_of(home) == root_of(other)


def test_a_backfill_stops_where_another_run_is_and_goes_on_later(home):
    """The holder of the night's lock is named; the nights before it stay settled."""
    with (
        hold(home.locks, f"night-{DAYS[1]}"),
        pytest.raises(LockHeldError, match=f"night-{DAYS[1]} is already running.*held by process"),
    ):
        backfill_nights(home, *DAYS)
    said = backfill_nights(home, *DAYS)
    worked = [nights[day]["settle"].worked for day, nights in said.items()]
    assert worked == [False, True]
    with pytest.raises(NightError, match="is after --to"):
        backfill_nights(home, DAYS[1], DAYS[0])


def test_a_night_without_money_is_settled_with_nothing_and_blocks_no_close(home):
    """A quiet day is a nil report: no entry, no error, and the period can be closed."""
    said = run_night(home, SILENT)[SILENT.isoformat()]
    assert said["settle"].text == "nothing: no payable output has a value"
    with open_books(home) as books:
        check_nights(home, books, SILENT.strftime("%Y-%m"))
    sample = pl.read_parquet(home.night_file("sample", SILENT, ".parquet"))
    assert (sample.height, sample.columns) == (0, list(SAMPLE_SCHEMA))


def test_texts_go_after_the_night_and_the_night_can_be_run_again(home, capsys):
    """Same root, same entry; the draw of an output can still be proved from what is left."""
    run_night(home, DAYS[0])
    before = root_of(home)
    said = command(capsys, home, "retention", "--date", NIGHT)
    assert said["dropped"] == {NIGHT: 2}
    for kind in ("outputs", "sample"):
        frame = pl.read_parquet(home.night_file(kind, DAYS[0], ".parquet"))
        assert frame["output_text"].null_count() == frame.height
    again = run_night(home, DAYS[0])[NIGHT]
    assert not any(again[step].worked for step in ("ingest", "sample", "attribute", "estimate"))
    assert not again["settle"].worked
    assert root_of(home) == before
    assert command(capsys, home, "retention", "--date", NIGHT)["dropped"] == {}
    event = f"otel-genai:resp-{DAYS[0]}-1"
    command(capsys, home, "sample", "check", "--date", NIGHT, event)


def test_retention_waits_for_the_settled_night_and_for_its_day(home, capsys, monkeypatch):
    """An unsettled night keeps its texts; a settled one loses them on the day the settings say."""
    command(capsys, home, "ingest", "--date", NIGHT)
    assert command(capsys, home, "retention", "--date", NIGHT)["dropped"] == {}
    kept = tamed(home, monkeypatch, RETENTION__TEXTS_DAYS="-1")
    run_night(kept, DAYS[0])
    assert command(capsys, kept, "retention")["dropped"] == {}
    at_once = tamed(home, monkeypatch, RETENTION__TEXTS_DAYS="0")
    run_night(at_once, DAYS[0])
    outputs = pl.read_parquet(home.night_file("outputs", DAYS[0], ".parquet"))
    assert outputs["output_text"].null_count() == outputs.height


def test_a_late_duplicate_of_a_dropped_text_is_still_a_duplicate(home, capsys):
    """Digests judge what words no longer can."""
    run_night(home, DAYS[0])
    command(capsys, home, "retention", "--date", NIGHT)
    log = home.logs / f"{DAYS[0]}.otel.jsonl"
    line = json.loads(log.read_text().splitlines()[3])
    line["attributes"]["gen_ai.response.id"] = "again"
    (home.logs / "again.jsonl").write_text(json.dumps(line) + "\n")
    said = run_night(home, DAYS[0], approved_by="controller-1")
    (late,) = [steps for name, steps in said.items() if ".late-" in name]
    assert late["filter"].values["excluded"] == {"duplicate": 1}


def repeated(workspace):
    """Log an output of the first night a second time; give the repetition's event."""
    log = workspace.logs / f"{DAYS[0]}.otel.jsonl"
    line = json.loads(log.read_text().splitlines()[3])
    line["attributes"]["gen_ai.response.id"] = "again"
    line["time_unix_nano"] = str(int(line["time_unix_nano"]) + 10**9)
    log.write_text(log.read_text() + json.dumps(line) + "\n")
    return "otel-genai:again"


GRANT = ("--granted-by", "controller-1", "--reason", "another page asked the same")


def test_an_appeal_before_sampling_makes_the_output_payable_in_its_night(home, capsys):
    """The table is filtered anew; who decided and why is kept."""
    event = repeated(home)
    command(capsys, home, "ingest", "--date", NIGHT)
    listed = command(capsys, home, "quarantine", "list", "--date", NIGHT, "--excluded")
    assert listed["excluded"] == {"duplicate": 1}
    assert listed["excluded_outputs"][0]["event_id"] == event
    granted = command(capsys, home, "quarantine", "appeal", "--date", NIGHT, event, *GRANT)
    assert granted["excluded_as"] == "duplicate"
    said = run_night(home, DAYS[0])
    assert (said[NIGHT]["filter"].values["payable"], len(said)) == (41, 1)
    again = command(capsys, home, "quarantine", "appeal", "--date", NIGHT, event, *GRANT)
    assert again == granted


def test_an_appeal_after_sampling_is_an_adjustment_that_somebody_approves(home, capsys):
    """The settled table does not change; the output earns in a late batch, once."""
    event = repeated(home)
    run_night(home, DAYS[0])
    command(capsys, home, "quarantine", "appeal", "--date", NIGHT, event, *GRANT)
    with pytest.raises(NightError, match="--approved-by"):
        run_night(home, DAYS[0])
    said = run_night(home, DAYS[0], approved_by="controller-2")
    (late,) = [steps for name, steps in said.items() if ".late-" in name]
    assert late["settle"].values["kind"] == "adjustment"
    assert late["filter"].values["payable"] == 1
    sealed = root_of(home)
    run_night(home, DAYS[0], approved_by="controller-2")
    assert root_of(home) == sealed
    assert command(capsys, home, "quarantine", "list", "--date", NIGHT)["excluded"] == {}
    assert command(capsys, home, "sample", "check", "--date", NIGHT, event)["pi_ppt"] == 10**12
    text = command(capsys, home, "reconcile", "--date", NIGHT, "--calls", "42", code=1)
    assert "our logs 41 (0 of them rejected)" in text


def test_an_appeal_is_refused_where_there_is_nothing_to_pay(home, capsys):
    """An unknown output, a payable one, and one without text."""
    log = home.logs / f"{DAYS[0]}.otel.jsonl"
    line = json.loads(log.read_text().splitlines()[0])
    line["attributes"] |= {"gen_ai.response.id": "failed", "error.type": "timeout"}
    log.write_text(log.read_text() + json.dumps(line) + "\n")
    command(capsys, home, "ingest", "--date", NIGHT)
    for event, why in (
        ("otel-genai:nobody", "no output"),
        (f"otel-genai:resp-{DAYS[0]}-1", "payable already"),
        ("otel-genai:failed", "has no text"),
    ):
        words = ("quarantine", "appeal", "--date", NIGHT, event, *GRANT)
        assert why in command(capsys, home, *words, code=1)
    assert not (home.root / "appeals").exists()


def test_a_filter_setting_changed_before_sampling_counts_and_is_reported(home, monkeypatch):
    """Every filter of the settings reaches the night and its count, with the value it took out."""
    first = run_steps_until_filter(home)
    assert first.values["excluded"] == {}
    capped = tamed(
        home,
        monkeypatch,
        FILTER__TENANT_PER_DAY_MAX="5",
        FILTER__SELF_DEALING='["tenant-0=pkg:00"]',
        FILTER__NAMES='["ledger=pkg:00"]',
        FILTER__NAME_PROMPTS_MAX="1",
    )
    said = run_steps_until_filter(capped).values
    assert set(said["excluded"]) == {"cap", "self_dealing", "name_prompting"}
    assert said["payable"] + sum(said["excluded"].values()) == first.values["payable"]
    money = said["payable_units"] + sum(said["excluded_units"].values())
    assert money == first.values["payable_units"]


def run_steps_until_filter(workspace):
    """Read and filter the first night; give what the filter says."""
    from flows.engine import run_step
    from flows.night import Night
    from flows.progress import Reporter

    night = Night(workspace, DAYS[0], (workspace.logs,))
    run_step("ingest", night, Reporter(enabled=False))
    return run_step("filter", night, Reporter(enabled=False))


def test_a_gap_to_the_gateway_stops_the_night_until_its_log_is_there(home, capsys):
    """Loud before the money is divided; afterwards the line of the night says it."""
    late = home.logs / "late" / f"{DAYS[0]}.otel.jsonl"
    command(capsys, home, "ingest", "--date", NIGHT)
    words = ("reconcile", "--date", NIGHT)
    assert "no gateway total" in command(capsys, home, *words, code=1)
    assert "a gap of -6 calls" in command(capsys, home, *words, "--calls", "46", code=1)
    with pytest.raises(ReconciliationError, match="gap of -6 calls"):
        run_night(home, DAYS[0])
    assert not home.night_file("sample", DAYS[0], ".parquet").exists()
    said = run_night(home, DAYS[0], logs=[home.logs, late])
    assert said[NIGHT]["filter"].text.endswith("as the gateway counts")
    command(capsys, home, *words, "--calls", "47", code=1)
    again = run_night(home, DAYS[0], logs=[home.logs, late])
    assert "GAP of -1 calls" in again[NIGHT]["filter"].text


def test_a_rejected_line_is_replayed_into_the_night(home, capsys, monkeypatch):
    """What the settings of yesterday refused is read with those of today, and paid."""
    log = home.logs / f"{DAYS[0]}.otel.jsonl"
    line = json.loads(log.read_text().splitlines()[0])
    line["attributes"] |= {"gen_ai.response.id": "abroad", "byline.currency": "EUR/6"}
    log.write_text(log.read_text() + json.dumps(line) + "\n{broken\n")
    command(capsys, home, "ingest", "--date", NIGHT)
    words = ("quarantine", "replay", "--date", NIGHT)
    said = command(capsys, home, *words)
    assert (said["rejects"], said["readable"], said["log"]) == (2, 0, None)
    euro = tamed(home, monkeypatch, POOL__CURRENCY="EUR/6")
    assert command(capsys, euro, *words, "--dry-run")["log"] is None
    said = command(capsys, euro, *words)
    assert (said["readable"], said["outputs"]) == (1, 1)
    assert said["still_rejected"] == {"not_json": 1}
    assert json.loads(Path(said["log"]).read_text()) == line


def test_an_altered_quarantine_is_refused_and_made_again_once_moved_away(home, capsys):
    """The error says the next step, and the step works: settled night, same book, same rejects."""
    log = home.logs / f"{NIGHT}.otel.jsonl"
    log.write_text(log.read_text() + "{bad\n")
    run_night(home, DAYS[0])
    path = home.root / "quarantine" / f"{NIGHT}.jsonl"
    kept, sealed = path.read_bytes(), root_of(home)
    path.write_bytes(kept[: len(kept) // 2])
    said = command(capsys, home, "quarantine", "list", "--date", NIGHT, code=1)
    assert f"line 1 is no reject, expected a line of {QUARANTINE_FORMAT}" in said
    assert f"Move it away and run `byline nightly --date {NIGHT}` with all logs" in said
    path.rename(path.with_suffix(".away"))
    run_night(home, DAYS[0])
    assert path.read_bytes() == kept
    assert root_of(home) == sealed


def test_a_plan_says_what_a_width_costs(home, capsys):
    """Half the width costs more outputs; a creator nobody knows is refused."""
    run_night(home, DAYS[0])
    words = ("plan-sample", "--date", NIGHT, "--target-width")
    wide, narrow = (command(capsys, home, *words, width) for width in ("0.2", "0.05"))
    assert wide["pilot_size"] <= wide["population"]
    assert wide["target_size"] < narrow["target_size"] <= narrow["population"]
    assert narrow["expected_half_width_ppt"] <= 0.05 * 10**12 / 2
    text = command(capsys, home, *words, "0.1", "--creator", "nobody", code=1)
    assert "has no creator 'nobody'" in text


def test_strata_by_tenant_class_and_neyman_from_the_night_before(home, capsys, monkeypatch):
    """The classes and spreads that made the draw are in its manifest, so it can be repeated."""
    home = tamed(
        home,
        monkeypatch,
        NIGHT__STRATA='["tenant_class", "territory"]',
        NIGHT__TENANT_CLASSES='["tenant-1=enterprise"]',
        NIGHT__ALLOCATION="neyman",
    )
    for day in DAYS:
        run_night(home, day)
    first, second = (
        json.loads(home.night_file("sample", day, ".manifest.json").read_text()) for day in DAYS
    )
    names = [entry["stratum"] for entry in second["strata"]]
    assert names == ["tenant_class=enterprise|territory=DE", "tenant_class=other|territory=DE"]
    assert "spreads_ppm" not in first
    assert set(second["spreads_ppm"]) == set(names)
    assert list(second["tenant_classes"].values()) == ["enterprise"]
    for number in range(3):
        event = f"otel-genai:resp-{DAYS[1]}-{number}"
        drawn = command(capsys, home, "sample", "check", "--date", str(DAYS[1]), event)
        inside = pl.read_parquet(home.night_file("sample", DAYS[1], ".parquet"))["event_id"]
        assert drawn["included"] == (event in inside.to_list())


def test_logs_come_from_urls_too(home, capsys):
    """An fsspec URL on the command line is read as given, not as a path."""
    import fsspec

    folder = home.root / "elsewhere"
    write_log(folder / "night.jsonl", DAYS[0], calls(random.Random(1), 3), start=0)
    with fsspec.open("memory://gateway/night.jsonl", "wb") as file:
        file.write((folder / "night.jsonl").read_bytes())
    for url in ("memory://gateway/*.jsonl", f"file://{folder}/night.jsonl"):
        said = command(capsys, home, "ingest", "--date", NIGHT, "--log", url)
        assert said["logged"] == 3


def test_plain_jsonl_is_read_by_the_field_map_of_the_settings(home, capsys, monkeypatch):
    """Any shape of JSON lines can be a night, by settings alone."""
    log = home.root / "own.jsonl"
    row = {"at": f"{NIGHT}T10:00:00Z", "engine": "m", "reply": {"text": "words"}, "paid": 7}
    log.write_text(json.dumps(row) + "\n")
    fields = ["output=reply.text", "time=at", "model=engine", "value_units=paid"]
    home = tamed(home, monkeypatch, INGEST__FIELD_MAP=json.dumps(fields))
    said = command(capsys, home, "ingest", "--date", NIGHT, "--log", str(log))
    assert (said["logged"], said["payable"]) == (1, 1)
    assert date.fromisoformat(said["date"]) == DAYS[0]
