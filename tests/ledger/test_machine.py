"""Random sequences of operations against the oracle, every invariant after every step."""

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ledger.errors import LedgerError
from ledger.merkle import root_of
from ledger.store import LedgerStore, check
from tests.books import USD, accrual, posting
from tests.databases import fresh_book
from tests.ledger.oracle import Oracle, Refused, reversal

PERIODS = ("2026-09", "2026-10", "2026-11")
KEYS = st.sampled_from([f"k{n}" for n in range(9)])
UNITS = st.sampled_from([1, 2, 30, 10**16])
CREATORS = st.sampled_from(["anna", "ben"])


def folder_in_memory() -> Path:
    """Return a new folder where syncing costs nothing, if there is one.

    Durability is not tested here, and the many books would wait for the disk.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="byline-machine-", dir=memory))


class Book(RuleBasedStateMachine):
    """Post, reverse, hold, release, close, pay, retry and come late, rightly and wrongly."""

    kind = "sqlite"

    @initialize()
    def start(self):
        """Open a fresh book and an oracle."""
        self.folder = folder_in_memory()
        self.kept = ExitStack()
        self.url = self.kept.enter_context(fresh_book(self.kind, self.folder))
        self.book = self.kept.enter_context(LedgerStore.open(self.url))
        self.oracle = Oracle()
        self.both(
            lambda: self.book.open_period("2026-10"), lambda: self.oracle.open_period("2026-10")
        )

    def teardown(self):
        """Sweep every row and throw the book away."""
        if hasattr(self, "kept"):
            if len(self.oracle.leaves) % 4 == 0:
                check(self.url)
            self.kept.close()
            shutil.rmtree(self.folder)

    def both(self, ours, theirs):
        """Run an operation on both; they accept or refuse together and answer alike."""
        try:
            expected = theirs()
        except Refused as refusal:
            try:
                answer = ours()
            except LedgerError:
                return
            raise AssertionError(f"the book took what it must refuse: {answer}") from refusal
        answer = ours()
        if isinstance(expected, list):
            answers = answer if isinstance(answer, list) else [answer]
            assert [(a.ledger_seq, a.replayed) for a in answers] == expected

    def post(self, *entries):
        """Post entries to both."""
        self.both(lambda: self.book.post_many(entries), lambda: self.oracle.post(list(entries)))

    @rule(key=KEYS, units=UNITS, creator=CREATORS, period=st.sampled_from(PERIODS))
    def accrue(self, key, units, creator, period):
        """A night's accrual, again or with other content, in time or late."""
        self.post(accrual(key, units, creator, period=period, effective_on="2026-10-21"))

    @rule(keys=st.lists(KEYS, min_size=1, max_size=5), units=UNITS)
    def accrue_many(self, keys, units):
        """A batch, with keys repeated inside it."""
        self.post(*[accrual(key, units, period="2026-10") for key in keys])

    @rule(key=KEYS, units=UNITS, creator=CREATORS)
    def hold(self, key, units, creator):
        """What is disputed is set aside."""
        lines = [
            posting(f"Liabilities:RoyaltiesPayable:{creator}", units),
            posting(f"Liabilities:Suspense:Disputed:{creator}", -units),
        ]
        self.post(accrual(f"hold {key}", kind="hold", period="2026-10", postings=lines))

    @rule(key=KEYS, held=st.booleans(), again=st.booleans(), period=st.sampled_from(PERIODS))
    def take_back(self, key, held, again, period):
        """A reversal of an accrual or a release of a hold, once or twice."""
        entry_id = accrual(f"hold {key}" if held else key).entry_id
        kind = "release" if held else "reversal"
        fields = reversal(f"undo {key} {held} {again}", period, kind)
        undo = fields.pop("key")
        self.both(
            lambda: self.book.reverse(entry_id, undo, **fields),
            lambda: self.oracle.reverse(entry_id, undo, period, kind),
        )

    @rule(key=KEYS, creator=CREATORS, units=UNITS, approver=st.sampled_from(["carla", "ben"]))
    def pay(self, key, creator, units, approver):
        """A payout, which nobody approves for himself."""
        lines = [
            posting(f"Liabilities:RoyaltiesPayable:{creator}", units),
            posting("Assets:Cash", -units),
        ]
        fields = {"kind": "payout", "prepared_by": "ben", "approved_by": approver}

        def build():
            return accrual(f"pay {key}", period="2026-10", postings=lines, **fields)

        if approver == "ben":
            with pytest.raises(LedgerError, match="needs an approver"):
                build()
        else:
            self.post(build())

    @rule(period=st.sampled_from(PERIODS))
    def open_one(self, period):
        """A period opens, in order or not."""
        self.both(lambda: self.book.open_period(period), lambda: self.oracle.open_period(period))

    @rule(period=st.sampled_from(PERIODS))
    def close_one(self, period):
        """A period closes, in order or not."""
        self.both(
            lambda: self.book.close_period(period, "ben", "carla"),
            lambda: self.oracle.close_period(period),
        )

    @rule()
    def look(self):
        """Somebody looks at a statement."""
        assert self.book.record_access("anna", "creator", "view", "x") == self.oracle.access()

    @rule(every=st.integers(1, 4))
    def snapshot(self, every):
        """Snapshots are taken at any time and change no balance."""
        self.book.take_snapshots(every)

    @rule()
    def checkpoint(self):
        """A checkpoint is taken at any time and changes no root."""
        frontier = self.book.frontier()
        latest = self.book.latest_checkpoint()
        if latest is None or latest.size < frontier.size:
            self.book.save_checkpoint("note", frontier.size, frontier.root())

    @invariant()
    def agree(self):
        """Everything that can be asked is answered alike."""
        if not hasattr(self, "kept"):
            return
        oracle, book = self.oracle, self.book
        size = len(oracle.leaves)
        assert book.head_seq() == size
        assert {p: str(s) for p, s in book.periods().items()} == oracle.periods
        lines = book.trial_balance(USD)
        assert {line.account_id for line in lines} == oracle.accounts()
        assert sum(line.balance_units for line in lines) == 0
        for line in lines:
            account = line.account_id
            assert line.balance_units == oracle.balance(account)
        for line in lines[-2:]:
            account = line.account_id
            half = size // 2
            assert book.balance(account, USD, as_of_seq=half) == oracle.balance(account, half)
            day = "2026-10-15"
            assert book.balance(account, USD, day) == oracle.balance(account, day=day)
        assert {s.ledger_seq: s.entry for s in book.entries()} == {
            oracle.place_of(entry_id): entry for entry_id, entry in oracle.entries.items()
        }
        assert book.frontier().root() == root_of(book.leaves())
        book.verify_snapshots()


class PostgresqlBook(Book):
    """The same on PostgreSQL."""

    kind = "postgresql"


def run(machine, sequences: int, steps: int) -> None:
    """Run a machine for so many sequences of at most so many steps."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


@pytest.mark.parametrize("part", range(5))
def test_five_hundred_sequences_agree_with_the_oracle(part):
    """Whatever is done, the book and a book in plain Python agree after every step."""

    class Part(Book):
        """A part of the sequences: derandomised by its name, so each part differs."""

    Part.__name__ = Part.__qualname__ = f"Book{part}"
    run(Part, sequences=100, steps=6)


@pytest.mark.postgres
def test_sequences_agree_with_the_oracle_on_postgresql():
    """The same on PostgreSQL, where each sequence costs a database."""
    run(PostgresqlBook, sequences=8, steps=8)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_ten_thousand_sequences_agree_with_the_oracle(part):
    """The same at nightly size, with longer sequences."""

    class Part(Book):
        """A part of the sequences."""

    Part.__name__ = Part.__qualname__ = f"Night{part}"
    run(Part, sequences=500, steps=25)
