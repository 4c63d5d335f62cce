"""What the book promises to those who post to it and read from it, on both databases."""

import sqlite3
from datetime import UTC, datetime

import psycopg
import pytest

from ledger.balance import trial_balance_of
from ledger.canonical import canonical_entry
from ledger.errors import (
    AlreadyReversedError,
    CheckpointError,
    DatabaseFullError,
    DatabaseUnreachableError,
    IdempotencyConflictError,
    PeriodError,
    SchemaError,
    UnknownEntryError,
)
from ledger.merkle import leaf_hash, root_of
from ledger.period_close import PeriodStatus
from ledger.store import LedgerStore, check
from ledger.store_errors import translate
from tests.books import PERIOD, USD, accrual, posting

APPROVED = {"prepared_by": "ben", "approved_by": "carla"}


def reversal_fields(**changes):
    """Return what a reversal needs beside its entry and key."""
    return {"period": PERIOD, "effective_on": f"{PERIOD}-22", **APPROVED} | changes


def test_of_many_conflicts_the_first_of_the_call_is_named(book):
    """Which entry is named does not depend on the order in which a database reads."""
    book.open_period(PERIOD)
    keys = [f"k{n}" for n in range(40)]
    book.post_many([accrual(key) for key in keys])
    for start in (0, 7, 39):
        again = [accrual(key, 5) for key in keys[start:] + keys[:start]]
        with pytest.raises(IdempotencyConflictError, match=accrual(keys[start]).entry_id):
            book.post_many(again)


def test_same_entry_twice_posts_once(book):
    """Running a night twice posts once: the second answer is the first place again."""
    book.open_period(PERIOD)
    first = book.post(accrual("a"))
    again = book.post(accrual("a"))
    assert (first.replayed, again.replayed) == (False, True)
    assert again.ledger_seq == first.ledger_seq
    assert book.balance("Expenses:Royalty", USD) == 100


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"units": 101}, r"postings\[0\]\.units: booked 100 != given 101"),
        ({"creator": "ben"}, r"postings\[1\]\.account_id"),
        ({"description": "other"}, "description"),
        ({"effective_on": "2026-11-20"}, "effective_on"),
        ({"evidence": {"outputs": "0" * 64}}, "evidence"),
        ({"approved_by": "ben"}, "approved_by: booked None != given 'ben'"),
        ({"kind": "earning"}, "kind: booked 'accrual' != given 'earning'"),
    ],
)
def test_same_key_with_other_content_names_the_field(book, changed, field):
    """A key names one event for ever; what differs is said, and nothing is posted."""
    book.open_period(PERIOD)
    book.post(accrual("a"))
    with pytest.raises(IdempotencyConflictError, match=field):
        book.post_many([accrual("b"), accrual("a", **changed)])
    assert book.balance("Expenses:Royalty", USD) == 100
    assert book.head_seq() == 2


def test_replays_and_new_entries_mix_in_one_call(book):
    """A killed batch is posted again whole; what was there stays, the rest follows gaplessly."""
    book.open_period(PERIOD)
    book.post_many([accrual(f"k{n}") for n in range(0, 200, 2)])
    answers = book.post_many([accrual(f"k{n}") for n in range(200)])
    assert [answer.replayed for answer in answers] == [n % 2 == 0 for n in range(200)]
    assert sorted(answer.ledger_seq for answer in answers) == list(range(2, 202))


def test_the_same_key_twice_in_one_call_is_a_replay(book):
    """A batch that holds an entry twice posts it once."""
    book.open_period(PERIOD)
    first, again = book.post_many([accrual("a"), accrual("a")])
    assert (first.ledger_seq, first.replayed) == (2, False)
    assert (again.ledger_seq, again.replayed) == (2, True)


def test_entries_come_back_as_they_were_posted(book):
    """Nothing is lost or changed on the way into the database and back."""
    book.open_period(PERIOD)
    entries = [
        accrual("ключ/δ ✓ \\ ' \" %s %% $byline$", description='tab\tnewline\n"\\N\r quote'),
        accrual("b", evidence={"outputs": "ab" * 32, "sample": "cd" * 32}),
        accrual(
            "c",
            postings=[
                posting("Assets:Cash", 7),
                posting("Equity:Opening", -7),
                posting("Assets:Cash", -(10**16), "EUR/2"),
                posting("Equity:Opening", 10**16, "EUR/2"),
            ],
        ),
    ] + [accrual(f"many/{n}", description=f"\\{n}\t") for n in range(100)]
    posted = book.post_many(entries)
    read = list(book.entries())
    assert [sealed.entry for sealed in read] == entries
    assert [sealed.ledger_seq for sealed in read] == [answer.ledger_seq for answer in posted]
    assert book.entry(entries[0].entry_id).entry == entries[0]
    assert all(sealed.recorded_at.tzinfo is not None for sealed in read)


