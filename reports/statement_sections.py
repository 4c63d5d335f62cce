"""The lower half of a statement: work lines, pools, explanations, entries and proof.

Each function turns one part of a statement into blocks of a paper. Totals are
added up from the lines shown, never copied from elsewhere, so that a line left
out would show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from reports.render.document import Block, Cell, Column, Facts, Heading, Row, Table, Text
from reports.render.text import (
    DASH,
    TIMES,
    amount,
    count,
    interval,
    millionths,
    percent,
)
from reports.statement import Statement
from reports.statement_inputs import POOL_DESTINATIONS, PoolReconciliation, WorkLine

EMPTY = Cell("")
TOKEN_CHARS_MAX = 26


def works_table(statement: Statement, lines: Sequence[WorkLine]) -> Table:
    """List work lines with population, sample, share, pool, split and amount."""
    currency = statement.inputs.header.currency
    rows = [_work_row(line, currency) for line in lines]
    total = sum(line.amount_units for line in lines)
    label = Cell("Total, 1 line" if len(lines) == 1 else f"Total, {count(len(lines))} lines")
    rows.append(Row((label, *[EMPTY] * 5, amount(total, currency)), "total"))
    columns = (
        Column("Work", "left", "1fr"),
        Column("Used in", "left"),
        Column("Outputs, sampled", "right"),
        Column("Share, 95 % interval", "right"),
        Column("Pool", "right", "28mm"),
        Column("Split", "right"),
        Column("Amount", "right"),
    )
    return Table(columns, tuple(rows), small=True)


def _work_row(line: WorkLine, currency: str) -> Row:
    named = line.title if line.title and line.title != line.work_id else ""
    details = [line.work_id if named else "", line.external_ids, line.reliability]
    if line.adjustment_type != "none":
        details.append(line.adjustment_type.replace("_", " "))
    used = [text for text in (line.model_version, _territory(line)) if text]
    sampled = f"{count(line.sampled_outputs)} {TIMES} {millionths(line.weight_ppm)}"
    pool = amount(line.pool_units, currency)
    return Row(
        (
            Cell(_breakable(named or line.work_id), sub=_breakable(_joined(details))),
            Cell(line.activity_period.replace("..", f" {DASH} "), sub=_breakable(_joined(used))),
            Cell(count(line.population_outputs), sub=sampled),
            Cell(percent(line.share_ppt), sub=interval(line.low_ppt, line.high_ppt)),
            Cell(pool.text, pool.minor, _breakable(line.pool_id)),
            Cell(_split_text(line)),
            amount(line.amount_units, currency),
        )
    )


def _territory(line: WorkLine) -> str:
    return "" if line.territory in {"", "world", "*"} else line.territory


def _split_text(line: WorkLine) -> str:
    share = line.split
    return "100 %" if share == 1 else f"{share.numerator}/{share.denominator}"


def _joined(parts: Sequence[str]) -> str:
    return " · ".join(part for part in parts if part)


def _breakable(text: str) -> str:
    """Let long identifiers break after their separators, and only there."""
    if len(text) <= TOKEN_CHARS_MAX:
        return text
    for mark in "/:._-@":
        text = text.replace(mark, f"{mark}\N{ZERO WIDTH SPACE}")
    return text


def pool_blocks(statement: Statement, pool: PoolReconciliation) -> Iterator[Block]:
    """Show where one pool went, with the part of each destination and one's own."""
    currency = statement.inputs.header.currency
    yield Heading(f"Pool {pool.pool_id}, {pool.period}", 2)
    rows = []
    for name, label in POOL_DESTINATIONS.items():
        units = pool.destinations.get(name, 0)
        if name in pool.destinations:
            rows.append(Row((Cell(label), _part(units, pool), amount(units, currency))))
    total = sum(pool.destinations.values())
    rows.append(Row((Cell("Pool"), _part(total, pool), amount(total, currency)), "total"))
    mine = Cell("of which this creator", tone="muted")
    rows.append(Row((mine, _part(pool.mine_units, pool), amount(pool.mine_units, currency))))
    columns = (
        Column("Destination", "left", "1fr"),
        Column("Part of pool", "right"),
        Column("Amount", "right"),
    )
    yield Table(columns, tuple(rows))
    if pool.basis:
        yield Text(pool.basis, "note")


def _part(units: int, pool: PoolReconciliation) -> Cell:
    return Cell(
        percent(round(Fraction(units * 10**12, pool.pool_units))) if pool.pool_units else DASH
    )


