"""`byline db upgrade|check`: the books' database."""

from __future__ import annotations

from pathlib import Path

import click

from flows.commands.options import emit, json_option, open_workspace, workspace_option


@click.group("db")
def db() -> None:
    """Keep the books' database as the migrations say."""


@db.command("upgrade")
@workspace_option
@json_option
def upgrade(folder: Path, as_json: bool) -> None:  # noqa: FBT001
    """Bring the database to the newest schema, all of it or nothing."""
    from ledger.store import upgrade as upgrade_database  # noqa: PLC0415 - Alembic is slow

    workspace = open_workspace(folder)
    upgrade_database(workspace.ledger_url)
    emit({"upgraded": True}, ["the database has the newest schema"], as_json=as_json)


@db.command("check")
@workspace_option
@json_option
def check(folder: Path, as_json: bool) -> None:  # noqa: FBT001
    """Read tables, constraints and triggers back and name what is not as it must be."""
    from ledger.store import check as check_database  # noqa: PLC0415

    workspace = open_workspace(folder)
    check_database(workspace.ledger_url)
    emit({"ok": True}, ["tables, constraints and triggers are as they must be"], as_json=as_json)
