"""From a real database to a stranger's verdict: post, close, seal, pack, verify, and tamper."""

import hashlib
import shutil
import sqlite3

import pytest

from ledger.audit import run_verify
from ledger.audit_errors import PackError, WitnessRefusal
from ledger.checkpoint import sign_checkpoint
from ledger.entry import JournalEntry, Posting
from ledger.merkle import MerkleTree, consistency_proof, root_of
from ledger.pack import write_book, write_pack
from ledger.proof import statement_proof, verify_statement_proof
from ledger.store import LedgerStore
from ledger.witness import WitnessRequest, cosign_with_file
from tests.ledger.book_maker import KEYS, LOG, ORIGIN, WITNESS


def night(day, units=1_000_000, **changes):
    """One night's accrual, as the nightly run books it."""
    fields = {
        "scope": "nightly",
        "key": f"{day}/pool",
        "kind": "accrual",
        "period": "2026-11",
        "effective_on": day,
        "description": f'accrual of "{day}"',
        "postings": [
            Posting("Expenses:Royalty", "USD/6", units),
            Posting("Liabilities:Accrued:c1", "USD/6", -units + 7),
            Posting("Liabilities:Suspense:Unlicensed", "USD/6", -7),
        ],
        "evidence": {"estimates": "ab" * 32},
    } | changes
    return JournalEntry(**fields)


def seal(book):
    """Sign and store a checkpoint over the whole book."""
    frontier = book.frontier()
    note = sign_checkpoint(ORIGIN, frontier.size, frontier.root(), LOG)
    book.save_checkpoint(note, frontier.size, frontier.root())
    return note


def settle_a_month(book):
    """Post a month with everything in it; returns the checkpoints signed on the way."""
    book.open_period("2026-11")
    book.post(night("2026-11-01"))
    notes = [seal(book)]
    book.post_many([night("2026-11-02", 5_000_000), night("2026-11-03", 900)])
    book.record_access("c1", "creator", "view", "statement/c1", "his own")
    wrong = book.post(night("2026-11-04", 123_456))
    book.reverse(
        wrong.entry_id, "2026-11-04/back", period="2026-11", effective_on="2026-11-05",
        prepared_by="ann", approved_by="bob",
    )  # fmt: skip
    notes.append(seal(book))
    book.close_period("2026-11", "ann", "bob")
    book.open_period("2026-12")
    late = night("2026-12-01", 55, kind="adjustment", period="2026-12", prepared_by="ann",
                 approved_by="bob")  # fmt: skip
    book.post(late)
    notes.append(seal(book))
    return notes


def pack(book, folder, notes, name="p.zip"):
    """Write the pack of a book as it stands in the database."""
    work = folder / f"{name}.files"
    work.mkdir()
    members = write_book(work, book.leaves(), checkpoint=notes[-1], earlier=notes)
    path = folder / name
    write_pack(path, members, period="2026-11", origin=ORIGIN, signer=LOG)
    return path


def test_a_month_in_the_database_verifies_as_a_pack(book, tmp_path):
    """What the database holds is what the verifier re-performs, on each database alike."""
    notes = settle_a_month(book)
    report = run_verify(pack(book, tmp_path, notes), KEYS, [tmp_path / "kept"][:0])
    assert report.ok, report.lines()
    assert (report.entries, report.accesses, report.size) == (6, 1, 10)
    balance = book.balance("Liabilities:Accrued:c1", "USD/6")
    accounts = (tmp_path / "p.zip.files" / "accounts.csv").read_text()
    row = next(line for line in accounts.splitlines() if line.startswith("Liabilities:Accrued:c1,"))
    assert row.endswith(f",{balance}")
    assert run_verify(tmp_path / "p.zip", KEYS, notes).ok


def test_sqlite_and_postgresql_give_the_same_leaves(book):
    """Byte for byte: the time of recording is not in the book, so neither is the machine."""
    settle_a_month(book)
    lines = b"".join(leaf + b"\n" for leaf in book.leaves())
    assert hashlib.sha256(lines).hexdigest() == (
        "8ababc11f36c6abb0474c708f1d64c0d31ba463b414b7dde54d5a40a31df981c"
    )


