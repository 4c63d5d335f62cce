"""Statements by command: every format, versions, the path to the proof, and clear refusals."""

import csv
import io
import json
import re
import shlex
import shutil
import zipfile
from pathlib import Path

import pytest

from contracts.money import parse_units
from flows import cli
from flows.books import open_books
from flows.workspace import Workspace
from ledger import chart
from reports.errors import FontMissingError
from reports.render import pdf
from reports.statement_reader import read_statement
from tests.flows.papers import closed_months
from tests.reports.test_render import sheet_rows

FIRST, LAST = "2026-01", "2026-02"
OWN = "pkg:00004"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two closed months with all statements in all formats."""
    folder = tmp_path_factory.mktemp("papers") / "home"
    with pytest.MonkeyPatch.context() as patch:
        closed_months(patch, folder, 2)
    formats = [word for name in ("csv", "xlsx", "json", "html") for word in ("--format", name)]
    layouts = ["--layout", "summary", "--layout", "detail"]
    for period in (FIRST, LAST):
        words = ["statements", "--dir", str(folder), "--period", period, *formats, *layouts]
        assert cli.run([*words, "--processes", "1", "--json"]) == 0
    return folder


@pytest.fixture
def mine(home, tmp_path):
    """A copy of it that a test may spoil."""
    return shutil.copytree(home, tmp_path / "home")


def byline(capsys, *words):
    """Run a command in this process; return exit code, stdout, stderr."""
    capsys.readouterr()
    code = cli.run([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


def statements(home, period):
    """The folder of a period's statements."""
    return home / "reports" / period / "statements"


def json_of(home, period, payee=OWN):
    """One statement's JSON file."""
    (path,) = [
        path
        for path in statements(home, period).glob("*.json")
        if json.loads(path.read_bytes())["inputs"]["header"]["payee_id"] == payee
    ]
    return path


def test_totals_of_every_format_are_the_ledgers_to_the_unit(home):
    """CSV, XLSX, JSON and the account table of all payees against the postings of the book."""
    workspace = Workspace.open(home)
    with open_books(workspace) as books:
        entries = [s.entry for s in books.entries()]
    for period in (FIRST, LAST):
        for path in statements(home, period).glob("*.json"):
            made = read_statement(path.read_bytes(), path.name)
            account = chart.royalties_payable(made.inputs.header.payee_id)
            owed = -sum(
                p.units for e in entries if e.period <= period
                for p in e.postings if p.account_id == account
            )  # fmt: skip
            assert made.closing_units == owed
            stem = path.name.removesuffix(".json")
            for table in ("csv", "detail.csv"):
                text = path.with_name(f"{stem}.{table}").read_text(encoding="utf-8")
                rows = list(csv.DictReader(io.StringIO(text)))
                assert sum(int(row["amount_units"]) for row in rows) == made.earned_units
            sheet = sheet_rows(path.with_name(f"{stem}.xlsx").read_bytes(), 1)
            closing = dict(zip(sheet[0], sheet[-1], strict=True))
            assert closing["kind"] == "closing"
            assert int(closing["amount_units"]) == owed
            assert parse_units(f"{float(closing['amount']):.6f}", "USD/6") == owed
            shown = path.with_name(f"{stem}.html").read_text(encoding="utf-8")
            assert f"{owed % 10**6:06d}"[2:] in shown


def test_a_statement_and_its_proof_name_nobody_else_and_stay_small(home):
    """Each payee's entry is his own; the clearing account between them ends at zero."""
    payees = {f"pkg:{number:05d}" for number in range(14)}
    for path in statements(home, LAST).glob("*.json"):
        document = json.loads(path.read_bytes())
        own = document["inputs"]["header"]["payee_id"]
        text = json.dumps(document["proof"])
        assert not [payee for payee in payees - {own} if payee in text]
        for cited in document["proof"]["entries"]:
            assert own in cited["leaf"]
            assert len(cited["leaf"]) < 2000
    with open_books(Workspace.open(home)) as books:
        moved = [
            p.units
            for s in books.entries()
            for p in s.entry.postings
            if p.account_id == chart.POOL_CLEARING
        ]
        assert books.balance(chart.POOL_CLEARING, "USD/6") == 0
    assert max(moved) > 0 > min(moved)


