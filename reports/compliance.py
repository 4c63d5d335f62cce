"""The compliance report for auditors: twenty sections, each filled or saying why it is not.

1. All twenty sections are there in their order, whatever is known.
2. Every figure stands beside the file, query or command that gives it.
3. A section that cannot be filled, or only in part, says so, why, and what would
   fill it. Nothing is assumed.
4. Sums are checked: days against exclusions, pools against destinations, each
   stage of the reconciliation against the one before.
5. PDF, HTML and JSON are made from the same sections.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from reports.compliance_inputs import ComplianceInputs, Figure, Gap
from reports.compliance_sections import (
    SectionBody,
    adjustments_body,
    controls_body,
    findings_body,
    ledger_body,
    licences_body,
    method_body,
    payouts_body,
    pools_body,
    reservations_body,
    stages_body,
    suspense_body,
    table_of,
)
from reports.compliance_usage import filters_body, sampling_body, usage_body
from reports.render.document import (
    Block,
    Cell,
    Column,
    Document,
    Heading,
    Row,
    Table,
    Text,
)
from reports.statement import plain

FORMAT: Final = "byline-compliance-report/1"
SIGNED_FILE: Final = "the assertion file"


@dataclass(frozen=True)
class Section:
    """One of the twenty sections. `state` is "filled", "in part" or "not filled"."""

    number: int
    title: str
    body: SectionBody

    @property
    def state(self) -> str:
        """How far the section is filled."""
        if not self.body.gaps:
            return "filled"
        return "in part" if self.body.figures or self.body.tables else "not filled"


def compliance_sections(inputs: ComplianceInputs) -> tuple[Section, ...]:
    """Make the twenty sections from the facts.

    Raises:
        StatementDoesNotFootError: sums of the facts disagree.
    """
    made = []
    for number, (title, body) in enumerate(_SECTIONS, start=1):
        content = body(inputs)
        extra = inputs.figures.get(number, ())
        figures = (*content.figures, *extra)
        tables = (*content.tables, *map(table_of, inputs.tables.get(number, ())))
        gaps = (*content.gaps, *inputs.gaps.get(number, ()))
        made.append(Section(number, title, SectionBody(content.text, figures, tables, gaps)))
    return tuple(made)


def compliance_document(inputs: ComplianceInputs) -> Document:
    """Lay the report out for PDF and HTML."""
    sections = compliance_sections(inputs)
    states = [section.state for section in sections]
    return Document(
        title="Compliance report",
        subtitle=f"{inputs.period_start} to {inputs.period_end}",
        running=(inputs.payer_id, inputs.period, f"{inputs.report_id}, {inputs.status}"),
        footer=f"{FORMAT} · influence is an estimate, not proof of copying",
        date=inputs.report_date,
        author=inputs.payer_id,
        facts=(
            ("Report", inputs.report_id),
            ("Status", inputs.status),
            ("Date", inputs.report_date),
            ("Filled", f"{states.count('filled')} of {len(states)} sections"),
            ("In part", str(states.count("in part"))),
            ("Not filled", str(states.count("not filled"))),
        ),
        blocks=(
            _contents(sections),
            *(_linked(block, inputs.links) for s in sections for block in _blocks(s)),
        ),
        watermark="" if inputs.status == "final" else "draft",
    )


def compliance_json(inputs: ComplianceInputs) -> bytes:
    """Write the report as canonical JSON: sections with figures, sources and gaps."""
    document = {
        "format": FORMAT,
        "links": dict(sorted(inputs.links.items())),
        "report_id": inputs.report_id,
        "period": inputs.period,
        "status": inputs.status,
        "sections": [
            {
                "number": str(section.number),
                "title": section.title,
                "state": section.state,
                "text": section.body.text,
                "figures": [plain(figure) for figure in section.body.figures],
                "gaps": [plain(gap) for gap in section.body.gaps],
                "tables": [_table_json(table) for table in section.body.tables],
            }
            for section in compliance_sections(inputs)
        ],
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def sources(inputs: ComplianceInputs) -> set[str]:
    """Name every source that the report cites, as it cites it."""
    cited = {figure.source for s in compliance_sections(inputs) for figure in s.body.figures}
    for section in compliance_sections(inputs):
        for made in section.body.tables:
            cited |= {text for row in made.rows for c in row.cells for text in (c.text, c.sub)}
            cited |= {made.source.text} if made.source else set()
    return cited - {""}


def _linked(block: Block, links: Mapping[str, str]) -> Block:
    """Link the cells of a table that cite a file."""
    if not isinstance(block, Table) or not links:
        return block
    rows = tuple(
        replace(
            row,
            cells=tuple(
                replace(cell, href=links.get(cell.text, links.get(cell.sub, "")))
                for cell in row.cells
            ),
        )
        for row in block.rows
    )
    source = block.source
    if source is not None:
        source = replace(source, href=links.get(source.text, ""))
    return replace(block, rows=rows, source=source)


def _table_json(table: Table) -> dict[str, object]:
    return {
        **({"source": table.source.text} if table.source else {}),
        "label": table.label,
        "columns": [column.label for column in table.columns],
        "rows": [
            [cell.text + cell.minor + (f" ({cell.sub})" if cell.sub else "") for cell in row.cells]
            for row in table.rows
        ],
    }


def _contents(sections: Iterable[Section]) -> Table:
    rows = tuple(
        Row((Cell(str(section.number)), Cell(section.title), Cell(section.state)))
        for section in sections
    )
    columns = (Column("No.", "right"), Column("Section", width="1fr"), Column("State"))
    return Table(columns, rows, small=True)


def _blocks(section: Section) -> list[Block]:
    body = section.body
    blocks: list[Block] = [Heading(f"{section.number} {section.title}")]
    if body.text:
        blocks.append(Text(body.text))
    blocks.extend(
        Text(f"Not filled: {gap.what}. {gap.why} {gap.remedy}".rstrip(), "warning")
        for gap in body.gaps
    )
    if body.figures:
        blocks.append(_figures(body.figures))
    for table in body.tables:
        if table.label:
            blocks.append(Heading(table.label, 2))
        blocks.append(table)
    return blocks


def _figures(figures: Iterable[Figure]) -> Table:
    rows = tuple(
        Row((Cell(item.label), Cell(_folded(item.value)), Cell(item.source, tone="muted")))
        for item in figures
    )
    columns = (
        Column("Figure", width="52mm"),
        Column("Value", width="1fr"),
        Column("Source", width="58mm"),
    )
    return Table(columns, rows, small=True)


def _folded(value: str) -> str:
    """Set a SHA-256 on two lines; no other text is touched."""
    is_digest = len(value) == 64 and all(letter in "0123456789abcdef" for letter in value)
    return f"{value[:32]}\n{value[32:]}" if is_digest else value


def _scope(inputs: ComplianceInputs) -> SectionBody:
    scope: tuple[Figure, ...] = (
        Figure("Report", f"{inputs.report_id}, {inputs.status}", "this report"),
        Figure("Period", f"{inputs.period_start} to {inputs.period_end}", "this report"),
    )
    gaps = []
    if inputs.distribution:
        told = Figure("Distribution", ", ".join(inputs.distribution), SIGNED_FILE)
        scope = (*scope, told)
    else:
        why = "Who gets the report is not in the books."
        gaps.append(Gap("distribution list", why, "Give --assertion FILE with distribution: [ID]."))
    if not inputs.versions:
        gaps.append(Gap("versions of model, corpus, index and code", "No manifest was given."))
    return SectionBody("", (*scope, *inputs.versions), (), tuple(gaps))


def _assertion(inputs: ComplianceInputs) -> SectionBody:
    said = inputs.assertion
    if said is None:
        why = "Nobody has signed one for this period; software cannot make one."
        remedy = "An officer signs the text; give it with --assertion FILE."
        gap = Gap("management assertion", why, remedy)
        return SectionBody(gaps=(gap,))
    signed = f"{said.signed_by}, {said.signed_on}"
    source = inputs.assertion_source or "access log of the ledger"
    return SectionBody(said.text, (Figure("Signed", signed, source),))


def _system(inputs: ComplianceInputs) -> SectionBody:
    text = (
        "Usage logs are ingested, filtered and sampled; sampled outputs are traced to the training "
        "works along the training path; shares are estimated with 95 % intervals, apportioned "
        "under the named rule and booked as balanced, append-only entries that are sealed in a "
        "signed Merkle log. Influence is an estimate from a random sample. It is not proof of "
        "copying, and its interval does not contain the error of the attribution method itself."
    )
    gaps: tuple[Gap, ...] = ()
    if 3 not in inputs.figures:
        why = "They are the operator's own and are not in the books."
        remedy = "Give --assertion FILE with roles: {NAME: TEXT}."
        gaps = (Gap("sub-processors, places of processing", why, remedy),)
    steps = "ingest, filter, sample, attribute, estimate, settle, seal; close and publish monthly"
    return SectionBody(text, (Figure("Steps", steps, "ARCHITECTURE.md"),), (), gaps)


def _given(name: str, what: str, why: str, remedy: str = "") -> Callable[..., SectionBody]:
    """Make a section of figures handed over as they are, or the reason there are none."""

    def body(inputs: ComplianceInputs) -> SectionBody:
        figures: tuple[Figure, ...] | None = getattr(inputs, name)
        if figures is None:
            return SectionBody(gaps=(Gap(what, why, remedy),))
        return SectionBody("", figures)

    return body


_SECTIONS: Final[tuple[tuple[str, Callable[[ComplianceInputs], SectionBody]], ...]] = (
    ("Title, period, scope and versions", _scope),
    ("Management assertion", _assertion),
    ("System description", _system),
    ("Licence register and coverage of the corpus", licences_body),
    ("Rights reservations and consent evidence", reservations_body),
    ("Usage completeness", usage_body),
    ("Sampling", sampling_body),
    ("Attribution method and its validation", method_body),
    ("Rates and pools", pools_body),
    ("Ledger integrity", ledger_body),
    ("Reconciliation from usage to bank", stages_body),
    ("Unmatched, unlicensed, disputed and reserved balances", suspense_body),
    ("Payouts", payouts_body),
    ("Restatements and adjustments", adjustments_body),
    ("Fraud and traffic filtering", filters_body),
    ("Controls", controls_body),
    (
        "Privacy",
        _given(
            "privacy",
            "retention runs, erasures, access to raw text",
            "No retention run is recorded in the workspace.",
            "Record each run with its counts.",
        ),
    ),
    (
        "Regulatory annexes",
        _given(
            "annexes",
            "drafts of public summaries",
            "No draft was made for this period.",
            "Make them with `byline report disclosure` and `byline report lookup`.",
        ),
    ),
    (
        "Re-performance pack",
        _given(
            "reperformance",
            "seeds, digests and commands",
            "No audit pack was written for this period.",
            "Write it with `byline audit pack --period`.",
        ),
    ),
    ("Open findings, responses and sign-offs", findings_body),
)
assert len(_SECTIONS) == 20, len(_SECTIONS)
