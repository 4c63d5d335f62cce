"""What cannot be refused is found: at the next connection, by the check, or by a checkpoint."""

import sqlite3

import psycopg
import pytest

from ledger.canonical import canonical_entry
from ledger.errors import SchemaError
from ledger.merkle import leaf_hash
from ledger.store import LedgerStore, check
from tests.books import PERIOD, USD, accrual
from tests.ledger.attacks import ENTRY, prepare

TRIGGERS_OF_SQLITE = {
    "trigger dropped": (["DROP TRIGGER seal_accept"], "trigger seal_accept is missing"),
    "trigger weakened": (
        [
            "DROP TRIGGER posting_refuse_update",
            "CREATE TRIGGER posting_refuse_update BEFORE UPDATE ON posting BEGIN SELECT 1; END",
        ],
        "trigger posting_refuse_update was changed",
    ),
    "trigger added": (
        ["CREATE TRIGGER helper AFTER INSERT ON posting BEGIN SELECT 1; END"],
        "trigger helper is not ours",
    ),
    "table rebuilt, as a careless migration does": (
        [
            "PRAGMA legacy_alter_table = 1",
            "CREATE TABLE copy AS SELECT * FROM posting",
            "DROP TRIGGER posting_refuse_delete",
            "DROP TABLE posting",
            "ALTER TABLE copy RENAME TO posting",
        ],
        "trigger posting_accept is missing.*table posting is not STRICT.*ck_posting_units_bounded",
    ),
    "schema written by hand": (
        [
            "PRAGMA writable_schema = 1",
            (
                "UPDATE sqlite_master SET sql = replace(sql, 'DEFERRABLE INITIALLY DEFERRED', '') "
                "WHERE name = 'journal_entry'"
            ),
        ],
        "fk_journal_entry_entry_id_seal of table journal_entry",
    ),
    "revision changed": (["UPDATE alembic_version SET version_num = '0001'"], "is 0001"),
    "unsealed entry": (
        [
            (
                "INSERT INTO journal_entry SELECT 'je_y', scope, 'y', kind, period, effective_on, "
                "description, prepared_by, approved_by, NULL, evidence, payload_sha256 "
                "FROM journal_entry LIMIT 1"
            )
        ],
        "1 entries are not sealed",
    ),
}


@pytest.mark.parametrize("done", TRIGGERS_OF_SQLITE)
def test_a_raw_client_is_found_out_at_the_next_connection(sqlite_url, done):
    """Pragmas, triggers and tables are read back on connect; the error says which is wrong."""
    prepare(sqlite_url)
    statements, named = TRIGGERS_OF_SQLITE[done]
    raw = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    raw.execute("PRAGMA foreign_keys = 0")
    for statement in statements:
        raw.execute(statement)
    raw.close()
    with pytest.raises(SchemaError, match=named):
        LedgerStore.open(sqlite_url)


@pytest.mark.parametrize("number", [-5, 0, 99])
def test_an_entry_cannot_be_hidden_from_the_count(sqlite_url, number):
    """Rows are numbered without a gap, so that the last number is the count of entries."""
    prepare(sqlite_url)
    raw = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    raw.execute("PRAGMA foreign_keys = 0")
    with pytest.raises(sqlite3.IntegrityError, match="numbered without a gap"):
        raw.execute(
            "INSERT INTO journal_entry (rowid, entry_id, scope, key, kind, period, effective_on, "
            "description, prepared_by, evidence, payload_sha256) SELECT ?, 'je_y', scope, 'y', "
            "'accrual', period, effective_on, description, 'x', evidence, payload_sha256 "
            "FROM journal_entry LIMIT 1",
            (number,),
        )
    raw.close()


TRIGGERS_OF_POSTGRESQL = {
    "trigger disabled": (
        ["ALTER TABLE posting DISABLE TRIGGER posting_accept"],
        "trigger posting_accept must be ENABLE ALWAYS",
    ),
    "trigger made ordinary": (
        ["ALTER TABLE seal ENABLE TRIGGER seal_accept"],
        "trigger seal_accept must be ENABLE ALWAYS",
    ),
    "trigger dropped": (
        ["DROP TRIGGER seal_refuse_change ON seal"],
        "trigger seal_refuse_change is missing",
    ),
    "trigger added": (
        ["CREATE TRIGGER zz BEFORE INSERT ON seal EXECUTE FUNCTION ledger_refuse_change()"],
        "trigger zz is not ours",
    ),
    "function replaced": (
        [
            (
                "CREATE OR REPLACE FUNCTION posting_accept() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN RETURN NULL; END'"
            )
        ],
        "function posting_accept was changed",
    ),
    "function no longer the owner's": (
        ["ALTER FUNCTION seal_accept() SECURITY INVOKER"],
        "function seal_accept must be SECURITY DEFINER",
    ),
    "constraint dropped": (
        ["ALTER TABLE journal_entry DROP CONSTRAINT fk_journal_entry_entry_id_seal"],
        "constraint fk_journal_entry_entry_id_seal of table journal_entry",
    ),
    "constraint weakened": (
        ["ALTER TABLE posting DROP CONSTRAINT ck_posting_units_bounded"],
        "constraint ck_posting_units_bounded of table posting",
    ),
    "second head": (
        [
            "ALTER TABLE ledger_head DISABLE TRIGGER ledger_head_single",
            "DELETE FROM ledger_head",
            "ALTER TABLE ledger_head ENABLE ALWAYS TRIGGER ledger_head_single",
        ],
        "ledger_head must have one row, has 0",
    ),
}


