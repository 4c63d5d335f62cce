"""`byline trace`: the strongest sources of one text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.accesses import Asked, access_line, name_object, record_access
from flows.commands.options import (
    access_options,
    device_option,
    emit,
    json_option,
    open_workspace,
    workspace_option,
)

if TYPE_CHECKING:
    from attribution.trace import Trace


@click.command("trace")
@workspace_option
@click.argument("words", metavar="[TEXT]", required=False)
@click.option("--text", help="What the model wrote.")
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file that holds it, UTF-8.",
)
@click.option("--prompt", default=None, help="What stood before the text; read but not scored.")
@click.option("-k", "count", default=5, show_default=True, help="How many sources to name.")
@click.option(
    "--passages", is_flag=True, help="Show the beginning of each source, as policy allows."
)
@click.option(
    "--approximate", is_flag=True, help="Look only where `byline index prefilter` points."
)
@device_option
@access_options
@json_option
def trace(  # noqa: PLR0913, PLR0917 - the options of one command
    folder: Path,
    words: str | None,
    text: str | None,
    file: Path | None,
    prompt: str | None,
    count: int,
    passages: bool,  # noqa: FBT001
    approximate: bool,  # noqa: FBT001
    device: str | None,
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Name the strongest sources of one text, with flags where they are in doubt."""
    from attribution.index_read import GradientIndex  # noqa: PLC0415 - torch
    from attribution.influence import Attributor  # noqa: PLC0415 - torch
    from attribution.trace import trace as find_sources  # noqa: PLC0415 - torch

    asked_text = _text(words, text, file)
    workspace = open_workspace(folder)
    allowed = workspace.settings.attribution.passage_characters
    if passages and not allowed:
        raise click.UsageError(
            "this workspace shows no passages: [attribution] passage_characters is 0; "
            "trace without --passages, or raise it if the agreements allow"
        )
    place = device or workspace.settings.attribution.device
    attributor = Attributor(GradientIndex.open(workspace.index), device=place)
    prefilter = None
    if approximate:
        from attribution.index_prefilter import open_prefilter  # noqa: PLC0415 - faiss

        prefilter = open_prefilter(attributor.index)
    found = find_sources(
        attributor,
        asked_text,
        prompt,
        count,
        passage_characters=allowed if passages else 0,
        prefilter=prefilter,
    )
    name = name_object(workspace, "trace", f"{prompt or ''}\0{asked_text}", secret=True)
    recorded = record_access(workspace, "trace", name, asked)
    emit({**found.as_json(), "access_recorded": recorded}, _lines(found, recorded), as_json=as_json)


def _lines(found: Trace, recorded: bool) -> list[str]:  # noqa: FBT001
    """Say what was found, for a person."""
    lines = []
    for source in found.sources:
        nats = source.influence_nanonats / 10**9
        flags = f"  [{', '.join(source.flags)}]" if source.flags else ""
        overlap = "" if source.lexical_overlap is None else f"  {source.lexical_overlap:4.0%} words"
        lines.append(f"{nats:+9.4f} nats{overlap}  {source.document_id}{flags}")
        if source.passage:
            lines.append(f"                {' '.join(source.passage.split())}")
    gain, total = found.gain_nanonats / 10**9, found.total_nanonats / 10**9
    lines.append(
        f"training gained {gain:.3f} nats on {found.tokens_scored} tokens; all sources "
        f"together {total:.3f}"
    )
    lines += [f"doubt: {flag}" for flag in found.flags]
    if found.recall is not None:
        lines.append(f"a strongest source is among those looked at in {found.recall:.0%} of cases")
    return [*lines, *access_line(recorded=recorded)]


def _text(words: str | None, text: str | None, file: Path | None) -> str:
    """Return the text from wherever it was given; it must be given once."""
    given = [value for value in (words, text, file) if value is not None]
    if len(given) != 1:
        raise click.UsageError(f"give the text once, as --text or --file; got {len(given)} texts")
    if file is None:
        return str(given[0])
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as fault:
        raise click.BadParameter(f"{file} is not UTF-8 text ({fault})") from fault
