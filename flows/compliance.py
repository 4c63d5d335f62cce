"""Write the compliance report of a closed period, and the list of agreements beside it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from flows.compliance_facts import compliance_inputs
from flows.compliance_given import Given
from flows.compliance_licences import register_csv
from flows.compliance_links import with_links
from flows.publish import closed_period
from flows.workspace import Workspace
from reports.compliance import compliance_document, compliance_json, compliance_sections
from reports.compliance_sections import register_source
from reports.files import write_reports
from reports.render.html import render_html
from reports.render.pdf import render_pdf

FORMATS = ("pdf", "html", "json")


@dataclass(frozen=True)
class WrittenCompliance:
    """What was written: the files, and how far each section is filled, by its number."""

    paths: tuple[Path, ...]
    states: dict[str, str]


def write_compliance(
    workspace: Workspace,
    period: str,
    *,
    formats: Collection[str] = FORMATS,
    given: Given | None = None,
    evaluation: Path | None = None,
) -> WrittenCompliance:
    """Write the report into the period's folder.

    Args:
        workspace: the installation.
        period: YYYY-MM, closed.
        formats: pdf, html, json.
        given: what people signed; None for nothing.
        evaluation: `evaluation.json`; the workspace's own when None.

    Raises:
        CloseError: the period is not closed.
        ReportError: facts that disagree, or a file that cannot be laid out or written.
    """
    with closed_period(workspace, period) as closed:
        facts = compliance_inputs(closed, given, evaluation)
    assert facts.agreements is not None
    # The register is cited and linked: it is there before the links are looked for.
    register = register_source(period).rpartition("/")[2]
    folder = workspace.reports(period)
    paths = write_reports(folder, {register: register_csv(facts.agreements)})
    facts = with_links(facts, workspace)
    document = compliance_document(facts)
    made = {
        "pdf": lambda: render_pdf(document),
        "html": lambda: render_html(document),
        "json": lambda: compliance_json(facts),
    }
    files = {f"compliance.{kind}": made[kind]() for kind in formats}
    paths = [*write_reports(folder, files), *paths]
    return WrittenCompliance(
        tuple(paths), {str(s.number): s.state for s in compliance_sections(facts)}
    )
