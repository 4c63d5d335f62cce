"""The sections of the compliance report that are filled from agreements, books and papers.

Each function turns facts into figures, tables and gaps; see `reports.compliance`
for the rules. A gap is a sentence an auditor can act on: what is missing, why,
and what would fill it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from reports.compliance_inputs import ComplianceInputs, Figure
from reports.errors import StatementDoesNotFootError
from reports.render.document import Cell, Column, Row, Table
from reports.render.text import DASH, amount, amount_text, count, percent
from reports.statement_inputs import POOL_DESTINATIONS

PPT: Final = 10**12


@dataclass(frozen=True)
class Gap:
    """What a section lacks, why, and what would fill it."""

    what: str
    why: str
    remedy: str = ""


@dataclass(frozen=True)
class SectionBody:
    """What a section says."""

    text: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    gaps: tuple[Gap, ...] = ()


def table(label: str, heads: Sequence[str], rows: Sequence[Sequence[Cell | str]]) -> Table:
    """Make a small table; a head that begins with ">" is set to the right, "=" is the wide one."""
    columns = tuple(
        Column(
            head.lstrip(">="),
            "right" if head.startswith(">") else "left",
            "1fr" if head.startswith("=") else "auto",
        )
        for head in heads
    )
    lines = tuple(
        Row(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row)) for row in rows
    )
    return Table(columns, lines, label, "None.", small=True)


def licences_body(inputs: ComplianceInputs) -> SectionBody:
    """Agreements in force, what changed, and how much of the corpus they cover."""
    gaps, tables, figures = [], [], []
    if inputs.agreements is None:
        gaps.append(Gap("licence register", "No agreement book was given."))
    else:
        rows = [
            (
                Cell(f"{a.agreement_id} v{a.version}", sub=a.licensor),
                a.effective_from,
                a.effective_to or "open",
                count(a.works),
                a.change or DASH,
            )
            for a in inputs.agreements
        ]
        heads = ("=Agreement", "From", "To", ">Works", "Change")
        tables.append(table("Agreements in force", heads, rows))
        source = "agreements table, version in force on the last day of the period"
        figures.append(Figure("Agreements in force", count(len(rows)), source))
    if inputs.coverage is None:
        gaps.append(Gap("coverage of the corpus", "No corpus manifest was given."))
    else:
        tokens = sum(part.tokens for part in inputs.coverage)
        parts = [
            (
                part.standing.replace("_", " "),
                count(part.documents),
                count(part.tokens),
                percent(round(Fraction(part.tokens * PPT, tokens))) if tokens else DASH,
                "yes" if part.payable else "no",
            )
            for part in inputs.coverage
        ]
        heads = ("=Standing", ">Documents", ">Tokens", ">Of tokens", "Payable")
        tables.append(table("Corpus by legal standing", heads, parts))
    return SectionBody("", tuple(figures), tuple(tables), tuple(gaps))


def reservations_body(inputs: ComplianceInputs) -> SectionBody:
    """Rights reservations seen at the sources and whether they were honoured."""
    if inputs.reservations is None:
        gap = Gap(
            "rights reservations",
            "No snapshot of robots.txt, RSL, AIPREF or TDMRep is in the corpus register.",
            "Store a snapshot per source when it is acquired.",
        )
        return SectionBody(gaps=(gap,))
    rows = [
        (r.source_id, r.kind, r.observed_on, Cell(r.snapshot_sha256[:16], tone="code"), r.honoured)
        for r in inputs.reservations
    ]
    heads = ("=Source", "Kind", "Seen", "Snapshot", "Honoured")
    return SectionBody(tables=(table("", heads, rows),))


def method_body(inputs: ComplianceInputs) -> SectionBody:
    """The attribution method, its validation, and what is not known about it."""
    text = (
        "Misallocated money (half the sum of differences between paid and true shares) can only "
        "be measured where the truth can be had, by retraining small models; it is not measured "
        "on the production model."
    )
    if inputs.method is None:
        gap = Gap(
            "method and validation",
            "No run manifest or evaluation was given.",
            "Run `byline evaluate` and hand over its manifest.",
        )
        return SectionBody(text, gaps=(gap,))
    labels = " ".join(figure.label.lower() for figure in inputs.method)
    wanted = {"lds": "LDS", "misallocated": "misallocated money", "generic": "generic part"}
    missing = [name for word, name in wanted.items() if word not in labels]
    gaps = tuple(
        Gap(name, "The manifests given do not have it.", "Run `byline evaluate`.")
        for name in missing
    )
    return SectionBody(text, inputs.method, (), gaps)


def pools_body(inputs: ComplianceInputs) -> SectionBody:
    """Pools with their destinations, and the revenue they are a share of."""
    gaps = []
    if inputs.revenue is None:
        why = "Revenue is taken from the usage logs; no certificate of the accounts was given."
        gaps.append(Gap("revenue certificate", why, "Have the officer certify the revenue."))
    if inputs.pools is None:
        gaps.append(Gap("pools", "No period was closed."))
        return SectionBody(figures=inputs.revenue or (), gaps=tuple(gaps))
    tables = []
    for pool in inputs.pools:
        total = sum(pool.destinations.values())
        if total != pool.pool_units:
            check = f"destinations of pool {pool.pool_id} against the pool"
            raise StatementDoesNotFootError(inputs.report_id, check, total, pool.pool_units)
        rows = [
            (label, amount(pool.destinations[name], inputs.currency))
            for name, label in POOL_DESTINATIONS.items()
            if name in pool.destinations
        ]
        rows.append(("Pool", amount(pool.pool_units, inputs.currency)))
        heads = ("=Destination", ">Amount")
        tables.append(table(f"Pool {pool.pool_id}, {pool.period}", heads, rows))
    return SectionBody("", inputs.revenue or (), tuple(tables), tuple(gaps))


def ledger_body(inputs: ComplianceInputs) -> SectionBody:
    """Entries, postings, trial balance, reversals, approvals, and the checkpoint."""
    facts = inputs.ledger
    if facts is None:
        return SectionBody(gaps=(Gap("ledger", "The books were not given."),))
    if facts.trial_balance_units:
        check = "trial balance against zero"
        raise StatementDoesNotFootError(inputs.report_id, check, facts.trial_balance_units, 0)
    source = facts.source
    figures = [
        Figure("Entries", count(facts.entries), source),
        Figure("Postings", count(facts.postings), source),
        Figure("Trial balance", amount_text(0, inputs.currency), source),
        Figure("Reversals", count(facts.reversals), source),
        Figure("Entries approved by a second person", count(facts.approved_entries), source),
    ]
    gaps = []
    if facts.refused is None:
        why = "The database refuses them and keeps no record of the attempt."
        gaps.append(Gap("refused attempts on closed periods", why, "See the database's own log."))
    else:
        figures.append(Figure("Refused attempts", count(facts.refused), source))
    checkpoint = inputs.checkpoint
    if checkpoint is None:
        gaps.append(Gap("checkpoint", "No signed checkpoint was given.", "Close the period."))
    else:
        place = "checkpoint.note of the audit pack"
        figures += [
            Figure("Log and size", f"{checkpoint.origin}, {count(checkpoint.size)} leaves", place),
            Figure("Merkle root", checkpoint.root_hex, place),
        ]
    rows = [(kind, count(number)) for kind, number in sorted(facts.entries_by_kind.items())]
    tables = (table("Entries by kind", ("=Kind", ">Entries"), rows),) if rows else ()
    return SectionBody("", tuple(figures), tables, tuple(gaps))


def stages_body(inputs: ComplianceInputs) -> SectionBody:
    """The money from usage to bank, stage by stage, each difference explained or open."""
    stages = inputs.stages
    if not stages:
        gap = Gap("reconciliation", "No stage was given.", "Close and pay the period.")
        return SectionBody(gaps=(gap,))
    rows, gaps = [], []
    before = stages[0].units
    for stage in stages:
        difference = stage.units - before
        rows.append(
            (
                Cell(stage.name, sub=stage.source),
                amount(stage.units, inputs.currency),
                amount(difference, inputs.currency),
                stage.why_different or ("" if not difference else "not explained"),
            )
        )
        if difference and not stage.why_different:
            what = f"difference of {amount_text(difference, inputs.currency)} at {stage.name}"
            gaps.append(Gap(what, "Nobody has explained it.", "Explain it or book it."))
        before = stage.units
    heads = ("=Stage and source", ">Amount", ">Difference", "Why")
    return SectionBody("", (), (table("", heads, rows),), tuple(gaps))


def suspense_body(inputs: ComplianceInputs) -> SectionBody:
    """Balances that belong to nobody yet, with their age and what is done."""
    if inputs.suspense is None:
        return SectionBody(gaps=(Gap("suspense balances", "The books were not given."),))
    rows = [
        (
            Cell(s.account_id, sub=s.action),
            amount(s.units, inputs.currency),
            s.oldest_on or DASH,
        )
        for s in inputs.suspense
    ]
    total = sum(s.units for s in inputs.suspense)
    figure = Figure(
        "All suspense accounts", amount_text(total, inputs.currency), "trial_balance.csv"
    )
    heads = ("=Account and action", ">Balance", "Oldest since")
    return SectionBody("", (figure,), (table("", heads, rows),))


def payouts_body(inputs: ComplianceInputs) -> SectionBody:
    """Payout files with control sums and states, and what was left out."""
    if inputs.payouts is None:
        gap = Gap("payouts", "No payout batch was made in the period.", "Make one, or say why not.")
        return SectionBody(gaps=(gap,))
    rows = [
        (
            Cell(
                p.batch_id, sub=", ".join(f"{n} {state}" for state, n in sorted(p.states.items()))
            ),
            Cell(p.file_sha256[:16], tone="code"),
            count(p.payments),
            amount(p.units, inputs.currency),
            amount(p.left_out_units, inputs.currency),
        )
        for p in inputs.payouts
    ]
    heads = ("=Batch", "File sha256", ">Payments", ">Paid", ">Left out")
    return SectionBody(tables=(table("", heads, rows),))


def adjustments_body(inputs: ComplianceInputs) -> SectionBody:
    """Corrections of earlier periods by type, with their effect on money."""
    if inputs.adjustments is None:
        return SectionBody(gaps=(Gap("adjustments", "The books were not given."),))
    rows = [
        (
            Cell(a.adjustment_type.replace("_", " "), sub=a.entry_id),
            a.activity_period,
            a.reason,
            amount(a.amount_units, inputs.currency),
        )
        for a in inputs.adjustments
    ]
    total = sum(a.amount_units for a in inputs.adjustments)
    effect = Figure(
        "Effect on money", amount_text(total, inputs.currency), "entries of kind adjustment"
    )
    heads = ("Type", "Used in", "=Reason", ">Amount")
    return SectionBody("", (effect,), (table("", heads, rows),))


def controls_body(inputs: ComplianceInputs) -> SectionBody:
    """The controls matrix: objective, control, evidence, result, exceptions."""
    if not inputs.controls:
        gap = Gap("controls matrix", "No control was tested for this period.")
        return SectionBody(gaps=(gap,))
    rows = [
        (
            Cell(c.objective, sub=c.control),
            Cell(c.evidence, tone="muted"),
            c.result,
            count(c.exceptions),
        )
        for c in inputs.controls
    ]
    heads = ("=Objective and control", "=Evidence", "Result", ">Exceptions")
    return SectionBody(tables=(table("", heads, rows),))


def findings_body(inputs: ComplianceInputs) -> SectionBody:
    """Open findings with responses; signing off is for people."""
    gaps = [Gap("sign-offs", "They are given by people outside this report.")]
    if inputs.findings is None:
        gaps.insert(0, Gap("findings", "Nobody has recorded findings, nor that there are none."))
        return SectionBody(gaps=tuple(gaps))
    rows = [(f.finding, f.severity, f.response, f.due_on or DASH) for f in inputs.findings]
    heads = ("=Finding", "Severity", "=Response", "Due")
    return SectionBody(tables=(table("", heads, rows),), gaps=tuple(gaps))
