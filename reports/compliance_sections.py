"""The sections of the compliance report that are filled from agreements, books and papers.

Each function turns facts into figures, tables and gaps; see `reports.compliance`
for the rules. A gap is a sentence an auditor can act on: what is missing, why,
and what would fill it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from reports.compliance_inputs import (
    AgreementFact,
    ComplianceInputs,
    CoverageFact,
    FactTable,
    Figure,
    Gap,
    Stage,
)
from reports.errors import StatementDoesNotFootError
from reports.render.document import Cell, Column, Row, Table
from reports.render.text import DASH, amount, amount_text, count, percent
from reports.statement_inputs import POOL_DESTINATIONS

PPT: Final = 10**12
# Lines shown of a list that may have ten thousand; the whole list is a file beside the report.
SHOWN: Final = 20
AGES: Final = ("to 30", "to 90", "to 365", "older")
LEAVES: Final = "entries.jsonl of the audit pack"
TRIAL_BALANCE: Final = "trial_balance.csv"
EVALUATE: Final = (
    "Run `byline evaluate run --setup DIR --out evaluation` in the workspace, or give "
    "--evaluation FILE."
)


@dataclass(frozen=True)
class SectionBody:
    """What a section says."""

    text: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    gaps: tuple[Gap, ...] = ()


def table(
    label: str, heads: Sequence[str], rows: Sequence[Sequence[Cell | str]], source: str = ""
) -> Table:
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
    return Table(columns, lines, label, "None.", small=True, source=_cited(source))


def table_of(fact: FactTable) -> Table:
    """Make a table of lines that were handed over with their source."""
    return table(fact.label, fact.heads, fact.rows, fact.source)


def _cited(source: str) -> Cell | None:
    return Cell(source) if source else None


def licences_body(inputs: ComplianceInputs) -> SectionBody:
    """Agreements in force, what changed, and how much of the corpus they cover."""
    gaps: list[Gap] = []
    tables: list[Table] = []
    figures: list[Figure] = []
    if inputs.agreements is None:
        gaps.append(Gap("licence register", "No agreement book was given."))
    else:
        figures, tables = _register(inputs.agreements, register_source(inputs.period))
    if inputs.coverage is None:
        gaps.append(Gap("coverage of the corpus", "No corpus manifest was given."))
    else:
        tables.append(_coverage(inputs.coverage))
    return SectionBody("", tuple(figures), tuple(tables), tuple(gaps))


def register_source(period: str) -> str:
    """Name the file that holds the whole register of agreements, beside the report."""
    return f"reports/{period}/compliance.agreements.csv"


def _register(agreements: Sequence[AgreementFact], source: str) -> tuple[list[Figure], list[Table]]:
    """Count the agreements, and list those with the most works; a long list is not shown whole."""
    changes = Counter(a.change for a in agreements if a.change)
    figures = [
        Figure("Agreements in force", count(len(agreements)), source),
        Figure("Works under them", count(sum(a.works for a in agreements)), source),
        Figure(
            "Changes in the period",
            ", ".join(f"{n} {change}" for change, n in sorted(changes.items())) or "none",
            source,
        ),
    ]
    # What changed comes first: an auditor reads the differences.
    shown = sorted(agreements, key=lambda a: (not a.change, -a.works, a.agreement_id))[:SHOWN]
    rows = [
        (
            Cell(f"{a.agreement_id} v{a.version}", sub=a.licensor),
            a.effective_from,
            a.effective_to or "open",
            count(a.works),
            a.change or DASH,
        )
        for a in shown
    ]
    heads = ("=Agreement", "From", "To", ">Works", "Change")
    label = "Agreements in force"
    if len(agreements) > SHOWN:
        label += f": {SHOWN} of {count(len(agreements))}, what changed and the most works first"
    return figures, [table(label, heads, rows, source)]


def _coverage(coverage: Sequence[CoverageFact]) -> Table:
    tokens = sum(part.tokens for part in coverage)
    rows = [
        (
            Cell(part.standing.replace("_", " "), sub=part.licence),
            count(part.documents),
            count(part.tokens),
            percent(round(Fraction(part.tokens * PPT, tokens))) if tokens else DASH,
            "yes" if part.payable else "no",
        )
        for part in coverage
    ]
    heads = ("=Standing", ">Documents", ">Tokens", ">Of tokens", "Payable")
    return table("Corpus by legal standing", heads, rows, "corpus/catalogue.json")


def reservations_body(inputs: ComplianceInputs) -> SectionBody:
    """Rights reservations seen at the sources and whether they were honoured."""
    if inputs.reservations is None:
        gap = Gap(
            "rights reservations",
            "No snapshot of robots.txt, RSL or AIPREF was imported as evidence.",
            "Import one per source with `byline agreements import`, or give --assertion FILE.",
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
            EVALUATE,
        )
        return SectionBody(text, gaps=(gap,))
    labels = " ".join(figure.label.lower() for figure in inputs.method)
    wanted = {
        "lds": "LDS",
        "misallocated": "misallocated money",
        "generic": "generic part",
        "would move": "agreement between methods",
    }
    missing = [name for word, name in wanted.items() if word not in labels]
    gaps: tuple[Gap, ...] = ()
    if missing:
        why = "They need retraining, and no evaluation that has them was given."
        gaps = (Gap(", ".join(missing), why, EVALUATE),)
    return SectionBody(text, inputs.method, (), gaps)


def pools_body(inputs: ComplianceInputs) -> SectionBody:
    """Pools with their destinations, and the revenue they are a share of."""
    gaps = []
    if inputs.revenue is None:
        why = "Revenue is taken from the usage logs; no certificate of the accounts was given."
        remedy = "An officer certifies it; give --assertion FILE with revenue: {amount: ...}."
        gaps.append(Gap("revenue certificate", why, remedy))
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
        label = f"Pool {pool.pool_id}, {pool.period}"
        tables.append(table(label, heads, rows, f"closes/{pool.period}.json"))
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
    tables = (table("Entries by kind", ("=Kind", ">Entries"), rows, source),) if rows else ()
    return SectionBody("", tuple(figures), tables, tuple(gaps))


def stages_body(inputs: ComplianceInputs) -> SectionBody:
    """The money from usage to bank, stage by stage, each difference explained or open."""
    stages = inputs.stages
    if not stages:
        gap = Gap("reconciliation", "No stage was given.", "Close and pay the period.")
        return SectionBody(gaps=(gap,))
    tables, gaps = [], []
    for currency in dict.fromkeys(stage.currency or inputs.currency for stage in stages):
        own = [stage for stage in stages if (stage.currency or inputs.currency) == currency]
        rows = []
        for stage, difference in _differences(own):
            rows.append(
                (
                    Cell(stage.name, sub=stage.source),
                    amount(stage.units, currency),
                    amount(difference, currency),
                    stage.why_different or ("" if not difference else "not explained"),
                )
            )
            if difference and not stage.why_different:
                what = f"difference of {amount_text(difference, currency)} at {stage.name}"
                gaps.append(Gap(what, "Nobody has explained it.", "Explain it or book it."))
        heads = ("=Stage and source", ">Amount", ">Difference", "=Why")
        tables.append(table(f"In {currency.partition('/')[0]}", heads, rows))
    return SectionBody("", (), tuple(tables), tuple(gaps))


def _differences(stages: Sequence[Stage]) -> Iterator[tuple[Stage, int]]:
    before = stages[0].units
    for stage in stages:
        yield stage, stage.units - before
        before = stage.units


def suspense_body(inputs: ComplianceInputs) -> SectionBody:
    """Balances that belong to nobody yet, by age, with what is done."""
    if inputs.suspense is None:
        return SectionBody(gaps=(Gap("suspense balances", "The books were not given."),))
    figures, tables = [], []
    for currency in dict.fromkeys(s.currency or inputs.currency for s in inputs.suspense) or (
        inputs.currency,
    ):
        own = [s for s in inputs.suspense if (s.currency or inputs.currency) == currency]
        code = currency.partition("/")[0]
        total = sum(s.units for s in own)
        figures.append(
            Figure(f"All suspense accounts in {code}", amount_text(total, currency), TRIAL_BALANCE)
        )
        rows: list[tuple[Cell | str, ...]] = [
            (
                Cell(s.account_id, sub=s.action),
                amount(s.units, currency),
                *(amount(s.by_age.get(age, 0), currency) for age in AGES),
                s.oldest_on or DASH,
            )
            for s in own
        ]
        ages = (*(f">{age} days" for age in AGES[:3]), ">Older")
        heads = ("=Account and action", ">Balance", *ages, "Oldest since")
        tables.append(table(f"By age in {code}", heads, rows, LEAVES))
    return SectionBody("", tuple(figures), tuple(tables))


def payouts_body(inputs: ComplianceInputs) -> SectionBody:
    """Payout files with control sums and states, and what was left out."""
    if inputs.payouts is None:
        why = "No payout batch was made for the period."
        gap = Gap("payout files", why, "Prepare one with `byline payout prepare`.")
        return SectionBody(gaps=(gap,))
    rows = [
        (
            Cell(
                p.batch_id, sub=", ".join(f"{n} {state}" for state, n in sorted(p.states.items()))
            ),
            Cell(p.file_sha256[:16], tone="code"),
            count(p.payments),
            (p.currency or inputs.currency).partition("/")[0],
            amount(p.units, p.currency or inputs.currency),
            amount(p.left_out_units, p.currency or inputs.currency),
        )
        for p in inputs.payouts
    ]
    heads = ("=Batch", "File sha256", ">Payments", "In", ">Paid", ">Left out")
    return SectionBody(tables=(table("Payout files", heads, rows, "payouts/"),))


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
        "Effect on money", amount_text(total, inputs.currency), f"{LEAVES}, kind adjustment"
    )
    heads = ("Type", "Used in", "=Reason", ">Amount")
    return SectionBody("", (effect,), (table("Adjustments", heads, rows, LEAVES),))


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
            "not tested" if c.exceptions is None else count(c.exceptions),
        )
        for c in inputs.controls
    ]
    heads = ("=Objective and control", "=Evidence", "Result", ">Exceptions")
    return SectionBody(tables=(table("", heads, rows),))


def findings_body(inputs: ComplianceInputs) -> SectionBody:
    """Open findings with responses; signing off is for people."""
    gaps = [Gap("sign-offs", "They are given by people outside this report.")]
    if inputs.findings is None:
        why = "Nobody has recorded findings, nor that there are none."
        gaps.insert(0, Gap("people's findings", why, "Give --assertion FILE with findings: []."))
        return SectionBody(gaps=tuple(gaps))
    rows = [(f.finding, f.severity, f.response, f.due_on or DASH) for f in inputs.findings]
    heads = ("=Finding", "Severity", "=Response", "Due")
    return SectionBody(tables=(table("People's findings", heads, rows),), gaps=tuple(gaps))
