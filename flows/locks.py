"""One holder at a time, by a file that the kernel frees when its holder dies.

1. The lock is `flock` on an open file, so a killed process never leaves it held: the next one
   takes it over, and says whose it was.
2. The file names the holder (process, machine, command, since when) for the person who waits.
3. The ledger's unique (scope, key) is the last guard: a lock saves work, it does not keep books.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from flows.errors import LockHeldError


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
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeldError(name, str(path), _read_holder(handle) or "an unnamed one") from None
        died = _read_holder(handle)
        _write_holder(handle)
        try:
            yield died
        finally:
            # Only a holder that was killed leaves its name behind.
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


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
