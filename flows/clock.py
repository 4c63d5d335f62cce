"""Before logs are read: is this machine's clock to be believed?

A record from the future is quarantined, so a clock that was set back would take good records out of
the night. The latest time that any run saw is kept beside the locks.

1. A date that has not begun by the clock is refused.
2. A clock behind that time by more than `clock_skew_s` is refused while the date is not over by it;
   when the date is over, nothing of it can be in the future, and the person is only told.
3. With `clock_skew_s = 0` any time is accepted, here as for records.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from datetime import time as Time  # noqa: N812 - `time` is the module

from flows.artefacts import canonical_json, write_bytes
from flows.errors import NightError
from flows.night import Night, StepOutcome
from flows.progress import Step

FORMAT = "byline-clock/1"
FILE = "clock.json"


def checked(ingest: Callable[[Night, Step], StepOutcome]) -> Callable[[Night, Step], StepOutcome]:
    """Refuse to read logs by a clock that was set back.

    Args:
        ingest: the step that reads them.

    Returns:
        The step; it raises `NightError` when the clock cannot be believed.
    """

    def run(night: Night, step: Step) -> StepOutcome:
        if night.workspace.settings.ingest.clock_skew_s:
            _check(night, step.say)
        return ingest(night, step)

    return run


def _check(night: Night, say: Callable[[str], None]) -> None:
    """Compare the clock with the date and with the latest time seen; keep the later one."""
    skew = timedelta(seconds=night.workspace.settings.ingest.clock_skew_s)
    now = datetime.fromtimestamp(time.time_ns() // 10**9, tz=UTC)
    begin = datetime.combine(night.date, Time(), tzinfo=UTC)
    path = night.workspace.locks / FILE
    seen = datetime.fromisoformat(json.loads(path.read_bytes())["seen"]) if path.exists() else now
    if now < begin - skew:
        raise NightError(
            f"this machine's clock says {now.isoformat()}, when {night.date} has not begun; its "
            f"records would be taken for ones from the future. Nothing was read; set the clock "
            f"right and give the same command again"
        )
    if seen - now > skew:
        if now < begin + timedelta(days=1):
            raise NightError(
                f"this machine's clock says {now.isoformat()}, but an earlier run saw "
                f"{seen.isoformat()}: it was set back, and the records of {night.date} since then "
                f"would be taken for ones from the future. Nothing was read; set the clock right "
                f"(or, if it was ahead then, remove {path}) and give the same command again"
            )
        say(
            f"this machine's clock says {now.isoformat()}, an earlier run saw {seen.isoformat()}: "
            f"it was set back; nothing of {night.date} depends on it"
        )
    if now > seen or not path.exists():
        write_bytes(path, canonical_json({"format": FORMAT, "seen": now.isoformat()}))
