"""Compliance report, disclosure drafts, lookups and exports by command, over closed months."""

import csv
import io
import json
import shutil

import pytest

from flows import cli
from flows.books import open_books
from flows.publish import publish_period
from reports.statement_reader import read_statement
from tests.flows.papers import closed_months

PERIOD = "2026-02"
WORK = "work:00004"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Two closed months, published."""
    folder = tmp_path_factory.mktemp("reports") / "home"
    with pytest.MonkeyPatch.context() as patch:
        made = closed_months(patch, folder, 2)
    for period in ("2026-01", PERIOD):
        publish_period(made, period)
    return made


def byline(capsys, *words):
    """Run a command in this process; return exit code, stdout, stderr."""
    capsys.readouterr()
    code = cli.run([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


def test_the_compliance_report_has_twenty_sections_with_sources(workspace, capsys):
    """PDF, HTML and JSON; what cannot be filled says so; every figure names its source."""
    words = ["report", "compliance", "--dir", workspace.home, "--period", PERIOD, "--json"]
    code, out, err = byline(capsys, *words)
    assert code == 0, err
    said = json.loads(out)
    assert len(said["sections"]) == 20
    assert [path.rpartition(".")[2] for path in said["files"]] == ["html", "json", "pdf", "csv"]
    made = json.loads((workspace.reports(PERIOD) / "compliance.json").read_bytes())
    sections = {int(s["number"]): s for s in made["sections"]}
    for section in sections.values():
        assert section["state"] != "not filled" or section["gaps"]
        assert all(figure["source"] for figure in section["figures"])
    filled = [n for n, s in sections.items() if s["figures"] or s["tables"]]
    assert {1, 3, 4, 6, 7, 8, 9, 10, 11, 12, 14, 16, 17, 19} <= set(filled)
    (gap,) = sections[8]["gaps"]
    assert gap["what"] == "LDS, misallocated money, agreement between methods"


def test_a_statement_altered_after_it_was_issued_is_an_exception(workspace, capsys):
    """The controls matrix works out every statement's digest and sums again."""
    file = min((workspace.reports(PERIOD) / "statements").glob("*.json"))
    words = ["report", "compliance", "--dir", workspace.home, "--period", PERIOD]
    issued = file.read_bytes()

    def exceptions():
        assert byline(capsys, *words)[0] == 0
        made = json.loads((workspace.reports(PERIOD) / "compliance.json").read_bytes())
        tables = [table for section in made["sections"] for table in section["tables"]]
        (matrix,) = [t for t in tables if "Exceptions" in t["columns"]]
        return {row[0].split(" (")[0]: row[-1] for row in matrix["rows"]}

    assert exceptions()["Statements foot"] == "0"
    try:
        document = json.loads(issued)
        document["totals"]["closing"]["units"] = "1"
        file.write_text(json.dumps(document))
        assert exceptions()["Statements foot"] == "1"
    finally:
        file.write_bytes(issued)


def test_the_stages_of_the_reconciliation_are_the_ledgers(workspace, capsys):
    """From pools to payables: each number again from the book."""
    byline(capsys, "report", "compliance", "--dir", workspace.home, "--period", PERIOD)
    made = json.loads((workspace.reports(PERIOD) / "compliance.json").read_bytes())
    rows = made["sections"][10]["tables"][0]["rows"]
    with open_books(workspace) as books:
        entries = [s.entry for s in books.entries() if s.entry.period == PERIOD]
    accrued = sum(
        p.units for e in entries if e.scope == "nightly" for p in e.postings if p.units > 0
    )
    payable = -sum(
        p.units
        for e in entries
        for p in e.postings
        if p.account_id.startswith("Liabilities:RoyaltiesPayable:")
    )
    shown = {row[0].split(" (")[0]: row[1].replace(",", "").replace(".", "") for row in rows}
    assert int(shown["Accrued in the ledger"]) == accrued
    assert int(shown["Owed to payees for the period"]) == payable


