"""Leaves that are no entries, and the checkpoints over all of them.

1. An access and the opening or close of a period take the next place under the lock of the
   head, like an entry.
2. A checkpoint is stored with the frontier of the tree, so that the next one reads only the
   leaf hashes that were added since.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from ledger.access import Access
from ledger.canonical import canonical_period
from ledger.errors import CheckpointError
from ledger.merkle import Frontier, leaf_hash
from ledger.store_bulk import bulk_for
from ledger.store_read import head_size, leaf_hashes_after
from ledger.tables import UtcTime

_EXTEND_BY = 50_000


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A signed checkpoint as the book keeps it.

    Attributes:
        size: how many leaves it covers.
        root: the Merkle root over them, 32 bytes.
        note: the signed note, in C2SP form.
        recorded_at: when the database recorded it (UTC).
    """

    size: int
    root: bytes
    note: str
    recorded_at: datetime


def insert_access(connection: Connection, access: Access) -> int:
    """Record an access inside a writing transaction and return its place in the book."""
    ledger_seq = bulk_for(connection).lock_head() + 1
    connection.execute(
        text(
            "INSERT INTO access_log (ledger_seq, actor, role, action, object_id, reason, "
            "leaf_hash) VALUES (:seq, :actor, :role, :action, :object_id, :reason, :leaf_hash)"
        ),
        {
            "seq": ledger_seq,
            "actor": access.actor,
            "role": access.role,
            "action": access.action,
            "object_id": access.object_id,
            "reason": access.reason,
            "leaf_hash": leaf_hash(access.leaf(ledger_seq)),
        },
    )
    return ledger_seq


def insert_period_event(
    connection: Connection,
    action: str,
    period: str,
    prepared_by: str,
    approved_by: str | None,
    check: Callable[[], None],
) -> int:
    """Record the opening or close of a period inside a writing transaction.

    Args:
        connection: in a writing transaction.
        action: "open" or "close".
        period: YYYY-MM.
        prepared_by: the preparer.
        approved_by: the approver.
        check: called under the lock of the head; raises if the event is not allowed.

    Returns:
        The place of the event in the book.
    """
    ledger_seq = bulk_for(connection).lock_head() + 1
    check()
    leaf = canonical_period(
        ledger_seq=ledger_seq,
        action=action,
        period=period,
        prepared_by=prepared_by,
        approved_by=approved_by,
    )
    connection.execute(
        text(
            "INSERT INTO settlement_period (period, action, prepared_by, approved_by, "
            "ledger_seq, leaf_hash) VALUES (:period, :action, :by, :approved, :seq, :hash)"
        ),
        {
            "period": period,
            "action": action,
            "by": prepared_by,
            "approved": approved_by,
            "seq": ledger_seq,
            "hash": leaf_hash(leaf),
        },
    )
    return ledger_seq


def frontier_at(connection: Connection, size: int | None = None) -> Frontier:
    """Return the Merkle frontier over the first leaves, from the last checkpoint before them.

    Args:
        connection: in a transaction of the caller.
        size: how many leaves; by default all.

    Raises:
        CheckpointError: the book has fewer leaves.
    """
    head = head_size(connection)
    wanted = head if size is None else size
    if not 0 <= wanted <= head:
        raise CheckpointError(f"the book has {head} leaves, a tree over {wanted} was asked for")
    row = connection.execute(
        text("SELECT frontier FROM checkpoint WHERE size <= :size ORDER BY size DESC LIMIT 1"),
        {"size": wanted},
    ).fetchone()
    frontier = Frontier() if row is None else Frontier.parse(row.frontier)
    held: list[bytes] = []
    for hashed in leaf_hashes_after(connection, frontier.size, wanted):
        held.append(hashed)
        if len(held) == _EXTEND_BY:
            frontier.extend(held)
            held = []
    frontier.extend(held)
    assert frontier.size == wanted, (frontier.size, wanted)
    return frontier


def insert_checkpoint(connection: Connection, note: str, size: int, root: bytes) -> None:
    """Store a signed checkpoint inside a writing transaction; the same again is no error.

    Raises:
        CheckpointError: the root is not that of the book, or an earlier checkpoint of this size
            or a later one is there already.
    """
    bulk_for(connection).lock_head()
    known = connection.execute(
        text("SELECT size, root, note FROM checkpoint ORDER BY size DESC LIMIT 1")
    ).fetchone()
    if known is not None and known.size >= size:
        if known.size == size and bytes(known.root) == root and known.note == note:
            return
        raise CheckpointError(
            f"a checkpoint over {known.size} leaves is there already, got another over {size}; "
            f"nothing was stored. Take the next checkpoint after the next entry"
        )
    frontier = frontier_at(connection, size)
    if frontier.root() != root:
        raise CheckpointError(
            f"checkpoint over {size} leaves says root {root.hex()} but the book has "
            f"{frontier.root().hex()}; nothing was stored. It belongs to another book"
        )
    connection.execute(
        text(
            "INSERT INTO checkpoint (size, root, note, frontier) "
            "VALUES (:size, :root, :note, :frontier)"
        ),
        {"size": size, "root": root, "note": note, "frontier": frontier.serialise()},
    )


def stored_checkpoints(connection: Connection, last: int | None = None) -> list[StoredCheckpoint]:
    """Return the stored checkpoints, smallest first.

    Args:
        connection: in a transaction of the caller.
        last: only the last so many.
    """
    query = text(
        "SELECT size, root, note, recorded_at FROM checkpoint ORDER BY size DESC LIMIT :last"
    ).columns(recorded_at=UtcTime)
    rows = connection.execute(query, {"last": 2**31 - 1 if last is None else last}).fetchall()
    return [
        StoredCheckpoint(int(row.size), bytes(row.root), row.note, row.recorded_at)
        for row in reversed(rows)
    ]
