"""The book in its database: the one way in and out.

1. A posting goes in whole and once; what is posted is durable when the call returns.
2. Everything is read in one transaction a call, so what belongs together fits together.
3. Whoever opens a store gets one whose settings and triggers were read back, or an error.

    store = LedgerStore.open("sqlite:///byline.db")
    store.open_period("2026-11")
    store.post(JournalEntry(...))
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from ledger import store_balance, store_log, store_personal, store_read
from ledger.access import Access, RecordedAccess
from ledger.balance import TrialBalanceLine
from ledger.entry import JournalEntry
from ledger.errors import DatabaseRefusedError, UnknownEntryError
from ledger.journal import Posted, SealedEntry, reversal_of
from ledger.merkle import Frontier
from ledger.period_close import (
    PeriodStatus,
    check_close_approval,
    check_may_close,
    check_may_open,
)
from ledger.personal import SALT_BYTES, PersonalDatum
from ledger.posting_rules import check_times, check_words
from ledger.store_connect import database_url, make_engine
from ledger.store_log import StoredCheckpoint
from ledger.store_post import Prepared, in_words, post_prepared, prepare
from ledger.store_schema import check, upgrade
from ledger.store_transactions import Transactions

__all__ = ["LedgerStore", "StoredCheckpoint", "check", "upgrade"]


class LedgerStore(Transactions):
    """An open book. Safe to share between threads; each call uses a connection of its own.

    Attributes:
        url: the database, as it may be printed.
        engine: the SQLAlchemy engine, shared with the store of the agreements.
        retries: how many attempts this store has repeated after losing a race.
    """

    @classmethod
    def open(
        cls,
        url: str | Path,
        *,
        role: str | None = None,
        isolation: str | None = None,
        lock_timeout_s: float = 30.0,
    ) -> LedgerStore:
        """Open a book whose schema is up to date (`upgrade` brings it there).

        Args:
            url: sqlite:///FILE, postgresql://HOST/NAME, or the path of a SQLite file.
            role: None for that of the URL, or owner, writer, auditor.
            isolation: READ COMMITTED, REPEATABLE READ or SERIALIZABLE (PostgreSQL).
            lock_timeout_s: how long to wait for another writer.

        Raises:
            DatabaseUnreachableError: the database does not answer.
            SchemaError: a setting, table or trigger is not as it must be; all are named.
        """
        store = cls(
            make_engine(
                database_url(url),
                verify=True,
                role=role,
                isolation=isolation,
                lock_timeout_s=lock_timeout_s,
            )
        )
        try:
            store._read(store_read.head_size)
        except BaseException:
            store.close()
            raise
        return store

    # Posting

    def post(self, entry: JournalEntry) -> Posted:
        """Post one entry; the same entry again is answered with its first place.

        Raises:
            IdempotencyConflictError: the key was used for something else; the field is named.
            PeriodError: the period is closed or was never opened.
            AlreadyReversedError: what it takes back was taken back before.
            DatabaseBusyError: another writer held the book too long.
        """
        return self.post_many([entry])[0]

    def post_many(self, entries: Iterable[JournalEntry]) -> list[Posted]:
        """Post entries in one transaction: all of them, or none and an error as for `post`.

        Args:
            entries: in the order in which they get their places; a million postings are fine.

        Returns:
            One answer an entry, in the same order.
        """
        prepared = prepare(entries)
        try:
            return self._write(lambda connection: post_prepared(connection, prepared))
        except DatabaseRefusedError as error:
            raise self._in_words(error, prepared) from error

    def reverse(  # noqa: PLR0913  # One argument per field a reversal does not inherit.
        self,
        entry_id: str,
        key: str,
        *,
        period: str,
        effective_on: str,
        prepared_by: str,
        approved_by: str | None,
        description: str | None = None,
        kind: str = "reversal",
        scope: str | None = None,
    ) -> Posted:
        """Take an entry back: post its exact negation, once.

        Args:
            entry_id: what to take back.
            key: the idempotency key of the reversal.
            period: an open period.
            effective_on: the day it counts for, YYYY-MM-DD.
            prepared_by: the preparer.
            approved_by: the approver, another than the preparer.
            description: for people.
            kind: "reversal", or "release" for the end of a hold (needs no approver).
            scope: by default that of the entry.

        Raises:
            UnknownEntryError: there is no such entry.
            AlreadyReversedError: it was taken back under another key.
        """
        entry = self.entry(entry_id).entry
        return self.post(
            reversal_of(
                entry,
                key=key,
                period=str(period),
                effective_on=str(effective_on),
                prepared_by=prepared_by,
                approved_by=approved_by,
                description=description,
                kind=kind,
                scope=scope,
            )
        )

    # Periods

    def open_period(
        self, period: str, prepared_by: str = "system", approved_by: str | None = None
    ) -> None:
        """Open a settlement period; one that is open already stays so.

        Raises:
            PeriodError: it is closed, or a later one was opened before.
        """
        name = str(period)
        check_times(name, f"{name}-01", f"opening of period {name}")
        check_words({"prepared_by": prepared_by, "approved_by": approved_by}, f"period {name}")

        def work(connection: Connection) -> None:
            if store_read.period_statuses(connection).get(name) is PeriodStatus.OPEN:
                return
            store_log.insert_period_event(
                connection,
                "open",
                name,
                prepared_by,
                approved_by,
                lambda: check_may_open(name, store_read.period_statuses(connection)),
            )

        self._write(work)

    def close_period(self, period: str, prepared_by: str, approved_by: str) -> None:
        """Close a settlement period, for ever; the same close again is no error.

        Raises:
            ApprovalError: the preparer approves himself.
            PeriodError: it is not open, or an earlier one still is.
        """
        name = str(period)
        check_close_approval(name, prepared_by, approved_by)

        def work(connection: Connection) -> None:
            if store_read.period_closed_by(connection, name) == (prepared_by, approved_by):
                return
            store_log.insert_period_event(
                connection,
                "close",
                name,
                prepared_by,
                approved_by,
                lambda: check_may_close(name, store_read.period_statuses(connection)),
            )

        self._write(work)

    def period_status(self, period: str) -> PeriodStatus:
        """Say whether a period is open, closed or unknown."""
        return self.periods().get(str(period), PeriodStatus.UNKNOWN)

    def periods(self) -> dict[str, PeriodStatus]:
        """Return every period ever opened and what it is now."""
        return self._read(store_read.period_statuses)

    # Balances

    def balance(
        self,
        account_id: str,
        currency: str,
        as_of_effective: str | None = None,
        as_of_seq: int | None = None,
    ) -> int:
        """Return the balance of an account in units, debit positive.

        Args:
            account_id: the account; one never posted to has balance 0.
            currency: code and scale.
            as_of_effective: count only entries effective up to this day.
            as_of_seq: as the book stood after this place; see `seq_at` for a moment.
        """
        if as_of_effective is None:
            return self._read(
                lambda c: store_balance.balance_at(c, account_id, currency, as_of_seq)
            )
        day = str(as_of_effective)
        return self._read(
            lambda c: store_balance.balance_as_of_day(c, account_id, currency, day, as_of_seq)
        )

    def trial_balance(
        self, currency: str, as_of_seq: int | None = None, prefix: str = ""
    ) -> list[TrialBalanceLine]:
        """Return debits and credits of every account, sorted; a whole book adds up to zero."""
        return self._read(
            lambda c: store_balance.trial_balance_lines(c, currency, as_of_seq, prefix)
        )

    def balances(self, prefix: str, currency: str, as_of_seq: int | None = None) -> dict[str, int]:
        """Return the balance of every account whose name starts with a prefix, sorted."""
        lines = self.trial_balance(currency, as_of_seq, prefix)
        return {line.account_id: line.balance_units for line in lines}

    def seq_at(self, moment: datetime) -> int:
        """Return the last place of the book recorded at or before a moment (with time zone)."""
        return self._read(lambda c: store_balance.seq_at(c, moment))

    def take_snapshots(
        self, every: int = store_balance.SNAPSHOT_EVERY, looked_up_to: int = 0
    ) -> int:
        """Take the balance snapshots that are due and return how many; safe at any time.

        Args:
            every: one when an account got this many postings since the last.
            looked_up_to: the head at an earlier call, which makes this one cheap; 0 looks at all.
        """
        return self._write(lambda c: store_balance.take_snapshots(c, every, looked_up_to))

    def verify_snapshots(self) -> int:
        """Compare every snapshot with the full sum and return how many were compared.

        Raises:
            SnapshotError: the first one that differs.
        """
        return self._read(store_balance.verify_snapshots)

    # The journal and its leaves

    def entries(self, after_seq: int = 0) -> Iterator[SealedEntry]:
        """Yield sealed entries in the order of the book, from one moment's view of it."""
        with self._reading() as connection:
            yield from store_read.entries_after(connection, after_seq)

    def entry(self, entry_id: str) -> SealedEntry:
        """Return one entry.

        Raises:
            UnknownEntryError: the book does not have it.
        """
        found = self._read(lambda c: store_read.entry_by_id(c, entry_id))
        if found is None:
            raise UnknownEntryError(entry_id)
        return found

    def head_seq(self) -> int:
        """Return how many leaves the book has: the place of the last one."""
        return self._read(store_read.head_size)

    def leaves(self, after_seq: int = 0) -> Iterator[bytes]:
        """Yield the canonical bytes of every leaf, in order, from one moment's view."""
        with self._reading() as connection:
            yield from store_read.leaves_after(connection, after_seq)

    def leaf_hashes(self, after_seq: int = 0) -> Iterator[bytes]:
        """Yield the stored hash of every leaf, in order, from one moment's view."""
        with self._reading() as connection:
            yield from store_read.leaf_hashes_after(connection, after_seq)

    # Checkpoints

    def frontier(self, size: int | None = None) -> Frontier:
        """Return the Merkle frontier over the first leaves, by default over all.

        It starts from the last stored checkpoint, so it costs only what was added since.
        """
        return self._read(lambda c: store_log.frontier_at(c, size))

    def save_checkpoint(self, note_text: str, size: int, root: bytes) -> None:
        """Store a signed checkpoint; the same again is no error.

        Raises:
            CheckpointError: it is not of this book, or not later than the last one.
        """
        self._write(lambda c: store_log.insert_checkpoint(c, note_text, size, root))

    def latest_checkpoint(self) -> StoredCheckpoint | None:
        """Return the checkpoint that covers most, or None."""
        found = self._read(lambda c: store_log.stored_checkpoints(c, 1))
        return found[0] if found else None

    def checkpoints(self) -> list[StoredCheckpoint]:
        """Return every stored checkpoint, smallest first."""
        return self._read(store_log.stored_checkpoints)

    # Accesses and personal data

    def record_access(
        self, actor: str, role: str, action: str, object_id: str, reason: str = ""
    ) -> int:
        """Record who looked at what and why; returns its place in the book."""
        access = Access(actor, role, action, object_id, reason)
        return self._write(lambda c: store_log.insert_access(c, access))

    def accesses(self, after_seq: int = 0) -> list[RecordedAccess]:
        """Return the recorded accesses in the order of the book."""
        return self._read(lambda c: list(store_read.accesses_after(c, after_seq)))

    def put_personal(self, party_id: str, field: str, value: str) -> str:
        """Store a personal fact beside the book and return its salted commitment."""
        check_words({"party": party_id, "field": field}, f"personal data of {party_id!r}")
        datum = PersonalDatum(party_id, field, value, os.urandom(SALT_BYTES))
        return self._write(lambda c: store_personal.insert_personal(c, datum))

    def personal(self, party_id: str) -> dict[str, PersonalDatum]:
        """Return what is still known of a party: commitment -> fact. Record the access too."""
        return self._read(lambda c: store_personal.select_personal(c, party_id))

    def commitments(self, party_id: str) -> list[str]:
        """Return every commitment ever made for a party, erased or not."""
        return self._read(lambda c: store_personal.select_commitments(c, party_id))

    def erase_personal(self, party_id: str, actor: str, role: str, reason: str) -> int:
        """Erase the personal data of a party; the erasure is a leaf, and no hash changes.

        Returns:
            How many facts were erased.
        """
        access = Access(actor, role, "erase", party_id, reason)

        def work(connection: Connection) -> int:
            store_log.insert_access(connection, access)
            return store_personal.delete_personal(connection, party_id)

        return self._write(work)

    def _in_words(self, error: DatabaseRefusedError, prepared: list[Prepared]) -> Exception:
        with self._reading() as connection:
            return in_words(connection, error, prepared)