def test_a_lookup_says_what_the_statements_say(workspace, capsys, tmp_path):
    """Documents by digest, agreement, and the amounts of both months' statements."""
    words = ["report", "lookup", "--dir", workspace.home, "--work", WORK, "--date", "2026-03-01"]
    code, out, err = byline(capsys, *words, "--out", tmp_path, "--json")
    assert code == 0, err
    said = json.loads(out)
    stated = 0
    for path in (workspace.root / "reports").glob("*/statements/*.json"):
        for line in read_statement(path.read_bytes()).inputs.works:
            stated += line.amount_units if line.work_id == WORK else 0
    assert said["earned_units"] == stated > 0
    made = json.loads((tmp_path / "lookup-work-00004.json").read_bytes())["lookup"]
    assert len(made["documents"]) == 1
    assert len(made["agreements"]) == 1
    words[5] = "work:unknown"
    _, out, _ = byline(capsys, *words, "--out", tmp_path, "--json")
    assert not json.loads(out)["found"]


@pytest.mark.parametrize("kind", ["eu", "california"])
def test_disclosures_say_what_is_known_and_leave_the_rest_open(workspace, capsys, tmp_path, kind):
    """Without the origin of a kind of source nothing is written: "none used" would be a lie."""
    words = ["report", "disclosure", "--dir", workspace.home, "--kind", kind]
    words += ["--date", "2026-03-01", "--out", tmp_path]
    code, _, err = byline(capsys, *words)
    assert code == 1
    assert "origins: {unregistered:" in err
    assert not list(tmp_path.iterdir())
    answers = tmp_path.parent / f"{kind}.yaml"
    answers.write_text("origins: {unregistered: own}\nprovider: Org\nmodel_names: [tiny-1]\n")
    code, _, err = byline(capsys, *words, "--answers", answers)
    assert code == 0, err
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".html", ".pdf"}
    answers.write_text("provder: Org\n")
    assert "the closest is provider" in byline(capsys, *words, "--answers", answers)[2]


def test_exports_hold_the_book_and_the_statements(workspace, capsys, tmp_path):
    """ADS: debits are credits; DSR style: the foot has the sum of the statements."""
    words = ["--dir", workspace.home, "--period", PERIOD, "--out", tmp_path]
    assert byline(capsys, "export", "ads", *words)[0] == 0
    text = (tmp_path / "GL_Detail_202602_202602.csv").read_text()
    sums = {"D": 0, "C": 0}
    for row in csv.DictReader(io.StringIO(text)):
        sums[row["Amount_Credit_Debit_Indicator"]] += int(row["Amount"].replace(".", ""))
    assert sums["D"] == sums["C"] > 0
    assert byline(capsys, "export", "dsr", *words, "--recipient", "org:society")[0] == 0
    foot = (tmp_path / f"dsr-style-{PERIOD}.tsv").read_text().splitlines()[-1].split("\t")
    payable = sum(
        read_statement(path.read_bytes()).payable_units
        for path in (workspace.reports(PERIOD) / "statements").glob("*.json")
    )
    assert int(foot[3]) == payable


def test_an_open_period_has_no_report(workspace, capsys):
    """The period is named with the command that closes it, and no file appears."""
    for command in (["report", "compliance"], ["export", "ads"], ["report"]):
        words = [*command, "--dir", workspace.home, "--period", "2026-09"]
        code, _, err = byline(capsys, *words)
        assert code == 1
        assert "byline close --period 2026-09" in err
    assert not workspace.reports("2026-09").exists()


@pytest.mark.slow
def test_a_simulated_year_foots_from_month_to_month(tmp_path, monkeypatch, capsys):
    """Twelve closes: each statement opens where the last one closed, the chart has them all."""
    made = closed_months(monkeypatch, tmp_path / "home", 12, year=2025)
    closing: dict[str, int] = {}
    for month in range(1, 13):
        period = f"2025-{month:02d}"
        publish_period(made, period)
        words = ["report", "compliance", "--dir", made.home, "--period", period]
        assert byline(capsys, *words)[0] == 0
        for path in (made.reports(period) / "statements").glob("*.json"):
            statement = read_statement(path.read_bytes())
            payee = statement.inputs.header.payee_id
            assert statement.inputs.opening_units == closing.get(payee, 0)
            assert len(statement.inputs.history) == month
            closing[payee] = statement.closing_units
    shutil.rmtree(made.home)
