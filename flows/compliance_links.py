"""Links from the compliance report to the files of the workspace that give its numbers.

A source such as `outputs/2026-11-20.manifest.json` is linked when the file is there; one with a
star, or one that names several, to its folder; one that cites the book to the audit pack, which
holds it. A command is its own way to the number and has no link.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote

from flows.workspace import Workspace
from reports.compliance import sources
from reports.compliance_inputs import ComplianceInputs
from reports.compliance_sections import LEAVES, TRIAL_BALANCE

_PATH = re.compile(r"[\w.-]+/[\w./*-]*")


def with_links(inputs: ComplianceInputs, workspace: Workspace) -> ComplianceInputs:
    """Add the places of the sources that are files, relative to `reports/PERIOD/`.

    Args:
        inputs: the report's facts.
        workspace: whose files.
    """
    links = {}
    for source in sorted(sources(inputs)):
        place = _place(source, inputs.period, workspace)
        if place and (workspace.root / place).exists():
            links[source] = "../../" + quote(place)
    return replace(inputs, links=links)


def _place(source: str, period: str, workspace: Workspace) -> str:
    """Give the file or folder that a source names, relative to the workspace's root, or ""."""
    if LEAVES in source or source.endswith("of the audit pack"):
        return workspace.relative(workspace.pack(period))
    if source.startswith(TRIAL_BALANCE):
        return f"{workspace.relative(workspace.reports(period))}/{TRIAL_BALANCE}"
    if source.startswith("byline.toml"):
        return workspace.relative(workspace.settings_file)
    found = _PATH.match(source)
    if found is None:
        return ""
    path = found[0].partition("*")[0] if "*" in found[0] else found[0]
    folder, _, last = path.rpartition("/")
    return f"{folder}/" if "*" in found[0] else f"{folder}/{last}"
