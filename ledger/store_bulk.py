"""How rows reach the tables, a handful or a million at a time; one class a database.

1. Rows go into the real tables with their triggers on: SQLite by INSERTs of many rows,
   PostgreSQL by COPY. Nothing is staged, checked elsewhere and then trusted.
2. Entries are inserted first and asked about afterwards: the unique key decides who was first,
   never a look beforehand.
3. Everything that may wait for another writer (entries, accounts) comes before the head is
   locked, in sorted order; the head is the last lock, kept until commit. So no two writers can
   wait for each other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

import psycopg
from sqlalchemy import Connection

from ledger.store_errors import violates_unique

ENTRY_COLUMNS = (
    "entry_id",
    "scope",
    "key",
    "kind",
    "period",
    "effective_on",
    "description",
    "prepared_by",
    "approved_by",
    "reverses",
    "evidence",
    "payload_sha256",
)
EntryValues = tuple[str | None, ...]
# ledger_seq, line_no, entry_id, account_id, currency, units
PostingValues = tuple[int, int, str, str, str, int]
# entry_id, ledger_seq, effective_on, posting_count, leaf_hash
SealValues = tuple[str, int, str, int, bytes]

POSTING_COLUMNS = ("ledger_seq", "line_no", "entry_id", "account_id", "currency", "units")
SEAL_COLUMNS = ("entry_id", "ledger_seq", "effective_on", "posting_count", "leaf_hash")

_COPY_BYTES = 1 << 16
# SQLite keeps the old pages of each statement in case a trigger refuses it: rows share that cost.
_ROWS_A_STATEMENT = 20
_NAMES = ", ".join(f'"{name}"' for name in ENTRY_COLUMNS)
_Row = TypeVar("_Row", bound=tuple[object, ...])


class Bulk(Protocol):
    """Writes rows of one transaction; the caller begins and commits it."""

    def insert_entries(self, rows: Sequence[EntryValues]) -> set[str]:
        """Insert entries that are not there yet; return the ids of those inserted now."""

    def insert_accounts(self, keys: Iterable[tuple[str, str]]) -> None:
        """Insert the accounts that are not there yet."""

    def lock_head(self) -> int:
        """Lock the head of the book until commit and return how many leaves it has."""

    def insert_postings(self, rows: Iterable[PostingValues]) -> None:
        """Insert postings."""

    def insert_seals(self, rows: Iterable[SealValues]) -> None:
        """Insert seals, in the order of their places."""


def bulk_for(connection: Connection) -> Bulk:
    """Return the writer for the database of a connection."""
    raw = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        assert isinstance(raw, sqlite3.Connection), raw
        return SqliteBulk(raw)
    assert isinstance(raw, psycopg.Connection), raw
    return PostgresqlBulk(raw)


class SqliteBulk:
    """Rows into SQLite, many a statement; BEGIN IMMEDIATE made this the only writer."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def insert_entries(self, rows: Sequence[EntryValues]) -> set[str]:
        """Insert entries that are not there yet; return the ids of those inserted now."""
        inserted: set[str] = set()
        for part in _parts(rows):
            inserted |= self._insert_entries_of(part)
        return inserted

    def _insert_entries_of(self, part: tuple[EntryValues, ...]) -> set[str]:
        try:
            self._raw.execute(_values("journal_entry", ENTRY_COLUMNS, len(part)), _flat(part))
        except sqlite3.IntegrityError as error:
            if not violates_unique(error):
                raise
            # The statement that failed changed nothing: its rows are tried one at a time.
            if len(part) == 1:
                return set()
            return set().union(*(self._insert_entries_of((row,)) for row in part))
        return {str(row[0]) for row in part}

    def insert_accounts(self, keys: Iterable[tuple[str, str]]) -> None:
        """Insert the accounts that are not there yet."""
        cursor = self._raw.cursor()
        for part in _parts(sorted(keys)):
            insert = _values("account", ("account_id", "currency"), len(part))
            cursor.execute(f"{insert} ON CONFLICT DO NOTHING", _flat(part))
        cursor.close()

    def lock_head(self) -> int:
        """Return how many leaves the book has; BEGIN IMMEDIATE has locked it already."""
        row = self._raw.execute("SELECT size FROM ledger_head WHERE id = 1").fetchone()
        return int(row[0])

    def insert_postings(self, rows: Iterable[PostingValues]) -> None:
        """Insert postings."""
        self._insert("posting", POSTING_COLUMNS, rows)

    def insert_seals(self, rows: Iterable[SealValues]) -> None:
        """Insert seals, in the order of their places."""
        self._insert("seal", SEAL_COLUMNS, rows)

    def _insert(
        self, table: str, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]
    ) -> None:
        cursor = self._raw.cursor()
        for part in _parts(rows):
            cursor.execute(_values(table, columns, len(part)), _flat(part))
        cursor.close()


