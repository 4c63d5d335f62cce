"""Links from the compliance report to the files of the workspace that give its numbers.

A source such as `outputs/2026-11-20.manifest.json` is linked when the file is there; one with a
star, or one that names several, to its folder. A command or an account has no file and no link.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote

from flows.workspace import Workspace
from reports.compliance import sources
from reports.compliance_inputs import ComplianceInputs

_PATH = re.compile(r"[\w.-]+/[\w./*-]*")


def with_links(inputs: ComplianceInputs, workspace: Workspace) -> ComplianceInputs:
    """Add the places of the sources that are files, relative to `reports/PERIOD/`.

    Args:
        inputs: the report's facts.
        workspace: whose files.
    """
    links = {}
    for source in sorted(sources(inputs)):
        found = _PATH.match(source)
        if found is None:
            continue
        path = found[0].partition("*")[0] if "*" in found[0] else found[0]
        folder, _, last = path.rpartition("/")
        place = f"{folder}/" if "*" in found[0] else f"{folder}/{last}"
        if (workspace.root / place).exists():
            links[source] = "../../" + quote(place)
    return replace(inputs, links=links)
