"""A stranger's path: from a published statement to the signed book, and every way to fail."""

import json

import pytest

from ledger.audit_errors import NoteError, VerificationError
from ledger.canonical import canonical_period, entry_id_of
from ledger.checkpoint import sign_checkpoint
from ledger.merkle import MerkleTree, consistency_proof, leaf_hash, root_of
from ledger.proof import statement_proof
from reports.errors import StatementFileError
from reports.render.json import render_json
from reports.statement import build_statement
from reports.statement_inputs import EntryRef, Movement, StatementInputs
from reports.statement_proof import verify_statement_file
from reports.statement_reader import read_statement
from tests.ledger.book_maker import KEYS, LOG, ORIGIN, OTHER_LOG, entry
from tests.reports.example import header, inputs, work

PAYABLE = "Liabilities:RoyaltiesPayable:numkit"
PAYOUT = [(PAYABLE, "USD/6", 500_000), ("Assets:Cash", "USD/6", -500_000)]
EARNED = [("Liabilities:Accrued:numkit", "USD/6", 800_000), (PAYABLE, "USD/6", -800_000)]


def book():
    """Five leaves: open, earned, someone else's, payout, close."""
    other = [("Expenses:Royalty", "USD/6", 7), ("Liabilities:Accrued:b", "USD/6", -7)]
    people = {"prepared_by": "ann", "approved_by": "bob"}
    return [
        canonical_period(
            ledger_seq=1, action="open", period="2026-11", prepared_by="system", approved_by=None
        ),
        entry(2, "earned", EARNED, kind="apportionment", effective_on="2026-11-30"),
        entry(3, "other", other),
        entry(4, "payout", PAYOUT, kind="payout", effective_on="2026-11-30", **people),
        canonical_period(ledger_seq=5, action="close", period="2026-11", **people),
    ]


def published(leaves=None, cited=(2, 4), signer=LOG):
    """The statement's JSON as it leaves the house, with its proof."""
    leaves = leaves or book()
    tree = MerkleTree(leaf_hash(leaf) for leaf in leaves)
    note = sign_checkpoint(ORIGIN, len(leaves), root_of(leaves), signer)
    refs = (
        EntryRef(entry_id_of("nightly", "earned"), 2, "apportionment", "2026-11-30", 800_000),
        EntryRef(entry_id_of("nightly", "payout"), 4, "payout", "2026-11-30", -500_000),
    )
    statement = build_statement(
        StatementInputs(
            header=header(payee_id="numkit"),
            movements=(Movement("earned", 800_000), Movement("payout", -500_000)),
            works=(work("w", "2026-11", 800_000, 10**10),),
            entries=refs,
        )
    )
    proof = statement_proof(tree.node, {seq: leaves[seq - 1] for seq in cited}, note, len(leaves))
    return render_json(statement, proof)


def edited(data, change):
    """The file after somebody's change, written as we write it."""
    document = json.loads(data)
    change(document)
    return json.dumps(document).encode()


def test_a_published_statement_is_proved_against_the_book():
    """File and public key are enough; nothing is asked of the payer."""
    check = verify_statement_file(published(), KEYS)
    assert check.statement.closing_units == 300_000
    assert check.entries == 2
    assert not check.compared_with_held


def test_it_is_compared_with_the_checkpoint_the_creator_holds():
    """A book that grew is accepted with a consistency proof, and only with it."""
    leaves = book()
    held = sign_checkpoint(ORIGIN, 3, root_of(leaves[:3]), LOG)
    tree = MerkleTree(leaf_hash(leaf) for leaf in leaves)
    hashes = consistency_proof(tree.node, 3, 5)
    assert verify_statement_file(published(), KEYS, held=held, consistency=hashes)
    with pytest.raises(VerificationError, match="rewritten since"):
        verify_statement_file(published(), KEYS, held=held)


def test_a_book_rewritten_and_signed_anew_is_found_by_the_held_checkpoint():
    """The owner of the key cannot change the past of somebody who kept a checkpoint."""
    old = sign_checkpoint(ORIGIN, 5, root_of([*book()[:4], b"{}"]), LOG)
    with pytest.raises(VerificationError, match="rewritten since"):
        verify_statement_file(published(), KEYS, held=old)


def test_a_checkpoint_of_nobody_trusted_is_refused():
    """Who speaks is settled before what is said."""
    with pytest.raises(NoteError):
        verify_statement_file(published(signer=OTHER_LOG), KEYS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(sha256="00" * 32), "sha256 is 0000"),
        (
            lambda d: d["totals"]["payable"].update(units="800001"),
            r"totals\.payable\.units is 800001, expected 800000",
        ),
        (lambda d: d.pop("proof"), "proof is absent"),
        (lambda d: d.update(format="byline-statement/9"), "format is byline-statement/9"),
        (
            lambda d: d["inputs"].update(opening_units="1.5"),
            r"inputs\.opening_units is 1\.5, expected a int",
        ),
        (lambda d: d["inputs"].update(bonus="1"), r"inputs\.bonus is present"),
        (lambda d: d["inputs"]["header"].pop("period"), r"header\.period is absent"),
    ],
)
def test_a_changed_file_is_named_by_its_field(change, message):
    """Whoever changes the file is told where, with both values."""
    with pytest.raises(StatementFileError, match=message):
        verify_statement_file(edited(published(), change), KEYS)


def test_an_entry_left_out_of_the_proof_is_noticed():
    """A statement may not cite what it does not prove."""
    with pytest.raises(VerificationError, match="does not follow from them"):
        verify_statement_file(published(cited=(2,)), KEYS)


def test_a_word_of_an_entry_that_differs_is_noticed():
    """The paper shows the entry as the book has it, kind and day included."""

    def make_it_an_adjustment(document):
        document["inputs"]["entries"][1]["kind"] = "adjustment"
        again = build_statement(_inputs_of(document))
        document["sha256"] = again.sha256

    with pytest.raises(StatementFileError, match="entry 4 is"):
        verify_statement_file(edited(published(), make_it_an_adjustment), KEYS)


def _inputs_of(document):
    from reports.statement_reader import _read

    return _read(StatementInputs, document["inputs"], "s", "inputs")


def test_reading_a_statement_gives_back_every_field():
    """The JSON holds all of the inputs, so the statement can be made again from it."""
    statement = build_statement(inputs())
    assert read_statement(render_json(statement)) == statement
    with pytest.raises(StatementFileError, match="a JSON object"):
        read_statement(b"%PDF-1.7")
