"""`byline db`: roles where the database has them, and the check that reads snapshots back."""

import json
import sqlite3

import psycopg
import pytest

from flows import cli
from flows.books import open_books
from flows.seal import seal_books
from flows.setup import make_workspace
from ledger.store import LedgerStore
from tests.databases import fresh_book
from tests.ledger.poster import PERIOD, batch


def byline(capsys, *words):
    """Run a command in this process; return exit code, stdout, stderr."""
    code = cli.run([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


@pytest.mark.postgres
def test_roles_are_made_on_postgresql_and_made_twice_are_the_same(tmp_path, capsys):
    """The writer may add an entry and may not change one, as the database itself says."""
    with fresh_book("postgresql", tmp_path) as url:
        make_workspace(tmp_path / "home", ledger_url=url)
        words = ("db", "roles", "--dir", tmp_path / "home", "--json")
        code, first, err = byline(capsys, *words)
        assert code == 0, err
        code, second, _ = byline(capsys, *words)
        assert code == 0
        assert json.loads(first)["roles"] == ["byline_owner", "byline_writer", "byline_auditor"]
        ran = [s for s in json.loads(first)["statements"] if not s.startswith("CREATE ROLE")]
        assert json.loads(second)["statements"] == ran
        with psycopg.connect(url) as database:
            asked = "SELECT has_table_privilege('byline_writer', 'journal_entry', %s)"
            allowed = {
                what: database.execute(asked, (what,)).fetchone() == (True,)
                for what in ("SELECT", "UPDATE", "DELETE", "TRUNCATE")
            }
        assert allowed == {"SELECT": True, "UPDATE": False, "DELETE": False, "TRUNCATE": False}
        assert byline(capsys, "db", "check", "--dir", tmp_path / "home")[0] == 0


def test_roles_on_sqlite_are_the_permissions_of_the_file(tmp_path, capsys):
    """There is nothing to grant, and the message says what decides instead."""
    make_workspace(tmp_path / "home")
    code, out, err = byline(capsys, "db", "roles", "--dir", tmp_path / "home")
    assert (code, out) == (1, "")
    assert "permissions of the file decide" in err


@pytest.fixture
def sealed(tmp_path, monkeypatch):
    """Books with a few batches, sealed with a snapshot every few postings."""
    workspace = make_workspace(tmp_path / "home")
    take = LedgerStore.take_snapshots
    monkeypatch.setattr(
        LedgerStore, "take_snapshots", lambda book, looked_up_to=0: take(book, 3, looked_up_to)
    )
    with open_books(workspace) as books:
        books.open_period(PERIOD)
        for number in range(3):
            books.post_many(batch(number))
        before = books.frontier().root()
        checkpoint, _ = seal_books(workspace, books)
        assert bytes.fromhex(checkpoint.root_hex) == before, "a snapshot is no leaf"
    return workspace


def test_a_seal_takes_the_snapshots_that_are_due_and_the_check_reads_them_back(sealed, capsys):
    """Sealing again takes none and gives the same checkpoint."""
    code, out, _ = byline(capsys, "db", "check", "--dir", sealed.home, "--json")
    compared = json.loads(out)["snapshots_compared"]
    assert code == 0
    assert compared > 0
    with open_books(sealed) as books:
        assert seal_books(sealed, books)[1] is False
        assert books.take_snapshots() == 0
        assert books.verify_snapshots() == compared


def test_a_forged_snapshot_is_named_by_the_check(sealed, capsys):
    """Whoever owns the file can take a trigger off and put it back; the sum still tells."""
    raw = sqlite3.connect(sealed.home / "byline.db", isolation_level=None)
    guards = raw.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' "
        "AND tbl_name = 'balance_snapshot'"
    ).fetchall()
    for name, _ in guards:
        raw.execute(f"DROP TRIGGER {name}")
    raw.execute("UPDATE balance_snapshot SET units = units + 1")
    for _, text in guards:
        raw.execute(text)
    raw.close()
    code, out, err = byline(capsys, "db", "check", "--dir", sealed.home)
    assert (code, out) == (1, "")
    assert "Expenses:Royalty" in err
