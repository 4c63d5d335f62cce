"""Close, publish and reindex, in plain Python or as Prefect flows: `flows.engine` for the month.

Both engines call the same function with the same arguments and say the same JSON values; they
differ in who watches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.accesses import Asked, name_object, record_access
from flows.engine import by_prefect
from flows.progress import Reporter, Step
from flows.workspace import Workspace

Said = dict[str, Any]


def run_close(
    workspace: Workspace,
    period: str,
    *,
    prepared_by: str,
    approved_by: str,
    engine: str | None = None,
    reporter: Reporter | None = None,
) -> Said:
    """Close a period, or finish a close that died.

    Args:
        workspace: the installation.
        period: YYYY-MM.
        prepared_by: who prepares it.
        approved_by: who approves it: somebody else.
        engine: `inline` or `prefect`; the settings decide when None.
        reporter: shows one line a step; nothing is shown when None.

    Returns:
        What `close_said` says.
    """
    reporter = reporter or Reporter(enabled=False)
    if by_prefect(workspace, engine):
        from flows.engine_prefect import close, shown_on  # noqa: PLC0415 - reads its environment

        with shown_on(reporter):
            return close(str(workspace.home), period, prepared_by, approved_by)
    return close_said(
        workspace, period, prepared_by=prepared_by, approved_by=approved_by, reporter=reporter
    )


def run_publish(
    workspace: Workspace,
    period: str,
    *,
    engine: str | None = None,
    reporter: Reporter | None = None,
) -> Said:
    """Publish a closed period; who asked is recorded by the caller.

    Args:
        workspace: the installation.
        period: YYYY-MM, closed.
        engine: `inline` or `prefect`; the settings decide when None.
        reporter: shows one line a step; nothing is shown when None.

    Returns:
        What `publish_said` says.
    """
    reporter = reporter or Reporter(enabled=False)
    if by_prefect(workspace, engine):
        from flows.engine_prefect import publish, shown_on  # noqa: PLC0415 - reads its environment

        with shown_on(reporter):
            return publish(str(workspace.home), period)
    return publish_said(workspace, period, reporter)


def run_reindex(
    workspace: Workspace,
    *,
    key: Path | None = None,
    device: str | None = None,
    engine: str | None = None,
    reporter: Reporter | None = None,
) -> Said:
    """Build a workspace's gradient index, or finish one that was begun.

    Args:
        workspace: the installation.
        key: private key (PEM) that signs it; the workspace's own, where it has one, when None.
        device: where the models run; the settings decide when None.
        engine: `inline` or `prefect`; the settings decide when None.
        reporter: shows the step; nothing is shown when None.

    Returns:
        What `reindex_said` says.
    """
    reporter = reporter or Reporter(enabled=False)
    if by_prefect(workspace, engine):
        from flows.engine_prefect import reindex, shown_on  # noqa: PLC0415 - reads its environment

        with shown_on(reporter):
            return reindex(str(workspace.home), None if key is None else str(key), device)
    with reporter.step("index") as step:
        return reindex_said(workspace, key, device, step)


def close_said(
    workspace: Workspace, period: str, *, prepared_by: str, approved_by: str, reporter: Reporter
) -> Said:
    """Close a period and say what its pool became, in units of the pool's currency."""
    from flows.close import close_period  # noqa: PLC0415 - heavy, and only when run

    result = close_period(
        workspace, period, prepared_by=prepared_by, approved_by=approved_by, reporter=reporter
    )
    divided = result.plan.apportionment
    return {
        "period": period,
        "currency": result.plan.accruals.currency,
        "pool_units": divided.pool_units,
        "destinations": {"paid": sum(divided.payable.values()), **divided.destinations},
        "creators_paid": len(divided.payable),
        "checkpoint": {"size": result.checkpoint.size, "root": result.checkpoint.root_hex},
    }


def publish_said(workspace: Workspace, period: str, reporter: Reporter) -> Said:
    """Publish a period and say where its statements, reports and audit pack lie."""
    from flows.publish import publish_period  # noqa: PLC0415 - heavy, and only when run

    published = publish_period(workspace, period, reporter=reporter)
    return {
        "period": period,
        "statements": [str(path) for path in published.statements],
        "folder": str(published.folder),
        "settlement": str(published.folder / "settlement.pdf"),
        "audit_pack": str(published.pack),
    }


def record_publication(workspace: Workspace, period: str, asked: Asked) -> bool:
    """Record that a period's papers are handed out; see `flows.accesses.record_access`."""
    return record_access(workspace, "export", name_object(workspace, "reports", period), asked)


def reindex_said(workspace: Workspace, key: Path | None, device: str | None, step: Step) -> Said:
    """Build the index and say where it is, and how many points of the training path it has."""
    from flows.build import build_workspace_index, signer_of  # noqa: PLC0415 - torch

    content = build_workspace_index(
        workspace,
        lambda part, done, total: step.update(done, total, part),
        signer=signer_of(key, workspace),
        device=device,
    )
    step.result(f"{len(content['checkpoints'])} points of the path")
    return {"index": str(workspace.index), "checkpoints": len(content["checkpoints"])}