@pytest.mark.parametrize("done", TRIGGERS_OF_POSTGRESQL)
@pytest.mark.postgres
def test_an_owner_who_loosens_a_guard_is_found_out(postgresql_url, done):
    """The owner can do it; the next connection of anybody says what he did."""
    statements, named = TRIGGERS_OF_POSTGRESQL[done]
    with psycopg.connect(postgresql_url, autocommit=True) as raw:
        for statement in statements:
            raw.execute(statement)
    with pytest.raises(SchemaError, match=named):
        LedgerStore.open(postgresql_url)


@pytest.mark.postgres
def test_an_unsealed_entry_of_replica_mode_is_swept_up(postgresql_url):
    """Replica mode lifts the deferred foreign key for a superuser; the sweep finds the rest."""
    prepare(postgresql_url)
    with psycopg.connect(postgresql_url) as raw:
        raw.execute("SET session_replication_role = replica")
        raw.execute(
            "INSERT INTO journal_entry SELECT 'je_y', scope, 'y', kind, period, effective_on, "
            "description, prepared_by, approved_by, NULL, evidence, payload_sha256 "
            "FROM journal_entry LIMIT 1"
        )
    with pytest.raises(SchemaError, match="entry je_y has no seal"):
        check(postgresql_url)


@pytest.mark.parametrize("pragma", ["recursive_triggers = 0", "recursive_triggers = 1"])
@pytest.mark.parametrize(
    "statement",
    [
        (
            "INSERT OR REPLACE INTO posting SELECT ledger_seq, line_no, entry_id, account_id, "
            "currency, units * 2 FROM posting"
        ),
        (
            "INSERT OR REPLACE INTO journal_entry SELECT entry_id, scope, key, kind, period, "
            "effective_on, 'rewritten', prepared_by, approved_by, reverses, evidence, "
            "payload_sha256 FROM journal_entry"
        ),
        (
            "INSERT OR REPLACE INTO journal_entry SELECT 'je_z', scope, key, kind, period, "
            "effective_on, 'rewritten', prepared_by, approved_by, NULL, evidence, "
            "payload_sha256 FROM journal_entry WHERE reverses IS NULL"
        ),
        "INSERT OR REPLACE INTO seal SELECT * FROM seal",
        "INSERT OR REPLACE INTO access_log SELECT * FROM access_log",
        "INSERT OR REPLACE INTO settlement_period SELECT * FROM settlement_period",
        "INSERT OR REPLACE INTO ledger_head VALUES (1, 0, 0)",
        (
            "REPLACE INTO settlement_period SELECT period, 'open', prepared_by, approved_by, 8, "
            "leaf_hash, recorded_at FROM settlement_period WHERE action = 'close'"
        ),
        "UPDATE OR REPLACE posting SET line_no = 1",
    ],
)
def test_insert_or_replace_is_refused(sqlite_url, pragma, statement):
    """REPLACE deletes without asking the delete trigger; the insert guards do not let it begin."""
    prepare(sqlite_url)
    raw = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    raw.execute(f"PRAGMA {pragma}")
    before = list(raw.iterdump())
    with pytest.raises(sqlite3.IntegrityError, match="byline:"):
        raw.execute(statement)
    raw.rollback()
    assert list(raw.iterdump()) == before
    raw.close()


def rewrite_as_owner(url: str) -> None:
    """Change a booked amount as the owner, and every stored hash that would give it away."""
    forged = accrual("first", 300)
    guarded = ("posting", "seal", "journal_entry")
    with psycopg.connect(url, autocommit=True) as raw:
        for table in guarded:
            raw.execute(f"ALTER TABLE {table} DISABLE TRIGGER {table}_refuse_change")
        raw.execute("UPDATE posting SET units = units * 3 WHERE ledger_seq = 4")
        raw.execute(
            "UPDATE journal_entry SET payload_sha256 = %s WHERE entry_id = %s",
            (forged.payload_sha256, ENTRY.entry_id),
        )
        forged_hash = leaf_hash(canonical_entry(ledger_seq=4, entry=forged))
        raw.execute("UPDATE seal SET leaf_hash = %s WHERE ledger_seq = 4", (forged_hash,))
        for table in guarded:
            raw.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_refuse_change")


@pytest.mark.postgres
def test_nothing_but_a_checkpoint_held_elsewhere_stops_the_owner(postgresql_url):
    """Whoever owns the database can rewrite it so that the database itself sees nothing.

    Only a root that somebody else wrote down before tells the two books apart. This is the
    limit of every constraint and trigger, shown so that nobody relies on more.
    """
    prepare(postgresql_url)
    with LedgerStore.open(postgresql_url) as book:
        held_elsewhere = book.frontier()
    rewrite_as_owner(postgresql_url)
    check(postgresql_url)
    with LedgerStore.open(postgresql_url) as book:
        assert book.post(accrual("first", 300)).replayed
        assert book.balance("Expenses:Royalty", USD) == 200
        assert book.frontier(held_elsewhere.size).root() != held_elsewhere.root()
        assert PERIOD in book.periods()
