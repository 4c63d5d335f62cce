"""Every column, kind and type that leaves the house is described, and nothing else is."""

from reports.dictionary import (
    ADJUSTMENT_MEANINGS,
    COLUMNS,
    dictionary_csv,
    dictionary_document,
)
from reports.render.pdf import render_pdf
from reports.statement_inputs import ADJUSTMENT_TYPES
from reports.statement_rows import ACCOUNT_COLUMNS, WORK_COLUMNS


def test_every_column_is_described():
    """A column nobody explains is a column everybody reads differently."""
    assert set(COLUMNS) == {*WORK_COLUMNS, *ACCOUNT_COLUMNS}


def test_every_type_of_adjustment_is_described():
    """The types of the statement are those of the dictionary."""
    assert tuple(ADJUSTMENT_MEANINGS) == ADJUSTMENT_TYPES


def test_the_dictionary_is_a_paper_and_a_file():
    """It travels with the statements."""
    assert dictionary_csv().count(b"\r\n") == len(COLUMNS) + 1
    document = dictionary_document(date="2026-12-05", payer_id="org:example-models")
    assert render_pdf(document).startswith(b"%PDF")