def test_a_statement_rolls_forward_and_says_what_changed(home):
    """The second month opens where the first closed, with a chart of both and the year's sums."""
    first = read_statement(json_of(home, FIRST).read_bytes())
    second = read_statement(json_of(home, LAST).read_bytes())
    assert second.inputs.opening_units == first.closing_units > 0
    assert second.inputs.previous_closing_units == first.closing_units
    assert [point.period for point in second.inputs.history] == [FIRST, LAST]
    assert second.inputs.history[0] == first.inputs.history[-1]
    year = second.inputs.year_to_date
    assert year.earned_units == first.earned_units + second.earned_units
    changed = {change.what: (change.before, change.after) for change in second.inputs.changes}
    assert changed["Payable outputs"] == ("41", "42")
    assert second.inputs.carried_since == "2026-01-31"
    header = second.inputs.header
    assert (header.due_date, header.dispute_deadline) == ("2026-04-14", "2027-02-28")
    assert header.contact == "royalties@example.org"


def test_a_strangers_path_from_statement_to_proof(home, capsys):
    """As the README says: the first statement's checkpoint proves that the second adds to it."""
    key = home / "keys" / "log.pub"
    old, new = json_of(home, FIRST), json_of(home, LAST)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (line,) = [one for one in readme.splitlines() if one.startswith("byline audit verify NEW.json")]
    files = {"NEW.json": new, "OLD.json": old, "log.pub": key}
    words = [files.get(word, word) for word in shlex.split(line)[1:]]
    code, out, err = byline(capsys, *words, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["compared_with_held"]
    assert said["entries"] == 1
    spoiled = home / "spoiled.json"
    text = new.read_text(encoding="utf-8")
    spoiled.write_text(text.replace("royalties@example.org", "other@example.org"))
    assert byline(capsys, "audit", "verify", spoiled, "--key", key)[0] == 1


def test_a_rewritten_book_is_shown_by_the_checkpoint_held(mine, home, capsys):
    """Another book of the same size, signed with the same key, does not continue the first."""
    key = home / "keys" / "log.pub"
    document = json.loads(json_of(home, LAST).read_bytes())
    for link in document["proof"]["consistency"]:
        link["hashes"][0] = link["hashes"][-1]
    forged = mine / "forged.json"
    forged.write_text(json.dumps(document))
    code, _, err = byline(
        capsys, "audit", "verify", forged, "--key", key, "--against", json_of(home, FIRST)
    )
    assert code == 1
    assert "rewritten" in err


def test_writing_again_changes_nothing_and_finishes_what_is_missing(mine, capsys):
    """A run that was stopped goes on: only what is missing is written, with the same bytes."""
    before = {path: path.read_bytes() for path in statements(mine, LAST).iterdir()}
    words = ["statements", "--dir", mine, "--period", LAST, "--format", "csv", "--format", "json"]
    _, out, _ = byline(capsys, *words, "--json")
    assert json.loads(out)["written"] == 0
    lost = sorted(before)[:5]
    for path in lost:
        path.unlink()
    records = {path.name.split(".v1")[0] for path in lost if path.suffix in {".csv", ".json"}}
    _, out, _ = byline(capsys, *words, "--layout", "summary", "--layout", "detail", "--json")
    assert 0 < json.loads(out)["written"] <= len(records) + 1
    again = {path: path.read_bytes() for path in statements(mine, LAST).iterdir()}
    assert all(before[path] == data for path, data in again.items())


def test_several_processes_write_the_same_bytes(mine, capsys):
    """The pool is no other story than the one process."""
    before = {path.name: path.read_bytes() for path in statements(mine, LAST).glob("*.json")}
    shutil.rmtree(statements(mine, LAST))
    words = ["statements", "--dir", mine, "--period", LAST, "--format", "json", "--processes", "2"]
    assert byline(capsys, *words)[0] == 0
    assert {p.name: p.read_bytes() for p in statements(mine, LAST).iterdir()} == before


def test_a_statement_that_would_read_differently_becomes_a_version_that_names_the_first(
    mine, capsys
):
    """Refused without a reason; with one, version 2 names version 1 and the difference."""
    settings = mine / "byline.toml"
    settings.write_text(settings.read_text().replace("royalties@example", "people@example"))
    words = ["statement", "--dir", mine, "--creator", OWN, "--period", LAST, "--format", "json"]
    code, _, err = byline(capsys, *words)
    assert code == 1
    assert "inputs.header.contact was 'royalties@example.org' and is 'people@example.org'" in err
    code, out, err = byline(capsys, *words, "--restate", "new address", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["version"] == 2
    first = read_statement(json_of_version(mine, 1))
    second = read_statement(json_of_version(mine, 2))
    replaced = second.inputs.replaces
    assert (replaced.version, replaced.sha256) == (1, first.sha256)
    assert replaced.reason == "new address"
    assert second.difference_units == 0
    code, out, _ = byline(capsys, *words, "--json")
    assert json.loads(out)["version"] == 2
    assert not json.loads(out)["written"]


def test_what_refuses_to_change_a_statement_names_the_command_that_may(mine, capsys):
    """The audit pack and the report cannot restate: what they name can, and then they go on."""
    for words in (["audit", "pack"], ["report"]):
        assert byline(capsys, *words, "--dir", mine, "--period", LAST)[0] == 0
    settings = mine / "byline.toml"
    settings.write_text(settings.read_text().replace("royalties@example", "people@example"))
    said = {}
    for words in (["audit", "pack"], ["report"], ["statements"]):
        code, _, said[words[0]] = byline(capsys, *words, "--dir", mine, "--period", LAST)
        assert code == 1
    (named,) = {re.search(r"`byline (statements [^`]+)`", told)[1] for told in said.values()}
    words = shlex.split(named.replace("REASON", "'new address'"))
    assert byline(capsys, *words, "--dir", mine)[0] == 0
    for words in (["audit", "pack"], ["report"]):
        code, _, told = byline(capsys, *words, "--dir", mine, "--period", LAST)
        assert code == 0, told
    with zipfile.ZipFile(mine / "packs" / f"{LAST}.byline.zip") as pack:
        records = [n for n in pack.namelist() if re.fullmatch(r"statements/.*\.json", n)]
    assert len(records) == 14
    assert all(name.endswith(".v2.json") for name in records)


def json_of_version(home, version):
    """The record of one version of the own statement."""
    stem = f"{LAST}_{OWN}".replace(":", "_")
    (path,) = statements(home, LAST).glob(f"{stem}.*.v{version}.json")
    return path.read_bytes()


def test_who_is_not_under_contract_gets_a_nil_statement(home):
    """Nothing earned, nothing hidden: the sum in suspense is named."""
    found = [read_statement(p.read_bytes()) for p in statements(home, LAST).glob("*.json")]
    nil = [s for s in found if s.is_nil]
    assert {s.inputs.header.payee_id for s in nil} == {"pkg:00003", "pkg:00009"}
    assert all(chart.UNLICENSED in s.inputs.notes[0] for s in nil)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--creator", "pkg:0004", "--period", LAST, "--format", "pdf"],
            "the closest is pkg:00004",
        ),
        (["--creator", OWN, "--period", "2026-03", "--format", "pdf"], "not closed"),
        (["--creator", OWN, "--period", LAST], "needs --format"),
    ],
)
def test_bad_requests_are_refused_in_words_and_leave_nothing(mine, capsys, words, told):
    """Unknown creator, open period, a forgotten option."""
    before = sorted(path for path in (mine / "reports").rglob("*"))
    code, _, err = byline(capsys, "statement", "--dir", mine, *words)
    assert code in {1, 2}
    assert told in err
    assert sorted(path for path in (mine / "reports").rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_named(mine, capsys):
    """A file stands where the folder should be: no statement, a clear word."""
    shutil.rmtree(statements(mine, LAST))
    statements(mine, LAST).write_text("in the way")
    words = ["statement", "--dir", mine, "--creator", OWN, "--period", LAST, "--format", "csv"]
    code, _, err = byline(capsys, *words)
    assert code == 1
    assert "nothing was left under that name" in err


def test_a_broken_font_is_named_and_no_pdf_is_left(mine, capsys, monkeypatch):
    """The digest of every font is checked before the first page."""

    def broken():
        raise FontMissingError("fonts/SourceSans3-Regular.otf", "its SHA-256 is another")

    monkeypatch.setattr(pdf, "_compiler", broken)
    words = ["statement", "--dir", mine, "--creator", OWN, "--period", LAST, "--format", "pdf"]
    code, _, err = byline(capsys, *words)
    assert code == 1
    assert "SourceSans3" in err
    assert not list(statements(mine, LAST).glob("*.pdf"))
