"""How Alembic reaches the database: over the connection that `ledger.store.upgrade` hands in.

1. One transaction for the whole upgrade, on SQLite too: a failed upgrade leaves nothing behind.
2. The naming convention is set by `contracts.tables` before any model exists.
3. Batch mode is never used on tables of the ledger: it rebuilds a table and loses its triggers.
"""

from alembic import context
from sqlalchemy import Connection
from sqlmodel import SQLModel

import contracts.tables  # noqa: F401  # Registers the models; it comes first (rule 2).
import ledger.tables  # noqa: F401  # Registers the models.

target_metadata = SQLModel.metadata


def run(connection: Connection) -> None:
    """Run the migrations over an open connection; its owner commits."""
    context.configure(connection=connection, target_metadata=target_metadata)
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
