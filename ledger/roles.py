"""The three roles of a PostgreSQL book, and exactly what each may do.

    byline_owner     owns tables, functions and triggers; used by migrations and nobody else
    byline_writer    the application: INSERT and SELECT; never UPDATE, DELETE or TRUNCATE
    byline_auditor   SELECT, and not on personal data

1. The writer may not write `recorded_at` (columns are granted one by one) nor touch the head of
   the book, which moves only by inserting a leaf.
2. The one table from which the writer may delete is the erasable side table of personal data.
3. The roles cannot log in: an operator grants one of them to a login of his own, so that no
   password is ever made or kept here.

SQLite has no roles; there the permissions of the file decide, and `role="auditor"` opens the
book read-only.
"""

from __future__ import annotations

from pathlib import Path

import psycopg
from sqlalchemy import Connection

from ledger import tables, triggers_postgresql_functions
from ledger.errors import DatabaseRefusedError
from ledger.store_connect import database_url, make_engine, shown
from ledger.store_errors import translated

OWNER, WRITER, AUDITOR = "byline_owner", "byline_writer", "byline_auditor"
_NOT_WRITTEN = {"recorded_at"}
_NO_INSERT = {"ledger_head", "alembic_version"}
_ERASABLE = "personal_datum"


def create_roles(url: str | Path) -> list[str]:
    """Create the roles where they are missing and give each what it may do, and no more.

    Run it once as a superuser (or a role that may create roles and owns the tables), and again
    after each migration; it changes nothing the second time.

    Args:
        url: the PostgreSQL database.

    Returns:
        The statements that were run, for the operator's log.

    Raises:
        DatabaseRefusedError: it is not PostgreSQL, or the login may not do this.
    """
    parsed = database_url(url)
    if parsed.get_backend_name() != "postgresql":
        raise DatabaseRefusedError(
            f"{shown(parsed)} has no roles; on SQLite the permissions of the file decide"
        )
    engine = make_engine(parsed, verify=False)
    try:
        with translated(shown(parsed)), engine.connect() as connection, connection.begin():
            return _run(connection)
    finally:
        engine.dispose()


def _run(connection: Connection) -> list[str]:
    run: list[str] = []

    def execute(statement: str) -> None:
        connection.exec_driver_sql(statement)
        run.append(statement)

    for role in (OWNER, WRITER, AUDITOR):
        if not _exists(connection, role):
            _create_role(connection, role)
            run.append(f"CREATE ROLE {role} NOLOGIN")
    columns = _columns(connection)
    execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    execute(f"GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}")
    execute(f"GRANT USAGE ON SCHEMA public TO {WRITER}, {AUDITOR}")
    for table, names in sorted(columns.items()):
        execute(f"ALTER TABLE {table} OWNER TO {OWNER}")
        execute(f"REVOKE ALL ON {table} FROM PUBLIC, {WRITER}, {AUDITOR}")
        execute(f"GRANT SELECT ON {table} TO {WRITER}")
        if table != _ERASABLE:
            execute(f"GRANT SELECT ON {table} TO {AUDITOR}")
        if table not in _NO_INSERT:
            listed = ", ".join(f'"{name}"' for name in names if name not in _NOT_WRITTEN)
            execute(f"GRANT INSERT ({listed}) ON {table} TO {WRITER}")
    execute(f"GRANT DELETE ON {_ERASABLE} TO {WRITER}")
    for function in triggers_postgresql_functions.FUNCTIONS:
        signature = f"{function.name}({function.arguments})"
        execute(f"ALTER FUNCTION {signature} OWNER TO {OWNER}")
        execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC, {WRITER}, {AUDITOR}")
    execute(f"GRANT EXECUTE ON FUNCTION ledger_lock_head() TO {WRITER}")
    return run


def _exists(connection: Connection, role: str) -> bool:
    query = "SELECT 1 FROM pg_roles WHERE rolname = %s"
    return connection.exec_driver_sql(query, (role,)).fetchone() is not None


def _create_role(connection: Connection, role: str) -> None:
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection), raw
    try:
        # Roles belong to the whole cluster: another database may be set up at the same time.
        with raw.transaction():
            raw.execute(f"CREATE ROLE {role} NOLOGIN".encode())
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        assert _exists(connection, role), role


def _columns(connection: Connection) -> dict[str, list[str]]:
    rows = connection.exec_driver_sql(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    )
    found: dict[str, list[str]] = {}
    for table, column in rows:
        found.setdefault(table, []).append(column)
    missing = set(tables.LEDGER_TABLES) - found.keys()
    if missing:
        raise DatabaseRefusedError(
            f"tables {', '.join(sorted(missing))} are missing; run `byline db upgrade` first"
        )
    return found
