"""The register of holds by command: who is not paid, why, since when; and how he is paid again."""

import json
from pathlib import Path

import pytest

from flows import cli
from flows.books import open_books
from flows.workspace import Workspace
from ledger import chart
from reports.statement_reader import read_statement
from tests.flows.papers import closed_months
from tests.reports.test_payout_files import pain002
from tests.reports.test_payouts import drafted

PAID = ("pkg:00004", "pkg:00005", "pkg:00006")
HELD = PAID[1]
BATCH = "B-2026-01"
WHY = ("--reason", "court order 7", "--by", "controller-1")
FREE = ("--reason", "order lifted", "--by", "controller-1")
SEND = ("--by", "treasurer-1", "--execute-on", "2026-02-10")


def prepare(run, batch=BATCH):
    """Draft a batch and have it approved."""
    made = run("prepare", "--batch", batch, "--prepared-by", "accountant-1")
    run("approve", "--batch", batch, "--approved-by", "controller-1")
    return made


def owed(home, payee):
    """What the book owes a payee."""
    with open_books(Workspace.open(home)) as books:
        return -books.balance(chart.royalties_payable(payee), "USD/6")


def test_a_held_payee_is_in_no_batch_until_he_is_released(run, home):
    """Listed with the reason, who and when; after the release the next batch pays him."""
    before = owed(home, HELD)
    run("hold", "--payee", HELD, *WHY)
    made = prepare(run)
    assert [line[1] for line in made["payouts"]] == [PAID[0], PAID[2]]
    assert [HELD, "USD/6", before, "held: court order 7"] in made["left_out"]
    text = Path(run("export", "--batch", BATCH, *SEND)["path"]).read_text()
    assert "<NbOfTxs>2</NbOfTxs>" in text
    (one,) = run("holds")["holds"]
    assert (one["payee"], one["reason"], one["placed_by"]) == (HELD, WHY[1], WHY[3])
    assert one["placed_at"].endswith("Z")
    assert one["owed"] == {"USD/6": before}
    assert run("list")["holds"] == [{k: v for k, v in one.items() if k != "owed"}]
    run("release", "--payee", HELD, *FREE)
    assert run("holds")["holds"] == []
    again = prepare(run, "B-2")
    assert [line[1] for line in again["payouts"]] == [HELD]
    run("export", "--batch", "B-2", *SEND)
    assert owed(home, HELD) < 10_000


def test_a_hold_after_the_approval_keeps_the_payout_from_the_bank(run, home, ibans):
    """The file, its control sum and the entries have the others; the payout says withheld."""
    before = owed(home, HELD)
    prepare(run)
    run("hold", "--payee", HELD, *WHY)
    path = Path(run("export", "--batch", BATCH, *SEND)["path"])
    first = path.read_bytes()
    assert ibans[HELD].encode() not in first
    assert b"<NbOfTxs>2</NbOfTxs>" in first
    assert owed(home, HELD) == before
    said = run("list", "--batch", BATCH)
    assert said["states"] == {"exported": 2, "withheld": 1}
    with open_books(Workspace.open(home)) as books:
        moving = -books.balance(chart.ROYALTIES_IN_TRANSIT, "USD/6")
    assert said["amounts"]["USD/6"]["exported"] == moving
    listed = (home / "payouts" / f"{BATCH}.csv").read_text().splitlines()
    assert sum(",withheld," in line for line in listed) == 1
    run("export", "--batch", BATCH, *SEND, "--reason", "bank lost it")
    assert path.read_bytes() == first
    run("release", "--payee", HELD, *FREE)
    run("export", "--batch", BATCH, *SEND, "--reason", "bank lost it again")
    assert path.read_bytes() == first
    assert [line[1] for line in prepare(run, "B-2")["payouts"]] == [HELD]


def test_a_batch_of_held_payees_alone_is_refused_and_books_nothing(run, home):
    """Everybody in it is held: the next step is named, no entry, no file."""
    prepare(run)
    for payee in PAID:
        run("hold", "--payee", payee, *WHY)
    err = run("export", "--batch", BATCH, *SEND, ok=False)
    assert "byline payout release" in err
    assert not list((home / "payouts").glob("*.xml"))
    assert run("list", "--batch", BATCH)["states"] == {"approved": 3}


