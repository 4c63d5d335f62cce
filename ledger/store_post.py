"""Posting: entries go in whole and once, or not at all.

1. One transaction posts all entries of a call. Keys that are in the book already are replayed:
   the same content returns the first entry, different content is an error naming the field.
2. Places are given in the order of the call, under the lock of the head, after everything that
   may wait; the leaf hash is stored with the seal, so a checkpoint never reads the book again.
3. What the database refuses is said in the words of the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from ledger.entry import JournalEntry, first_difference, leaf_at, payload_sha256_of
from ledger.errors import (
    AlreadyReversedError,
    ApprovalError,
    BookError,
    DatabaseRefusedError,
    IdempotencyConflictError,
    UnknownEntryError,
)
from ledger.journal import Posted
from ledger.merkle import leaf_hash
from ledger.period_close import PeriodStatus, refusal
from ledger.store_bulk import EntryValues, PostingValues, SealValues, bulk_for
from ledger.store_errors import RefusedByRuleError
from ledger.store_read import entry_by_id, period_statuses

_IN_CHUNKS_OF = 5000


@dataclass(slots=True)
class Prepared:
    """An entry with what posting it needs, computed before any lock is taken."""

    entry: JournalEntry
    unplaced_leaf: bytes
    payload_sha256: str

    def values(self) -> EntryValues:
        """Return the row of `journal_entry`."""
        entry = self.entry
        return (
            entry.entry_id,
            entry.scope,
            entry.key,
            entry.kind,
            entry.period,
            entry.effective_on,
            entry.description,
            entry.prepared_by,
            entry.approved_by,
            entry.reverses,
            _evidence_text(entry.evidence),
            self.payload_sha256,
        )


def prepare(entries: Iterable[JournalEntry]) -> list[Prepared]:
    """Compute leaf and payload hash of each entry; a key given twice must mean the same.

    Raises:
        IdempotencyConflictError: two entries of the call share a key and differ.
    """
    prepared: list[Prepared] = []
    seen: dict[str, Prepared] = {}
    for entry in entries:
        leaf = entry.unplaced_leaf()
        item = Prepared(entry, leaf, payload_sha256_of(leaf))
        first = seen.setdefault(entry.entry_id, item)
        if first.payload_sha256 != item.payload_sha256:
            raise _conflict(first.entry, entry)
        prepared.append(item)
    return prepared


def post_prepared(connection: Connection, prepared: Sequence[Prepared]) -> list[Posted]:
    """Post entries inside an open transaction.

    Args:
        connection: in a writing transaction that the caller commits.
        prepared: from `prepare`, in the order in which they get their places.

    Returns:
        One answer an entry, in the same order.

    Raises:
        BookError: the book does not take one of them; the caller rolls back.
    """
    unique = {item.entry.entry_id: item for item in prepared}
    if not unique:
        return []
    bulk = bulk_for(connection)
    in_key_order = sorted(unique.values(), key=lambda item: (item.entry.scope, item.entry.key))
    added = bulk.insert_entries([item.values() for item in in_key_order])
    places = _places_of_replays(
        connection, [i for i in unique.values() if i.entry.entry_id not in added]
    )
    fresh = [item for item in unique.values() if item.entry.entry_id in added]
    replayed = set(places)
    if fresh:
        bulk.insert_accounts(
            # In the order of the postings, which is sorted already in a large night.
            dict.fromkeys(posting[:2] for item in fresh for posting in item.entry.postings)
        )
        size = bulk.lock_head()
        places |= {item.entry.entry_id: size + n for n, item in enumerate(fresh, 1)}
        bulk.insert_postings(_posting_rows(fresh, size))
        bulk.insert_seals(_seal_rows(fresh, size))
    answers = []
    for item in prepared:
        entry_id = item.entry.entry_id
        answers.append(Posted(entry_id, places[entry_id], entry_id in replayed))
        # The same key again within one call is a replay of its first appearance.
        replayed.add(entry_id)
    return answers


def in_words(
    connection: Connection, error: DatabaseRefusedError, prepared: Sequence[Prepared]
) -> BookError | ApprovalError:
    """Say why the database refused a posting, after the transaction was rolled back.

    Args:
        connection: a new one.
        error: what the database said.
        prepared: what was to be posted.
    """
    code = error.code if isinstance(error, RefusedByRuleError) else ""
    if code in {"period_closed", "period_not_open"}:
        statuses = period_statuses(connection)
        for item in prepared:
            status = statuses.get(item.entry.period, PeriodStatus.UNKNOWN)
            if status is not PeriodStatus.OPEN:
                return refusal(item.entry.period, status)
    taking_back = [item.entry for item in prepared if item.entry.reverses is not None]
    for entry in taking_back:
        assert entry.reverses is not None
        row = connection.execute(
            text("SELECT entry_id FROM journal_entry WHERE reverses = :id"), {"id": entry.reverses}
        ).fetchone()
        if row is not None and row[0] != entry.entry_id:
            return AlreadyReversedError(entry.reverses, row[0])
        if entry_by_id(connection, entry.reverses) is None:
            return UnknownEntryError(entry.reverses)
    return error


def _places_of_replays(connection: Connection, items: Sequence[Prepared]) -> dict[str, int]:
    """Find where entries that were not inserted stand, and check that they are the same."""
    booked: dict[str, tuple[int, str]] = {}
    ids = sorted(item.entry.entry_id for item in items)
    query = text(
        "SELECT entry_id, ledger_seq, payload_sha256 FROM journal_entry JOIN seal USING (entry_id) "
        "WHERE entry_id IN (SELECT value FROM json_each(:ids))"
        if connection.dialect.name == "sqlite"
        else "SELECT entry_id, ledger_seq, payload_sha256 FROM journal_entry "
        "JOIN seal USING (entry_id) WHERE entry_id = ANY "
        "(SELECT json_array_elements_text(CAST(:ids AS json)))"
    )
    for start in range(0, len(ids), _IN_CHUNKS_OF):
        part = json.dumps(ids[start : start + _IN_CHUNKS_OF])
        for entry_id, ledger_seq, payload_sha256 in connection.execute(query, {"ids": part}):
            booked[entry_id] = int(ledger_seq), payload_sha256
    # In the order of the call: the first that differs is named, whatever the database read first.
    for item in items:
        entry_id = item.entry.entry_id
        if entry_id not in booked:
            # Not inserted and not there: another unique key stood in the way.
            reverses = item.entry.reverses
            row = connection.execute(
                text("SELECT entry_id FROM journal_entry WHERE reverses = :id"), {"id": reverses}
            ).fetchone()
            assert row is not None, f"{entry_id} was refused by no key"
            assert reverses is not None
            raise AlreadyReversedError(reverses, row[0])
        if booked[entry_id][1] != item.payload_sha256:
            there = entry_by_id(connection, entry_id)
            assert there is not None, entry_id
            raise _conflict(there.entry, item.entry)
    return {entry_id: ledger_seq for entry_id, (ledger_seq, _) in booked.items()}


def _posting_rows(fresh: Sequence[Prepared], size: int) -> Iterator[PostingValues]:
    for ledger_seq, item in enumerate(fresh, size + 1):
        entry_id = item.entry.entry_id
        for line_no, (account_id, currency, units) in enumerate(item.entry.postings, 1):
            yield ledger_seq, line_no, entry_id, account_id, currency, units


def _seal_rows(fresh: Sequence[Prepared], size: int) -> Iterator[SealValues]:
    for ledger_seq, item in enumerate(fresh, size + 1):
        entry = item.entry
        yield (
            entry.entry_id,
            ledger_seq,
            entry.effective_on,
            len(entry.postings),
            leaf_hash(leaf_at(item.unplaced_leaf, ledger_seq)),
        )


def _evidence_text(evidence: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(evidence.items())), separators=(",", ":")) if evidence else "{}"


def _conflict(booked: JournalEntry, given: JournalEntry) -> IdempotencyConflictError:
    field, ours, theirs = first_difference(booked, given)
    return IdempotencyConflictError(booked.entry_id, field, ours, theirs)
