"""Reading the book: entries in their order, leaves, leaf hashes and periods.

1. Everything is read in the order of `ledger_seq`, within one transaction of the caller.
2. Rows become the frozen values of `journal`, `access` and `period_close` here and nowhere else;
   an entry read back is checked like a new one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, text

from ledger.access import Access, RecordedAccess
from ledger.canonical import canonical_period
from ledger.entry import JournalEntry, Posting
from ledger.journal import SealedEntry
from ledger.period_close import PeriodStatus
from ledger.tables import UtcTime

_BATCH = 2000
_PAGE = 50_000
_ENTRIES = (
    "SELECT s.ledger_seq, s.recorded_at, s.posting_count, e.scope, e.key, e.kind, e.period, "
    "e.effective_on, e.description, e.reverses, e.prepared_by, e.approved_by, e.evidence, "
    "e.entry_id FROM seal AS s JOIN journal_entry AS e ON e.entry_id = s.entry_id "
)


def entries_after(
    connection: Connection, after_seq: int, up_to_seq: int | None = None
) -> Iterator[SealedEntry]:
    """Yield sealed entries in the order of the book.

    Args:
        connection: in a transaction of the caller.
        after_seq: entries at higher places only.
        up_to_seq: and at most this place.
    """
    last = head_size(connection) if up_to_seq is None else up_to_seq
    query = text(
        _ENTRIES + "WHERE s.ledger_seq > :after AND s.ledger_seq <= :last "
        "ORDER BY s.ledger_seq LIMIT :batch"
    ).columns(recorded_at=UtcTime)
    while after_seq < last:
        rows = connection.execute(
            query, {"after": after_seq, "last": last, "batch": _BATCH}
        ).fetchall()
        if not rows:
            return
        postings = _postings(connection, rows[0].ledger_seq, rows[-1].ledger_seq)
        for row in rows:
            yield _sealed(row, list(itertools.islice(postings, row.posting_count)))
        after_seq = rows[-1].ledger_seq


def entry_by_id(connection: Connection, entry_id: str) -> SealedEntry | None:
    """Return one sealed entry, or None if the book does not have it."""
    query = text(_ENTRIES + "WHERE s.entry_id = :id").columns(recorded_at=UtcTime)
    row = connection.execute(query, {"id": entry_id}).fetchone()
    if row is None:
        return None
    return _sealed(row, list(_postings(connection, row.ledger_seq, row.ledger_seq)))


def head_size(connection: Connection) -> int:
    """Return how many leaves the book has."""
    size = connection.execute(text("SELECT size FROM ledger_head WHERE id = 1")).scalar_one()
    return int(size)


def accesses_after(connection: Connection, after_seq: int) -> Iterator[RecordedAccess]:
    """Yield recorded accesses in the order of the book."""
    query = text(
        "SELECT ledger_seq, recorded_at, actor, role, action, object_id, reason FROM access_log "
        "WHERE ledger_seq > :after ORDER BY ledger_seq"
    ).columns(recorded_at=UtcTime)
    for row in connection.execute(query, {"after": after_seq}):
        access = Access(row.actor, row.role, row.action, row.object_id, row.reason)
        yield RecordedAccess(int(row.ledger_seq), row.recorded_at, access)


def period_leaves_after(connection: Connection, after_seq: int) -> Iterator[tuple[int, bytes]]:
    """Yield the place and the leaf of every opening and close of a period."""
    query = text(
        "SELECT ledger_seq, action, period, prepared_by, approved_by FROM settlement_period "
        "WHERE ledger_seq > :after ORDER BY ledger_seq"
    )
    for row in connection.execute(query, {"after": after_seq}):
        leaf = canonical_period(
            ledger_seq=int(row.ledger_seq),
            action=row.action,
            period=row.period,
            prepared_by=row.prepared_by,
            approved_by=row.approved_by,
        )
        yield int(row.ledger_seq), leaf


def leaves_after(connection: Connection, after_seq: int) -> Iterator[bytes]:
    """Yield the canonical bytes of every leaf of the book, in order and without a gap.

    Raises:
        AssertionError: a place is missing, which no path through the database allows.
    """
    others = sorted(
        [
            *(
                (seen.ledger_seq, seen.access.leaf(seen.ledger_seq))
                for seen in accesses_after(connection, after_seq)
            ),
            *period_leaves_after(connection, after_seq),
        ],
        reverse=True,
    )
    expected = after_seq
    last = head_size(connection)
    entries = entries_after(connection, after_seq, last)
    entry = next(entries, None)
    while expected < last:
        expected += 1
        if entry is not None and entry.ledger_seq == expected:
            yield entry.leaf()
            entry = next(entries, None)
        else:
            assert others, f"no leaf at place {expected}"
            assert others[-1][0] == expected, (others[-1][0], expected)
            yield others.pop()[1]


def leaf_hashes_after(
    connection: Connection, after_seq: int, up_to_seq: int | None = None
) -> Iterator[bytes]:
    """Yield the stored hash of every leaf, in order: what a checkpoint is computed from.

    Raises:
        AssertionError: a place is missing, which no path through the database allows.
    """
    last = head_size(connection) if up_to_seq is None else up_to_seq
    query = text(
        "SELECT ledger_seq, leaf_hash FROM seal WHERE ledger_seq > :after AND ledger_seq <= :last "
        "UNION ALL SELECT ledger_seq, leaf_hash FROM access_log "
        "WHERE ledger_seq > :after AND ledger_seq <= :last "
        "UNION ALL SELECT ledger_seq, leaf_hash FROM settlement_period "
        "WHERE ledger_seq > :after AND ledger_seq <= :last ORDER BY ledger_seq"
    )
    while after_seq < last:
        step = min(last, after_seq + 50 * _BATCH)
        for row in connection.execute(query, {"after": after_seq, "last": step}):
            after_seq += 1
            assert row.ledger_seq == after_seq, (row.ledger_seq, after_seq)
            yield bytes(row.leaf_hash)
        assert after_seq == step, (after_seq, step)


def period_statuses(connection: Connection) -> dict[str, PeriodStatus]:
    """Return every known period and what it is."""
    rows = connection.execute(
        text(
            "SELECT period, max(CASE action WHEN 'close' THEN 1 ELSE 0 END) AS closed "
            "FROM settlement_period GROUP BY period ORDER BY period"
        )
    )
    return {row.period: PeriodStatus.CLOSED if row.closed else PeriodStatus.OPEN for row in rows}


def _postings(connection: Connection, first_seq: int, last_seq: int) -> Iterator[Posting]:
    """Yield the postings of a range of places in order, a page at a time by their key."""
    query = text(
        "SELECT ledger_seq, line_no, account_id, currency, units FROM posting "
        "WHERE (ledger_seq, line_no) > (:seq, :line) AND ledger_seq <= :last "
        "ORDER BY ledger_seq, line_no LIMIT :page"
    )
    seq, line = first_seq, 0
    while True:
        key = {"seq": seq, "line": line, "last": last_seq, "page": _PAGE}
        rows = connection.execute(query, key).fetchall()
        for seq, line, account_id, currency, units in rows:  # noqa: B007
            yield Posting(account_id, currency, units)
        if len(rows) < _PAGE:
            return


def _sealed(row: Row[Any], postings: list[Posting]) -> SealedEntry:
    entry = JournalEntry(
        scope=row.scope,
        key=row.key,
        kind=row.kind,
        period=row.period,
        effective_on=row.effective_on,
        description=row.description,
        postings=postings,
        reverses=row.reverses,
        prepared_by=row.prepared_by,
        approved_by=row.approved_by,
        evidence=json.loads(row.evidence),
    )
    return SealedEntry(int(row.ledger_seq), row.recorded_at, entry)


def period_closed_by(connection: Connection, period: str) -> tuple[str, str] | None:
    """Return who prepared and who approved the close of a period, or None."""
    row = connection.execute(
        text(
            "SELECT prepared_by, approved_by FROM settlement_period "
            "WHERE period = :period AND action = 'close'"
        ),
        {"period": period},
    ).fetchone()
    return None if row is None else (row.prepared_by, row.approved_by)