def test_stored_leaf_hashes_are_those_of_the_leaves(book):
    """A checkpoint is computed from stored hashes; they are what the leaves hash to."""
    book.open_period(PERIOD)
    book.post_many([accrual(f"k{n}") for n in range(70)])
    book.record_access("anna", "creator", "view", "statement/2026-11", 'a "reason"\n')
    book.close_period(PERIOD, "ben", "carla")
    leaves = list(book.leaves())
    assert len(leaves) == book.head_seq() == 73
    assert [leaf_hash(leaf) for leaf in leaves] == list(book.leaf_hashes())
    assert leaves[1] == canonical_entry(ledger_seq=2, entry=accrual("k0"))
    assert root_of(leaves) == book.frontier().root()
    assert list(book.leaves(after_seq=71)) == leaves[71:]


def test_reversing_an_entry_restores_every_balance(book):
    """A correction is the exact negation, once, and both entries stay to be read."""
    book.open_period(PERIOD)
    book.post(accrual("base"))
    before = book.balances("", USD)
    entry = accrual("wrong", 77)
    book.post(entry)
    answer = book.reverse(entry.entry_id, "undo", **reversal_fields())
    assert book.balances("", USD) == before
    assert book.reverse(entry.entry_id, "undo", **reversal_fields()).replayed
    assert book.entry(answer.entry_id).entry.reverses == entry.entry_id


def test_an_entry_is_reversed_at_most_once(book):
    """A second reversal under another key would book the opposite of the mistake."""
    book.open_period(PERIOD)
    book.post(accrual("wrong"))
    entry_id = accrual("wrong").entry_id
    book.reverse(entry_id, "undo", **reversal_fields())
    with pytest.raises(AlreadyReversedError, match="taken back before"):
        book.reverse(entry_id, "undo again", **reversal_fields())


def test_a_reversal_of_nothing_is_refused(book):
    """Only what is in the book can be taken back."""
    book.open_period(PERIOD)
    with pytest.raises(UnknownEntryError):
        book.reverse("je_nothing", "undo", **reversal_fields())
    entry = accrual("x", kind="reversal", reverses="je_nothing", **APPROVED)
    with pytest.raises(UnknownEntryError):
        book.post(entry)


def test_a_hold_is_released_once_and_without_approval(book):
    """A hold moves money aside; its release moves exactly that money back."""
    book.open_period(PERIOD)
    hold = accrual(
        "hold",
        40,
        kind="hold",
        postings=[
            posting("Liabilities:RoyaltiesPayable:anna", 40),
            posting("Liabilities:Suspense:Disputed:anna", -40),
        ],
    )
    book.post(hold)
    assert book.balance("Liabilities:Suspense:Disputed:anna", USD) == -40
    fields = reversal_fields(prepared_by="system", approved_by=None)
    book.reverse(hold.entry_id, "release", kind="release", **fields)
    assert book.balance("Liabilities:Suspense:Disputed:anna", USD) == 0
    with pytest.raises(AlreadyReversedError):
        book.reverse(hold.entry_id, "undo", **reversal_fields())


def test_entries_need_an_open_period(book):
    """A period that was never opened, or is closed, takes nothing."""
    with pytest.raises(PeriodError, match="2026-11 was never opened"):
        book.post(accrual("a"))
    book.open_period(PERIOD)
    book.post(accrual("a"))
    book.close_period(PERIOD, "ben", "carla")
    assert book.period_status(PERIOD) is PeriodStatus.CLOSED
    with pytest.raises(PeriodError, match="2026-11 is closed; nothing was posted"):
        book.post(accrual("b"))
    assert book.post(accrual("a")).replayed


def test_periods_open_and_close_in_order_and_for_ever(book):
    """No period is reopened, skipped back to, or closed before an earlier one."""
    for period in ("2026-10", "2026-11", "2026-11"):
        book.open_period(period)
    with pytest.raises(PeriodError, match="2026-09 cannot be opened after 2026-11"):
        book.open_period("2026-09")
    with pytest.raises(PeriodError, match="cannot be closed while 2026-10 is open"):
        book.close_period("2026-11", "ben", "carla")
    book.close_period("2026-10", "ben", "carla")
    book.close_period("2026-10", "ben", "carla")
    with pytest.raises(PeriodError, match="closed already"):
        book.close_period("2026-10", "ben", "dora")
    with pytest.raises(PeriodError, match="2026-10 is closed already"):
        book.open_period("2026-10")
    with pytest.raises(PeriodError, match="was never opened"):
        book.close_period("2027-01", "ben", "carla")
    assert book.head_seq() == 3


def test_checkpoints_are_of_this_book_and_only_grow(book):
    """A log never keeps two roots for one size, nor a root that is not its own."""
    book.open_period(PERIOD)
    book.post(accrual("a"))
    frontier = book.frontier()
    book.save_checkpoint("note", 2, frontier.root())
    book.save_checkpoint("note", 2, frontier.root())
    book.post(accrual("b"))
    with pytest.raises(CheckpointError, match="belongs to another book"):
        book.save_checkpoint("note", 3, b"\0" * 32)
    with pytest.raises(CheckpointError, match="has 3 leaves"):
        book.save_checkpoint("note", 4, frontier.root())
    with pytest.raises(CheckpointError, match="there already"):
        book.save_checkpoint("other", 2, frontier.root())
    book.save_checkpoint("third", 3, root_of(book.leaves()))
    assert [stored.size for stored in book.checkpoints()] == [2, 3]
    assert book.latest_checkpoint().note == "third"
    assert book.frontier(2).root() == frontier.root()


