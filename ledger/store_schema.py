"""The schema: brought up to date by migrations, and read back at every connection.

`faults_of` is what every new connection asks; it costs a few milliseconds. It compares

1. the revision of the migrations,
2. the set of triggers: none missing, none changed to the letter, none added, none disabled,
3. the functions behind them and their settings (PostgreSQL),
4. the tables' constraints by name and kind,
5. that no entry is unsealed and no posting stands beyond the head of the book: what a raw
   client could leave behind who switched the foreign keys off.

`sweep` looks at every row for what (5) only looks at in places; it is the nightly check.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import CheckConstraint, ForeignKeyConstraint, PrimaryKeyConstraint
from sqlalchemy.schema import Constraint
from sqlmodel import SQLModel

from ledger import tables, triggers_postgresql, triggers_sqlite
from ledger.errors import SchemaError
from ledger.store_connect import WRITES, database_url, make_engine, shown
from ledger.store_errors import translated
from ledger.triggers_postgresql_functions import FUNCTIONS, SETTINGS

HEAD_REVISION = "0004"
# Any number nobody else uses: two upgrades at once run one after the other.
_UPGRADE_LOCK = 7276351894


def upgrade(url: str | Path, revision: str = "head") -> None:
    """Bring a database up to date, creating a SQLite file that does not exist yet.

    Args:
        url: the database.
        revision: where to, by default the newest revision.

    Raises:
        DatabaseError: it cannot be reached or written.
    """
    migrate(url, revision, down=False)


def migrate(url: str | Path, revision: str, *, down: bool) -> None:
    """Run migrations in one transaction: all of them or none.

    Args:
        url: the database.
        revision: where to.
        down: True to go back to an earlier revision.
    """
    parsed = database_url(url)
    engine = make_engine(parsed, verify=False)
    try:
        with (
            translated(shown(parsed)),
            engine.connect().execution_options(**{WRITES: True}) as connection,
            connection.begin(),
        ):
            if parsed.get_backend_name() == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
            config = Config()
            config.set_main_option("script_location", str(_migrations_folder()).replace("%", "%%"))
            config.attributes["connection"] = connection
            (command.downgrade if down else command.upgrade)(config, revision)
    finally:
        engine.dispose()


def check(url: str | Path) -> None:
    """Compare the schema with its text and sweep every row for broken promises.

    Args:
        url: the database.

    Raises:
        SchemaError: something is missing, changed, unsealed or unbalanced; all faults are named.
    """
    parsed = database_url(url)
    # One view of the whole book, while others go on writing.
    engine = make_engine(parsed, verify=False, isolation="REPEATABLE READ")
    try:
        with translated(shown(parsed)), engine.connect() as connection, connection.begin():
            raw = connection.connection.driver_connection
            assert raw is not None
            cursor = raw.cursor()
            dialect = parsed.get_backend_name()
            faults = faults_of(cursor, dialect) or sweep(cursor, dialect)
            cursor.close()
    finally:
        engine.dispose()
    if faults:
        raise SchemaError(shown(parsed), faults)


def faults_of(cursor: Any, dialect: str) -> list[str]:
    """Name everything in which the schema differs from what this version of Byline needs.

    Args:
        cursor: an open cursor of the driver.
        dialect: "sqlite" or "postgresql".

    Returns:
        One sentence a fault; empty if all is well.
    """
    revision = _revision(cursor, dialect)
    if revision != HEAD_REVISION:
        return [f"schema revision must be {HEAD_REVISION}, is {revision or 'none (empty)'}"]
    if dialect == "sqlite":
        return _sqlite_faults(cursor) + _half_made(cursor, dialect)
    return _postgresql_faults(cursor) + _half_made(cursor, dialect)


def sweep(cursor: Any, dialect: str) -> list[str]:
    """Look at every row for an unsealed entry, a stray posting or an unbalanced seal.

    On SQLite also for what a raw client could store who switched CHECKs and foreign keys off.

    Args:
        cursor: an open cursor of the driver.
        dialect: "sqlite" or "postgresql".

    Returns:
        One sentence a fault, the first ten of each kind.
    """
    faults: list[str] = []
    for sentence, sql in _SWEEPS.items():
        rows = cursor.execute(sql + " LIMIT 10").fetchall()
        faults += [sentence.format(*row) for row in rows]
    if dialect == "sqlite":
        rows = cursor.execute("PRAGMA integrity_check(10)").fetchall()
        faults += [f"integrity check: {row[0]}" for row in rows if row[0] != "ok"]
        rows = cursor.execute("PRAGMA foreign_key_check").fetchmany(10)
        faults += [f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}" for row in rows]
    return faults


_HEAD = "SELECT size, claimed, (SELECT coalesce(max(ledger_seq), 0) FROM posting), "
# On SQLite rows are numbered without a gap (by trigger), so the last numbers are the counts. On
# PostgreSQL only a superuser can leave an entry unsealed; the sweep looks for it.
_HEADS = {
    "sqlite": _HEAD  # noqa: S608  # Fixed texts.
    + "(SELECT coalesce(max(rowid), 0) FROM journal_entry) "
    "- (SELECT coalesce(max(rowid), 0) FROM seal) FROM ledger_head",
    "postgresql": _HEAD + "0 FROM ledger_head",
}
_SWEEPS = {
    "entry {0} has no seal": (
        "SELECT e.entry_id FROM journal_entry AS e WHERE NOT EXISTS "
        "(SELECT 1 FROM seal AS s WHERE s.entry_id = e.entry_id) ORDER BY 1"
    ),
    "posting {1} at place {0} belongs to no seal": (
        "SELECT p.ledger_seq, p.line_no FROM posting AS p WHERE NOT EXISTS "
        "(SELECT 1 FROM seal AS s WHERE s.ledger_seq = p.ledger_seq AND s.entry_id = p.entry_id) "
        "ORDER BY 1, 2"
    ),
    "the seal at place {0} has no entry": (
        "SELECT s.ledger_seq FROM seal AS s WHERE NOT EXISTS "
        "(SELECT 1 FROM journal_entry AS e WHERE e.entry_id = s.entry_id) ORDER BY 1"
    ),
    "the postings at place {0} do not add up to zero in {1}": (
        "SELECT ledger_seq, currency FROM posting GROUP BY ledger_seq, currency "
        "HAVING sum(units) <> 0 ORDER BY 1, 2"
    ),
    "the seal at place {0} declares {1} postings, found {2}": (
        "SELECT s.ledger_seq, s.posting_count, count(p.line_no) FROM seal AS s "
        "LEFT JOIN posting AS p ON p.ledger_seq = s.ledger_seq "
        "GROUP BY s.ledger_seq, s.posting_count HAVING count(p.line_no) <> s.posting_count "
        "ORDER BY 1"
    ),
    "account {0} in {1} is posted to but does not exist": (
        "SELECT DISTINCT p.account_id, p.currency FROM posting AS p WHERE NOT EXISTS "
        "(SELECT 1 FROM account AS a WHERE a.account_id = p.account_id "
        "AND a.currency = p.currency) ORDER BY 1, 2"
    ),
    "the head counts {0} leaves, found {1}": (
        "SELECT h.size, n.leaves FROM ledger_head AS h, (SELECT "
        "(SELECT count(*) FROM seal) + (SELECT count(*) FROM access_log) "
        "+ (SELECT count(*) FROM settlement_period) AS leaves) AS n WHERE h.size <> n.leaves"
    ),
}


def _half_made(cursor: Any, dialect: str) -> list[str]:
    # One statement, one view: between two another writer might commit.
    head = cursor.execute(_HEADS[dialect]).fetchall()
    if len(head) != 1:
        return [f"ledger_head must have one row, has {len(head)}"]
    size, claimed, beyond, unsealed = head[0]
    faults = []
    if unsealed:
        faults.append(f"{unsealed} entries are not sealed: somebody wrote with foreign keys off")
    if beyond > size:
        faults.append(f"postings stand at place {beyond} but the book has {size} leaves")
    if claimed > size:
        faults.append(f"place {claimed} is claimed but the book has {size} leaves")
    return faults


def _revision(cursor: Any, dialect: str) -> str | None:
    known = (
        "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
        if dialect == "sqlite"
        else "SELECT tablename FROM pg_tables WHERE tablename = 'alembic_version' "
        "AND schemaname = 'public'"
    )
    if cursor.execute(known).fetchone() is None:
        return None
    row = cursor.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def _sqlite_faults(cursor: Any) -> list[str]:
    wanted = {
        triggers_sqlite.trigger_name(text): text for text in triggers_sqlite.create_statements()
    }
    rows = cursor.execute(
        "SELECT name, sql, tbl_name FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall()
    found = {name: text for name, text, table in rows if table in tables.LEDGER_TABLES}
    faults = _differences("trigger", wanted, found)
    texts = dict(cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    for name in tables.LEDGER_TABLES:
        text = texts.get(name)
        if text is None:
            faults.append(f"table {name} is missing")
            continue
        if not text.rstrip().endswith("STRICT"):
            faults.append(f"table {name} is not STRICT")
        faults += [
            f"constraint {constraint} of table {name} is missing or was changed"
            for constraint, pattern in _sqlite_constraints(name).items()
            if re.search(pattern, text) is None
        ]
    return faults


def _sqlite_constraints(table: str) -> dict[str, str]:
    found = {}
    for constraint in _named_constraints(table, "sqlite"):
        pattern = rf"CONSTRAINT {constraint.name} "
        if isinstance(constraint, ForeignKeyConstraint) and constraint.deferrable:
            pattern += r"FOREIGN KEY[^,]*(?:,[^,]*)?DEFERRABLE\s+INITIALLY\s+DEFERRED"
        found[str(constraint.name)] = pattern
    return found


def _postgresql_faults(cursor: Any) -> list[str]:
    found = cursor.execute(
        "SELECT t.tgname, pg_get_triggerdef(t.oid), t.tgenabled FROM pg_trigger AS t "
        "JOIN pg_class AS c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal "
        "AND c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s)",
        (list(tables.LEDGER_TABLES),),
    ).fetchall()
    wanted = {name: text for name, (_, text) in triggers_postgresql.triggers().items()}
    faults = _differences("trigger", wanted, {name: text for name, text, _ in found})
    faults += [
        f"trigger {name} must be ENABLE ALWAYS, is {enabled!r}"
        for name, _, enabled in found
        if enabled not in {"A", b"A"} and name in wanted
    ]
    bodies = cursor.execute(
        "SELECT proname, prosrc, prosecdef, proconfig FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace AND proname = ANY(%s)",
        ([function.name for function in FUNCTIONS],),
    ).fetchall()
    faults += _differences(
        "function", {f.name: f.body for f in FUNCTIONS}, {row[0]: row[1] for row in bodies}
    )
    settings = sorted(f"{name}={value}" for name, value in SETTINGS.items())
    faults += [
        f"function {name} must be SECURITY DEFINER with {settings}, is {definer} with {config}"
        for name, _, definer, config in bodies
        if not definer or sorted(config or []) != settings
    ]
    return faults + _postgresql_constraint_faults(cursor)


def _postgresql_constraint_faults(cursor: Any) -> list[str]:
    rows = cursor.execute(
        "SELECT c.relname, k.conname, k.convalidated, k.condeferred FROM pg_constraint AS k "
        "JOIN pg_class AS c ON c.oid = k.conrelid "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s)",
        (list(tables.LEDGER_TABLES),),
    ).fetchall()
    found = {(table, name): (valid, deferred) for table, name, valid, deferred in rows}
    faults = []
    for table in tables.LEDGER_TABLES:
        for constraint in _named_constraints(table, "postgresql"):
            state = found.get((table, str(constraint.name)))
            deferred = isinstance(constraint, ForeignKeyConstraint) and bool(constraint.deferrable)
            if state != (True, deferred):
                faults.append(f"constraint {constraint.name} of table {table} is missing or weaker")
    return faults


def _named_constraints(table: str, dialect: str) -> list[Constraint]:
    constraints: list[Constraint] = []
    for constraint in SQLModel.metadata.tables[table].constraints:
        only = constraint._ddl_if  # noqa: SLF001  # The only way to ask what ddl_if was told.
        if only is not None and only.dialect != dialect:
            continue
        if isinstance(constraint, CheckConstraint | ForeignKeyConstraint | PrimaryKeyConstraint):
            constraints.append(constraint)
    return constraints


def _differences(what: str, wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    faults = [f"{what} {name} is missing" for name in sorted(wanted.keys() - found.keys())]
    faults += [
        f"{what} {name} was changed"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name] != found[name]
    ]
    return faults + [f"{what} {name} is not ours" for name in sorted(found.keys() - wanted.keys())]


def _migrations_folder() -> Path:
    spec = find_spec("migrations")
    assert spec is not None, "the package migrations is not installed"
    assert spec.origin is not None, "the package migrations has no folder"
    return Path(spec.origin).parent
