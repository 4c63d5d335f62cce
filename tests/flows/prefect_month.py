"""A month run as Prefect flows in a process of its own; prints what `test_engine_prefect` asks.

Prefect reads its environment when it is imported, and its first server start takes seconds, so
everything that needs it happens here, once. Run with the folder of a `tiny` installation.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from datetime import date as Date  # noqa: N812
from pathlib import Path
from typing import Any

from flows import cli
from flows import nightly as steps
from flows.books import open_books
from flows.engine import run_night
from flows.errors import NightError
from flows.locks import hold
from flows.seal import latest_root
from flows.workspace import Workspace
from tests.simulation.tiny import DAYS

PEOPLE = {"prepared_by": "accountant-1", "approved_by": "controller-1"}
PERIOD = "2026-10"


def counted(name: str, trouble: Callable[[int], None]) -> list[int]:
    """Put trouble before a step; the list grows by one with every call of it."""
    calls: list[int] = []
    step = steps.STEPS[name]

    def run(night: Any, shown: Any) -> Any:
        calls.append(len(calls) + 1)
        trouble(len(calls))
        return step(night, shown)

    steps.STEPS[name] = run
    return calls


def failing(day: Date, workspace: Workspace) -> str:
    """Run a night that must fail; give the error's name."""
    try:
        run_night(workspace, day, engine="prefect")
    except Exception as error:  # noqa: BLE001 - its name is what is asked for
        return type(error).__name__
    return "nothing"


def troubles(workspace: Workspace) -> dict[str, Any]:
    """Break steps in the three ways that an engine must tell apart."""
    plain = dict(steps.STEPS)
    said: dict[str, Any] = {}

    def refused(_: int) -> None:
        raise NightError("a room's own word")

    refusals = counted("sample", refused)
    said["room"] = [failing(DAYS[0], workspace), len(refusals)]
    steps.STEPS.update(plain)
    hangs = counted("sample", lambda number: time.sleep(60) if number == 1 else None)
    away = counted("estimate", gone_once)
    run_night(workspace, DAYS[0], engine="prefect")
    said |= {"hung": len(hangs), "away": len(away)}
    steps.STEPS.update(plain)
    with hold(workspace.locks, f"night-{DAYS[1]}"):
        said["locked"] = failing(DAYS[1], workspace)
    return said


def gone_once(number: int) -> None:
    """Be away the first time, as a database is that restarts."""
    if number == 1:
        raise ConnectionError("the database restarts")


def command(workspace: Workspace, *words: str) -> Any:
    """Run a command under Prefect; give the JSON it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        engine = ("--engine", "prefect", "--json", "--dir", str(workspace.home))
        assert cli.run([*words, *engine]) == 0, words
    return json.loads(out.getvalue())


def main(folder: Path) -> None:
    """Run everything and print one JSON object."""
    workspace = Workspace.open(folder)
    said = troubles(workspace)
    from prefect.artifacts import Artifact
    from prefect.settings import get_current_settings

    days = ("--from", str(DAYS[0]), "--to", str(DAYS[1]))
    people = ("--prepared-by", PEOPLE["prepared_by"], "--approved-by", PEOPLE["approved_by"])
    said["backfill"] = command(workspace, "backfill", *days)
    said["close"] = command(workspace, "close", "--period", PERIOD, *people)
    with open_books(workspace) as books:
        said["root"] = latest_root(books)
    said["report"] = command(workspace, "report", "--period", PERIOD)
    said["index"] = command(workspace, "index", "build")
    keys = (
        f"night-{DAYS[0]}", f"filters-{DAYS[0]}", f"sample-{DAYS[0]}", f"close-{PERIOD}",
        f"pack-{PERIOD}", f"progress-{DAYS[0]}-attribute",
    )  # fmt: skip
    found = {key: Artifact.get(key) for key in keys}
    said["artifacts"] = {
        key: [item.type, item.data] if item else None for key, item in found.items()
    }
    settings = get_current_settings()
    said["telemetry"] = [
        settings.server.analytics_enabled,
        settings.cloud.enable_orchestration_telemetry,
    ]
    with open_books(workspace) as books:
        said["accesses"] = len(books.accesses())
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
