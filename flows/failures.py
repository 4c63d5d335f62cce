"""Turn what went wrong into one message and an exit code, for every room of the house.

    0    all went well
    1    a request the books, a room or the machine refused; the message says the next step
    2    a command line that does not parse (click's own)
    130  stopped by Ctrl-C or SIGTERM

A bug (anything not listed here) keeps its traceback: it is for us, not for the accountant.
"""

from __future__ import annotations

import errno
from pathlib import Path

from attribution.errors import AttributionError
from contracts.errors import ContractsError
from flows.errors import DiskFullError, FlowError
from ledger.errors import LedgerError
from reports.errors import ReportError

ROOMS = (FlowError, ContractsError, LedgerError, AttributionError, ReportError)
REFUSED = 1
STOPPED = 130


def explain(error: BaseException) -> tuple[str, int] | None:
    """Say in one message what a person needs to know.

    Args:
        error: what reached the command line.

    Returns:
        The message and the exit code, or None when it is a bug and wants its traceback.
    """
    if isinstance(error, KeyboardInterrupt):
        return ("stopped; nothing half-written stays. Give the same command to finish", STOPPED)
    text = _disk_text(error) or _room_text(error)
    return (text, REFUSED) if text else None


def _disk_text(error: BaseException) -> str | None:
    """Explain a disk that is full or a file that cannot be opened."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return str(DiskFullError(str(error.filename or "a file")))
    if "database or disk is full" in str(error) or "No space left on device" in str(error):
        return str(DiskFullError("the ledger's database"))
    if isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError):
        return f"{error.strerror}: {Path(str(error.filename))}; nothing was posted"
    return None


def _room_text(error: BaseException) -> str | None:
    """Take a room's own words, or put the database's into ours."""
    if isinstance(error, ROOMS):
        return str(error)
    database = type(error).__module__.startswith("sqlalchemy")
    if database and type(error).__name__ in {"OperationalError", "TimeoutError"}:
        return _database_text(error)
    return None


def _database_text(error: BaseException) -> str:
    """Name the database trouble without SQLAlchemy's page of background."""
    cause = str(getattr(error, "orig", error)).strip().splitlines()
    first = cause[0] if cause else type(error).__name__
    if "locked" in first:
        return (
            f"the ledger's SQLite file is locked by another program ({first}); nothing was "
            f"posted. Close that program and give the same command again"
        )
    return (
        f"the ledger's database cannot be reached ({first}); nothing was posted. Check [ledger] "
        f"url in the settings and that the server runs, then give the same command again"
    )
