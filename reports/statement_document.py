"""Lay a statement out as a paper: the order in which a royalty accountant reads it.

    payable figures, account summary beside its side boxes, how the amount was
    calculated, work lines (summary or detail layout), pool reconciliation, share
    over the periods, explanations, journal entries and proof

Both layouts carry the same account summary and the same total of work lines.
A nil statement is laid out like any other and says that nothing was earned.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from contracts.money import Currency
from reports.render.chart import share_chart
from reports.render.document import (
    Beside,
    Block,
    Cell,
    Column,
    Document,
    Facts,
    Figures,
    Heading,
    Picture,
    Row,
    Table,
    Text,
)
from reports.render.text import DASH, amount, amount_text
from reports.statement import Statement
from reports.statement_inputs import WorkLine
from reports.statement_sections import (
    chart_words,
    explanation_blocks,
    pool_blocks,
    proof_blocks,
    works_table,
)

Layout = Literal["summary", "detail"]
LAYOUTS: Final[dict[str, str]] = {"summary": "Work Summary", "detail": "Detail"}


def statement_document(statement: Statement, layout: Layout = "summary") -> Document:
    """Lay a statement out for the PDF and HTML renderers.

    Args:
        statement: what to show.
        layout: "summary" (one line a work and pool) or "detail" (one line a
            work, pool, activity period and model version).
    """
    header = statement.inputs.header
    version = f"{header.statement_number} v{header.version}"
    payee = header.payee_name or header.payee_id
    return Document(
        title="Royalty statement",
        subtitle=f"{header.period_start} to {header.period_end}",
        running=(payee, header.period, f"{version}, {header.status}"),
        footer=f"{LAYOUTS[layout]} layout · statement sha256 {statement.sha256[:16]}",
        date=header.statement_date,
        author=header.payer_name or header.payer_id,
        facts=tuple(_title_facts(statement)),
        blocks=tuple(_blocks(statement, layout)),
        watermark="provisional" if header.status == "provisional" else "",
    )


def _title_facts(statement: Statement) -> Iterator[tuple[str, str]]:
    header = statement.inputs.header
    yield "Statement", header.statement_number
    yield "Version", f"{header.version}, {header.status}"
    yield "Date", header.statement_date
    if header.due_date:
        yield "Due", header.due_date
    if header.dispute_deadline:
        yield "Dispute until", header.dispute_deadline
    yield "Currency", Currency.parse(header.currency).code


def _blocks(statement: Statement, layout: Layout) -> Iterator[Block]:
    inputs = statement.inputs
    yield _parties(statement)
    yield from _banners(statement)
    yield _figures(statement)
    yield Beside((Heading("Account summary"), _account(statement)), _side_boxes(statement))
    if inputs.adjustments:
        yield Heading("Adjustments to prior periods", 2)
        yield _adjustments(statement)
    if inputs.working:
        yield Heading("How the amount was calculated")
        yield _working(statement)
    yield Heading("Works" if layout == "summary" else "Works in detail")
    yield works_table(statement, _lines(statement, layout))
    yield Text(
        "Share: part of the pool's value that the work's influence accounts for, estimated from "
        "a random sample of outputs, with its 95 % interval in per cent. Weight: how many logged "
        "outputs one sampled output stands for, on average." + _rates(_lines(statement, layout)),
        "note",
    )
    if inputs.pools:
        yield Heading("Pool reconciliation")
        for pool in inputs.pools:
            yield from pool_blocks(statement, pool)
    if inputs.history:
        yield Heading("Share over the periods")
        yield Picture(share_chart(inputs.history), chart_words(statement))
        yield Text("Dot: share of the period's pools; bar: 95 % interval.", "note")
    yield from explanation_blocks(statement)
    yield from proof_blocks(statement)


def _lines(statement: Statement, layout: Layout) -> tuple[WorkLine, ...]:
    return statement.work_summary if layout == "summary" else statement.inputs.works


def _rates(lines: tuple[WorkLine, ...]) -> str:
    pools = sorted({(line.pool_id, line.rate) for line in lines if line.rate})
    return f" Pools: {'; '.join(f'{pool}: {rate}' for pool, rate in pools)}." if pools else ""


def _parties(statement: Statement) -> Facts:
    header = statement.inputs.header
    payee = Cell(
        header.payee_name or header.payee_id, sub=_unless(header.payee_name, header.payee_id)
    )
    payer = Cell(
        header.payer_name or header.payer_id, sub=_unless(header.payer_name, header.payer_id)
    )
    pairs = [
        ("Payee", payee),
        ("Payer", payer),
        ("Creator", Cell(header.party_id)),
        ("Agreements", Cell(", ".join(header.agreements) or "none in force")),
        ("Rule", Cell(header.method)),
        ("Attribution", Cell(header.attribution_method or DASH)),
        ("Model versions", Cell(", ".join(header.model_versions) or DASH)),
        ("Contact", Cell(header.contact or DASH)),
    ]
    return Facts(tuple(pairs))


def _unless(name: str, identifier: str) -> str:
    return identifier if name else ""


def _banners(statement: Statement) -> Iterator[Text]:
    inputs = statement.inputs
    replaced = inputs.replaces
    if replaced is not None:
        assert statement.difference_units is not None
        difference = amount_text(statement.difference_units, inputs.header.currency)
        yield Text(
            f"This version {inputs.header.version} replaces version {replaced.version} "
            f"(sha256 {replaced.sha256[:16]}…). Difference in payable: {difference}. "
            f"Reason: {replaced.reason}",
            "warning",
        )
    if statement.is_nil:
        yield Text(
            "Nil statement: nothing was earned and nothing moved in this period. "
            "It is issued so that the period has no gap.",
            "warning",
        )
    for note in inputs.notes:
        yield Text(note, "warning")


def _figures(statement: Statement) -> Figures:
    currency = statement.inputs.header.currency
    code = Currency.parse(currency).code
    paid = sum(line.amount_units for line in statement.summary if line.kind == "payout")
    return Figures(
        (
            ("Earned, gross", amount(statement.earned_units, currency), code),
            ("Net royalty", amount(statement.net_units, currency), code),
            ("Payable", amount(statement.payable_units, currency), code),
            (
                "Closing balance",
                amount(statement.closing_units, currency),
                f"{code} {amount(-paid, currency).text} paid"
                if paid
                else f"{code} carried forward",
            ),
        )
    )


def _account(statement: Statement) -> Table:
    currency = statement.inputs.header.currency
    rows = tuple(
        Row(
            (Cell(line.label, sub=line.note), amount(line.amount_units, currency)),
            "total" if line.is_total else "line",
        )
        for line in statement.summary
    )
    return Table((Column("", "left", "1fr"), Column("", "right")), rows)


def _side_boxes(statement: Statement) -> tuple[Block, ...]:
    inputs = statement.inputs
    currency = inputs.header.currency
    columns = (Column("", "left", "1fr"), Column("", "right"))
    blocks: list[Block] = [
        Heading("Advance", 2),
        Table(
            columns,
            (
                Row(
                    (Cell("Unrecouped, opening"), amount(inputs.unrecouped_opening_units, currency))
                ),
                Row(
                    (Cell("Unrecouped, closing"), amount(inputs.unrecouped_closing_units, currency))
                ),
            ),
            small=True,
        ),
    ]
    if inputs.reserves:
        rows = [
            Row((Cell(f"Release {line.release_on}"), amount(line.amount_units, currency)))
            for line in inputs.reserves
        ]
        blocks += [Heading("Reserves held", 2), Table(columns, tuple(rows), small=True)]
    year = inputs.year_to_date
    if year is not None:
        figures = {
            "Earned": year.earned_units,
            "Recouped": year.recouped_units,
            "Withheld": year.withheld_units,
            "Paid": year.paid_units,
        }
        rows = [Row((Cell(name), amount(units, currency))) for name, units in figures.items()]
        blocks += [Heading("Year to date", 2), Table(columns, tuple(rows), small=True)]
    return tuple(blocks)


def _adjustments(statement: Statement) -> Table:
    inputs = statement.inputs
    currency = inputs.header.currency
    rows = [
        Row(
            (
                Cell(line.adjustment_type.replace("_", " "), sub=line.entry_id),
                Cell(line.activity_period),
                Cell(line.statement_period),
                Cell(line.reason),
                amount(line.amount_units, currency),
            )
        )
        for line in inputs.adjustments
    ]
    total = sum(line.amount_units for line in inputs.adjustments)
    empty = Cell("")
    rows.append(Row((Cell("Total"), empty, empty, empty, amount(total, currency)), "total"))
    columns = (
        Column("Type", width="38mm"),
        Column("Used in"),
        Column("Booked in"),
        Column("Reason", width="1fr"),
        Column("Amount", "right"),
    )
    return Table(columns, tuple(rows))


def _working(statement: Statement) -> Table:
    currency = statement.inputs.header.currency
    lines = statement.inputs.working
    balances = any(line.balance_units is not None for line in lines)
    rows = []
    for line in lines:
        tone = "muted" if line.detail else ""
        cells = [Cell(line.label, tone=tone), Cell(line.working, tone="muted")]
        cells.append(_known_amount(line.amount_units, currency, tone))
        if balances:
            cells.append(_known_amount(line.balance_units, currency, ""))
        rows.append(Row(tuple(cells)))
    columns = [
        Column("Step", width="44mm"),
        Column("Working", width="1fr"),
        Column("Amount", "right"),
    ]
    if balances:
        columns.append(Column("Balance", "right"))
    return Table(tuple(columns), tuple(rows), small=balances)


def _known_amount(units: int | None, currency: str, tone: str) -> Cell:
    return Cell("") if units is None else amount(units, currency, tone=tone)
