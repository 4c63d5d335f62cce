"""A statement's files have stable, safe names and equal totals."""

import csv
import io
import json

import pytest

from contracts.money import parse_units
from reports.errors import RenderError
from reports.statement import build_statement
from reports.statement_files import FORMATS, file_stem, statement_files
from tests.reports.example import header, inputs


def test_every_format_has_the_total_of_the_books():
    """Detail and summary, CSV and JSON: one amount, to the unit."""
    statement = build_statement(inputs())
    files = statement_files(statement, FORMATS)
    stem = "S-2026-11-pkg-numkit.v1"
    assert set(files) == {f"{stem}.{name}" for name in FORMATS}
    for name in ("csv", "detail.csv"):
        rows = csv.DictReader(io.StringIO(files[f"{stem}.{name}"].decode()))
        assert sum(parse_units(row["amount"], "USD/6") for row in rows) == statement.earned_units
    totals = json.loads(files[f"{stem}.json"])["totals"]
    assert int(totals["closing"]["units"]) == statement.closing_units


def test_different_numbers_never_share_a_file():
    """An id with a slash becomes a safe name that no other id has."""
    slash = build_statement(inputs(header=header(statement_number="S-2026-11-a/b")))
    other = build_statement(inputs(header=header(statement_number="S-2026-11-a:b")))
    assert file_stem(slash) != file_stem(other)
    assert "/" not in file_stem(slash)


def test_an_unknown_format_is_named():
    """The message lists what there is."""
    with pytest.raises(RenderError, match="as docx: no such format; choose among pdf"):
        statement_files(build_statement(inputs()), ("docx",))
