"""From what a database says to what the ledger raises.

1. A trigger's message starts with `byline:` and a code; nothing else of it is interpreted.
2. What another attempt of the whole transaction may heal is told apart from what it cannot.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError

from ledger.errors import (
    DatabaseBusyError,
    DatabaseFullError,
    DatabaseRefusedError,
    DatabaseUnreachableError,
    LedgerError,
)

_CODE = re.compile(r"byline:(\w+) (.*)")
_RETRIED = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    # SERIALIZABLE writers together took more predicate locks than the server has room for.
    psycopg.errors.OutOfMemory,
)
_LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)
# What SQLite says when a write did not reach the disk.
_FULL = (psycopg.errors.DiskFull, psycopg.errors.IoError)
_NO_ROOM = ("database or disk is full", "disk I/O error")
_REFUSING = (
    psycopg.IntegrityError,
    psycopg.errors.RaiseException,
    psycopg.errors.InsufficientPrivilege,
    psycopg.DataError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
)


class RefusedByRuleError(DatabaseRefusedError):
    """A trigger refused, with the code of its rule; `store_post` turns known codes into words."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def cause_of(error: BaseException) -> BaseException:
    """Return what the driver raised, without SQLAlchemy's wrapping."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def heals_by_retry(error: BaseException) -> bool:
    """Say whether the whole transaction may succeed when it is run again."""
    return isinstance(cause_of(error), _RETRIED)


def violates_unique(error: BaseException) -> bool:
    """Say whether a unique key or a guard of one refused."""
    cause = cause_of(error)
    return (
        isinstance(cause, psycopg.errors.UniqueViolation)
        or "UNIQUE constraint failed" in str(cause)
        or "byline:entry_exists" in str(cause)
    )


def translate(error: BaseException, url: str) -> LedgerError | None:
    """Turn a driver's error into the ledger's own, or return None if it is a bug.

    Args:
        error: what was raised.
        url: the database, without its password, for the message.
    """
    cause = cause_of(error)
    text = str(cause).strip()
    match = _CODE.search(text)
    first = text.partition("\n")[0]
    if match:
        return RefusedByRuleError(match[1], match[2])
    if isinstance(cause, _REFUSING):
        return DatabaseRefusedError(first)
    return _unavailable(cause, text, first, url)


def _unavailable(cause: BaseException, text: str, first: str, url: str) -> LedgerError | None:
    """Say why the database could not do what it does not refuse: busy, full, gone."""
    if isinstance(cause, _LOCKED) or "is locked" in text:
        return DatabaseBusyError(url, first)
    if isinstance(cause, _RETRIED):
        return DatabaseBusyError(url, "other writers always came first: " + first)
    if isinstance(cause, _FULL) or any(word in text for word in _NO_ROOM):
        return DatabaseFullError(url, first)
    damaged = isinstance(cause, sqlite3.DatabaseError) and (
        "malformed" in text or "not a database" in text
    )
    if damaged or isinstance(cause, psycopg.OperationalError | sqlite3.OperationalError):
        return DatabaseUnreachableError(url, first)
    return None


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Raise the ledger's own errors for whatever the database says inside the block.

    Args:
        url: the database, without its password, for the message.
    """
    try:
        yield
    except (DBAPIError, psycopg.Error, sqlite3.Error) as error:
        ours = translate(error, url)
        if ours is None:
            raise
        raise ours from error