def explanation_blocks(statement: Statement) -> Iterator[Block]:
    """Say what changed, which traffic earned nothing and why, and what decoys show."""
    inputs = statement.inputs
    if not (inputs.changes or inputs.excluded or inputs.decoys):
        return
    yield Heading("Explanations")
    if inputs.changes:
        yield Heading("What changed since the statement before", 2)
        rows = tuple(
            Row((Cell(item.what), Cell(item.before), Cell(item.after))) for item in inputs.changes
        )
        columns = (Column("What", "left", "1fr"), Column("Before", "right"), Column("Now", "right"))
        yield Table(columns, rows)
    if inputs.excluded:
        yield Heading("Logged outputs that earned nothing, by reason", 2)
        lines = [
            Row((Cell(item.reason.replace("_", " ")), Cell(count(item.outputs))))
            for item in inputs.excluded
        ]
        total = sum(item.outputs for item in inputs.excluded)
        lines.append(Row((Cell("Total"), Cell(count(total))), "total"))
        heads = (Column("Reason", "left", "1fr"), Column("Outputs", "right"))
        yield Table(heads, tuple(lines))
    if inputs.decoys is not None:
        yield from _decoy_blocks(statement)


def _decoy_blocks(statement: Statement) -> Iterator[Block]:
    decoys = statement.inputs.decoys
    assert decoys is not None
    yield Heading("Generic and specific part of the share", 2)
    whole = decoys.generic_ppt + decoys.specific_ppt
    rows = (
        Row((Cell("Generic: any text of this kind and size"), Cell(percent(decoys.generic_ppt)))),
        Row((Cell("Specific: the excess of these works"), Cell(percent(decoys.specific_ppt)))),
        Row((Cell("Share"), Cell(percent(whole))), "total"),
    )
    yield Table((Column("Part", "left", "1fr"), Column("Of the pool's value", "right")), rows)
    yield Text(
        f"Measured with {count(decoys.documents)} decoys: texts of the same kinds that were never "
        f"trained on, scored like the rest and never paid.",
        "note",
    )


def proof_blocks(statement: Statement) -> Iterator[Block]:
    """List the journal entries the statement rests on and the checkpoint that holds them."""
    inputs = statement.inputs
    currency = inputs.header.currency
    if not inputs.entries and inputs.checkpoint is None:
        return
    yield Heading("Journal entries and proof")
    if inputs.entries:
        rows = [
            Row(
                (
                    Cell(count(entry.ledger_seq)),
                    Cell(entry.entry_id, sub=entry.description, tone="code"),
                    Cell(entry.kind),
                    Cell(entry.effective_on),
                    amount(entry.amount_units, currency),
                )
            )
            for entry in inputs.entries
        ]
        total = sum(entry.amount_units for entry in inputs.entries)
        label = Cell("Change of the balance")
        rows.append(Row((EMPTY, label, EMPTY, EMPTY, amount(total, currency)), "total"))
        columns = (
            Column("No.", "right"),
            Column("Entry", "left", "1fr"),
            Column("Kind"),
            Column("Effective"),
            Column("To the payee", "right"),
        )
        yield Table(columns, tuple(rows), small=True)
    yield from _checkpoint_blocks(statement)


def _checkpoint_blocks(statement: Statement) -> Iterator[Block]:
    inputs = statement.inputs
    checkpoint = inputs.checkpoint
    if checkpoint is not None:
        pairs = [
            ("Log", Cell(checkpoint.origin)),
            ("Size", Cell(f"{count(checkpoint.size)} leaves")),
            ("Root", Cell(checkpoint.root_hex, tone="code")),
        ]
        if checkpoint.proof_files:
            pairs.append(("Proofs", Cell(", ".join(checkpoint.proof_files))))
        pairs.append(("Statement", Cell(statement.sha256, tone="code")))
        yield Facts(tuple(pairs), columns=1)
        yield Text(
            "Each entry above is in the log under this root; the proof files show it. Keep the "
            "checkpoint: with it, any later change of the books can be shown.",
            "note",
        )
        if checkpoint.note:
            yield Text(checkpoint.note.rstrip("\n"), "code")
    if inputs.inputs:
        yield Heading("Made from", 2)
        pairs = [
            (name, Cell(digest, tone="code")) for name, digest in sorted(inputs.inputs.items())
        ]
        yield Facts(tuple(pairs), columns=1)


def chart_words(statement: Statement) -> str:
    """Describe the chart for those who cannot see it."""
    return "Share of the pools by period: " + "; ".join(
        f"{point.period} {percent(point.share_ppt)} ({interval(point.low_ppt, point.high_ppt)})"
        for point in statement.inputs.history
    )
