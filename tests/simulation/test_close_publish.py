"""Two months with a real night: a dispute and a match between them, and statements that foot."""

import json

import pytest

from flows import cli
from flows.books import open_books
from flows.close import close_period
from flows.engine import run_night
from flows.publish import publish_period
from ledger import chart
from ledger.audit import run_verify
from ledger.checkpoint import read_verifiers
from reports.statement_proof import verify_statement_file
from tests.simulation.tiny import DAYS, copy_of, tiny

PEOPLE = {"prepared_by": "accountant-1", "approved_by": "controller-1"}
MATCHED, DISPUTED = "pkg05/readme", "pkg06/readme"


def said(capsys, *words):
    """Run a command with --json and return what it says."""
    code = cli.run([*words, "--json"])
    out = capsys.readouterr()
    assert code == 0, out.err
    return json.loads(out.out)


@pytest.fixture(scope="module")
def october(tmp_path_factory):
    """October settled and closed with one work nobody owns and one claimed twice."""
    workspace = copy_of(tiny(), tmp_path_factory.mktemp("october") / "home")
    data = json.loads(workspace.catalogue.read_bytes())
    for work in data["works"]:
        if work["work_id"] == MATCHED:
            work["splits"] = []
        if work["work_id"] == DISPUTED:
            work["splits"].append({"party_id": "pkg:07", "share": "1/2"})
            work["dispute"] = "dsp-1"
    workspace.catalogue.write_text(json.dumps(data), encoding="utf-8")
    run_night(workspace, DAYS[0])
    close_period(workspace, "2026-10", **PEOPLE)
    publish_period(workspace, "2026-10")
    return workspace


def test_what_waited_is_found_matched_paid_and_on_the_statements(october, tmp_path, capsys):
    """Each unit leaves suspense by a typed adjustment, and every statement proves itself."""
    workspace = copy_of(october, tmp_path / "home")
    home = ("--dir", str(workspace.home))
    with open_books(workspace) as books:
        waiting = -books.balance(chart.UNMATCHED, "USD/6") - books.balance(chart.DISPUTED, "USD/6")
    found = said(capsys, "works", "unmatched", *home)
    assert {row["work_id"] for row in found["works"]} == {MATCHED, DISPUTED}
    assert found["total_units"] == waiting > 0
    decided = ("--decided-by", "clerk-1", "--reason", "claim 7", *home)
    said(capsys, "works", "match", MATCHED, "--owner", "pkg:05=1", *decided)
    said(capsys, "works", "match", DISPUTED, "--owner", "pkg:06=1", *decided)
    with open_books(workspace) as books:
        books.open_period("2026-11")
    closed = close_period(workspace, "2026-11", **PEOPLE)
    adjusted = {
        name: [(a.adjustment_type.value, a.activity_period.text) for a in mine]
        for name, mine in closed.plan.restatement.adjustments.items()
    }
    assert adjusted == {
        "agr-pkg-05": [("backpay_match", "2026-10")],
        "agr-pkg-06": [("dispute_release", "2026-10")],
    }
    units = sum(a.amount_units for m in closed.plan.restatement.adjustments.values() for a in m)
    assert units == waiting
    published = publish_period(workspace, "2026-11")
    keys = read_verifiers(workspace.public_key)
    for path in published.statements:
        verify_statement_file(path.read_bytes(), keys, name=path.name)
    assert run_verify(published.pack, workspace.public_key).ok
    assert said(capsys, "works", "unmatched", *home)["works"] == []


def test_october_published_again_after_the_match_changes_no_byte(october, tmp_path):
    """A closed month is worked out with what was known, whatever was learned since."""
    workspace = copy_of(october, tmp_path / "home")
    statements = sorted((workspace.reports("2026-10") / "statements").iterdir())
    before = {path: path.read_bytes() for path in statements if path.suffix == ".csv"}
    words = ["works", "match", MATCHED, "--owner", "pkg:05=1", "--decided-by", "c", "--reason", "r"]
    assert cli.run([*words, "--dir", str(workspace.home)]) == 0
    publish_period(workspace, "2026-10")
    assert [path.name for path, data in before.items() if path.read_bytes() != data] == []


def test_a_dry_run_of_a_closed_month_says_what_half_the_rate_would_have_paid(
    october, tmp_path, capsys
):
    """`byline settle --what-if` posts nothing and halves exactly one creator's royalty."""
    workspace = copy_of(october, tmp_path / "home")
    text = (workspace.agreements / "pkg-00.yaml").read_text(encoding="utf-8")
    tried = tmp_path / "tried.yaml"
    tried.write_text(text.replace("rate: 100%", "rate: 50%"), encoding="utf-8")
    with open_books(workspace) as books:
        entries = len(list(books.entries()))
    words = ("settle", "--dir", str(workspace.home), "--period", "2026-10")
    (row,) = said(capsys, *words, "--what-if", str(tried))["changed"]
    assert abs(2 * row["royalty_after_units"] - row["royalty_before_units"]) <= 1
    with open_books(workspace) as books:
        assert len(list(books.entries())) == entries