def test_trial_balance_is_the_sum_of_the_postings(book):
    """The database's sums are those of the slow reference, and add up to zero."""
    book.open_period(PERIOD)
    entries = [accrual(f"k{n}", n + 1, f"c{n % 7}") for n in range(60)]
    book.post_many(entries)
    lines = book.trial_balance(USD)
    assert lines == trial_balance_of(entries, USD)
    assert book.trial_balance(USD, as_of_seq=11) == trial_balance_of(entries[:10], USD)
    assert sum(book.balances("Liabilities:Accrued:c1", USD).values()) == -sum(
        n + 1 for n in range(60) if n % 7 == 1
    )


def test_sums_beyond_64_bits_are_exact(book):
    """A book of any size is summed exactly, though SQLite's own sum() would fail."""
    book.open_period(PERIOD)
    book.post_many([accrual(f"k{n}", 10**16) for n in range(1000)])
    assert book.balance("Expenses:Royalty", USD) == 10**19
    assert book.trial_balance(USD)[0].debit_units == 10**19


def test_personal_data_is_erased_without_changing_a_hash(book):
    """A payee can be forgotten; what was proved about the book stays proved."""
    book.open_period(PERIOD)
    commitment = book.put_personal("anna", "legal_name", "A. Example")
    book.post(accrual("a", evidence={"payee_identity": commitment}))
    hashes = list(book.leaf_hashes())
    assert book.personal("anna")[commitment].value == "A. Example"
    assert book.erase_personal("anna", "dora", "officer", "asked to be forgotten") == 1
    assert book.personal("anna") == {}
    assert book.commitments("anna") == [commitment]
    assert list(book.leaf_hashes())[: len(hashes)] == hashes
    assert book.accesses()[-1].access.action == "erase"


def test_two_commitments_to_the_same_fact_differ(book):
    """A salt of its own for each commitment: nobody can tell equal facts from the hashes."""
    assert book.put_personal("anna", "iban", "X") != book.put_personal("anna", "iban", "X")


def test_the_book_as_it_stood_at_a_moment_can_be_asked(book):
    """recorded_at leads to a place, and the place to every balance of that moment."""
    book.open_period(PERIOD)
    book.post(accrual("a"))
    then = datetime.now(UTC)
    book.post(accrual("b"))
    assert book.seq_at(datetime(2020, 1, 1, tzinfo=UTC)) == 0
    assert book.seq_at(datetime.now(UTC)) == 3
    assert book.balance("Expenses:Royalty", USD, as_of_seq=book.seq_at(then)) in {100, 200}


def test_an_auditor_reads_and_cannot_write(sqlite_url):
    """On SQLite the role of an auditor is a connection that refuses to write."""
    with LedgerStore.open(sqlite_url) as book:
        book.open_period(PERIOD)
    with LedgerStore.open(sqlite_url, role="auditor") as book:
        assert book.head_seq() == 1
        with pytest.raises(DatabaseUnreachableError, match="readonly"):
            book.post(accrual("a"))


def test_a_missing_file_is_not_made_by_opening_it(tmp_path):
    """A wrong path is an error that names it, not a new empty book."""
    path = tmp_path / "nowhere" / "byline.db"
    with pytest.raises(DatabaseUnreachableError, match="byline db upgrade"):
        LedgerStore.open(f"sqlite:///{path}")
    assert not path.parent.exists()


def test_an_unreachable_server_is_named():
    """The error says which server, and not its password."""
    with pytest.raises(DatabaseUnreachableError, match="localhost:1/byline") as raised:
        LedgerStore.open("postgresql://anna:secret@localhost:1/byline", lock_timeout_s=2)
    assert "secret" not in str(raised.value)


def test_an_empty_database_asks_to_be_upgraded(tmp_path):
    """A database without the schema is refused with the command that makes it."""
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(SchemaError, match="none \\(empty\\)"):
        LedgerStore.open(path)


def test_a_fresh_book_passes_the_check(book_url):
    """The sweep over every row finds nothing in a book that only the store wrote."""
    with LedgerStore.open(book_url) as book:
        book.open_period(PERIOD)
        book.post_many([accrual(f"k{n}") for n in range(100)])
    check(book_url)


@pytest.mark.parametrize(
    "cause",
    [
        sqlite3.OperationalError("database or disk is full"),
        sqlite3.OperationalError("disk I/O error"),
        psycopg.errors.DiskFull("could not extend file"),
    ],
)
def test_a_full_disk_is_not_called_unreachable(cause):
    """The operator is told to make room, not to look for the server."""
    said = translate(cause, "sqlite:///book.db")
    assert isinstance(said, DatabaseFullError)
    assert "Make room" in str(said)
    assert str(cause) in str(said)
