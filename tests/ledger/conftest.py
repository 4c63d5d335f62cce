"""Books to test on: every law of the ledger is tried on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.store import LedgerStore
from tests.databases import fresh_book, postgresql_database, require_postgresql

BOTH = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres),
]


@pytest.fixture(params=BOTH)
def book_url(request, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh book at the newest revision, on each database in turn."""
    with fresh_book(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def book(book_url: str) -> Iterator[LedgerStore]:
    """A fresh book, open, on each database in turn."""
    with LedgerStore.open(book_url) as store:
        yield store


@pytest.fixture(params=BOTH)
def empty_url(request, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table, on each database in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with postgresql_database() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh SQLite book."""
    with fresh_book("sqlite", tmp_path) as url:
        yield url


@pytest.fixture
def postgresql_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh PostgreSQL book."""
    require_postgresql()
    with fresh_book("postgresql", tmp_path) as url:
        yield url
