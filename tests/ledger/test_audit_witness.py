"""One command makes a second party a witness: it verifies, compares, remembers and signs."""

import pytest

from ledger.audit import run_verify
from ledger.audit_errors import VerificationError, WitnessRefusal
from ledger.audit_witness import make_request, witness_pack
from ledger.merkle import MerkleTree, leaf_hash
from ledger.witness import WitnessState, cosign, read_state
from tests.ledger.book_maker import (
    KEYS,
    LOG,
    WITNESS,
    changed,
    checkpoint_of,
    forge_pack,
    make_pack,
    small_book,
)

LEAVES = small_book(6)
NOW = 1_795_000_000


def witnessed(tmp_path, pack, now=NOW):
    """Let the witness look at a pack."""
    return witness_pack(pack, tmp_path / "state.json", log_keys=KEYS, witness=WITNESS, now=now)


def test_a_book_is_witnessed_as_it_grows(tmp_path):
    """Two packs of one book, one after the other; the cosigned note is a checkpoint to keep."""
    pack = tmp_path / "p.zip"
    make_pack(pack, LEAVES[:9])
    first = witnessed(tmp_path, pack)
    assert "first time seen" in first.lines()[-1]
    make_pack(pack, LEAVES, earlier=[9])
    second = witnessed(tmp_path, pack, NOW + 60)
    assert "15 leaves (9 leaves seen before)" in second.lines()[-1]
    keys = [*KEYS, WITNESS.verifier]
    report = run_verify(pack, keys, [first.note, second.note])
    assert report.ok
    make_pack(pack, LEAVES, checkpoint=second.note)
    assert run_verify(pack, keys).cosigned == [(WITNESS.name, NOW + 60)]
    assert "cosigned by witness.example/w1 at 2026-11-18" in "\n".join(
        run_verify(pack, keys).lines()
    )
    assert witnessed(tmp_path, pack).before.size == 15, "the same book again is signed again"


def test_a_rewritten_or_older_book_is_not_witnessed(tmp_path):
    """Signed by the owner and right in itself, but not the book that the witness saw."""
    pack = tmp_path / "p.zip"
    make_pack(pack, LEAVES[:9])
    witnessed(tmp_path, pack)
    remembered = read_state(tmp_path / "state.json")
    forge_pack(pack, [*LEAVES[:3], changed(LEAVES[3], description="x"), *LEAVES[4:]])
    with pytest.raises(WitnessRefusal, match="does not continue"):
        witnessed(tmp_path, pack)
    make_pack(pack, LEAVES[:4])
    with pytest.raises(WitnessRefusal, match="rolled back by 5 leaves"):
        witnessed(tmp_path, pack)
    assert read_state(tmp_path / "state.json") == remembered


def test_a_pack_that_does_not_verify_is_not_witnessed(tmp_path):
    """A witness signs only what it has read."""
    pack = tmp_path / "p.zip"
    forge_pack(pack, [*LEAVES[:3], changed(LEAVES[3], postings=[]), *LEAVES[4:]])
    with pytest.raises(VerificationError, match="row 4"):
        witnessed(tmp_path, pack)
    assert not (tmp_path / "state.json").exists()


def test_a_log_can_ask_a_witness_over_the_wire(tmp_path):
    """The same decision without a pack: the request holds the proof."""
    tree = MerkleTree(leaf_hash(leaf) for leaf in LEAVES)
    state = WitnessState()
    for old, new in ((0, 4), (4, 15)):
        request = make_request(tree.node, old, checkpoint_of(LEAVES, new))
        state, line = cosign(state, request, log_keys=KEYS, witness=WITNESS, now=NOW)
        assert line.startswith(f"— {WITNESS.name} ")
    assert state.logs[LOG.name].size == 15
