"""An outsider works a period out again from its pack, and draws samples of his own."""

import csv
import json
import math
import zipfile
from fractions import Fraction

import pytest

from flows import cli
from flows.books import open_books
from flows.close import close_period
from flows.engine import run_night
from flows.publish import publish_period
from ledger import chart
from tests.flows.papers import PEOPLE, closed_months
from tests.simulation.tiny import DAYS, copy_of, tiny

SEED = "ab" * 16


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """A month with a real model: two nights, a late log, closed and published."""
    workspace = copy_of(tiny(), tmp_path_factory.mktemp("reperform") / "home")
    for day in DAYS:
        run_night(workspace, day)
    logs = [workspace.logs, workspace.logs / "late"]
    run_night(workspace, DAYS[0], logs=logs, approved_by="controller-1")
    close_period(workspace, "2026-10", **PEOPLE)
    return workspace, publish_period(workspace, "2026-10").pack


def byline(capsys, *words):
    """Run a command in this process; return exit code, stdout, stderr."""
    capsys.readouterr()
    code = cli.run([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_every_entry_of_the_period_comes_out_of_the_pack_to_the_byte(month, capsys):
    """Nights, late log and close; what no file explains is counted by kind."""
    workspace, pack = month
    code, out, err = byline(capsys, "audit", "reperform", pack, "--json")
    assert code == 0, err
    said = json.loads(out)
    with open_books(workspace) as books:
        kinds = [s.entry.kind for s in books.entries()]
    assert said["same"] == {k: kinds.count(k) for k in sorted(set(kinds) - {"advance"})}
    assert said["other"] == {"advance": 1}


def test_influence_is_measured_again_from_model_and_corpus(month, capsys):
    """A random sample of pairs within the tolerance, and rows of the index computed anew."""
    workspace, pack = month
    words = ["audit", "reperform", pack, "--workspace", workspace.home, "--seed", SEED]
    code, out, err = byline(capsys, *words, "--pairs", "9", "--rows", "2", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["pairs"] == 9
    assert said["rows"] > 0
    assert said["worst_ppm"] <= said["tolerance_ppm"] == 10_000


def test_texts_that_were_dropped_stop_the_second_measurement(month, capsys, tmp_path):
    """Without the texts the pack names, nothing is measured and it is said."""
    workspace, pack = month
    mine = copy_of(workspace, tmp_path / "home")
    (mine.root / "sample" / f"{DAYS[0]}.parquet").unlink()
    words = ["audit", "reperform", pack, "--workspace", mine.home, "--seed", SEED]
    code, _, err = byline(capsys, *words)
    assert code == 1
    assert "cannot be measured again" in err


def test_a_pack_whose_files_do_not_lead_to_its_book_is_named(month, capsys, tmp_path):
    """Estimates exchanged for others: their digest is not the one the entry cites."""
    _, pack = month
    spoiled = tmp_path / pack.name
    with zipfile.ZipFile(pack) as old, zipfile.ZipFile(spoiled, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == f"evidence/estimates.{DAYS[0]}.manifest.json":
                data = data.replace(b'"sampled":24', b'"sampled":23')
            new.writestr(name, data)
    assert byline(capsys, "audit", "reperform", spoiled)[0] == 1


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two closed months without a model."""
    folder = tmp_path_factory.mktemp("samples") / "home"
    with pytest.MonkeyPatch.context() as patch:
        workspace = closed_months(patch, folder, 2)
    for period in ("2026-01", "2026-02"):
        publish_period(workspace, period)
    return workspace


def test_a_later_period_starts_from_what_the_earlier_one_left(home, capsys):
    """The second month is worked out with the balances that its pack brings along."""
    code, out, err = byline(capsys, "audit", "reperform", home.pack("2026-02"), "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["same"] == {"accrual": 1, "apportionment": 13}  # The pool, and twelve payees
    assert sum(said["other"].values()) == 16


def test_a_sample_is_drawn_again_alike_and_evaluated(home, capsys, tmp_path):
    """The population is what was credited; errors found give an upper limit."""
    words = ["audit", "sample", "--dir", home.home, "--period", "2026-02", "--seed", SEED]
    words += ["--tolerable", "30", "--logged", "5", "--json"]
    code, out, err = byline(capsys, *words)
    assert code == 0, err
    first = json.loads(out)
    with open_books(home) as books:
        credited = -sum(
            p.units
            for s in books.entries()
            if s.entry.period == "2026-02"
            for p in s.entry.postings
            if p.account_id.startswith(chart.PAYABLE_PREFIX) and p.units < 0
        )
    assert int(first["paid"]["plan"]["book_units"]) == credited
    assert len(first["logged"]) == 5
    drawn = first["paid"]["selected"]
    audited = tmp_path / "audited.csv"
    with audited.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["item_id", "units"])
        for one in drawn:
            item = one["item"]
            rows.writerow([item["item_id"], item["book_units"]])
    code, out, _ = byline(capsys, *words, "--audited", audited)
    again = json.loads(out)
    assert again["paid"]["selected"] == drawn
    assert again["logged"] == first["logged"]
    said = again["evaluation"]
    assert said["projected_units"] == "0"
    assert int(said["upper_limit_units"]) == int(said["basic_precision_units"]) > 0


def test_the_working_paper_says_what_was_drawn_and_what_an_error_found_comes_to(
    home, capsys, tmp_path
):
    """The table comes back with amounts filled in; one item of half its amount is projected."""
    words = ["audit", "sample", "--dir", home.home, "--period", "2026-02", "--seed", SEED]
    words += ["--tolerable", "300", "--logged", "5"]
    assert byline(capsys, *words)[0] == 0
    folder = home.reports("2026-02")
    paper = (folder / "audit-sample.txt").read_text(encoding="utf-8")
    assert SEED in paper
    assert "open: fill in the column units" in paper
    said = json.loads((folder / "audit-sample.json").read_bytes())
    assert (said["unpaid"], said["unpaid_population"]) == (["pkg:00009", "pkg:00003"], "2")
    assert "  pkg:00009" in paper
    with (folder / "audit-sample.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wrong = next(row for row in rows if row["is_top"] == "no")
    for row in rows:
        if row["hits"] != "0" or row["is_top"] == "yes":
            row["units"] = str(int(row["book_units"]) // (2 if row is wrong else 1))
    audited = tmp_path / "audited.csv"
    with audited.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    assert byline(capsys, *words, "--audited", audited)[0] == 0
    paper = (folder / "audit-sample.txt").read_text(encoding="utf-8")
    said = json.loads((folder / "audit-sample.json").read_bytes())
    plan, found = said["paid"]["plan"], said["evaluation"]
    error = int(wrong["book_units"]) - int(wrong["book_units"]) // 2
    taint = Fraction(error, int(wrong["book_units"])) * int(wrong["hits"])
    assert int(found["projected_units"]) == math.ceil(taint * int(plan["interval_units"]))
    assert int(found["upper_limit_units"]) > int(found["basic_precision_units"])
    assert f"overstated   {wrong['item_id']}" in paper
    with (folder / "audit-sample-logged.csv").open(newline="", encoding="utf-8") as file:
        logged = list(csv.DictReader(file))
    with open_books(home) as books:
        nights = {s.entry_id for s in books.entries() if s.entry.key == "2026-02-20/main"}
    assert {row["entry_id"] for row in logged} == nights
    publish_period(home, "2026-02")
    with zipfile.ZipFile(home.pack("2026-02")) as pack:
        assert not [name for name in pack.namelist() if "audit-sample" in name]


def test_a_sample_that_answers_nothing_is_refused(home, capsys):
    """More expected than tolerable, or a seed that is no seed."""
    words = ["audit", "sample", "--dir", home.home, "--period", "2026-02"]
    code, _, err = byline(
        capsys, *words, "--seed", SEED, "--tolerable", "1", "--expected", "2"
    )  # fmt: skip
    assert code == 1
    assert "nothing was drawn" in err
    assert byline(capsys, *words, "--seed", "xy", "--tolerable", "1")[0] == 2
