"""`byline trace`: the strongest sources of one text."""

from __future__ import annotations

from pathlib import Path

import click

from flows.accesses import Asked, access_line, name_object, record_access
from flows.commands.options import (
    access_options,
    emit,
    json_option,
    open_workspace,
    workspace_option,
)


@click.command("trace")
@workspace_option
@click.argument("text")
@click.option("--prompt", default=None, help="What stood before the text; read but not scored.")
@click.option("-k", "count", default=5, show_default=True, help="How many sources to name.")
@click.option("--passages", is_flag=True, help="Show the beginning of each source's text.")
@access_options
@json_option
def trace(
    folder: Path,
    text: str,
    prompt: str | None,
    count: int,
    passages: bool,  # noqa: FBT001
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Name the strongest sources of one text, with flags where they are in doubt."""
    from attribution.trace import trace as find_sources  # noqa: PLC0415 - torch

    workspace = open_workspace(folder)
    found = find_sources(workspace.index, text, prompt, count, passages=passages)
    name = name_object(workspace, "trace", f"{prompt or ''}\0{text}", secret=True)
    recorded = record_access(workspace, "trace", name, asked)
    lines = []
    for source in found.sources:
        nats = source.influence_nanonats / 10**9
        flags = f"  [{', '.join(source.flags)}]" if source.flags else ""
        lines.append(f"{nats:+9.4f} nats  {source.document_id}{flags}")
        if source.passage:
            lines.append(f"                {source.passage[:90]}")
    gain, total = found.gain_nanonats / 10**9, found.total_nanonats / 10**9
    lines.append(
        f"training gained {gain:.3f} nats on {found.tokens_scored} tokens; all sources "
        f"together {total:.3f}"
    )
    lines += [f"doubt: {flag}" for flag in found.flags]
    lines += access_line(recorded=recorded)
    emit({**found.as_json(), "access_recorded": recorded}, lines, as_json=as_json)
