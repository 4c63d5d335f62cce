"""The Prefect flows do what the plain commands do, and an operator sees it.

Slow: Prefect's own server has to start, and a step has to run into its time limit.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.books import open_books
from flows.close import close_period
from flows.engine import prefect_environment, run_night
from flows.seal import latest_root
from tests.flows.prefect_month import PEOPLE, PERIOD
from tests.simulation.tiny import DAYS, copy_of, tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """Run the month as flows in a process of its own; give its folder and what it said."""
    workspace = copy_of(tiny(), tmp_path_factory.mktemp("prefect") / "home")
    quick = {"BYLINE_ENGINE__STEP_RETRY_DELAY_S": "0", "BYLINE_ENGINE__STEP_TIMEOUT_S": "15"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.flows.prefect_month", str(workspace.home)],
        env=os.environ | prefect_environment(workspace) | quick,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return workspace, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_flows_end_in_the_same_root_as_plain_python(month, tmp_path):
    """Prefect watches; it changes no entry."""
    plain = copy_of(tiny(), tmp_path / "home")
    for day in DAYS:
        run_night(plain, day)
    close_period(plain, PERIOD, **PEOPLE)
    with open_books(plain) as books:
        assert month[1]["root"] == latest_root(books)


@pytest.mark.slow
def test_only_trouble_that_can_pass_is_tried_again(month):
    """A room's error once, a hung step and an absent database twice; the lock holds for flows."""
    said = month[1]
    assert said["room"] == ["NightError", 1]
    assert said["hung"] == said["away"] == 2
    assert said["locked"] == "LockHeldError"


@pytest.mark.slow
def test_every_command_says_under_prefect_what_it_says_without(month):
    """Nights, close, papers and index by the commands' own words, with `--engine prefect`."""
    workspace, said = month
    nights = said["backfill"]["nights"]
    assert [night["settled_now"] for night in nights.values()] == [False, True]
    assert {night["kind"] for night in nights.values()} == {"accrual"}
    assert said["close"]["pool_units"] == sum(said["close"]["destinations"].values())
    assert Path(said["report"]["audit_pack"]).is_file()
    assert said["report"]["access_recorded"] is True
    assert said["accesses"] == 1
    assert said["index"]["index"] == str(workspace.index)


@pytest.mark.slow
def test_an_operator_reads_tables_links_and_progress(month):
    """Steps and filters as tables, files as links, shards as a bar."""
    workspace, said = month
    shown = said["artifacts"]
    steps = [row["step"] for row in json.loads(shown[f"night-{DAYS[0]}"][1])]
    assert steps == ["ingest", "filter", "sample", "attribute", "estimate", "settle", "seal"]
    assert json.loads(shown[f"filters-{DAYS[0]}"][1])[-1]["reason"] == "payable"
    assert json.loads(shown[f"close-{PERIOD}"][1])[0]["to"] == "pool"
    assert workspace.pack(PERIOD).as_uri() in shown[f"pack-{PERIOD}"][1]
    assert (
        workspace.night_file("sample", DAYS[0], ".manifest.json").as_uri()
        in (shown[f"sample-{DAYS[0]}"][1])
    )
    assert shown[f"progress-{DAYS[0]}-attribute"] == ["progress", 100.0]


@pytest.mark.slow
def test_results_are_json_and_nothing_is_sent_home(month):
    """Every result file reads as JSON; telemetry is off."""
    workspace, said = month
    assert said["telemetry"] == [False, False]
    results = [path for path in (workspace.prefect_home / "storage").rglob("*") if path.is_file()]
    kept = [json.loads(path.read_bytes()) for path in results]
    assert any(str(DAYS[1]) in result for result in kept)
    assert said["close"] in kept