def test_what_the_bank_sent_back_is_not_reissued_to_who_is_held(run, home):
    """The old payout stays rejected, and is owed; after the release it is drafted again."""
    prepare(run)
    text = Path(run("export", "--batch", BATCH, *SEND)["path"]).read_text()
    original = text.partition("<MsgId>")[2].partition("<")[0]
    ids = {payee: number for number, payee, *_ in run("list", "--batch", BATCH)["payouts"]}
    answer = home / "status.xml"
    lines = [(ids[payee], "RJCT", "AC04") for payee in PAID[:2]]
    answer.write_bytes(pain002(drafted(), *lines, original=original))
    run("read", "--batch", BATCH, "--on", "2026-02-11", answer)
    run("hold", "--payee", HELD, *WHY)
    again = run("reissue", "--batch", BATCH, "--as", "B-again", "--prepared-by", "accountant-1")
    assert [line[1] for line in again["payouts"]] == [PAID[0]]
    states = {payee: state for _, payee, _, _, state in run("list", "--batch", BATCH)["payouts"]}
    assert states == {PAID[0]: "reissued", HELD: "rejected", PAID[2]: "exported"}


@pytest.mark.parametrize(
    ("command", "words", "told"),
    [
        ("hold", ("--payee", "pkg:0005", *WHY), "the closest is pkg:00005"),
        ("hold", ("--payee", HELD, "--reason", " ", "--by", "c-1"), "has no reason"),
        ("release", ("--payee", HELD, *FREE), "held: nobody"),
    ],
)
def test_wrong_holds_are_refused_in_words(run, home, command, words, told):
    """Unknown payee, no reason, nothing to release: nothing is recorded."""
    assert told in run(command, *words, ok=False)
    with open_books(Workspace.open(home)) as books:
        actions = [record.access.action for record in books.accesses()]
    assert not {"payout-hold", "payout-release"} & set(actions)


def test_a_second_hold_names_the_first(run):
    """Who holds him already, and why."""
    run("hold", "--payee", HELD, *WHY)
    err = run("hold", "--payee", HELD, "--reason", "other", "--by", "accountant-1", ok=False)
    assert "by controller-1: court order 7" in err


def test_the_next_statement_says_that_what_is_payable_is_held(run, home, monkeypatch, capsys):
    """On the payable line, with the reason; the statement of the month before stays as it was."""
    words = ["--dir", str(home), "--creator", HELD, "--format", "json", "--json"]
    run("hold", "--payee", HELD, *WHY)
    closed_months(monkeypatch, home, 2)
    found = {}
    for period in ("2026-01", "2026-02"):
        capsys.readouterr()
        assert cli.run(["statement", "--period", period, *words]) == 0
        (name,) = json.loads(capsys.readouterr().out)["files"]
        made = read_statement(Path(name).read_bytes())
        (found[period],) = [line.note for line in made.summary if line.kind == "payable"]
        assert ("held" in json.loads(Path(name).read_bytes())["inputs"]) is bool(found[period])
    assert found["2026-01"] == ""
    assert found["2026-02"].startswith("held, nothing is sent: court order 7 (place ")


def test_the_compliance_report_lists_who_is_held_and_what_stands_in_the_way(run, home):
    """The register, and the owed money by reason; the amounts are the book's."""
    run("hold", "--payee", HELD, *WHY)
    words = ["report", "compliance", "--dir", str(home), "--period", "2026-01", "--format", "json"]
    assert cli.run(words) == 0
    said = json.loads((home / "reports" / "2026-01" / "compliance.json").read_bytes())
    tables = {t["label"]: t["rows"] for t in said["sections"][12]["tables"]}
    ((payee, by, _, money),) = tables["Register of holds: 1 payees"]
    assert (payee, by) == (f"{HELD} ({WHY[1]})", WHY[3])
    assert money == f"USD {owed(home, HELD) / 10**6:,.6f}"
    rows = tables["What is owed and not on its way to the bank"]
    assert {row[0]: row[2] for row in rows} == {
        "on the register of holds": "1",
        "can be paid by the next batch": "2",
        "no bank details": "9",
    }
    total = sum(int(row[3].replace(",", "").replace(".", "")) for row in rows)
    with open_books(Workspace.open(home)) as books:
        assert total == -sum(books.balances(chart.PAYABLE_PREFIX, "USD/6").values())
