"""The data dictionary: what every column of the machine-readable statements means.

A column is described here before it is written anywhere (a test compares), and
its meaning is never changed: a different meaning is a different column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from reports.render.csv import csv_bytes
from reports.render.document import Cell, Column, Document, Heading, Row, Table, Text
from reports.statement_inputs import (
    ADJUSTMENT_TYPES,
    PAYMENT_MOVEMENTS,
    POOL_DESTINATIONS,
    ROYALTY_MOVEMENTS,
    TAX_MOVEMENTS,
)

FORMAT: Final = "byline-data-dictionary/1"


@dataclass(frozen=True)
class Term:
    """One column: its type ("text", "integer", "decimal", "date") and its meaning."""

    kind: str
    meaning: str


COLUMNS: Final[dict[str, Term]] = {
    "statement_number": Term("text", "Number of the statement; the same for all its versions."),
    "version": Term("integer", "Version of the statement; a higher one replaces the lower ones."),
    "period": Term("text", "Settlement period, YYYY-MM."),
    "payee_id": Term("text", "Who is paid."),
    "creator_id": Term("text", "Whose works earned."),
    "work_id": Term("text", "The work; an id of the catalogue."),
    "title": Term("text", "Title of the work, for people."),
    "external_ids": Term("text", "Ids of the work elsewhere (ISBN, DOI, URL), as catalogued."),
    "role": Term("text", "Role of the creator in the work."),
    "use": Term("text", "Use that was paid for: output, train or retrieval."),
    "model_version": Term("text", "Version of the model whose outputs were looked at."),
    "territory": Term("text", "Where the outputs were delivered, ISO 3166, or world."),
    "activity_period": Term("text", "When the outputs were made: a day, a month or a span a..b."),
    "population_outputs": Term("integer", "Payable outputs logged in the activity period."),
    "sampled_outputs": Term("integer", "Outputs drawn from them and traced."),
    "weight_ppm": Term(
        "integer", "Mean sampling weight in millionths: outputs that one sampled output stands for."
    ),
    "influence_nanonats": Term(
        "integer",
        "Sum of influence on the sampled outputs in 10^-9 nats of log-likelihood; positive helped.",
    ),
    "share_ppt": Term(
        "integer", "Share of the pool's value in trillionths (10^12 = 100 %), signed, estimated."
    ),
    "stderr_ppt": Term("integer", "Standard error of share_ppt from sampling, in trillionths."),
    "low_ppt": Term("integer", "Lower end of the 95 % interval of share_ppt; empty if unknown."),
    "high_ppt": Term("integer", "Upper end of the 95 % interval of share_ppt; empty if unknown."),
    "pool_id": Term("text", "The pool of money."),
    "pool_amount": Term("decimal", "The pool in the activity period."),
    "rate": Term("text", "Rate or tier that made the pool, in words."),
    "work_accrual": Term(
        "decimal", "Accrual of the whole work (100 %), signed, before floors and splits."
    ),
    "split_numerator": Term("integer", "The creator's part of the work: numerator."),
    "split_denominator": Term("integer", "The creator's part of the work: denominator."),
    "amount": Term("decimal", "Amount with all digits of the currency's scale, signed."),
    "amount_units": Term("integer", "The same amount in whole units of the currency's scale."),
    "currency": Term("text", "Currency code and scale: USD/6 means units of 0.000001 USD."),
    "adjustment_type": Term("text", "Type of correction, or none; see the list of types."),
    "reliability": Term("text", "Band or remark on the reliability of the attribution."),
    "line": Term("integer", "Place of the line in the account summary."),
    "kind": Term("text", "Kind of movement or total; see the list of kinds."),
    "label": Term("text", "The line's printed label."),
    "note": Term("text", "Remark to the line: date, certificate, agreement."),
    "is_total": Term("text", "yes for lines that add up others, no for movements."),
}

ADJUSTMENT_MEANINGS: Final[dict[str, str]] = {
    "none": "No adjustment: money of the period itself.",
    "backpay_match": "Money of an unmatched work whose owner has been found.",
    "ownership_conflict_release": "Money held because two parties claimed the work, released.",
    "dispute_release": "Money held in another dispute, released.",
    "rate_correction": "The agreement's rate was applied wrongly or changed for the past.",
    "method_restatement": "The attribution was computed anew with another method or index.",
    "usage_correction": "Usage of an earlier period arrived late or was counted wrongly.",
    "fraud_clawback": "Traffic paid for was found to be fraudulent.",
    "fx_correction": "The exchange rate was corrected.",
    "reversal": "An earlier entry was taken back as a whole.",
}


def dictionary_csv() -> bytes:
    """Write the data dictionary as CSV: one row a column."""
    rows = [(name, term.kind, term.meaning) for name, term in COLUMNS.items()]
    return csv_bytes(("column", "type", "meaning"), rows)


def dictionary_document(*, date: str, payer_id: str) -> Document:
    """Lay the data dictionary out as a paper.

    Args:
        date: ISO date of the paper.
        payer_id: who issues the statements.
    """
    columns = (Column("Column"), Column("Type"), Column("Meaning", width="1fr"))
    rows = tuple(
        Row((Cell(name, tone="code"), Cell(term.kind), Cell(term.meaning)))
        for name, term in COLUMNS.items()
    )
    kinds = {**ROYALTY_MOVEMENTS, **TAX_MOVEMENTS, **PAYMENT_MOVEMENTS}
    return Document(
        title="Data dictionary",
        subtitle="Royalty statements as CSV, XLSX and JSON",
        running=(payer_id, "data dictionary", FORMAT),
        footer=FORMAT,
        date=date,
        author=payer_id,
        facts=(("Date", date), ("Columns", str(len(COLUMNS)))),
        blocks=(
            Text("Integers are exact; in JSON every integer is a text. Empty means not known."),
            Heading("Columns"),
            Table(columns, rows, small=True),
            Heading("Kinds of movement"),
            _words(kinds),
            Heading("Destinations of a pool"),
            _words(POOL_DESTINATIONS),
            Heading("Types of adjustment"),
            _words({name: ADJUSTMENT_MEANINGS[name] for name in ADJUSTMENT_TYPES}),
        ),
    )


def _words(words: Mapping[str, str]) -> Table:
    rows = tuple(Row((Cell(name, tone="code"), Cell(text))) for name, text in words.items())
    return Table((Column("Word", width="52mm"), Column("Meaning", width="1fr")), rows, small=True)
