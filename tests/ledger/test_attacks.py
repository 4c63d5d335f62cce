"""The attack list on both databases: what is refused at once, by the database alone."""

import re
import sqlite3

import psycopg
import pytest

from ledger import roles
from ledger.errors import LedgerError
from ledger.store import LedgerStore, check
from tests.databases import fresh_book, require_postgresql
from tests.ledger.attacks import ATTACKS, CHANGED, fill_every_table, prepare, statements

SQLITE_HASH = "zeroblob(32)"
POSTGRESQL_HASH = "decode(repeat('00', 32), 'hex')"
FOUND = r"not sealed|stand at place|does not keep its promises"


@pytest.fixture(scope="module")
def sqlite_path(tmp_path_factory):
    """A prepared SQLite book that every attack of this module must leave as it is."""
    with fresh_book("sqlite", tmp_path_factory.mktemp("attacks")) as url:
        prepare(url)
        fill_every_table(url)
        yield url.removeprefix("sqlite:///")


@pytest.fixture(scope="module")
def postgresql_url(tmp_path_factory):
    """A prepared PostgreSQL book that every attack of this module must leave as it is."""
    require_postgresql()
    with fresh_book("postgresql", tmp_path_factory.mktemp("attacks")) as url:
        roles.create_roles(url)
        prepare(url)
        fill_every_table(url)
        yield url


def root_of(url):
    """Return the root of a book, read by its own store."""
    with LedgerStore.open(url) as book:
        return book.frontier().root()


def run_on_sqlite(path, attack, *pragmas):
    """Run an attack as a raw client and commit it."""
    raw = sqlite3.connect(path, isolation_level=None)
    try:
        for pragma in pragmas:
            raw.execute(f"PRAGMA {pragma}")
        raw.execute("BEGIN IMMEDIATE")
        for statement in statements(attack, SQLITE_HASH):
            raw.execute(statement)
        raw.execute("COMMIT")
    finally:
        raw.close()


def run_on_postgresql(raw, attack):
    """Run an attack over an open connection and commit it."""
    for statement in statements(attack, POSTGRESQL_HASH):
        raw.execute(statement)
    raw.commit()


@pytest.mark.parametrize("attack", ATTACKS)
def test_sqlite_refuses(sqlite_path, attack):
    """A raw client with foreign keys on gets nothing past the triggers."""
    before = root_of(sqlite_path)
    with pytest.raises(sqlite3.IntegrityError):
        run_on_sqlite(sqlite_path, attack, "foreign_keys = 1")
    assert root_of(sqlite_path) == before


@pytest.mark.parametrize("attack", ATTACKS)
def test_sqlite_refuses_with_every_guard_switched_off(sqlite_path, attack):
    """With foreign keys, CHECKs and recursive triggers off, an attack is refused or found.

    What a raw client can leave behind then is an entry without a seal or postings without one;
    the next connection says so.
    """
    path = sqlite_path + f".{re.sub('[^a-z]', '', attack)}"
    source = sqlite3.connect(sqlite_path)
    target = sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    try:
        run_on_sqlite(
            path,
            attack,
            "foreign_keys = 0",
            "ignore_check_constraints = 1",
            "recursive_triggers = 0",
        )
    except sqlite3.IntegrityError:
        check(path)
        return
    with pytest.raises(LedgerError, match=FOUND):
        check(path)


@pytest.mark.parametrize("role", ["byline_writer", "byline_owner", "superuser"])
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.postgres
def test_postgresql_refuses(postgresql_url, attack, role):
    """No role gets an attack past the triggers, the owner and a superuser included."""
    with psycopg.connect(postgresql_url) as raw:
        if role != "superuser":
            raw.execute(f"SET ROLE {role}")
        with pytest.raises(psycopg.DatabaseError) as refused:
            run_on_postgresql(raw, attack)
        # Class 42 is a mistake in the attack itself, but for the writer's missing permission.
        assert role == "byline_writer" or not refused.value.sqlstate.startswith("42")
        raw.rollback()


@pytest.mark.postgres
def test_postgresql_is_unchanged_by_all_of_it(postgresql_url):
    """After the whole list the book is what it was: every row is swept."""
    check(postgresql_url)


@pytest.mark.parametrize("table", sorted(CHANGED))
@pytest.mark.postgres
def test_replica_mode_does_not_open_the_book(postgresql_url, table):
    """session_replication_role = replica silences ordinary triggers; ours are ENABLE ALWAYS."""
    for statement in (
        f"UPDATE {table} SET {CHANGED[table]}",
        f"DELETE FROM {table}",
        f"TRUNCATE {table} CASCADE",
    ):
        with psycopg.connect(postgresql_url) as raw:
            raw.execute("SET session_replication_role = replica")
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                raw.execute(statement)
            raw.rollback()


@pytest.mark.parametrize("attack", ["unbalanced", "stray lines", "late line", "unknown account"])
@pytest.mark.postgres
def test_replica_mode_still_checks_every_posting(postgresql_url, attack):
    """Balance, place and account are kept by triggers, so replica mode does not lift them."""
    with psycopg.connect(postgresql_url) as raw:
        raw.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.RaiseException, match="byline:"):
            run_on_postgresql(raw, attack)
        raw.rollback()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE posting SET units = 1",
        "DELETE FROM posting",
        "TRUNCATE posting",
        "TRUNCATE ledger_head",
        "UPDATE ledger_head SET size = 0",
        "ALTER TABLE posting DISABLE TRIGGER ALL",
        "ALTER TABLE posting DISABLE TRIGGER posting_accept",
        "DROP TRIGGER posting_accept ON posting",
        "DROP TABLE posting CASCADE",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION posting_accept() RETURNS trigger LANGUAGE sql AS ''",
        "ALTER FUNCTION posting_accept() RENAME TO x",
        "SELECT ledger_take_places(1, 1, 1, now(), now())",
        "INSERT INTO access_log (recorded_at) VALUES (now())",
        "INSERT INTO alembic_version VALUES ('9999')",
        "CREATE TABLE public.mine (x int)",
        "SET ROLE byline_owner",
        "UPDATE personal_datum SET value = 'x'",
    ],
)
@pytest.mark.postgres
def test_the_writer_may_only_insert_and_read(postgresql_url, statement):
    """The application's password opens no way to change what is booked."""
    with psycopg.connect(postgresql_url, autocommit=True) as raw:
        login = "byline_test_login"
        raw.execute(
            f"DO $$ BEGIN CREATE ROLE {login} LOGIN IN ROLE byline_writer; "
            "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        raw.execute(f"SET SESSION AUTHORIZATION {login}")
        with pytest.raises(psycopg.Error, match=r"permission denied|must be owner|append-only"):
            raw.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO account (account_id, currency) VALUES ('Assets:Eve', 'USD/6')",
        "SELECT * FROM personal_datum",
        "DELETE FROM personal_datum",
        "SELECT ledger_lock_head()",
    ],
)
@pytest.mark.postgres
def test_the_auditor_may_only_read_and_not_personal_data(postgresql_url, statement):
    """An auditor sees the book and every commitment, and nobody's name."""
    with psycopg.connect(postgresql_url) as raw:
        raw.execute("SET ROLE byline_auditor")
        assert raw.execute("SELECT count(*) FROM posting").fetchone()[0] > 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            raw.execute(statement)
        raw.rollback()
