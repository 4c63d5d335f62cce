"""Let the database itself keep the promises of the book, on SQLite and PostgreSQL alike.

Why: an auditor reads the database, and a program may be wrong or somebody else's. Append-only
tables, balanced and sealed entries, gapless places, final closes: by trigger, not by trust.

Locks: short. Adds triggers only; no table is rewritten and no row is read.
Old code: keeps working, since it never updated or deleted a row of the book.
Downgrade: drops the triggers; loses no data, but the book is unguarded until they are back.

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-22
"""

from alembic import op

from ledger import triggers_postgresql, triggers_sqlite

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The text of the triggers is version 1; a later version gets a module and a revision of its own.
MODULES = {"sqlite": triggers_sqlite, "postgresql": triggers_postgresql}


def upgrade() -> None:
    """Create every function and trigger."""
    bind = op.get_bind()
    for statement in MODULES[bind.dialect.name].create_statements():
        bind.exec_driver_sql(statement)


def downgrade() -> None:
    """Drop every trigger and function."""
    bind = op.get_bind()
    for statement in MODULES[bind.dialect.name].drop_statements():
        bind.exec_driver_sql(statement)
