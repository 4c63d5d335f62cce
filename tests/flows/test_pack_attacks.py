"""Every kind of file in a real pack is altered, taken out, renamed, swapped: both verifiers refuse.

The forger has no key. He writes a perfect frame around what he changed, or leaves the log's
signature where it was; either way somebody's word is missing.
"""

import hashlib
import json
import subprocess
import sys
import zipfile

import pytest

from flows.publish import publish_period
from ledger.audit import run_verify
from ledger.audit_frame import OpenPack
from ledger.checkpoint import split_notes
from ledger.pack import _write_archive
from ledger.pack_format import MANIFEST, MANIFEST_NOTE, pack_manifest
from ledger.verify_template import standalone_source
from tests.flows.papers import closed_months

PERIOD = "2026-01"
KINDS = (
    "README.txt", "verify.py", "entries.jsonl", "leaf_hashes.bin", "accounts.csv",
    "trial_balance.csv", "checkpoint.note", "checkpoints.txt", "draws/", "evidence/2026",
    "evidence/agreement.", "evidence/agreements-", "evidence/catalogue", "evidence/outputs.",
    "evidence/sample.", "evidence/influence.", "evidence/estimates.", "reports/closing",
    "reports/pool", "reports/parties", "reports/settlement", "statements/",
)  # fmt: skip


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """A closed month, published, with the verifier alone in a folder beside it."""
    folder = tmp_path_factory.mktemp("attacks")
    with pytest.MonkeyPatch.context() as patch:
        workspace = closed_months(patch, folder / "home", 2, creators=10)
    for period in (PERIOD, "2026-02"):
        publish_period(workspace, period)
    (folder / "verify.py").write_text(standalone_source(), encoding="utf-8")
    with OpenPack(workspace.pack(PERIOD)) as pack:
        pack.check_frame()
        members = {name: pack.read(name) for name in pack.parts}
    return workspace, members, folder


def refused(month, path):
    """Verify with both programs; return the failure on which they agree."""
    workspace, _, folder = month
    ours = run_verify(path, workspace.public_key).failure
    assert ours is not None, "verified"
    words = ["verify.py", str(path), "--key", str(workspace.public_key), "--json"]
    done = subprocess.run(
        [sys.executable, "-I", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["failure"] == str(ours)
    assert "Traceback" not in done.stderr
    return ours


def member_of(members, kind):
    """Name the first member of a kind."""
    return min(name for name in members if name.startswith(kind))


def reframed(path, members, *, note=True):
    """Write members with a manifest that fits them; the log's old signature stays, or goes."""
    kept = {name: data for name, data in members.items() if name not in {MANIFEST, MANIFEST_NOTE}}
    said = json.loads(members[MANIFEST])
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in kept.items()}
    kept[MANIFEST] = pack_manifest(digests, period=said["period"], origin=said["origin"])
    if note:
        kept[MANIFEST_NOTE] = members[MANIFEST_NOTE]
    _write_archive(path, kept)


def flipped(data):
    """Change one byte in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_of_any_kind_that_was_altered_is_named(month, tmp_path, kind):
    """With the manifest as it was, the member; with a manifest that fits, the signature."""
    _, members, _ = month
    name, path = member_of(members, kind), tmp_path / "p.zip"
    _write_archive(path, members | {name: flipped(members[name])})
    failure = refused(month, path)
    assert (failure.step, failure.member) == (2, name)
    reframed(path, members | {name: flipped(members[name])})
    failure = refused(month, path)
    assert (failure.step, failure.member) == (2, MANIFEST_NOTE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_of_any_kind_that_is_gone_or_stands_under_another_name_is_named(
    month, tmp_path, kind
):
    """Dropped, renamed, or exchanged with its neighbour."""
    _, members, _ = month
    name, path = member_of(members, kind), tmp_path / "p.zip"
    rest = {key: data for key, data in members.items() if key != name}
    _write_archive(path, rest)
    assert run_verify(path, month[0].public_key).failure.member == name
    _write_archive(path, rest | {f"z-{name}": members[name]})
    assert run_verify(path, month[0].public_key).failure.member in {name, f"z-{name}"}
    reframed(path, rest)
    # A file that every pack has is missed before the signature is looked at.
    assert run_verify(path, month[0].public_key).failure.member in {MANIFEST_NOTE, name}
    other = next(key for key in sorted(rest) if members[key] != members[name])
    _write_archive(path, members | {name: members[other], other: members[name]})
    assert run_verify(path, month[0].public_key).failure.step == 2


def test_a_pack_without_its_signature_is_refused_whatever_is_in_it(month, tmp_path):
    """Taking the signature out does not make a pack anybody's word."""
    path = tmp_path / "p.zip"
    reframed(path, month[1], note=False)
    assert refused(month, path).member == MANIFEST_NOTE


def test_another_checkpoint_or_another_months_manifest_is_refused(month, tmp_path):
    """An earlier signed checkpoint under this book, and February's manifest over these files."""
    workspace, members, _ = month
    path = tmp_path / "p.zip"
    with OpenPack(workspace.pack("2026-02")) as pack:
        pack.check_frame()
        later = {name: pack.read(name) for name in pack.parts}
    first = split_notes(members["checkpoints.txt"].decode())[0].encode()
    assert first != members["checkpoint.note"]
    _write_archive(path, members | {"checkpoint.note": first})
    assert refused(month, path).member == "checkpoint.note"
    _write_archive(path, members | {name: later[name] for name in (MANIFEST, MANIFEST_NOTE)})
    assert refused(month, path).step == 2


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "trick",
    ["deflated", "twice", "parent", "absolute", "bomb", "comment", "order", "prefix", "nested"],
)
def test_tricks_of_the_archive_format_are_refused(month, tmp_path, trick):
    """Packed members, a name twice, names that leave the folder, a bomb, an order, a prefix."""
    _, members, _ = month
    path = tmp_path / "p.zip"
    packed = zipfile.ZIP_DEFLATED if trick in {"deflated", "bomb"} else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name in sorted(members, reverse=trick == "order"):
            archive.writestr(zipfile.ZipInfo(name), members[name], packed)
        if trick == "twice":
            archive.writestr("entries.jsonl", b"")
        if trick == "parent":
            archive.writestr("../outside", b"x")
        if trick == "absolute":
            archive.writestr("/outside", b"x")
        if trick == "bomb":
            archive.writestr("reports/zeros", bytes(50_000_000))
        archive.comment = b"hello" if trick == "comment" else b""
    if trick == "nested":
        _write_archive(path, members | {MANIFEST: b"[" * 200_000})
    if trick == "prefix":
        path.write_bytes(b"#!/bin/sh\n" + month[0].pack(PERIOD).read_bytes())
    assert refused(month, path)
    assert not list(tmp_path.parent.glob("outside"))
