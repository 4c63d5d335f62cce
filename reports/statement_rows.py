"""The rows of a statement for machines: the same columns in CSV, XLSX and JSON.

Column names are settled in the data dictionary (`reports.dictionary`); a column
is never renamed, only added at the end. Amounts are signed decimal texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from reports.statement import Statement
from reports.statement_inputs import WorkLine

Value = str | int

HEAD_COLUMNS: Final = ("statement_number", "version", "period", "payee_id", "creator_id")
WORK_COLUMNS: Final = (
    *HEAD_COLUMNS,
    "work_id",
    "title",
    "external_ids",
    "role",
    "use",
    "model_version",
    "territory",
    "activity_period",
    "population_outputs",
    "sampled_outputs",
    "weight_ppm",
    "influence_nanonats",
    "share_ppt",
    "stderr_ppt",
    "low_ppt",
    "high_ppt",
    "pool_id",
    "pool_amount",
    "rate",
    "work_accrual",
    "split_numerator",
    "split_denominator",
    "amount",
    "amount_units",
    "currency",
    "adjustment_type",
    "reliability",
)
ACCOUNT_COLUMNS: Final = (
    *HEAD_COLUMNS,
    "line",
    "kind",
    "label",
    "note",
    "is_total",
    "amount",
    "amount_units",
    "currency",
)


def work_rows(
    statement: Statement, layout: Literal["summary", "detail"]
) -> Iterator[tuple[Value, ...]]:
    """Give one row a work line, in the order of WORK_COLUMNS."""
    lines = statement.work_summary if layout == "summary" else statement.inputs.works
    for line in lines:
        yield (*_head(statement), *_work(statement, line))


def account_rows(statement: Statement) -> Iterator[tuple[Value, ...]]:
    """Give one row a line of the account summary, totals among them, in printing order."""
    currency = statement.inputs.header.currency
    for place, line in enumerate(statement.summary, start=1):
        yield (
            *_head(statement),
            place,
            line.kind,
            line.label,
            line.note,
            "yes" if line.is_total else "no",
            statement.money(line.amount_units),
            line.amount_units,
            currency,
        )


def _head(statement: Statement) -> tuple[Value, ...]:
    header = statement.inputs.header
    return (
        header.statement_number,
        header.version,
        header.period,
        header.payee_id,
        header.party_id,
    )


def _work(statement: Statement, line: WorkLine) -> tuple[Value, ...]:
    return (
        line.work_id,
        line.title,
        line.external_ids,
        line.role,
        line.use,
        line.model_version,
        line.territory,
        line.activity_period,
        line.population_outputs,
        line.sampled_outputs,
        line.weight_ppm,
        _known(line.influence_nanonats),
        line.share_ppt,
        line.stderr_ppt,
        _known(line.low_ppt),
        _known(line.high_ppt),
        line.pool_id,
        statement.money(line.pool_units),
        line.rate,
        statement.money(line.accrual_units),
        line.split.numerator,
        line.split.denominator,
        statement.money(line.amount_units),
        line.amount_units,
        statement.inputs.header.currency,
        line.adjustment_type,
        line.reliability,
    )


def _known(value: int | None) -> Value:
    return "" if value is None else value
