"""The command line: one clear message, no traceback, an exit code, and the way to go on."""

import errno
import json
import sqlite3

import pytest

from flows import cli
from flows.books import open_books
from flows.settings import FILE_NAME
from flows.workspace import Workspace
from tests.simulation.tiny import DAYS, copy_of, tiny

DAY = DAYS[0].isoformat()


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """A small installation with logs waiting."""
    return copy_of(tiny(), tmp_path / "home")


def byline(capsys, *words):
    """Run a command in this process; return exit code, stdout, stderr."""
    code = cli.run([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


def test_init_twice_changes_nothing(tmp_path, capsys):
    """Keys and settings that are there are never replaced."""
    code, out, _ = byline(capsys, "init", "--dir", tmp_path / "home", "--json")
    assert code == 0
    assert json.loads(out)["ledger_url"].startswith("sqlite:///")
    before = {
        p: p.read_bytes()
        for p in (tmp_path / "home").rglob("*")
        if p.suffix != ".db" and p.is_file() and p.suffix not in {".db-wal", ".db-shm"}
    }
    assert byline(capsys, "init", "--dir", tmp_path / "home")[0] == 0
    assert {path: path.read_bytes() for path in before} == before


def test_an_unknown_settings_key_stops_before_anything_runs(workspace, capsys):
    """The message names file, line, key and the closest known key; the exit code is 1."""
    file = workspace.home / FILE_NAME
    file.write_text(file.read_text() + "\n[nihgt]\nx = 1\n")
    code, _, err = byline(capsys, "nightly", "--dir", workspace.home, "--date", DAY)
    assert code == 1
    assert "byline.toml, line" in err
    assert "nihgt" in err
    assert not (workspace.root / "outputs").exists()


def test_an_unreachable_database_is_said_and_the_night_finishes_when_it_is_back(
    workspace, capsys, monkeypatch
):
    """What was made before the database was needed is kept; nothing is posted meanwhile."""
    words = ("nightly", "--dir", workspace.home, "--date", DAY)
    monkeypatch.setenv("BYLINE_LEDGER__URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    code, _, err = byline(capsys, *words)
    assert code == 1
    assert "127.0.0.1:1" in err
    monkeypatch.delenv("BYLINE_LEDGER__URL")
    assert byline(capsys, *words)[0] == 0


def test_a_locked_sqlite_file_is_said_and_the_night_finishes_when_it_is_free(
    workspace, capsys, monkeypatch
):
    """Another program's lock is named as such; waiting is bounded."""
    from ledger.store import LedgerStore

    patient = LedgerStore.open
    monkeypatch.setattr(LedgerStore, "open", lambda url, **_: patient(url, lock_timeout_s=0.2))
    words = ("nightly", "--dir", workspace.home, "--date", DAY)
    other = sqlite3.connect(workspace.home / "byline.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    code, _, err = byline(capsys, *words)
    other.execute("ROLLBACK")
    other.close()
    assert code == 1
    assert "lock" in err or "busy" in err
    assert byline(capsys, *words)[0] == 0


def test_a_full_disk_is_said_and_the_night_finishes_with_more_room(workspace, capsys, monkeypatch):
    """No half-written file stays, and nothing was posted from one."""
    from flows import artefacts

    def full(_path):
        raise OSError(errno.ENOSPC, "No space left on device")

    words = ("nightly", "--dir", workspace.home, "--date", DAY)
    with monkeypatch.context() as patch:
        patch.setattr(artefacts, "_sync", full)
        code, _, err = byline(capsys, *words)
    assert code == 1
    assert "no space left on the disk" in err
    assert not list(workspace.root.rglob("*.tmp"))
    with open_books(workspace) as books:
        assert books.head_seq() == 0
    assert byline(capsys, *words)[0] == 0


def test_ctrl_c_in_the_middle_is_exit_130_and_the_same_command_finishes(
    workspace, capsys, monkeypatch
):
    """Whoever stops a night learns that nothing is lost and what to type."""
    from flows import engine

    def stop(_night, _step):
        raise KeyboardInterrupt

    words = ("nightly", "--dir", workspace.home, "--date", DAY)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "STEPS", {**engine.STEPS, "estimate": stop})
        code, _, err = byline(capsys, *words)
    assert code == 130
    assert "same command" in err
    assert byline(capsys, *words)[0] == 0


def test_a_log_line_that_is_not_json_is_quarantined_and_listed(workspace, capsys):
    """The night goes on; the line is kept with file, line and reason."""
    log = workspace.logs / f"{DAY}.otel.jsonl"
    log.write_text(log.read_text() + '{"broken": \n')
    assert byline(capsys, "ingest", "--dir", workspace.home, "--date", DAY)[0] == 0
    code, out, _ = byline(
        capsys, "quarantine", "list", "--dir", workspace.home, "--date", DAY, "--json"
    )
    assert code == 0
    (reject,) = json.loads(out)["rejects"]
    assert (reject["source_file"], reject["source_line"]) == (log.name, 41)
    assert reject["reason"] == "not_json"


def test_a_model_folder_without_a_tokenizer_is_named(workspace, capsys):
    """Attribution says which file is missing from which folder."""
    for file in workspace.model.glob("tokenizer*"):
        file.unlink()
    code, _, err = byline(capsys, "nightly", "--dir", workspace.home, "--date", DAY)
    assert code == 1
    assert "tokenizer" in err


def test_a_missing_workspace_names_the_command_that_makes_one(tmp_path, capsys):
    """The first mistake everybody makes has an answer."""
    code, _, err = byline(capsys, "nightly", "--dir", tmp_path / "none", "--date", DAY)
    assert code == 1
    assert "byline init" in err


@pytest.mark.parametrize("date", ["2026-13-01", "yesterday"])
def test_a_date_that_is_none_is_a_usage_error(tmp_path, capsys, date):
    """Exit code 2 and how a date is written."""
    code, _, err = byline(capsys, "nightly", "--dir", tmp_path, "--date", date)
    assert code == 2
    assert "YYYY-MM-DD" in err
