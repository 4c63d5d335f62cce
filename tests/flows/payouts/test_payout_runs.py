"""Payouts by command: two people, one bank file, the bank's answers, every state from the book."""

import hashlib
import json
from importlib import resources
from pathlib import Path

import pytest
import xmlschema
from pyiso20022.pain.pain_001_001_09 import Document
from xsdata.formats.dataclass.parsers import XmlParser

from flows import cli
from flows.books import open_books
from flows.workspace import Workspace
from ledger import chart
from ledger.store import LedgerStore
from reports.statement_reader import read_statement
from tests.flows.papers import closed_months
from tests.reports.test_payout_files import camt053, pain002
from tests.reports.test_payouts import drafted

PAID = ("pkg:00004", "pkg:00005", "pkg:00006")
BATCH = "B-2026-01"


def exported(run):
    """Prepare, approve and export the batch."""
    run("prepare", "--batch", BATCH, "--prepared-by", "accountant-1")
    run("approve", "--batch", BATCH, "--approved-by", "controller-1")
    by = ["--by", "treasurer-1", "--execute-on", "2026-02-10"]
    return run("export", "--batch", BATCH, *by), by


def answer(home, name, data):
    """Put a bank's answer beside the workspace."""
    path = home / name
    path.write_bytes(data)
    return path


def ids_of(run):
    """The payout ids of the batch, by payee."""
    lines = run("list", "--batch", BATCH)["payouts"]
    return {payee: (payout_id, units) for payout_id, payee, _, units, _ in lines}


def balances(home, prefix):
    """Balances of accounts by a prefix."""
    workspace = Workspace.open(home)
    with open_books(workspace) as books:
        return books.balances(prefix, "USD/6")


def test_what_cannot_be_paid_is_listed_and_never_exported(run, home):
    """No bank details, a hold: named with the reason; the file has only the rest."""
    made = run(
        "prepare", "--batch", BATCH, "--prepared-by", "accountant-1", "--hold", f"{PAID[2]}=court"
    )
    assert [line[1] for line in made["payouts"]] == list(PAID[:2])
    reasons = {payee: why for payee, _, _, why in made["left_out"] if payee not in PAID[:2]}
    assert reasons[PAID[2]] == "held: court"
    assert set(reasons.values()) == {"held: court", "no bank details"}
    owed = -sum(balances(home, chart.PAYABLE_PREFIX).values())
    listed = sum(line[3] for line in made["payouts"]) + sum(line[2] for line in made["left_out"])
    assert listed == owed


def test_the_preparer_cannot_approve_and_nothing_is_exported_before(run):
    """A second person, and only then the bank file; a batch id is never used twice."""
    run("prepare", "--batch", BATCH, "--prepared-by", "accountant-1")
    err = run("approve", "--batch", BATCH, "--approved-by", "accountant-1", ok=False)
    assert "cannot approve it" in err
    err = run(
        "export", "--batch", BATCH, "--by", "x-1", "--execute-on", "2026-02-10", ok=False
    )  # fmt: skip
    assert "not approved" in err
    err = run("prepare", "--batch", BATCH, "--prepared-by", "accountant-1", ok=False)
    assert "was used before" in err
    other = run("prepare", "--batch", "B-2", "--prepared-by", "accountant-1")
    assert not other["payouts"]
    assert {line[3] for line in other["left_out"]} >= {f"held: in batch {BATCH}"}


def test_export_books_the_money_as_on_its_way_and_says_the_same_again(run, home):
    """Payable to transit; the second export needs a reason and gives the same bytes."""
    before = balances(home, chart.PAYABLE_PREFIX)
    said, by = exported(run)
    first = Path(said["path"]).read_bytes()
    after = balances(home, chart.PAYABLE_PREFIX)
    paid = {payee: units for payee, (_, units) in ids_of(run).items()}
    for payee, units in paid.items():
        account = chart.royalties_payable(payee)
        assert after[account] - before[account] == units
    assert balances(home, chart.ROYALTIES_IN_TRANSIT)[chart.ROYALTIES_IN_TRANSIT] == -sum(
        paid.values()
    )
    assert "was exported" in run("export", "--batch", BATCH, *by, ok=False)
    run("export", "--batch", BATCH, *by, "--reason", "bank lost it")
    assert Path(said["path"]).read_bytes() == first
    assert b"<NbOfTxs>3</NbOfTxs>" in first


