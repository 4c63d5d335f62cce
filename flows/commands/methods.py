"""`byline methods`: every attribution method, what it needs, costs and cannot do."""

from __future__ import annotations

import click

from flows.commands.options import emit, json_option


@click.command("methods")
@json_option
def methods(as_json: bool) -> None:  # noqa: FBT001
    """List the attribution methods with needs, options, cost and limits."""
    from attribution.interchange import list_methods  # noqa: PLC0415 - torch

    listed = list_methods()
    lines = []
    for method in listed:
        options = ", ".join(f"{name}={value}" for name, value in method["options"].items())
        lines += [
            f"{method['name']:16s} needs {', '.join(method['needs']) or 'nothing'}"
            + ("; sums over checkpoints" if method["along_path"] else ""),
            f"{'':16s} cost: {method['cost']}",
            f"{'':16s} limits: {method['limits']}",
        ]
        if options:
            lines.append(f"{'':16s} options: {options}")
    emit({"methods": listed}, lines, as_json=as_json)
