"""A witness signs a book that has grown, and nothing else; its memory is what it stands on."""

import threading

import pytest

from ledger.audit_errors import WitnessRefusal
from ledger.checkpoint import open_checkpoint
from ledger.merkle import MerkleTree, consistency_proof, leaf_hash
from ledger.witness import (
    WitnessRequest,
    WitnessState,
    cosign,
    cosign_with_file,
    read_state,
)
from tests.ledger.book_maker import (
    KEYS,
    LOG,
    OTHER_LOG,
    WITNESS,
    changed,
    checkpoint_of,
    small_book,
)

LEAVES = small_book(6)
TREE = MerkleTree(leaf_hash(leaf) for leaf in LEAVES)
NOW = 1_795_000_000


def request(old, new, leaves=LEAVES, proof=None):
    """Ask for a signature from one size to another."""
    tree = MerkleTree(leaf_hash(leaf) for leaf in leaves)
    hashes = consistency_proof(tree.node, old, new) if proof is None else proof
    return WitnessRequest(old, tuple(hashes), checkpoint_of(leaves, new))


def asked(state, wanted, now=NOW):
    """Let the witness decide."""
    return cosign(state, wanted, log_keys=KEYS, witness=WITNESS, now=now)


def test_a_growing_book_is_signed_step_by_step():
    """From nothing to five leaves to nine to fifteen: each signed, with its time."""
    state, old = WitnessState(), 0
    for step, new in enumerate((5, 9, 9, 15)):
        wanted = request(old, new)
        state, line = asked(state, wanted, NOW + step)
        opened = open_checkpoint(wanted.checkpoint + line, [*KEYS, WITNESS.verifier])
        assert opened.signatures[-1].timestamp == NOW + step
        assert state.logs[LOG.name].size == new
        old = new


def refused(state, wanted):
    """Return the refusal, and check that nothing was signed."""
    with pytest.raises(WitnessRefusal) as caught:
        asked(state, wanted)
    assert "othing was signed" in str(caught.value)
    return caught.value


def test_a_rollback_is_refused_with_both_sizes():
    """An older book, honestly signed, is still a rollback for who has seen the newer."""
    state, _ = asked(WitnessState(), request(0, 9))
    refusal = refused(state, request(0, 5))
    assert (refusal.status, refusal.known_size) == (409, 9)
    assert "9 leaves" in str(refusal)
    assert "5 leaves" in str(refusal)
    assert "rolled back by 4 leaves" in str(refusal)


def test_a_fork_is_refused_with_both_roots():
    """Another book of the same size or larger: no proof can be made for it."""
    state, _ = asked(WitnessState(), request(0, 9))
    other = [*LEAVES[:4], changed(LEAVES[4], description="other"), *LEAVES[5:]]
    same = refused(state, request(9, 9, other))
    assert same.status == 409
    assert "forked" in str(same)
    assert state.logs[LOG.name].root.hex() in str(same)
    larger = refused(state, request(9, 15, other))
    assert larger.status == 422


def test_every_wrong_request_has_its_status():
    """Stale size 409, unknown log 404, wrong key 403, wrong proof 422, no request 400."""
    state, _ = asked(WitnessState(), request(0, 9))
    stale = refused(state, request(5, 15))
    assert (stale.status, stale.known_size) == (409, 9)
    assert refused(state, request(9, 15, proof=[])).status == 422
    assert refused(state, request(9, 15, proof=[bytes(32)] * 3)).status == 422
    assert refused(state, WitnessRequest(20, (), checkpoint_of(LEAVES, 15))).status == 400
    forged = WitnessRequest(9, (), checkpoint_of(LEAVES, 15, signer=OTHER_LOG))
    assert refused(state, forged).status == 403
    with pytest.raises(WitnessRefusal) as caught:
        cosign(state, request(9, 15), log_keys=[], witness=WITNESS, now=NOW)
    assert caught.value.status == 404
    for text in ("", "old\n\n", "old 05\n\nx", "old 5\nnot base64\n\nx", "new 5\n\n"):
        with pytest.raises(WitnessRefusal) as caught:
            WitnessRequest.parse(text)
        assert caught.value.status == 400
    assert refused(state, WitnessRequest(9, (), "no note")).status == 400


def test_a_request_survives_its_text_form():
    """What is sent is what the protocol has: old size, hashes, an empty line, the checkpoint."""
    wanted = request(5, 15)
    assert WitnessRequest.parse(wanted.text()) == wanted
    assert wanted.text().startswith("old 5\n")


def test_the_clock_of_a_witness_never_goes_back():
    """A clock set back would make a later book look older."""
    state, _ = asked(WitnessState(), request(0, 5), NOW)
    state, _ = asked(state, request(5, 9), NOW - 1000)
    assert state.logs[LOG.name].timestamp == NOW


def test_the_memory_is_kept_in_a_file_and_outlives_the_process(tmp_path):
    """What was signed last is on disk before the signature is given out."""
    path = tmp_path / "witness" / "state.json"
    note = cosign_with_file(path, request(0, 9), log_keys=KEYS, witness=WITNESS, now=NOW)
    assert WITNESS.name in note
    before = path.read_bytes()
    with pytest.raises(WitnessRefusal, match="rolled back"):
        cosign_with_file(path, request(0, 5), log_keys=KEYS, witness=WITNESS, now=NOW)
    assert path.read_bytes() == before
    assert read_state(path).logs[LOG.name].size == 9
    assert not list(path.parent.glob("*.tmp"))


@pytest.mark.parametrize("text", ["", "{}", '{"format":"byline-witness/2","logs":{}}\n', "[]"])
def test_a_witness_with_a_damaged_memory_signs_nothing(tmp_path, text):
    """To forget is to allow a rollback: a damaged file stops the witness."""
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(WitnessRefusal, match="memory is damaged"):
        cosign_with_file(path, request(0, 5), log_keys=KEYS, witness=WITNESS, now=NOW)


def test_two_requests_at_once_do_not_make_it_go_back(tmp_path):
    """The race that the protocol warns of: the smaller of two requests must not win last."""
    path = tmp_path / "state.json"
    signed, said_no = [], []

    def ask(new):
        try:
            wanted = request(0, new)
            note = cosign_with_file(path, wanted, log_keys=KEYS, witness=WITNESS, now=NOW)
            signed.append((new, note))
        except WitnessRefusal as refusal:
            said_no.append(refusal.status)

    threads = [threading.Thread(target=ask, args=(new,)) for new in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(signed) == 1, "each starts from 0, so only the first can be right"
    assert said_no == [409] * 11
    assert read_state(path).logs[LOG.name].size == signed[0][0]
