"""Transactions: one a call, read from one view of the book, retried only when a race was lost.

1. Reading happens in one view: REPEATABLE READ on PostgreSQL, one read transaction on SQLite.
2. A writing transaction that lost a race (PostgreSQL 40001, 40P01) is run again as a whole, a
   bounded number of times; nothing else is retried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine

from ledger.store_connect import WRITES, shown
from ledger.store_errors import heals_by_retry, translated

ATTEMPTS_MAX = 40
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
            for attempt in range(1, ATTEMPTS_MAX + 1):
                try:
                    with (
                        self.engine.connect().execution_options(**{WRITES: True}) as connection,
                        connection.begin(),
                    ):
                        return work(connection)
                except Exception as error:
                    if attempt == ATTEMPTS_MAX or not heals_by_retry(error):
                        raise
                    self.retries += 1
                    # Losers wait for different times, by thread, so that they do not meet again.
                    time.sleep(0.001 * attempt * (1 + (time.monotonic_ns() >> 7) % 8))
        raise AssertionError("unreachable: the last attempt returns or raises")
