"""Nights with something broken on the way: workers that die, hang or fail, and what was said.

Workers are real ones (`flows.worker`), forked from the server that tests/simulation/killing.py
uses, so that none spends seconds on imports. An ailment strikes where a shard is scored.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import io
import json
import multiprocessing
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# The fork server imports this module once, and with it all that a worker needs.
import attribution.run
import flows.worker
from flows.books import open_books
from flows.engine import run_night
from flows.night import StepOutcome
from flows.progress import Reporter
from flows.settle import SCOPE
from flows.shards import ShardStore
from flows.workspace import Workspace
from tests.servers import wait_for
from tests.simulation.killing import PRELOAD, take_settings
from tests.simulation.tiny import DAYS, copy_of, tiny

assert attribution.run
DAY = DAYS[0]
NAME = DAY.isoformat()
SCORED = "scored.txt"
NIGHT_S = 100


def ail(how: str, folder: Path) -> None:
    """Make this process ill: what happens when it scores a shard, from now on.

    Args:
        how: "" for nothing; `slow` for shards of a second, `wait` for ever, `hang` for one that
            holds the interpreter for ever, `die` at the first shard by name, `raise` (once in
            all), or `full` for a full disk.
        folder: where every scored shard is noted, one line each.
    """
    score = ShardStore._score

    def ill(store: ShardStore, request: dict[str, object], *others: Any) -> None:
        if how == "slow":
            time.sleep(1)
        if how == "wait":
            time.sleep(NIGHT_S)
        if how == "hang":
            ctypes.PyDLL(None).sleep(NIGHT_S)
        if how == "die" and request == first_request(store):
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raise" and not (folder / "raised").exists():
            (folder / "raised").touch()
            raise RuntimeError("a cosmic ray")
        if how == "full":
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        score(store, request, *others)
        with (folder / SCORED).open("a") as file:
            file.write("scored\n")

    ShardStore._score = ill  # type: ignore[method-assign]


def first_request(store: ShardStore) -> object:
    """Read the request of the shard that comes first by name."""
    return json.loads(min(store.folder.glob("*.request.json")).read_bytes())


def _work(home: str, settings: dict[str, str], how: str) -> None:
    take_settings(settings)
    ail(how, Path(home))
    flows.worker.run_worker(Workspace.open(Path(home)), log_level="CRITICAL")


def start_worker(
    workspace: Workspace, settings: dict[str, str], how: str = ""
) -> multiprocessing.process.BaseProcess:
    """Start a worker process; whoever starts it kills it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=_work, args=(str(workspace.home), settings, how))
    process.start()
    return process


@contextlib.contextmanager
def worker(
    workspace: Workspace, settings: dict[str, str], how: str = ""
) -> Iterator[multiprocessing.process.BaseProcess]:
    """Run a worker for the length of a `with` block, then SIGKILL it."""
    process = start_worker(workspace, settings, how)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def through(url: str, **more: object) -> dict[str, str]:
    """Give settings, as environment, for a broker with a queue of the test's own."""
    chosen = {"url": url, "queue": f"byline-test-{uuid.uuid4().hex[:12]}", "stall_s": 60, **more}
    return {f"BYLINE_BROKER__{key.upper()}": str(value) for key, value in chosen.items()}


class Watched:
    """A night settled in a thread of this process, with what it said.

    Args:
        workspace: whose settings were read with the test's environment.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.said: dict[str, StepOutcome] = {}
        self.error: BaseException | None = None
        self._stream = io.StringIO()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """Every line the operator has seen so far."""
        return self._stream.getvalue()

    def lines(self, words: str) -> list[str]:
        """Give the lines with some words in them."""
        return [line for line in self.text.splitlines() if words in line]

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition while the night goes on."""
        wait_for(lambda: condition() or not self._thread.is_alive(), what, NIGHT_S)
        assert condition(), (what, self.error, self.text)

    def end(self) -> dict[str, StepOutcome]:
        """Wait for the end of the night; raise what it raised."""
        self._thread.join(NIGHT_S)
        assert not self._thread.is_alive(), f"the night hangs: {self.text}"
        if self.error is not None:
            raise self.error
        return self.said

    def _run(self) -> None:
        try:
            reporter = Reporter(self._stream)
            self.said = run_night(self.workspace, DAY, reporter=reporter)[NAME]
        except BaseException as error:  # noqa: BLE001 - it is raised again by `end`
            self.error = error


@functools.cache
def _undisturbed_state() -> dict[str, object]:
    """Settle the night in this process and without trouble, once a session."""
    with tempfile.TemporaryDirectory(prefix="byline-undisturbed-") as folder:
        workspace = copy_of(tiny(), Path(folder) / "home")
        run_night(workspace, DAY)
        return state_of(workspace)


@pytest.fixture
def undisturbed():
    """Give the state of a night without trouble."""
    return _undisturbed_state()


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Give a function that makes a fresh installation whose shards go through a broker."""

    def make(url, **more):
        settings = through(url, **more)
        for key, value in settings.items():
            monkeypatch.setenv(key, value)
        return settings, Workspace.open(copy_of(tiny(), tmp_path / "home").home)

    return make


def held(workspace: Workspace) -> list[str]:
    """List the shards that somebody alive is at."""
    store = ShardStore(workspace.shards)
    holders = {shard: store.holder(shard) for shard in store.names(".request.json")}
    return [shard for shard, holder in holders.items() if holder is not None and holder.alive]


def scored(workspace: Workspace) -> int:
    """Count how often a shard was scored by workers."""
    file = workspace.home / SCORED
    return len(file.read_text().splitlines()) if file.exists() else 0


def state_of(workspace: Workspace) -> dict[str, object]:
    """Read what a fault must not change: root, size, the nights posted, and their sum."""
    with open_books(workspace) as books:
        latest = books.latest_checkpoint()
        assert latest is not None
        return {
            "root": latest.root.hex(),
            "size": latest.size,
            "keys": [s.entry.key for s in books.entries() if s.entry.scope == SCOPE],
            "sum": sum(line.balance_units for line in books.trial_balance("USD/6")),
        }