def test_a_creator_checks_his_statement_from_the_database(book):
    """Leaves and hashes from the store, a proof, and the sum he is owed."""
    notes = settle_a_month(book)
    tree = MerkleTree(book.leaf_hashes())
    cited = {n: leaf for n, leaf in enumerate(book.leaves(), 1) if n in {2, 3, 4}}
    proof = statement_proof(tree.node, cited, notes[-1], tree.size)
    owed = -(1_000_000 - 7) - (5_000_000 - 7) - (900 - 7)
    proved = verify_statement_proof(
        proof, KEYS, held=notes[0], consistency=consistency_proof(tree.node, 2, tree.size),
        amounts={("Liabilities:Accrued:c1", "USD/6"): owed},
    )  # fmt: skip
    assert proved.entries == 3


def tampered(url, statement, *values):
    """Change the database as its owner can: triggers taken out first, then put aside."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    triggers = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall()
    for name, _ in triggers:
        connection.execute(f'DROP TRIGGER "{name}"')
    changed = connection.execute(statement, values).rowcount
    for _, text in triggers:
        connection.execute(text)
    connection.commit()
    connection.close()
    return changed


def test_an_owner_who_edits_a_posting_cannot_write_the_pack(sqlite_url, tmp_path):
    """Triggers dropped, two amounts changed, triggers restored: the checkpoint no longer fits."""
    with LedgerStore.open(sqlite_url) as book:
        notes = settle_a_month(book)
    assert tampered(
        sqlite_url,
        "UPDATE posting SET units = units + CASE WHEN account_id LIKE 'Exp%' THEN 5 ELSE -5 END "
        "WHERE entry_id = (SELECT entry_id FROM journal_entry WHERE key = '2026-11-02/pool') "
        "AND account_id IN ('Expenses:Royalty', 'Liabilities:Accrued:c1')",
    ) == 2  # fmt: skip
    with LedgerStore.open(sqlite_url) as book, pytest.raises(PackError, match="no pack was"):
        pack(book, tmp_path, notes)


def test_an_owner_who_signs_the_edited_book_anew_is_found_by_who_kept_a_checkpoint(
    sqlite_url, tmp_path
):
    """Nothing inside shows it: the pack verifies. The checkpoint in another's drawer shows it."""
    with LedgerStore.open(sqlite_url) as book:
        kept = settle_a_month(book)
    tampered(sqlite_url, "UPDATE journal_entry SET description = 'x' WHERE key = '2026-11-02/pool'")
    with LedgerStore.open(sqlite_url) as book:
        leaves = list(book.leaves())
        note = sign_checkpoint(ORIGIN, len(leaves), root_of(leaves), LOG)
        path = pack(book, tmp_path, [note])
    assert run_verify(path, KEYS).ok, "without a checkpoint of one's own this is not noticed"
    failure = run_verify(path, KEYS, kept[1:2]).failure
    assert (failure.step, failure.member) == (10, "entries.jsonl")


def test_a_database_put_back_to_an_older_backup_is_found(sqlite_url, tmp_path):
    """The backup is right in itself; a later checkpoint, or a witness, has seen more."""
    state = tmp_path / "witness.json"
    backup = tmp_path / "backup.db"

    def witnessed(book, note, size, old):
        tree = MerkleTree(book.leaf_hashes())
        proof = tuple(consistency_proof(tree.node, old, size))
        request = WitnessRequest(old, proof, note)
        return cosign_with_file(state, request, log_keys=KEYS, witness=WITNESS, now=1_795_000_000)

    with LedgerStore.open(sqlite_url) as book:
        book.open_period("2026-11")
        book.post(night("2026-11-01"))
        first = seal(book)
        witnessed(book, first, 2, 0)
    shutil.copy(sqlite_url.removeprefix("sqlite:///"), backup)
    with LedgerStore.open(sqlite_url) as book:
        book.post(night("2026-11-02"))
        later = witnessed(book, seal(book), 3, 2)
    with LedgerStore.open(f"sqlite:///{backup}") as book:
        path = pack(book, tmp_path, [first])
        assert run_verify(path, KEYS).ok, "an older book is right in itself"
        failure = run_verify(path, KEYS, [later]).failure
        assert failure.step == 10
        assert "rolled back" in str(failure)
        with pytest.raises(WitnessRefusal, match="rolled back"):
            witnessed(book, first, 2, 0)
        book.post(night("2026-11-02", 1))
        other = seal(book)
        with pytest.raises(WitnessRefusal, match="forked"):
            witnessed(book, other, 3, 3)
