"""Write a statement as CSV: one table a file, one header row, amounts exact, no injection.

1. A text that a spreadsheet would run (it starts with = + - @, tab or return) is
   preceded by an apostrophe. Our own negative numbers are numbers and stay bare.
2. Amounts are decimal texts with all digits of the scale; the `_units` column
   beside them is the same amount in whole units.
3. Every row names the statement, its version and the period, so that rows of
   many statements can be put into one file.
4. UTF-8, comma, CRLF as in RFC 4180; no total rows: a column adds up.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from reports.statement import Statement
from reports.statement_rows import ACCOUNT_COLUMNS, WORK_COLUMNS, account_rows, work_rows

CsvTable = Literal["summary", "detail", "account"]
DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def render_csv(statement: Statement, table: CsvTable = "summary") -> bytes:
    """Write one table of a statement.

    Args:
        statement: what to write.
        table: "summary" or "detail" (work lines in that layout), or "account"
            (the account summary, line by line).
    """
    if table == "account":
        return csv_bytes(ACCOUNT_COLUMNS, account_rows(statement))
    return csv_bytes(WORK_COLUMNS, work_rows(statement, table))


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[str | int]]) -> bytes:
    """Write rows as CSV; integers are written as they are, texts are guarded.

    A text that is itself a plain decimal number is a number and is not guarded.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([value if isinstance(value, int) else guard(value) for value in row])
    return buffer.getvalue().encode()


def guard(text: str) -> str:
    """Make a text harmless for spreadsheets.

    >>> guard("=HYPERLINK(1)"), guard("-12.50"), guard("plain")
    ("'=HYPERLINK(1)", '-12.50', 'plain')
    """
    start = text.lstrip(" \N{NO-BREAK SPACE}\ufeff\u200b")
    if start.startswith(DANGEROUS) and not _is_number(text):
        return f"'{text}"
    return text


def _is_number(text: str) -> bool:
    digits = text[1:] if text[:1] == "-" else text
    whole, _, fraction = digits.partition(".")
    return (
        whole.isascii()
        and whole.isdigit()
        and (not fraction or (fraction.isascii() and fraction.isdigit()))
    )
