"""Write a statement as a workbook: real numbers, frozen headers, the same rows as the CSV.

1. An amount is a number cell. XLSX stores binary doubles, so the exact amount
   stands beside it as a whole number of units, and every amount with at most
   15 significant digits reads back exactly.
2. Text is never a formula: it is written with the string method only.
3. Dates of creation are the statement's own, so the same statement gives the
   same bytes.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.workbook import Workbook
from xlsxwriter.worksheet import Worksheet

from contracts.money import Currency
from reports.statement import Statement
from reports.statement_rows import ACCOUNT_COLUMNS, WORK_COLUMNS, account_rows, work_rows

AMOUNTS: Final = frozenset({"amount", "pool_amount", "work_accrual"})
WIDTH_MAX: Final = 42
DOUBLE_EXACT: Final = 2**53


def render_xlsx(statement: Statement) -> bytes:
    """Write a statement as a workbook with the sheets Account, Works and Works in detail."""
    header = statement.inputs.header
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True, "strings_to_formulas": False})
    created = dt.datetime.fromisoformat(f"{header.statement_date}T00:00:00+00:00")
    book.set_properties(
        {
            "title": f"Royalty statement {header.statement_number} v{header.version}",
            "author": header.payer_id,
            "comments": f"statement sha256 {statement.sha256}",
            "created": created.replace(tzinfo=None),
        }
    )
    scale = Currency.parse(header.currency).scale
    money = book.add_format({"num_format": f"#,##0.{'0' * scale}" if scale else "#,##0"})
    bold = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "bottom"})
    sheets = {
        "Account": (ACCOUNT_COLUMNS, account_rows(statement)),
        "Works": (WORK_COLUMNS, work_rows(statement, "summary")),
        "Works in detail": (WORK_COLUMNS, work_rows(statement, "detail")),
    }
    for name, (columns, rows) in sheets.items():
        _sheet(book, name, columns, rows, money, bold)
    book.close()
    return buffer.getvalue()


def _sheet(
    book: Workbook,
    name: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str | int]],
    money: Format,
    bold: Format,
) -> None:
    sheet = book.add_worksheet(name)
    widths = [len(column) for column in columns]
    for place, column in enumerate(columns):
        sheet.write_string(0, place, column, bold)
    count = 0
    for count, row in enumerate(rows, start=1):
        for place, (column, value) in enumerate(zip(columns, row, strict=True)):
            _write(sheet, count, place, value, money if column in AMOUNTS else None)
            widths[place] = max(widths[place], len(str(value)))
    for place, width in enumerate(widths):
        sheet.set_column(place, place, min(width + 2, WIDTH_MAX))
    sheet.freeze_panes(1, 0)
    if count:
        sheet.autofilter(0, 0, count, len(columns) - 1)


def _write(sheet: Worksheet, row: int, place: int, value: str | int, money: Format | None) -> None:
    if money is not None and value != "":
        sheet.write_number(row, place, Decimal(value), money)
    elif isinstance(value, int) and abs(value) < DOUBLE_EXACT:
        sheet.write_number(row, place, value)
    else:
        sheet.write_string(row, place, str(value))
