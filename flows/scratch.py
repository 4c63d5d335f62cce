"""A folder for a while: gone when the work ends, and swept away by the next run when it was killed.

A night's rows may take twice the room of its logs while it is read. Whoever works in a folder holds
a lock on a file in it, which the kernel frees when its holder dies; a folder whose lock is free is
what a killed run left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "held.lock"


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Lend a new folder, after removing those that killed runs left.

    Args:
        parent: where it is made; made when missing.
        prefix: how its name begins; only folders whose names begin so are looked at.

    Yields:
        The folder. It is removed when the block ends.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{prefix}*"):
        if (left / _LOCK).exists():
            _remove_if_free(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name:
        handle = os.open(Path(name) / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(handle)


def _remove_if_free(folder: Path) -> None:
    """Remove a folder unless somebody works in it."""
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(folder)
    finally:
        os.close(handle)
