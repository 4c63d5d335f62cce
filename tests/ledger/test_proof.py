"""A creator checks a statement with what he holds: the log's key and an older checkpoint."""

import copy
import json

import pytest

from ledger.audit_errors import NoteError, ProofError, VerificationError
from ledger.checkpoint import open_checkpoint
from ledger.merkle import MerkleTree, consistency_proof, leaf_hash
from ledger.proof import (
    InclusionProof,
    prove_entry,
    statement_proof,
    verify_statement_proof,
)
from tests.ledger.book_maker import (
    KEYS,
    OTHER_LOG,
    changed,
    checkpoint_of,
    small_book,
)

LEAVES = small_book(6)
TREE = MerkleTree(leaf_hash(leaf) for leaf in LEAVES)
SIZE = len(LEAVES)
NOTE = checkpoint_of(LEAVES)
HELD = checkpoint_of(LEAVES, 6)
CONSISTENCY = consistency_proof(TREE.node, 6, SIZE)
CITED = {seq: LEAVES[seq - 1] for seq in (2, 3, 4)}
ACCOUNT = ("Liabilities:Accrued:c1", "USD/6")
OWED = sum(
    int(units)
    for leaf in CITED.values()
    for account, _, units in json.loads(leaf)["postings"]
    if account == ACCOUNT[0]
)
PROOF = statement_proof(TREE.node, CITED, NOTE, SIZE)


def check(proof=PROOF, **arguments):
    """Check with the defaults of these tests."""
    given = {"held": HELD, "consistency": CONSISTENCY, "amounts": {ACCOUNT: OWED}} | arguments
    return verify_statement_proof(proof, KEYS, **given)


def test_a_proof_file_survives_its_text_form():
    """The file is the C2SP one: header, index, hashes, an empty line, the checkpoint verbatim."""
    for seq in range(1, SIZE + 1):
        proof = prove_entry(TREE.node, seq, NOTE, SIZE)
        text = proof.text()
        assert text.startswith(f"c2sp.org/tlog-proof@v1\nindex {seq - 1}\n")
        assert text.endswith("\n\n" + NOTE)
        assert InclusionProof.parse(text) == proof
        assert proof.check(LEAVES[seq - 1], KEYS).size == SIZE
    extra = InclusionProof(0, (), NOTE, b"more")
    assert InclusionProof.parse(extra.text()) == extra
    assert "\nextra bW9yZQ==\nindex 0\n" in extra.text()


def test_a_proof_of_one_leaf_proves_no_other():
    """An entry that is shown but not in the book has no proof."""
    proof = prove_entry(TREE.node, 3, NOTE, SIZE)
    for leaf in (LEAVES[3], changed(LEAVES[2], description="x"), b""):
        with pytest.raises(ProofError, match="not under the root"):
            proof.check(leaf, KEYS)
    with pytest.raises(NoteError):
        prove_entry(TREE.node, 3, checkpoint_of(LEAVES, signer=OTHER_LOG), SIZE).check(
            LEAVES[2], KEYS
        )


@pytest.mark.parametrize(
    "text",
    ["", "c2sp.org/tlog-proof@v2\nindex 0\n\n", "c2sp.org/tlog-proof@v1\n\n",
     "c2sp.org/tlog-proof@v1\nindex 01\n\n", "c2sp.org/tlog-proof@v1\nindex 0",
     "c2sp.org/tlog-proof@v1\nindex 0\n" + "AAAA\n" * 64 + "\nx"],
)  # fmt: skip
def test_malformed_proof_files_are_refused(text):
    """A damaged file is said to be one."""
    with pytest.raises(ProofError):
        InclusionProof.parse(text)


def test_a_statement_proves_its_entries_and_its_sum():
    """The cited entries are in the book the creator knows, and they add up to what he is owed."""
    proved = check()
    assert (proved.entries, proved.units, proved.checkpoint.size) == (3, {ACCOUNT: OWED}, SIZE)
    assert check(held=None, consistency=()).entries == 3
    assert check(held=NOTE, consistency=()).entries == 3
    again = json.loads(json.dumps(PROOF))
    assert check(again).entries == 3


def wrong(step, **arguments):
    """Check that a step fails and return the error."""
    proof = arguments.pop("proof", PROOF)
    with pytest.raises(VerificationError) as caught:
        check(proof, **arguments)
    assert caught.value.step == step, caught.value
    return caught.value


def test_a_statement_whose_sum_does_not_follow_is_refused():
    """One unit less than the entries say, and both amounts are named."""
    error = wrong(5, amounts={ACCOUNT: OWED + 1})
    assert (error.expected, error.found) == (
        f"{OWED + 1} units as stated",
        f"{OWED} units in the entries cited",
    )


def test_a_statement_that_cites_an_entry_twice_is_refused():
    """Twice the same accrual would pass for twice the money."""
    twice = copy.deepcopy(PROOF)
    twice["entries"].append(twice["entries"][0])
    assert "cited once" in str(wrong(3, proof=twice))


@pytest.mark.parametrize("field", ["leaf", "tlog_proof", "ledger_seq"])
def test_a_changed_citation_is_refused(field):
    """Neither what is shown, nor its proof, nor its place can be exchanged."""
    for other in (1, 2):
        mixed = copy.deepcopy(PROOF)
        mixed["entries"][0][field] = mixed["entries"][other][field]
        wrong(3, proof=mixed)
    raised = copy.deepcopy(PROOF)
    raised["entries"][0]["leaf"] = raised["entries"][0]["leaf"].replace('"-', '"-9', 1)
    wrong(3, proof=raised)


def test_a_statement_of_a_rewritten_book_is_refused_by_who_holds_a_checkpoint():
    """The owner signs a book in which the creator gets less; the held checkpoint says no."""
    rows = json.loads(LEAVES[2])["postings"]
    rows[1][2], rows[2][2] = str(int(rows[1][2]) - 5), str(int(rows[2][2]) + 5)
    forged = [*LEAVES[:2], changed(LEAVES[2], postings=rows), *LEAVES[3:]]
    tree = MerkleTree(leaf_hash(leaf) for leaf in forged)
    note = checkpoint_of(forged)
    cited = {seq: forged[seq - 1] for seq in CITED}
    proof = statement_proof(tree.node, cited, note, SIZE)
    hashes = consistency_proof(tree.node, 6, SIZE)
    error = wrong(2, proof=proof, consistency=hashes, amounts=None)
    assert open_checkpoint(HELD, KEYS).root_hex in error.expected
    assert open_checkpoint(note, KEYS).root_hex in error.found
    # Without a checkpoint of his own he cannot tell: this is the limit, and it is written down.
    assert check(proof, held=None, consistency=(), amounts=None).entries == 3


def test_a_rolled_back_statement_is_refused():
    """A statement on an older book than the one the creator has seen."""
    older = statement_proof(TREE.node, {2: LEAVES[1]}, HELD, 6)
    error = wrong(2, proof=older, held=NOTE, consistency=(), amounts=None)
    assert "6 leaves" in error.found


def test_only_entries_count():
    """An access record or a broken leaf cannot be cited as money."""
    access = statement_proof(TREE.node, {8: LEAVES[7]}, NOTE, SIZE)
    assert "byline-entry/1" in wrong(3, proof=access, amounts=None).expected
    assert wrong(1, proof={"format": "other"}).step == 1
    assert check({**PROOF, "entries": []}, amounts={}).entries == 0
