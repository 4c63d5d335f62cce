"""`byline demo`: the whole month on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from flows.commands.options import emit, engine_option, json_option


@click.command("demo")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("byline-demo"),
    show_default=True,
    help="Workspace folder of the demo; made if missing.",
)
@click.option("--ledger-url", default="", help="Database of the books; empty for SQLite there.")
@engine_option
@json_option
def demo(folder: Path, ledger_url: str, engine: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Settle a whole month here: real text, a real model, signed books, checked statements."""
    from flows.demo.demo import run_demo  # noqa: PLC0415 - torch, and only this command
    from flows.demo.screen import result_lines  # noqa: PLC0415
    from flows.progress import Reporter  # noqa: PLC0415

    result = run_demo(folder, engine=engine or "inline", ledger_url=ledger_url, reporter=Reporter())
    emit(result.as_json(), result_lines(result), as_json=as_json)