class PostgresqlBulk:
    """Rows into PostgreSQL by COPY, and by INSERT .. ON CONFLICT where a key may exist."""

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self._raw = raw

    def insert_entries(self, rows: Sequence[EntryValues]) -> set[str]:
        """Insert entries that are not there yet; return the ids of those inserted now."""
        if len(rows) >= _COPY_ROWS_MIN:
            # SAVEPOINT by hand: psycopg's own transaction() would commit if it came first.
            self._raw.execute("SAVEPOINT entries")
            try:
                self.copy_entries(rows)
            except psycopg.errors.UniqueViolation:
                # Some are there already: they are told apart below.
                self._raw.execute("ROLLBACK TO SAVEPOINT entries")
            else:
                return {str(row[0]) for row in rows}
        return self._insert_missing(rows)

    def copy_entries(self, rows: Sequence[EntryValues]) -> None:
        """Insert entries that are all new; a unique violation if one is not."""
        self._copy(f"COPY journal_entry ({_NAMES}) FROM STDIN", map(_copy_line, rows))

    def _insert_missing(self, rows: Sequence[EntryValues]) -> set[str]:
        columns = [list(column) for column in zip(*rows, strict=True)]
        with self._raw.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO journal_entry ({_NAMES}) SELECT * FROM unnest("  # noqa: S608
                f"{', '.join(['%s::text[]'] * len(columns))}) "
                "ON CONFLICT DO NOTHING RETURNING entry_id",
                columns,
            )
            return {row[0] for row in cursor.fetchall()}

    def insert_accounts(self, keys: Iterable[tuple[str, str]]) -> None:
        """Insert the accounts that are not there yet."""
        wanted = sorted(keys)
        with self._raw.cursor() as cursor:
            # Most are there already: asking is cheaper than a conflict each. Who is asked about
            # and missing is inserted with ON CONFLICT, so a race decides nothing.
            for start in range(0, len(wanted), _ACCOUNT_ROWS):
                part = wanted[start : start + _ACCOUNT_ROWS]
                cursor.execute(
                    "INSERT INTO account (account_id, currency) "
                    "SELECT w.a, w.c FROM unnest(string_to_array(%s, E'\\n'), "
                    "string_to_array(%s, E'\\n')) AS w (a, c) "
                    "WHERE NOT EXISTS (SELECT 1 FROM account AS k "
                    "WHERE k.account_id = w.a AND k.currency = w.c) "
                    'ORDER BY w.a COLLATE "C", w.c COLLATE "C" '
                    "ON CONFLICT DO NOTHING",
                    # One text is sent many times faster than an array; no name has a line break.
                    ("\n".join([key[0] for key in part]), "\n".join([key[1] for key in part])),
                )

    def lock_head(self) -> int:
        """Lock the head of the book until commit and return how many leaves it has."""
        with self._raw.cursor() as cursor:
            row = cursor.execute("SELECT ledger_lock_head()").fetchone()
        assert row is not None
        return int(row[0])

    def insert_postings(self, rows: Iterable[PostingValues]) -> None:
        """Insert postings."""
        self._copy(
            "COPY posting (ledger_seq, line_no, entry_id, account_id, currency, units) FROM STDIN",
            # Ids and names of accounts hold no character that COPY would need escaped.
            (f"{s}\t{n}\t{e}\t{a}\t{c}\t{u}\n" for s, n, e, a, c, u in rows),
        )

    def insert_seals(self, rows: Iterable[SealValues]) -> None:
        """Insert seals, in the order of their places."""
        self._copy(
            "COPY seal (entry_id, ledger_seq, effective_on, posting_count, leaf_hash) FROM STDIN",
            (f"{e}\t{s}\t{d}\t{n}\t\\\\x{h.hex()}\n" for e, s, d, n, h in rows),
        )

    def _copy(self, statement: str, lines: Iterable[str]) -> None:
        with self._raw.cursor() as cursor, cursor.copy(statement) as copy:
            for block in _blocks(lines):
                copy.write(block)


_COPY_ROWS_MIN = 64
_ACCOUNT_ROWS = 100_000
_TABS = len(ENTRY_COLUMNS) - 1
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _parts(rows: Iterable[_Row]) -> Iterator[tuple[_Row, ...]]:
    """Cut rows into parts for one statement each."""
    left = iter(rows)
    while part := tuple(islice(left, _ROWS_A_STATEMENT)):
        yield part


def _flat(part: Iterable[tuple[object, ...]]) -> list[object]:
    return list(chain.from_iterable(part))


@cache
def _values(table: str, columns: tuple[str, ...], rows: int) -> str:
    """Return an INSERT of so many rows."""
    names = ", ".join(f'"{name}"' for name in columns)
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({names}) VALUES {', '.join([row] * rows)}"  # noqa: S608


def _copy_line(row: EntryValues) -> str:
    line = "\t".join(["\\N" if value is None else value for value in row])
    # Most texts need no escape: then the tabs between the columns are the only ones.
    plain = line.count("\t") == _TABS and "\n" not in line and "\r" not in line
    if plain and line.count("\\") == row.count(None):
        return line + "\n"
    return "\t".join("\\N" if v is None else v.translate(_ESCAPED) for v in row) + "\n"


def _blocks(lines: Iterable[str]) -> Iterator[str]:
    """Join lines into texts of about a mebibyte, so that each is sent at once."""
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _COPY_BYTES:
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)
