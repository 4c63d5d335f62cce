"""Run a night in a child process that dies where it is told to.

Points are counted where a night touches the disk or the database: before and after every rename,
and before and after every commit. At the chosen one the child kills itself with SIGKILL, or an
exception or Ctrl-C is raised there.

Children come from a fork server that has imported everything and used nothing: polars and torch
must not be used before a fork, and importing them again takes longer than a night.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import date as Date  # noqa: N812
from pathlib import Path
from typing import Any

# The parent only needs the names; the fork server imports this module once.
import flows.close
import flows.engine
import flows.publish
from flows.workspace import Workspace

KILL, RAISE, INTERRUPT = "kill", "raise", "interrupt"
STOPPED = {KILL: -signal.SIGKILL, RAISE: 3, INTERRUPT: 4}
DEADLINE_S = 120
# One fork server serves a session; tests/flows/faults.py forks its workers from it too.
PRELOAD = ["tests.simulation.killing", "tests.flows.faults"]


class PlannedFailureError(Exception):
    """Raised by a test at the point it chose."""


class Points:
    """Counts points, and strikes at one of them."""

    def __init__(self, strike_at: int | None, how: str) -> None:
        self.count = 0
        self.names: list[str] = []
        self._strike_at = strike_at
        self._how = how

    def pass_by(self, name: str) -> None:
        """Count one point; die if it is the chosen one."""
        self.count += 1
        self.names.append(name)
        if self.count != self._strike_at:
            return
        if self._how == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._how == INTERRUPT:
            raise KeyboardInterrupt
        raise PlannedFailureError(name)


def instrument(points: Points) -> None:
    """Put points around renames, commits and steps, in this process only."""
    import sqlalchemy
    from sqlalchemy.engine import Engine

    from flows import engine, nightly

    def around(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            points.pass_by(f"before {name}")
            result = function(*args, **kwargs)
            points.pass_by(f"after {name}")
            return result

        return called

    # Path.replace calls it too.
    os.replace = around(os.replace, "rename")
    sqlalchemy.event.listen(Engine, "commit", lambda _connection: points.pass_by("commit"))
    steps = {name: around(step, f"step {name}") for name, step in nightly.STEPS.items()}
    engine.STEPS = steps  # type: ignore[assignment]


def take_settings(environment: dict[str, str]) -> None:
    """Give this process the settings of its test and no others.

    The fork server keeps the environment of whichever test started it, and hands it on.
    """
    for name in [name for name in os.environ if name.startswith("BYLINE_BROKER__")]:
        del os.environ[name]
    os.environ.update(environment)


def run_child(
    folder: str, day: str, strike_at: int | None, how: str, environment: dict[str, str], report: Any
) -> None:
    """Settle one night in this process, striking at a point; report the points passed."""
    take_settings(environment)
    points = Points(strike_at, how)
    instrument(points)
    try:
        flows.engine.run_night(Workspace.open(Path(folder)), Date.fromisoformat(day))
    except PlannedFailureError:
        os._exit(STOPPED[RAISE])
    except KeyboardInterrupt:
        os._exit(STOPPED[INTERRUPT])
    report.send(points.names)
    report.close()


def night_in_child(
    workspace: Workspace,
    day: Date,
    *,
    strike_at: int | None = None,
    how: str = KILL,
    environment: dict[str, str] | None = None,
) -> tuple[int, list[str]]:
    """Settle a night in a child process.

    Args:
        workspace: whose night.
        day: which.
        strike_at: the point at which it is struck; None lets it come to its end.
        how: KILL, RAISE or INTERRUPT.
        environment: variables the child has more than the fork server.

    Returns:
        The exit code, and the points passed when the night came to its end.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(
        target=run_child,
        args=(str(workspace.home), day.isoformat(), strike_at, how, environment or {}, theirs),
    )
    child.start()
    theirs.close()
    child.join(DEADLINE_S)
    assert child.exitcode is not None, f"the night of {day} hangs"
    # What a child reports fits in a pipe, so it never waits for a reader.
    names = ours.recv() if child.exitcode == 0 and ours.poll(0) else []
    return child.exitcode, names
