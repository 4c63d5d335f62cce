"""Run nights by the clock: through Prefect deployments, or for a range of dates at once.

`prefect.yaml` in the repository deploys the flows `nightly` (with a cron of its own), `close`,
`publish` and `reindex` on a process work pool; `byline schedule` serves `nightly` from this process
and needs a Prefect server, because the temporary one of `--engine prefect` does not schedule. The
server has an environment of its own: under SQLAlchemy 2.1 its scheduler fails (see `prefect.yaml`).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from flows.engine import prefect_environment
from flows.errors import SettingsError
from flows.workspace import Workspace


def serve_nights(workspace: Workspace, cron: str) -> None:
    """Serve the nightly flow on a schedule until stopped; each run settles the day before it.

    Args:
        workspace: the installation.
        cron: five fields, UTC.

    Raises:
        SettingsError: no Prefect server is set.
    """
    if not workspace.settings.engine.prefect_api_url:
        raise SettingsError(
            f"{workspace.settings_file}: [engine] prefect_api_url is empty, and the temporary "
            f"Prefect server does not schedule; start one as the head of prefect.yaml says and "
            f"set its URL, or run `byline nightly --date D` from cron. Nothing was scheduled"
        )
    os.environ.update(prefect_environment(workspace))
    # Prefect reads its environment when it is imported.
    from flows.engine_prefect import nightly  # noqa: PLC0415

    nightly.serve(
        name="byline-nightly",
        cron=cron,
        parameters={"folder": str(workspace.home), "date": "yesterday"},
    )


def day_before(now: datetime) -> str:
    """Give the UTC date of the day before a moment."""
    return (now.astimezone(UTC) - timedelta(days=1)).date().isoformat()


def month_before(now: datetime) -> str:
    """Give the UTC month before a moment's, as YYYY-MM."""
    return (now.astimezone(UTC).replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
