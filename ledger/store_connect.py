"""Connections that keep the book's promises, or none.

1. Every new connection sets what it needs and reads it back; a setting that did not take is
   an error that names it.
2. Every new connection compares the triggers of the database with their text, to the letter.
3. A writing transaction on SQLite starts with BEGIN IMMEDIATE: one writer, no upgrade of locks.
4. A role is taken on (PostgreSQL) or imitated by read-only connections (SQLite).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from ledger.errors import DatabaseUnreachableError, SchemaError
from ledger.store_errors import translated

WRITES = "byline_writes"
ROLES = ("owner", "writer", "auditor")
SQLITE_PRAGMAS: dict[str, str | int] = {
    "foreign_keys": 1,
    "recursive_triggers": 1,
    "ignore_check_constraints": 0,
    "writable_schema": 0,
    "journal_mode": "wal",
    "synchronous": 2,
    "secure_delete": 1,
}
POSTGRESQL_SETTINGS = {
    "session_replication_role": "origin",
    "synchronous_commit": "on",
    "standard_conforming_strings": "on",
}


def database_url(url: str | Path) -> URL:
    """Read a database URL; a path means a SQLite file.

    Args:
        url: sqlite:///FILE, postgresql://..., or the path of a SQLite file.

    Raises:
        DatabaseUnreachableError: it is no URL, or of another kind of database.
    """
    text = str(url)
    try:
        parsed = make_url(text if "://" in text else f"sqlite:///{text}")
    except ArgumentError as error:
        raise DatabaseUnreachableError(text, f"not a database URL ({error})") from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        return parsed.set(drivername="sqlite+pysqlite")
    raise DatabaseUnreachableError(
        parsed.render_as_string(), "expected sqlite:///FILE or postgresql://HOST/NAME"
    )


def shown(url: URL) -> str:
    """Return the URL as it may be printed: without its password."""
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def make_engine(
    url: URL,
    *,
    verify: bool,
    role: str | None = None,
    isolation: str | None = None,
    lock_timeout_s: float = 30.0,
) -> Engine:
    """Build the engine of one database; nothing is connected yet.

    Args:
        url: from `database_url`.
        verify: compare the triggers at every new connection; False only for migrations.
        role: None for the role of the URL, or one of `ROLES`.
        isolation: READ COMMITTED (default), REPEATABLE READ or SERIALIZABLE; PostgreSQL only.
        lock_timeout_s: how long a writer waits for another one.

    Returns:
        The engine; its connections keep the rules of this module.
    """
    assert role is None or role in ROLES, role
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, verify=verify, role=role, lock_timeout_s=lock_timeout_s)
    engine = create_engine(
        url,
        isolation_level=isolation or "READ COMMITTED",
        connect_args={"connect_timeout": max(2, int(lock_timeout_s))},
        pool_size=8,
        max_overflow=64,
    )

    @event.listens_for(engine, "connect")
    def prepare(dbapi_connection: Any, _record: Any) -> None:
        with _closed_on_error(dbapi_connection), translated(shown(url)):
            _prepare_postgresql(dbapi_connection, url, role, lock_timeout_s)
            if verify:
                _verify(dbapi_connection, url)

    return engine


def _sqlite_engine(url: URL, *, verify: bool, role: str | None, lock_timeout_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": lock_timeout_s})

    @event.listens_for(engine, "do_connect")
    def only_existing(_dialect: Any, _record: Any, _args: Any, _options: Any) -> None:
        assert url.database is not None
        if verify and not Path(url.database).exists():
            raise DatabaseUnreachableError(
                shown(url), "there is no such file; create it with `byline db upgrade`"
            )

    @event.listens_for(engine, "connect")
    def prepare(dbapi_connection: Any, _record: Any) -> None:
        with _closed_on_error(dbapi_connection), translated(shown(url)):
            _prepare_sqlite(dbapi_connection, url, role)
            if verify:
                _verify(dbapi_connection, url)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def _closed_on_error(dbapi_connection: Any) -> Iterator[None]:
    """Close a connection that is not fit for use; the pool has not seen it yet."""
    try:
        yield
    except BaseException:
        dbapi_connection.close()
        raise


def _prepare_sqlite(dbapi_connection: sqlite3.Connection, url: URL, role: str | None) -> None:
    # Transactions are begun by the "begin" event above, never by the driver behind our back.
    dbapi_connection.isolation_level = None
    faults = []
    for name, wanted in SQLITE_PRAGMAS.items():
        dbapi_connection.execute(f"PRAGMA {name} = {wanted}").close()
        row = dbapi_connection.execute(f"PRAGMA {name}").fetchone()
        # writable_schema and some builds answer nothing for "off".
        found = row[0] if row else 0
        if found != wanted:
            faults.append(f"PRAGMA {name} must be {wanted}, is {found}")
    dbapi_connection.execute("PRAGMA cache_size = -65536").close()
    dbapi_connection.execute("PRAGMA temp_store = MEMORY").close()
    if role == "auditor":
        dbapi_connection.execute("PRAGMA query_only = 1").close()
    if faults:
        raise SchemaError(shown(url), faults)


def _prepare_postgresql(
    dbapi_connection: Any, url: URL, role: str | None, lock_timeout_s: float
) -> None:
    faults = []
    with dbapi_connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
        cursor.execute("SET search_path = public")
        cursor.execute("SET timezone = 'UTC'")
        cursor.execute(f"SET lock_timeout = {int(lock_timeout_s * 1000)}")
        if role is not None:
            cursor.execute(f"SET ROLE byline_{role}")
        for name, wanted in POSTGRESQL_SETTINGS.items():
            found = cursor.execute(f"SHOW {name}").fetchone()[0]
            if found != wanted:
                faults.append(f"setting {name} must be {wanted}, is {found}")
    dbapi_connection.commit()
    if faults:
        raise SchemaError(shown(url), faults)


def _verify(dbapi_connection: Any, url: URL) -> None:
    # Imported here: the schema module needs engines itself.
    from ledger.store_schema import faults_of  # noqa: PLC0415

    cursor = dbapi_connection.cursor()
    try:
        faults = faults_of(cursor, url.get_backend_name())
    finally:
        cursor.close()
        dbapi_connection.rollback()
    if faults:
        raise SchemaError(shown(url), faults)
