"""Migrations up, down and up again, with data, on both databases; models and schema agree."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect
from sqlmodel import SQLModel

import contracts.tables
import ledger.tables
from ledger import store_schema
from ledger.store import LedgerStore, check, upgrade
from ledger.store_connect import database_url
from tests.books import PERIOD, accrual
from tests.databases import postgresql_database

KINDS = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres),
]


@pytest.fixture(params=KINDS)
def empty_url(request, tmp_path):
    """The URL of a database without any table, on each database in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with postgresql_database() as url:
        yield url


def guards_of(url):
    """Return every trigger (and function) of a database, with its text."""
    engine = create_engine(database_url(url))
    sql = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        if engine.dialect.name == "sqlite"
        else "SELECT tgname, pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger "
        "WHERE NOT tgisinternal UNION ALL SELECT proname, prosrc FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace"
    )
    with engine.connect() as connection:
        found = sorted(tuple(row) for row in connection.exec_driver_sql(sql))
    engine.dispose()
    return found


def test_up_down_up_keeps_the_data_and_the_guards(empty_url):
    """Going back a revision loses no entry, and coming up again loses no trigger."""
    upgrade(empty_url)
    with LedgerStore.open(empty_url) as book:
        book.open_period(PERIOD)
        book.post_many([accrual(f"k{n}") for n in range(100)])
        root = book.frontier().root()
    guards = guards_of(empty_url)
    assert guards
    store_schema.migrate(empty_url, "0001", down=True)
    assert guards_of(empty_url) == []
    upgrade(empty_url)
    assert guards_of(empty_url) == guards
    check(empty_url)
    with LedgerStore.open(empty_url) as book:
        assert book.frontier().root() == root
        assert len(list(book.entries())) == 100


def test_a_book_with_entries_is_not_dropped_by_going_down(empty_url):
    """The first revision's downgrade refuses while there is anything to lose."""
    upgrade(empty_url)
    with LedgerStore.open(empty_url) as book:
        book.open_period(PERIOD)
        book.post(accrual("a"))
    with pytest.raises(RuntimeError, match="the book has entries"):
        store_schema.migrate(empty_url, "base", down=True)
    check(empty_url)


def test_an_empty_book_goes_down_to_nothing_and_up_again(empty_url):
    """Every revision can be taken back, in order, and made again."""
    upgrade(empty_url)
    store_schema.migrate(empty_url, "base", down=True)
    engine = create_engine(database_url(empty_url))
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    engine.dispose()
    upgrade(empty_url)
    upgrade(empty_url)
    check(empty_url)


def test_models_and_migrations_agree(empty_url):
    """What the models say is what the migrations make: no table, column or index differs."""
    assert contracts.tables.SQLModel is ledger.tables.SQLModel
    upgrade(empty_url)
    engine = create_engine(database_url(empty_url))
    kept_by_triggers = {
        "fk_posting_account_id_currency_account",
        "fk_posting_ledger_seq_seal",
        "fk_seal_entry_id_journal_entry",
    }

    def included(thing, name, kind, _reflected, _compared) -> bool:
        """On PostgreSQL three references are kept by triggers, not by foreign keys."""
        sqlite_only = engine.dialect.name == "postgresql" and name in kept_by_triggers
        return not (kind == "foreign_key_constraint" and sqlite_only)

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": included}
        )
        differences = compare_metadata(context, SQLModel.metadata)
    engine.dispose()
    assert differences == []
