"""Whoever looks at statements, exports and traces leaves a leaf; a night leaves none."""

import json

import polars as pl
import pytest

from flows import cli
from flows.books import open_books
from flows.close import close_period
from flows.engine import run_night
from flows.seal import seal_books
from ledger.audit import run_verify
from ledger.checkpoint import read_verifiers
from tests.simulation.tiny import DAYS, copy_of, tiny

PERIOD = "2026-10"
DAY = DAYS[0].isoformat()


def byline(capsys, *words):
    """Run a command in this process with --json; return exit code, result and stderr."""
    code = cli.run([*(str(word) for word in words), "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def accesses(workspace):
    """Return what the access log says, in order."""
    with open_books(workspace) as books:
        return [recorded.access for recorded in books.accesses()]


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    """One closed month with a quarantined line; tests add accesses and nothing else."""
    workspace = copy_of(tiny(), tmp_path_factory.mktemp("accesses") / "home")
    log = workspace.logs / f"{DAY}.otel.jsonl"
    log.write_text(log.read_text() + '{"broken": \n')
    for day in DAYS:
        run_night(workspace, day)
    close_period(workspace, PERIOD, prepared_by="accountant-1", approved_by="controller-1")
    return workspace


def test_nights_and_the_close_leave_no_access(tmp_path):
    """They run again and again and must give the same root."""
    workspace = copy_of(tiny(), tmp_path / "home")
    run_night(workspace, DAYS[0])
    assert accesses(workspace) == []


def test_a_trace_is_one_leaf_and_the_next_checkpoint_covers_it(settled, capsys):
    """After the close as before it; the traced text itself is not in the book."""
    with open_books(settled) as books:
        before = books.head_seq()
    words = ("trace", "--dir", settled.home, "the copper river of the ledger")
    code, said, _ = byline(capsys, *words, "--actor", "analyst-1", "--reason", "case 7")
    assert code == 0
    assert said["access_recorded"] is True
    with open_books(settled) as books:
        assert books.head_seq() == before + 1
        (leaf,) = books.leaves(before)
        assert b"copper" not in leaf
        checkpoint, new = seal_books(settled, books)
    assert new
    assert checkpoint.size == before + 1
    access = accesses(settled)[-1]
    assert (access.actor, access.role, access.action) == ("analyst-1", "operator", "trace")
    assert access.object_id.startswith("trace/hmac:")
    assert access.reason == "case 7"


def test_a_draw_and_a_rejected_line_are_recorded_by_name(settled, capsys):
    """Without --actor the payer of the settings is the one who asked."""
    code, listed, _ = byline(capsys, "quarantine", "list", "--dir", settled.home, "--date", DAY)
    assert code == 0
    (reject,) = listed["rejects"]
    place = (reject["source_file"], reject["source_line"])
    code, shown, _ = byline(
        capsys, "quarantine", "show", "--dir", settled.home, "--date", DAY, *place
    )
    assert (code, shown["access_recorded"]) == (0, True)
    access = accesses(settled)[-1]
    assert (access.actor, access.action) == ("operator", "view")
    assert access.object_id == f"quarantine/{DAY}/{place[0]}:{place[1]}"

    outputs = pl.read_parquet(settled.night_file("outputs", DAYS[0], ".parquet"))
    event = outputs.filter(pl.col("payable"))["event_id"][0]
    code, shown, _ = byline(capsys, "sample", "check", "--dir", settled.home, "--date", DAY, event)
    assert (code, shown["access_recorded"]) == (0, True)
    assert accesses(settled)[-1].object_id == f"sample/{DAY}/{event}"


def test_reports_and_packs_hold_the_record_of_their_own_export(settled, capsys):
    """The pack that is handed out verifies, with the accesses before it and its own."""
    for words, name in ((("report",), "reports"), (("audit", "pack"), "packs")):
        code, said, err = byline(capsys, *words, "--dir", settled.home, "--period", PERIOD)
        assert code == 0, err
        assert said["access_recorded"] is True
        access = accesses(settled)[-1]
        assert (access.action, access.object_id) == ("export", f"{name}/{PERIOD}")
    report = run_verify(settled.pack(PERIOD), read_verifiers(settled.public_key))
    assert report.ok
    assert report.accesses == len(accesses(settled))


def test_an_access_that_cannot_be_recorded_shows_nothing(settled, capsys):
    """An actor that is no id is refused before the result is printed."""
    words = ("trace", "--dir", settled.home, "river", "--actor", "Jo Doe")
    before = accesses(settled)
    code, said, err = byline(capsys, *words)
    assert (code, said) == (1, None)
    assert "'Jo Doe'" in err
    assert accesses(settled) == before


def test_a_bare_index_says_that_nothing_was_recorded(tmp_path, capsys):
    """A folder without books can be traced, and hides nothing about it."""
    workspace = copy_of(tiny(), tmp_path / "home")
    for file in workspace.home.glob("byline.db*"):
        file.unlink()
    code, said, _ = byline(capsys, "trace", "--dir", workspace.home, "river")
    assert code == 0
    assert said["access_recorded"] is False
    assert not list(workspace.home.glob("byline.db*"))
