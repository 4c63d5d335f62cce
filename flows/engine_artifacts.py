"""What an operator reads in Prefect beside a run: tables, links and the progress of a step.

Artifacts show; they decide nothing. Keys are lower case with dashes, so that the page of a key has
the history of one night or one period.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from contracts.money import format_units
from flows.night import Night, StepOutcome
from flows.progress import Step
from flows.workspace import Workspace

_EVERY_S = 2.0


class Watched(Step):
    """A step that also moves a bar in Prefect, at most every two seconds.

    Args:
        inner: the step on the screen.
        name: what the bar is called.
    """

    def __init__(self, inner: Step, name: str) -> None:
        self._inner = inner
        self._called = name
        self._shown: UUID | None = None
        self._moved_at = 0.0

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show how far the step is, on the screen and in Prefect."""
        self._inner.update(done, total, note)
        now = time.monotonic()
        if total < 1 or (done < total and now - self._moved_at < _EVERY_S):
            return
        self._moved_at = now
        percent = 100.0 * done / total
        if self._shown is None:
            key, text = _key(f"progress-{self._called}"), f"{self._called}: {total} parts"
            self._shown = create_progress_artifact(progress=percent, key=key, description=text)  # type: ignore[assignment]
        else:
            update_progress_artifact(artifact_id=self._shown, progress=percent)

    def say(self, text: str) -> None:
        """Tell a line on the screen."""
        self._inner.say(text)

    def result(self, text: str) -> None:
        """Set the words that the finished line shows."""
        self._inner.result(text)


def keep_night(night: Night, said: Mapping[str, Mapping[str, StepOutcome]]) -> None:
    """Keep a night's tables (steps, filters) and links to its manifests."""
    currency = night.workspace.settings.pool.currency
    for name, steps in said.items():
        rows = [
            {"step": step, "result": outcome.text, "worked": outcome.worked}
            for step, outcome in steps.items()
        ]
        _table(f"night-{name}", rows, f"The night of {name}, step by step")
        values = steps["filter"].values
        out = [
            {
                "reason": reason,
                "outputs": count,
                "value": _money(values["excluded_units"][reason], currency),
            }
            for reason, count in values["excluded"].items()
        ]
        paid = _money(values["payable_units"], currency)
        out.append({"reason": "payable", "outputs": values["payable"], "value": paid})
        _table(f"filters-{name}", out, f"What the filters took out of {name}, and what is left")
    for kind in ("outputs", "sample", "estimates"):
        path = night.manifest(kind)
        if path.exists():
            _link(f"{kind}-{night.name}", path, f"{kind} of {night.name}")


def keep_close(said: Mapping[str, Any]) -> None:
    """Keep what a period's pool became."""
    currency = said["currency"]
    amounts = {"pool": said["pool_units"], **said["destinations"]}
    rows = [{"to": to, "amount": _money(units, currency)} for to, units in amounts.items()]
    _table(f"close-{said['period']}", rows, f"What the pool of {said['period']} became")


def keep_reports(said: Mapping[str, Any]) -> None:
    """Keep links to a period's reports and audit pack, and the list of its statements."""
    period = said["period"]
    rows = [{"statement": Path(path).name} for path in said["statements"]]
    _table(f"statements-{period}", rows, f"{len(rows)} statements of {period}")
    _link(f"reports-{period}", Path(said["folder"]), f"reports of {period}")
    _link(f"pack-{period}", Path(said["audit_pack"]), f"audit pack of {period}")


def keep_index(workspace: Workspace, said: Mapping[str, Any]) -> None:
    """Keep a link to the index."""
    text = f"index of {said['checkpoints']} points of the path"
    _link("index", workspace.index / "manifest.json", text)


def _money(units: int, currency: str) -> str:
    """Write an amount with its currency, as a cell that stands alone."""
    return f"{format_units(units, currency)} {currency.partition('/')[0]}"


def _table(key: str, rows: list[dict[str, Any]], text: str) -> None:
    create_table_artifact(table=rows, key=_key(key), description=text)


def _link(key: str, path: Path, text: str) -> None:
    create_link_artifact(link=path.as_uri(), link_text=text, key=_key(key), description=text)


def _key(name: str) -> str:
    """Spell a name as Prefect wants keys: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
