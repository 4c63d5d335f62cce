"""Transactions: one a call, read from one view of the book, retried only when a race was lost.

1. Reading happens in one view: REPEATABLE READ on PostgreSQL, one read transaction on SQLite.
2. A writing transaction that lost a race (PostgreSQL 40001, 40P01) is run again as a whole, a
   bounded number of times; nothing else is retried. Losers queue up, so that they do not lose to
   each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine

from ledger.store_connect import WRITES, shown
from ledger.store_errors import heals_by_retry, translated

ATTEMPTS_MAX = 40
# Any number nobody else uses: the losers of a race run one after the other.
_QUEUE = 7276351895
_ONE_VIEW: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_T = TypeVar("_T")


class Transactions:
    """An engine with the two kinds of transactions that the book uses.

    Attributes:
        url: the database, as it may be printed.
        engine: the SQLAlchemy engine.
        retries: how many attempts were repeated after losing a race.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.url = shown(engine.url)
        self.retries = 0

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(self.url):
            options: dict[str, Any] = {} if self.engine.dialect.name == "sqlite" else _ONE_VIEW
            with self.engine.connect().execution_options(**options) as connection:
                yield connection

    def _read(self, work: Callable[[Connection], _T]) -> _T:
        with self._reading() as connection:
            return work(connection)

    def _write(self, work: Callable[[Connection], _T]) -> _T:
        with translated(self.url):
            for attempt in range(1, ATTEMPTS_MAX):
                try:
                    return self._attempt(work, in_queue=attempt > 1)
                except Exception as error:
                    if not heals_by_retry(error):
                        raise
                    self.retries += 1
            return self._attempt(work, in_queue=True)

    def _attempt(self, work: Callable[[Connection], _T], *, in_queue: bool) -> _T:
        """Run one writing transaction; who lost a race before waits in a queue of losers.

        The queue is a lock of the session, taken before the transaction begins, so that its
        view of the book is not older than the lock.
        """
        with self.engine.connect().execution_options(**{WRITES: True}) as connection:
            if in_queue:
                connection.exec_driver_sql(f"SELECT pg_advisory_lock({_QUEUE})")
                connection.commit()
            try:
                with connection.begin():
                    return work(connection)
            finally:
                if in_queue and not connection.invalidated:
                    connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_QUEUE})")
                    connection.commit()
