"""Exports add up to the books, from the leaves alone, and harm no reader."""

import csv
import io

import pytest

from contracts.money import parse_units
from reports.compliance_facts import ledger_fact, suspense_facts
from reports.errors import StatementInputError
from reports.exports.audit_data_standard import audit_data_files
from reports.exports.dsr_style import dsr_style_tsv
from reports.exports.leaves import book_lines
from reports.statement import build_statement
from tests.ledger.book_maker import entry, small_book
from tests.reports.example import header, inputs, work


def rows(data):
    """The rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_gl_detail_adds_up_to_zero_in_every_currency():
    """Debits are D, credits C, amounts positive; every posting is there once."""
    leaves = small_book()
    files = audit_data_files(leaves, "2026-11", "2026-12")
    detail = rows(files["GL_Detail_202611_202612.csv"])
    assert len(detail) == len(list(book_lines(leaves)))
    sums = {}
    for row in detail:
        scale = 2 if row["Amount_Currency"] == "EUR" else 6
        units = parse_units(row["Amount"], f"{row['Amount_Currency']}/{scale}")
        assert units > 0
        sign = {"D": 1, "C": -1}[row["Amount_Credit_Debit_Indicator"]]
        sums[row["Amount_Currency"]] = sums.get(row["Amount_Currency"], 0) + sign * units
    assert set(sums.values()) == {0}


def test_trial_balance_begins_where_the_span_begins():
    """What was booked before the first period is the beginning; later periods are left out."""
    leaves = small_book()
    first = rows(audit_data_files(leaves, "2026-11", "2026-11")["Trial_Balance_202611_202611.csv"])
    second = rows(audit_data_files(leaves, "2026-12", "2026-12")["Trial_Balance_202612_202612.csv"])
    ended = {row["GL_Account_Number"]: row["Amount_Ending"] for row in first}
    began = {row["GL_Account_Number"]: row["Amount_Beginning"] for row in second}
    assert ended == began
    assert all(parse_units(row["Amount_Beginning"], "USD/6") == 0 for row in first)
    chart = rows(audit_data_files(leaves, "2026-11", "2026-12")["Chart_Of_Accounts.csv"])
    assert {row["Account_Type"] for row in chart} <= {
        "Assets", "Liabilities", "Equity", "Revenue", "Expenses",
    }  # fmt: skip


def test_facts_of_the_books_come_from_the_leaves():
    """Counts, reversals, approvals and the zero balance, without a database."""
    fact = ledger_fact(small_book(), "USD/6")
    assert fact.trial_balance_units == 0
    assert fact.reversals == 1
    assert fact.entries_by_kind["accrual"] == 6
    assert sum(fact.entries_by_kind.values()) == fact.entries


def test_suspense_ages_by_first_in_first_out():
    """
    2026-11-01  accrual  Liabilities:Suspense:Unmatched  -10
    2026-11-05  accrual  Liabilities:Suspense:Unmatched   -7
    2026-11-09  release  Liabilities:Suspense:Unmatched   12
    expect      5 left, the oldest of 2026-11-05
    """  # noqa: D205, D212, D415 - the book's own language.
    name = "Liabilities:Suspense:Unmatched"
    moves = [("2026-11-01", -10), ("2026-11-05", -7), ("2026-11-09", 12)]
    leaves = [
        entry(seq, f"k{seq}", [(name, "USD/6", units), ("Expenses:Royalty", "USD/6", -units)],
              effective_on=day)
        for seq, (day, units) in enumerate(moves, start=1)
    ]  # fmt: skip
    (fact,) = suspense_facts(leaves, "2026-12-05")
    assert (fact.account_id, fact.units, fact.oldest_on) == (name, 5, "2026-11-05")
    assert fact.by_age == {"to 30": 5}
    (older,) = suspense_facts(leaves, "2026-12-06")
    assert older.by_age == {"to 90": 5}
    assert "byline works match" in fact.action


def test_the_dsr_style_file_counts_and_adds_up():
    """Foot: statements, work lines, payable units; tabs in titles do no harm."""
    tabbed = (work("w", "2026-11-20", 135_500_000, 10**10, title="a\tb\nc"),)
    statement = build_statement(inputs(works=tabbed))
    text = dsr_style_tsv([statement], period="2026-11", sender_id="a", recipient_id="b").decode()
    lines = text.splitlines()
    heads = {line.split("\t")[0].lstrip("#"): line.count("\t") for line in lines if line[0] == "#"}
    for line in lines:
        kind = line.split("\t")[0]
        if kind in heads:
            assert line.count("\t") == heads[kind]
    assert lines[-1] == f"FOOT\t1\t1\t{statement.payable_units}"
    assert "a b c" in text


def test_a_period_without_statements_is_a_nil_return():
    """Silence is reported, too; another period's statement is refused."""
    text = dsr_style_tsv([], period="2026-11", sender_id="a", recipient_id="b").decode()
    assert text.splitlines()[-1] == "FOOT\t0\t0\t0"
    other = build_statement(inputs(header=header(period="2026-10")))
    with pytest.raises(StatementInputError, match="period is '2026-10'"):
        dsr_style_tsv([other], period="2026-11", sender_id="a", recipient_id="b")
