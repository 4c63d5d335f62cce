"""`byline db upgrade|check|roles`: the books' database."""

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
    """Read tables, constraints, triggers and balance snapshots back and name what is wrong."""
    from flows.books import open_books  # noqa: PLC0415
    from ledger.store import check as check_database  # noqa: PLC0415

    workspace = open_workspace(folder)
    check_database(workspace.ledger_url)
    with open_books(workspace) as books:
        compared = books.verify_snapshots()
    emit(
        {"ok": True, "snapshots_compared": compared},
        [
            "tables, constraints and triggers are as they must be",
            f"{compared} balance snapshots are what their postings add up to",
        ],
        as_json=as_json,
    )


@db.command("roles")
@workspace_option
@json_option
def roles(folder: Path, as_json: bool) -> None:  # noqa: FBT001
    """Create the owner, writer and auditor of a PostgreSQL book and grant each what it may do."""
    from ledger.roles import AUDITOR, OWNER, WRITER, create_roles  # noqa: PLC0415

    statements = create_roles(open_workspace(folder).ledger_url)
    emit(
        {"roles": [OWNER, WRITER, AUDITOR], "statements": statements},
        [
            *statements,
            f"grant one of {OWNER}, {WRITER}, {AUDITOR} to each login; none of them can log in",
        ],
        as_json=as_json,
    )
