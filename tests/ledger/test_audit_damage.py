"""Every byte of a small pack is flipped, one at a time: all are found, and the place is named.

The stand-alone verifier would cost seconds a flip here and is held against this one in
`test_verify_template.py`. The verify.py inside this pack is a stand-in of a few bytes, so that
every byte of the pack can be flipped in seconds; the slow run flips every bit, and 100,000 bits of
a pack with the real one at random.
"""

import hashlib
import random
import re

import pytest

from ledger.audit import run_verify
from ledger.audit_frame import OpenPack
from ledger.audit_tables import LEAF_HASHES
from ledger.pack_format import local_header
from tests.ledger.book_maker import KEYS, RUN_TEXT, checkpoint_of, make_pack, small_book


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A small signed pack with a short stand-in for verify.py."""
    path = tmp_path_factory.mktemp("pack") / "small.byline.zip"
    return opened_pack(path, {"verify.py": b"# stands for the real one\n"})


@pytest.fixture(scope="module")
def whole_pack(tmp_path_factory):
    """The same with the real verify.py."""
    return opened_pack(tmp_path_factory.mktemp("pack") / "whole.byline.zip", {})


def opened_pack(path, extra):
    """Write the pack; return its path, bytes, places of members, a checkpoint, and its leaves."""
    leaves = small_book(3, evidence={"run": hashlib.sha256(RUN_TEXT).hexdigest()})
    make_pack(path, leaves, earlier=[2, 5], extra={"evidence/run.json": RUN_TEXT} | extra)
    external = checkpoint_of(leaves, 7)
    assert run_verify(path, KEYS, [external]).ok
    with OpenPack(path) as opened:
        opened.check_frame()
        parts = dict(opened.parts)
    return path, path.read_bytes(), parts, external, leaves


def region_of(parts, size, at):
    """Name the member that a byte belongs to, and whether it is in its content."""
    for name, part in parts.items():
        header = len(local_header(name, part.member.crc, part.member.size))
        if part.offset - header <= at < part.offset:
            return name, "header"
        if part.offset <= at < part.offset + part.member.size:
            return name, "content"
    assert at < size
    return "", "end"


def check_flip(pack, tmp_path, at, bit):
    """Flip one bit and check that the verdict names the right member and place."""
    _, raw, parts, external, _ = pack
    target = tmp_path / "flipped.zip"
    if not target.exists():
        target.write_bytes(raw)
    # In place: writing the whole file anew for each flip would cost more than verifying it.
    with target.open("r+b", buffering=0) as file:
        file.seek(at)
        file.write(bytes([raw[at] ^ 1 << bit]))
        failure = run_verify(target, KEYS, [external]).failure
        file.seek(at)
        file.write(raw[at : at + 1])
    assert failure is not None, f"byte {at} bit {bit} was not noticed"
    name, kind = region_of(parts, len(raw), at)
    member, place = getattr(failure, "member", None), getattr(failure, "place", "")
    assert member is not None, (at, bit, failure)
    if kind == "content":
        assert member == name, (at, bit, kind, str(failure))
        if name == "entries.jsonl":
            row = raw[parts[name].offset : at].count(b"\n") + 1
            assert re.match(rf"row {row}\b", place), (at, bit, row, str(failure))
        if name in {"accounts.csv", "trial_balance.csv"}:
            line = raw[parts[name].offset : at].count(b"\n") + 1
            assert place == f"line {line}", (at, bit, line, str(failure))
    elif kind == "header":
        assert member == name, (at, bit, kind, str(failure))
    else:
        assert member in {*parts, "archive"}, (at, bit, str(failure))


def test_every_byte_is_found_and_placed(pack, tmp_path):
    """One wrong bit anywhere: not verified, and the member and row named are the right ones."""
    for at in range(len(pack[1])):
        check_flip(pack, tmp_path, at, at % 8)


def test_bytes_of_the_verifier_are_found(whole_pack, tmp_path):
    """The program in the pack is a member like any other: no byte of it can be exchanged."""
    verifier = whole_pack[2]["verify.py"]
    for at in range(verifier.offset, verifier.offset + verifier.member.size, 499):
        check_flip(whole_pack, tmp_path, at, at % 8)


@pytest.mark.slow
def test_every_bit_is_found_and_placed(pack, tmp_path):
    """All eight bits of every byte."""
    for at in range(len(pack[1])):
        for bit in range(8):
            check_flip(pack, tmp_path, at, bit)


@pytest.mark.slow
def test_a_hundred_thousand_random_flips_are_found(whole_pack, tmp_path):
    """Any bit of the whole archive, the verifier included, a hundred thousand times."""
    chance = random.Random(20261121)
    for _ in range(100_000):
        at, bit = chance.randrange(len(whole_pack[1])), chance.randrange(8)
        check_flip(whole_pack, tmp_path, at, bit)


@pytest.mark.parametrize("cut", [1, 10, 22, 200, 2000])
def test_a_pack_cut_short_is_found(pack, tmp_path, cut):
    """A copy that broke off is never taken for a pack."""
    target = tmp_path / "cut.zip"
    target.write_bytes(pack[1][:-cut])
    assert not run_verify(target, KEYS, [pack[3]]).ok


@pytest.mark.parametrize("extra", [b"\x00", b"PK", b"x" * 300])
def test_bytes_before_or_after_a_pack_are_found(pack, tmp_path, extra):
    """ZIP tools pass over bytes around an archive; a verifier must not."""
    target = tmp_path / "more.zip"
    for raw in (extra + pack[1], pack[1] + extra):
        target.write_bytes(raw)
        assert not run_verify(target, KEYS, [pack[3]]).ok


def test_what_is_no_pack_is_said_to_be_none(tmp_path):
    """An empty file, a text and a missing file end in a sentence, not in a traceback."""
    target = tmp_path / "none.zip"
    for raw in (b"", b"hello", b"PK\x03\x04" + bytes(40)):
        target.write_bytes(raw)
        report = run_verify(target, KEYS)
        assert not report.ok
        assert "NOT VERIFIED" in "\n".join(report.lines())
    missing = run_verify(tmp_path / "missing.zip", KEYS)
    assert "cannot be opened" in str(missing.failure)


def test_leaf_hashes_are_those_of_the_rows(pack):
    """leaf_hashes.bin is what lets a verifier name the row; it is SHA-256(0x00 || leaf)."""
    _, raw, parts, _, leaves = pack
    part = parts[LEAF_HASHES]
    stored = raw[part.offset : part.offset + part.member.size]
    assert stored == b"".join(hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves)
