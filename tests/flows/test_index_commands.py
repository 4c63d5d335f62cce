"""The index's commands from outside: traced, refitted, signed, compacted, and refused."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from flows import cli
from tests.simulation.tiny import copy_of, tiny

TEXT = "the copper river of the ledger runs past the old mill and the new bank"


def byline(capsys, *words):
    """Run a command in this process with --json; return exit code, result and stderr."""
    code = cli.run([*(str(word) for word in words), "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A small workspace with a finished index; tests change the index in turn."""
    return copy_of(tiny(), tmp_path_factory.mktemp("index-commands") / "home").home


def test_a_text_is_traced_from_an_option_or_a_file(home, tmp_path, capsys):
    """Both give the same sources; a text given twice or never is refused."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    code, one, err = byline(capsys, "trace", "--dir", home, "--text", TEXT, "-k", 3)
    assert code == 0, err
    code, two, _ = byline(capsys, "trace", "--dir", home, "--file", tmp_path / "text.txt", "-k", 3)
    assert code == 0
    assert one["sources"] == two["sources"]
    assert len(one["sources"]) == 3
    assert all(source["passage"] is None for source in one["sources"])
    code, _, err = byline(capsys, "trace", "--dir", home, TEXT, "--text", TEXT)
    assert code != 0
    assert "got 2 texts" in err


def test_passages_are_shown_as_far_as_policy_allows(home, capsys, monkeypatch):
    """The setting is a number of characters; nothing means that asking is refused."""
    words = ("trace", "--dir", home, "--text", TEXT, "--passages")
    monkeypatch.setenv("BYLINE_ATTRIBUTION__PASSAGE_CHARACTERS", "20")
    code, said, _ = byline(capsys, *words)
    assert code == 0
    assert all(0 < len(source["passage"]) <= 20 for source in said["sources"])
    monkeypatch.setenv("BYLINE_ATTRIBUTION__PASSAGE_CHARACTERS", "0")
    code, _, err = byline(capsys, *words)
    assert code != 0
    assert "shows no passages" in err


def test_an_index_is_refitted_signed_removed_from_and_compacted(home, capsys):
    """Every change is signed with the workspace's key, and verify asks for it."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes_raw().hex()
    verify = ("index", "verify", "--dir", home, "--sample", 0, "--public-key", public)
    code, _, err = byline(capsys, *verify)
    assert code != 0
    assert "is not signed" in err
    (home / "keys" / "index.pem").write_bytes(pem)
    code, said, err = byline(capsys, "index", "refit", "--dir", home, "--damping", 0.05)
    assert (code, said["preconditioner"]) == (0, 1), err
    code, traced, _ = byline(capsys, "trace", "--dir", home, "--text", TEXT, "-k", 1)
    assert traced["preconditioner"] == 1
    victim = traced["sources"][0]["document_id"]
    code, _, err = byline(capsys, "index", "remove", "--dir", home, "--document", victim)
    assert code == 0, err
    code, said, err = byline(capsys, *verify)
    assert code == 0, err
    assert (said["signed_by"], said["removals"], said["removals_signed"]) == (public, 1, 1)
    code, _, err = byline(capsys, "index", "compact", "--dir", home)
    assert code == 0, err
    code, info, _ = byline(capsys, "index", "info", "--dir", home)
    assert (info["removed"], info["removals"], info["signed"]) == (0, 1, True)
    code, said, err = byline(capsys, "index", "refit", "--dir", home, "--use", 0)
    assert (code, said["preconditioner"]) == (0, 0), err
    code, _, err = byline(capsys, "index", "refit", "--dir", home, "--use", 0, "--damping", 0.3)
    assert "leave the other options out" in err