def test_answers_settle_reject_and_return_and_what_came_back_is_reissued(run, home):
    """accepted, settled, reconciled; rejected and returned go into another batch."""
    exported(run)
    ids = ids_of(run)
    one, two, three = (ids[payee][0] for payee in PAID)
    like = drafted()
    message = next(home.glob(f"payouts/{BATCH}.pain.001.xml")).read_text()
    original = message.partition("<MsgId>")[2].partition("<")[0]
    status = pain002(
        like, (one, "ACSC", ""), (two, "ACSP", ""), (three, "RJCT", "AC04"), original=original
    )
    file = answer(home, "status.xml", status)
    said = run("read", "--batch", BATCH, "--on", "2026-02-11", file)
    assert [event for _, event, _ in said["booked"]] == ["accept", "accept", "reject"]
    assert run("read", "--batch", BATCH, "--on", "2026-02-11", file)["known"] == 3
    assert "in transit" in run("reconcile", "--batch", BATCH, "--by", "a-1", ok=False)
    coins = {payee: f"{units / 10**6:.2f}" for payee, (_, units) in ids.items()}
    booked = camt053((one, coins[PAID[0]], "DBIT", ""), (two, coins[PAID[1]], "DBIT", ""))
    run("read", "--batch", BATCH, answer(home, "s1.xml", booked.replace(b"EUR", b"USD")))
    run("reconcile", "--batch", BATCH, "--by", "accountant-1")
    back = camt053((two, coins[PAID[1]], "CRDT", "AC04")).replace(b"EUR", b"USD")
    run("read", "--batch", BATCH, answer(home, "s2.xml", back))
    states = run("list", "--batch", BATCH)["states"]
    assert states == {"reconciled": 1, "rejected": 1, "returned": 1}
    again = run("reissue", "--batch", BATCH, "--as", "B-again", "--prepared-by", "accountant-1")
    assert [line[1] for line in again["payouts"]] == [PAID[1], PAID[2]]
    assert run("list", "--batch", BATCH)["states"] == {"reconciled": 1, "reissued": 2}
    assert set(ids_of(run)) == set(PAID)
    assert balances(home, chart.ROYALTIES_IN_TRANSIT)[chart.ROYALTIES_IN_TRANSIT] == 0


def test_an_amount_that_differs_books_nothing(run, home):
    """The bank says another amount: an error, no entry."""
    exported(run)
    one, _ = ids_of(run)[PAID[0]]
    data = camt053((one, "0.01", "DBIT", "")).replace(b"EUR", b"USD")
    err = run("read", "--batch", BATCH, answer(home, "s.xml", data), ok=False)
    assert "nothing was booked" in err
    assert run("list", "--batch", BATCH)["states"] == {"exported": 3}


def test_an_edited_batch_file_is_found(run, home):
    """The log has the digest of the file; another payee in it is refused."""
    run("prepare", "--batch", BATCH, "--prepared-by", "accountant-1")
    path = home / "payouts" / f"{BATCH}.batch.json"
    path.write_bytes(path.read_bytes().replace(PAID[0].encode(), b"pkg:00011"))
    err = run("approve", "--batch", BATCH, "--approved-by", "controller-1", ok=False)
    assert "the log says" in err


def test_an_export_that_died_before_its_file_is_finished_by_the_same_command(
    run, home, monkeypatch
):
    """The entries are posted, the file is not there: the same bytes come, nothing posts twice."""
    from flows import payout_events

    monkeypatch.setattr(payout_events, "write_report", _die)
    with pytest.raises(SystemError):
        exported(run)
    monkeypatch.undo()
    leaves = _size(home)
    run("export", "--batch", BATCH, "--by", "t-1", "--execute-on", "2026-03-01")
    text = (home / "payouts" / f"{BATCH}.pain.001.xml").read_text()
    assert "2026-02-10" in text
    assert _size(home) == leaves + 1


def _die(*_):
    raise SystemError("killed")


def _size(home):
    workspace = Workspace.open(home)
    store = LedgerStore.open(workspace.ledger_url)
    try:
        return store.head_seq()
    finally:
        store.close()


def test_a_payout_stands_on_the_next_statement(run, home, monkeypatch, capsys):
    """What was paid in February is a line of February's statement, which foots with the book."""
    said, _ = exported(run)
    assert said["execute_on"] == "2026-02-10"
    closed_months(monkeypatch, home, 2)
    capsys.readouterr()
    words = ["statement", "--dir", home, "--creator", PAID[0], "--period", "2026-02"]
    assert cli.run([*map(str, words), "--format", "json", "--json"]) == 0
    (name,) = json.loads(capsys.readouterr().out)["files"]
    made = read_statement(Path(name).read_bytes())
    paid = [m.amount_units for m in made.inputs.movements if m.kind == "payout"]
    assert paid == [-ids_of(run)[PAID[0]][1]]
    assert made.inputs.year_to_date.paid_units == -paid[0]


def test_the_exported_file_is_accepted_by_the_schema_and_a_second_reader(run, ibans):
    """The file that a command wrote, not one made for a test: every payment, sum and id again."""
    said, _ = exported(run)
    data = Path(said["path"]).read_bytes()
    schema = resources.files("sepaxml") / "schemas" / "pain.001.001.09.xsd"
    xmlschema.XMLSchema(str(schema)).validate(data.decode())
    read = XmlParser().from_bytes(data, Document).cstmr_cdt_trf_initn
    found = {
        one.pmt_id.end_to_end_id: (one.cdtr_acct.id.iban, int(one.amt.instd_amt.value * 100))
        for block in read.pmt_inf
        for one in block.cdt_trf_tx_inf
    }
    listed = ids_of(run)
    assert found == {
        number: (ibans[payee], units // 10**4) for payee, (number, units) in listed.items()
    }
    assert int(read.grp_hdr.ctrl_sum * 100) == sum(cents for _, cents in found.values())
    assert said["sha256"] == hashlib.sha256(data).hexdigest()
