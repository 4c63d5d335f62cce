"""Work in processes of their own, so that what each holds at most can be read of it alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def peak_bytes() -> int:
    """Return the most resident memory this program has had; rusage would count its parent's."""
    said = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(y for y in said.splitlines() if y.startswith("VmHWM")).split()[1])


def started(work: Callable[..., None], *given: Any) -> Connection:
    """Start a function in a fresh process, its answer's connection given last; return the other."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    context.Process(target=work, args=(*given, there)).start()
    there.close()  # A child that dies is then an error here, not a silence.
    return here
