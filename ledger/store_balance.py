"""Balances from the database: now, at any past place of the book, or as of any day.

1. A balance is always the sum of postings. A snapshot is a sum already taken: the balance at a
   place is the last snapshot at or before it plus the few postings in between.
2. Snapshots are taken per account, every `every` postings, so that no account is ever far from
   one. The database refuses a snapshot that is not the sum; `verify_snapshots` sums all again.
3. As of a day: entries that count for a later day are left out. Days mostly rise with places,
   so the sum up to the first later entry is taken from snapshots, and only from there on is the
   day of each entry asked.
4. SQLite sums in 64 bits; sums are taken in two halves there, so both databases agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Connection, text

from ledger.balance import TrialBalanceLine
from ledger.errors import SnapshotError
from ledger.store_read import head_size
from ledger.tables import UtcTime

_HALF = 10**9
SNAPSHOT_EVERY = 10_000


def balance_at(
    connection: Connection, account_id: str, currency: str, as_of_seq: int | None = None
) -> int:
    """Return the balance of an account after a place of the book.

    Args:
        connection: in a transaction of the caller.
        account_id: the account; one never posted to has balance 0.
        currency: code and scale.
        as_of_seq: the place, by default the last.

    Returns:
        Units, debit positive.
    """
    last = head_size(connection) if as_of_seq is None else as_of_seq
    key = {"account": account_id, "currency": currency, "last": last}
    snapshot = connection.execute(
        text(
            "SELECT ledger_seq, units FROM balance_snapshot WHERE account_id = :account "
            "AND currency = :currency AND ledger_seq <= :last ORDER BY ledger_seq DESC LIMIT 1"
        ),
        key,
    ).fetchone()
    after, units = (0, 0) if snapshot is None else (snapshot.ledger_seq, int(snapshot.units))
    return units + _sum_between(connection, account_id, currency, after, last)


def balance_as_of_day(
    connection: Connection,
    account_id: str,
    currency: str,
    day: str,
    as_of_seq: int | None = None,
) -> int:
    """Return the balance of an account counting only entries effective up to a day.

    Args:
        connection: in a transaction of the caller.
        account_id: the account.
        currency: code and scale.
        day: YYYY-MM-DD, included.
        as_of_seq: as it was known after this place, by default now.

    Returns:
        Units, debit positive.
    """
    last = head_size(connection) if as_of_seq is None else as_of_seq
    first_later: int | None = None
    for later in _days(connection, after=day):
        seq = _first_seq_of(connection, later, 0)
        first_later = seq if first_later is None else min(first_later, seq)
    if first_later is None or first_later > last:
        return balance_at(connection, account_id, currency, last)
    units = balance_at(connection, account_id, currency, first_later - 1)
    query = text(
        "SELECT p.units AS units FROM seal AS s JOIN posting AS p ON p.ledger_seq = s.ledger_seq "
        "WHERE s.effective_on = :day AND s.ledger_seq > :first AND s.ledger_seq <= :last "
        "AND p.account_id = :account AND p.currency = :currency"
    )
    key = {"account": account_id, "currency": currency, "first": first_later, "last": last}
    for earlier in _days(connection, up_to=day):
        units += sum(int(row.units) for row in connection.execute(query, key | {"day": earlier}))
    return units


def seq_at(connection: Connection, moment: datetime) -> int:
    """Return the last place of the book that was recorded at or before a moment.

    Args:
        connection: in a transaction of the caller.
        moment: with a time zone.
    """
    query = text(
        "SELECT ledger_seq, recorded_at FROM (SELECT ledger_seq, recorded_at FROM seal "
        "WHERE ledger_seq = :seq UNION ALL SELECT ledger_seq, recorded_at FROM access_log "
        "WHERE ledger_seq = :seq UNION ALL SELECT ledger_seq, recorded_at FROM settlement_period "
        "WHERE ledger_seq = :seq) AS leaf"
    ).columns(recorded_at=UtcTime)
    low, high = 0, head_size(connection)
    while low < high:
        middle = (low + high + 1) // 2
        row = connection.execute(query, {"seq": middle}).one()
        if row.recorded_at <= moment:
            low = middle
        else:
            high = middle - 1
    return low


def trial_balance_lines(
    connection: Connection, currency: str, as_of_seq: int | None = None, prefix: str = ""
) -> list[TrialBalanceLine]:
    """Return debits and credits of every account that was posted to, sorted by account.

    Args:
        connection: in a transaction of the caller.
        currency: code and scale.
        as_of_seq: after this place of the book, by default the last.
        prefix: only accounts whose name starts so.
    """
    last = head_size(connection) if as_of_seq is None else as_of_seq
    debits, credits_ = _sums("units > 0", connection), _sums("units < 0", connection)
    query = text(
        f"SELECT account_id, {debits}, {credits_} FROM posting "  # noqa: S608
        "WHERE currency = :currency AND ledger_seq <= :last "
        "AND account_id >= :low AND account_id < :high GROUP BY account_id ORDER BY account_id"
    )
    # Names of accounts are ASCII, so everything with the prefix sorts before prefix + DEL.
    key = {"currency": currency, "last": last, "low": prefix, "high": prefix + "\x7f"}
    lines = []
    for account_id, debit_high, debit_low, credit_high, credit_low in connection.execute(
        query, key
    ):
        lines.append(
            TrialBalanceLine(
                account_id,
                currency,
                int(debit_high) * _HALF + int(debit_low),
                -(int(credit_high) * _HALF + int(credit_low)),
            )
        )
    return lines


def take_snapshots(
    connection: Connection, every: int = SNAPSHOT_EVERY, looked_up_to: int = 0
) -> int:
    """Take the snapshots that are due, inside a writing transaction.

    Looking through all accounts costs a scan of the book. When it was done up to an earlier
    place, only accounts that have been busy since are looked at, and all of them again whenever
    the book has grown by a tenth: so each night costs about what it added.

    Args:
        connection: in a writing transaction.
        every: take one when an account got this many postings since the last.
        looked_up_to: the head of the book at an earlier call; 0 looks at every account.

    Returns:
        How many were taken.
    """
    last = head_size(connection)
    busy_after = looked_up_to if _tenths(looked_up_to) == _tenths(last) else 0
    taken = 0
    for account_id, currency, after, units in list(_due(connection, every, last, busy_after)):
        query = text(
            "SELECT ledger_seq, count(*) AS lines, sum(units) AS units FROM posting "
            "WHERE account_id = :account AND currency = :currency AND ledger_seq > :after "
            "AND ledger_seq <= :last GROUP BY ledger_seq ORDER BY ledger_seq"
        )
        key = {"account": account_id, "currency": currency, "after": after, "last": last}
        lines, running, rows = 0, units, []
        for row in connection.execute(query, key):
            lines += int(row.lines)
            running += int(row.units)
            if lines >= every:
                rows.append(key | {"seq": int(row.ledger_seq), "units": running})
                lines = 0
        for values in rows:
            connection.execute(
                text(
                    "INSERT INTO balance_snapshot (account_id, currency, ledger_seq, units) "
                    "VALUES (:account, :currency, :seq, :units)"
                ),
                values,
            )
        taken += len(rows)
    return taken


def verify_snapshots(connection: Connection) -> int:
    """Sum all postings again and compare every snapshot with the full sum.

    Returns:
        How many snapshots were compared.

    Raises:
        SnapshotError: the first one that differs.
    """
    rows = connection.execute(
        text(
            "SELECT account_id, currency, ledger_seq, units FROM balance_snapshot "
            "ORDER BY account_id, currency, ledger_seq"
        )
    ).fetchall()
    key: tuple[str, str] | None = None
    running = after = 0
    for row in rows:
        if key != (row.account_id, row.currency):
            key, running, after = (row.account_id, row.currency), 0, 0
        running += _sum_between(connection, row.account_id, row.currency, after, row.ledger_seq)
        after = row.ledger_seq
        if running != int(row.units):
            raise SnapshotError(
                row.account_id, row.currency, int(row.ledger_seq), int(row.units), running
            )
    return len(rows)


def _tenths(size: int) -> int:
    """Count how often a book of one leaf grew by a tenth to reach a size."""
    return math.floor(math.log(max(size, 1)) / math.log(1.1))


def _due(
    connection: Connection, every: int, last: int, busy_after: int
) -> Iterator[tuple[str, str, int, int]]:
    """Yield the accounts with at least `every` postings since their last snapshot.

    With `busy_after`, only those with a tenth of `every` postings after that place.
    """
    # Two fixed texts: no value of a caller stands in the statement.
    busy = (
        "AND (p.account_id, p.currency) IN (SELECT account_id, currency FROM posting "
        "WHERE ledger_seq > :busy_after AND ledger_seq <= :last "
        "GROUP BY account_id, currency HAVING count(*) >= :busy) "
    )
    rows = connection.execute(
        text(
            "SELECT p.account_id, p.currency, "  # noqa: S608
            "coalesce(max(n.seq), 0) AS after FROM posting AS p "
            "LEFT JOIN (SELECT account_id, currency, max(ledger_seq) AS seq FROM balance_snapshot "
            "GROUP BY account_id, currency) AS n "
            "ON n.account_id = p.account_id AND n.currency = p.currency "
            "WHERE p.ledger_seq <= :last AND p.ledger_seq > coalesce(n.seq, 0) "
            f"{busy if busy_after else ''}"
            "GROUP BY p.account_id, p.currency HAVING count(*) >= :every "
            "ORDER BY p.account_id, p.currency"
        ),
        {"last": last, "every": every}
        | ({"busy_after": busy_after, "busy": max(1, every // 10)} if busy_after else {}),
    ).fetchall()
    for row in rows:
        after = int(row.after)
        units = balance_at(connection, row.account_id, row.currency, after) if after else 0
        yield row.account_id, row.currency, after, units


def _sum_between(
    connection: Connection, account_id: str, currency: str, after: int, last: int
) -> int:
    row = connection.execute(
        text(
            f"SELECT {_sums('true', connection)} FROM posting "  # noqa: S608
            "WHERE account_id = :account AND currency = :currency "
            "AND ledger_seq > :after AND ledger_seq <= :last"
        ),
        {"account": account_id, "currency": currency, "after": after, "last": last},
    ).one()
    return int(row[0]) * _HALF + int(row[1])


def _sums(condition: str, connection: Connection) -> str:
    """Return SQL for two columns: the sum in thousands of millions, and the rest."""
    if connection.dialect.name == "sqlite":
        return (
            f"coalesce(sum(CASE WHEN {condition} THEN units / {_HALF} END), 0), "
            f"coalesce(sum(CASE WHEN {condition} THEN units % {_HALF} END), 0)"
        )
    return f"0, coalesce(sum(units) FILTER (WHERE {condition}), 0)"


def _days(connection: Connection, after: str = "", up_to: str = "9999-12-31") -> Iterator[str]:
    """Yield the effective days of the book between two days, by leaps over the index."""
    query = text(
        "SELECT min(effective_on) FROM seal WHERE effective_on > :after AND effective_on <= :up_to"
    )
    while True:
        day = connection.execute(query, {"after": after, "up_to": up_to}).scalar()
        if day is None:
            return
        yield str(day)
        after = str(day)


def _first_seq_of(connection: Connection, day: str, after: int) -> int:
    query = text(
        "SELECT min(ledger_seq) FROM seal WHERE effective_on = :day AND ledger_seq > :after"
    )
    return int(connection.execute(query, {"day": day, "after": after}).scalar_one())
