"""`byline init`: make a workspace."""

from __future__ import annotations

from pathlib import Path

import click

from flows.commands.options import emit, json_option, workspace_option


@click.command("init")
@workspace_option
@click.option("--ledger-url", default="", help="Database of the books; empty for SQLite here.")
@click.option("--origin", default="byline.example/ledger", help="Name of the log in checkpoints.")
@json_option
def init(folder: Path, ledger_url: str, origin: str, as_json: bool) -> None:  # noqa: FBT001
    """Make a workspace: settings with every key, signing and HMAC keys, empty books."""
    from flows.setup import make_workspace  # noqa: PLC0415 - opens the database

    workspace = make_workspace(folder, ledger_url=ledger_url, origin=origin)
    emit(
        {
            "dir": str(workspace.home),
            "settings": str(workspace.settings_file),
            "ledger_url": workspace.ledger_url,
            "public_key": str(workspace.public_key),
        },
        [
            f"workspace   {workspace.home}",
            f"settings    {workspace.settings_file}",
            f"books       {workspace.ledger_url}",
            f"public key  {workspace.public_key}: give it to whoever checks your checkpoints",
        ],
        as_json=as_json,
    )
