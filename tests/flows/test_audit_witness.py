"""`byline audit witness`: a second party with two files, who says no to a rollback."""

import json

import pytest

from flows import cli
from flows.books import open_books
from flows.close import close_period
from flows.engine import run_night
from flows.publish import publish_period
from ledger.audit import run_verify
from ledger.checkpoint import read_verifiers
from ledger.witness import read_state
from tests.simulation.tiny import DAYS, copy_of, tiny

PERIOD = "2026-10"


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """Two packs of one book, the second after it has grown by one access; and the log's key."""
    folder = tmp_path_factory.mktemp("packs")
    workspace = copy_of(tiny(), folder / "home")
    run_night(workspace, DAYS[0])
    run_night(workspace, DAYS[1])
    close_period(workspace, PERIOD, prepared_by="accountant-1", approved_by="controller-1")
    first, second = folder / "first.zip", folder / "second.zip"
    first.write_bytes(publish_period(workspace, PERIOD).pack.read_bytes())
    with open_books(workspace) as books:
        books.record_access("auditor-1", "auditor", "view", "packs/2026-10")
    second.write_bytes(publish_period(workspace, PERIOD).pack.read_bytes())
    return first, second, workspace


@pytest.fixture
def witness(packs, tmp_path, capsys):
    """Return a function that runs the command with one witness's files."""

    def run(pack, *more, witness_key=tmp_path / "w.key"):
        words = ("--state", tmp_path / "state.json", "--key", packs[2].public_key)
        words = ("audit", "witness", pack, *words, "--witness-key", witness_key, *more)
        code = cli.run([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


def test_two_packs_are_witnessed_one_after_the_other_and_the_older_one_is_refused(
    packs, witness, tmp_path
):
    """The key is made at the first run and said; a rollback is exit 1 with both sizes and roots."""
    first, second, workspace = packs
    code, out, _ = witness(first, "--name", "witness.example/two")
    assert code == 0
    (seen,) = read_state(tmp_path / "state.json").logs.values()
    assert f"witness key made: {tmp_path / 'w.key'}" in out
    assert (tmp_path / "w.key").stat().st_mode & 0o777 == 0o600
    code, out, _ = witness(second, "--json", "--out", tmp_path / "cosigned.note")
    assert code == 0
    said = json.loads(out)
    assert said["size"] == said["size_before"] + 1
    assert said["witness_key_made"] is False
    note = (tmp_path / "cosigned.note").read_text()
    assert note == said["note"]
    keys = [*read_verifiers(workspace.public_key), *read_verifiers(tmp_path / "w.pub")]
    assert run_verify(second, keys, [note]).ok

    remembered = (tmp_path / "state.json").read_bytes()
    code, out, err = witness(first)
    assert (code, out) == (1, "")
    assert "rolled back by 1 leaves" in err
    assert said["root"] in err
    assert f"{seen.size} leaves" in err
    assert seen.root.hex() in err
    assert (tmp_path / "state.json").read_bytes() == remembered


def test_a_damaged_pack_is_not_witnessed(packs, witness, tmp_path):
    """A witness signs only what it has verified, and remembers nothing of the rest."""
    data = bytearray(packs[0].read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.zip").write_bytes(data)
    code, _, err = witness(tmp_path / "bad.zip")
    assert code == 1
    assert err
    assert not (tmp_path / "state.json").exists()


def test_a_memory_without_its_key_is_not_continued_under_a_new_one(packs, witness, tmp_path):
    """A mistyped key file must not make a second witness of the first one's memory."""
    assert witness(packs[0])[0] == 0
    code, _, err = witness(packs[1], witness_key=tmp_path / "other.key")
    assert code == 1
    assert "Restore the key" in err
    assert not (tmp_path / "other.key").exists()


def test_a_logs_own_key_cannot_witness(packs, witness):
    """The key of the log has another type; the message says what to do."""
    code, _, err = witness(packs[0], witness_key=packs[2].signing_key)
    assert code == 1
    assert "type 01" in err
