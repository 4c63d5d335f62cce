"""Databases for tests: a fresh SQLite file or a PostgreSQL database of one's own, dropped after.

PostgreSQL is found by BYLINE_TEST_POSTGRES_URL (a URL of any database of the server) or on
localhost. Where it is missing, a test is skipped with the reason, unless CI=true: then it fails,
because a promise that was not tested on both databases was not tested.
"""

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest

from ledger import store

_DEFAULT = "postgresql://root@localhost:5432/postgres"


def server_url() -> str:
    """Return the URL of the PostgreSQL server that tests may use."""
    return os.environ.get("BYLINE_TEST_POSTGRES_URL", _DEFAULT)


@cache
def why_no_postgresql() -> str | None:
    """Return why PostgreSQL cannot be used here, or None when it can."""
    try:
        with psycopg.connect(server_url(), connect_timeout=3):
            return None
    except psycopg.Error as error:
        return f"no PostgreSQL at {server_url().rpartition('@')[2]}: {str(error).strip()}"


def require_postgresql() -> None:
    """Skip the test without PostgreSQL, or fail it in CI."""
    reason = why_no_postgresql()
    if reason is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def postgresql_database(template: str | None = None) -> Iterator[str]:
    """Create an empty PostgreSQL database, or a copy of one, and drop it afterwards.

    Args:
        template: the name of a database to copy.
    """
    require_postgresql()
    name = f"byline_test_{uuid.uuid4().hex[:16]}"
    copied = f" TEMPLATE {template}" if template else ""
    with psycopg.connect(server_url(), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}{copied}")
    try:
        yield f"{server_url().rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(server_url(), autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@cache
def _sqlite_template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="byline-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    store.upgrade(f"sqlite:///{folder / 'template.db'}")
    return folder / "template.db"


@cache
def _postgresql_template() -> str:
    kept = ExitStack()
    atexit.register(kept.close)
    url = kept.enter_context(postgresql_database())
    store.upgrade(url)
    return url.rpartition("/")[2]


@contextmanager
def fresh_book(kind: str, folder: Path) -> Iterator[str]:
    """Create a book at the newest revision and yield its URL.

    The migrations run once a session; each book is a copy of what they made.

    Args:
        kind: "sqlite" or "postgresql".
        folder: where a SQLite file may lie.
    """
    if kind == "sqlite":
        path = folder / f"book-{uuid.uuid4().hex[:8]}.db"
        shutil.copy(_sqlite_template(), path)
        yield f"sqlite:///{path}"
        return
    require_postgresql()
    with postgresql_database(_postgresql_template()) as url:
        yield url
