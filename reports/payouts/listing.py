"""A payout batch as a list for people: lines paid, and lines left out with the reason.

No bank detail is in it: the list is for approval and for the books, the bank file
is for the bank.
"""

from __future__ import annotations

from typing import Final

from contracts.money import format_units
from reports.payouts.batch import PayoutBatch
from reports.render.csv import csv_bytes

COLUMNS: Final = (
    "batch_id",
    "payout_id",
    "payee_id",
    "statement_number",
    "currency",
    "amount",
    "amount_units",
    "state",
    "reason",
)


def payout_csv(batch: PayoutBatch) -> bytes:
    """Write a batch as CSV; what is left out has the state `left_out` and its reason."""
    rows: list[tuple[str | int, ...]] = [
        (
            batch.batch_id,
            item.payout_id,
            item.payee_id,
            item.statement_number,
            item.currency,
            format_units(item.amount_units, item.currency),
            item.amount_units,
            item.state,
            "",
        )
        for item in batch.payouts
    ]
    rows += [
        (
            batch.batch_id,
            "",
            line.payee_id,
            "",
            line.currency,
            format_units(line.amount_units, line.currency),
            line.amount_units,
            "left_out",
            line.reason,
        )
        for line in batch.left_out
    ]
    return csv_bytes(COLUMNS, rows)
