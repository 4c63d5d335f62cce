"""One holder at a time, by a file that the kernel frees when its holder dies.

1. The lock is `flock` on an open file, so a killed process never leaves it held: the next one
   takes it over, and says whose it was.
2. The file names the holder (process, machine, command, since when) for the person who waits.
3. The ledger's unique (scope, key) is the last guard: a lock saves work, it does not keep books.
4. Whoever only wants to know who holds a lock, or who died with it, asks `look`. It borrows the
   lock for an instant, so whoever wants it asks a few times before it believes that it is held.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.errors import LockHeldError

_TRIES = 5
_TRY_AGAIN_S = 0.02


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, or who died holding it.

    Args:
        text: process, machine, command and since when.
        alive: False when the kernel has freed the lock and the name is still there.
    """

    text: str
    alive: bool


@contextmanager
def hold(folder: Path, name: str) -> Iterator[str | None]:
    """Hold a named lock for the length of a `with` block.

    Args:
        folder: where lock files lie; made when missing.
        name: what must not run twice at once, such as `night-2026-11-20`.

    Yields:
        The description of a holder that died without letting go, or None.

    Raises:
        LockHeldError: a living process holds it; the text names that process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _taken(handle):
            raise LockHeldError(name, str(path), _read_holder(handle) or "an unnamed one")
        died = _read_holder(handle)
        _write_holder(handle)
        try:
            yield died
        finally:
            # Only a holder that was killed leaves its name behind.
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def look(folder: Path, name: str) -> Holder | None:
    """Say who holds a lock, or who died with it, without taking it.

    Args:
        folder: where lock files lie.
        name: the lock.

    Returns:
        The holder, or None when nobody holds it and the last one let go.
    """
    try:
        handle = os.open(folder / f"{name}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        text = _read_holder(handle)
        if text is None:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Holder(text, alive=True)
        # Between the two it may have been let go.
        text = _read_holder(handle)
        return None if text is None else Holder(text, alive=False)
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    """Take a lock for oneself; False when somebody holds it for longer than a look lasts."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TRY_AGAIN_S)
        else:
            return True
    return False


def _read_holder(handle: int) -> str | None:
    """Describe the holder written in the file, or None when nobody is."""
    text = os.pread(handle, 4096, 0).decode("utf-8", "replace")
    if not text.strip():
        return None
    try:
        holder = json.loads(text)
        return (
            f"process {holder['pid']} on {holder['host']} since {holder['since']} "
            f"({holder['command']})"
        )
    except (ValueError, KeyError, TypeError):
        return text.strip()


def _write_holder(handle: int) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(holder, sort_keys=True).encode("utf-8"), 0)
    os.fsync(handle)
