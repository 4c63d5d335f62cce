"""Fees in dispute and payment in other currencies, on real books; sums worked by hand."""

import json

import pytest

from flows.artefacts import sha256_file
from flows.books import open_books
from flows.payouts import draft
from flows.works_desk import match_work
from ledger import chart
from tests.simulation.paper import (
    agree,
    by_party,
    close,
    owed,
    paper_workspace,
    settle,
    standing,
    write_works,
)

FEE = "terms: [{term_id: fee, then: {basis: per_output, price: 0.04}}]"
CLAIMS = {"w2": {"cy": "1"}}
DISPUTE = {"w1": {"dispute": "dsp-1"}}


@pytest.fixture
def workspace(tmp_path):
    """An installation on paper."""
    return paper_workspace(tmp_path / "home")


def rates(workspace, *rows):
    """Write the table of exchange rates: (from, to, day, rate)."""
    keys = ("from", "to", "on", "rate")
    table = [dict(zip(keys, row, strict=True)) | {"source": "ECB"} for row in rows]
    text = json.dumps({"format": "byline-rates/1", "rates": table})
    (workspace.root / "rates.json").write_text(text)


def entries_of(workspace, kind):
    """Return the entries of a kind."""
    with open_books(workspace) as books:
        return [s.entry for s in books.entries() if s.entry.kind == kind]


def test_fees_of_a_contested_work_are_held_and_released_as_they_are_decided(workspace):
    """100 outputs at 0.04: anna 40 %, bo 30 %, and 30 % that each claims are held in halves."""
    write_works(workspace, CLAIMS | {"w1": {"anna": "7/10", "bo": "3/5"}}, **DISPUTE)
    agree(workspace, "anna", FEE)
    agree(workspace, "bo", FEE.replace("0.04", "0.02"))
    settle(workspace, "2026-01-05", {"w1": 1000})
    close(workspace, "2026-01")
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (160, 60)
    # 30 % of 4.00 and of 2.00, half of each: what each may win.
    assert standing(workspace, chart.disputed("anna")) == 60
    assert standing(workspace, chart.disputed("bo")) == 30
    assert standing(workspace, chart.ROYALTY_EXPENSE) == -(1000 + 160 + 60 + 60 + 30)

    match_work(
        workspace,
        "w1",
        {"anna": "70%", "bo": "30%"},
        decided_by="judge-1",
        reason="dsp-1 decided",
    )
    settle(workspace, "2026-02-05", {"w1": 1000})
    closed = close(workspace, "2026-02")
    (adjustment,) = closed.plan.restatement.adjustments["agr-anna"]
    assert (adjustment.adjustment_type, adjustment.amount_units) == ("dispute_release", 120)
    assert "agr-bo" not in closed.plan.restatement.adjustments
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (160 + 120 + 280, 60 + 60)
    assert standing(workspace, chart.disputed("anna")) == 0
    assert standing(workspace, chart.disputed("bo")) == 0
    assert standing(workspace, chart.ROYALTY_EXPENSE) == -(2000 + 560 + 120)
    settle(workspace, "2026-03-05", {"w2": 10})
    assert not close(workspace, "2026-03").plan.restatement.held


def test_fees_of_a_work_that_two_claim_whole_are_held_whole(workspace):
    """Nothing of it is undisputed: 4.00 at one price are held, 2.00 for each, none is lost."""
    write_works(workspace, CLAIMS | {"w1": {"anna": "1", "bo": "1"}}, **DISPUTE)
    agree(workspace, "anna", FEE)
    agree(workspace, "bo", FEE)
    settle(workspace, "2026-01-05", {"w1": 1000})
    close(workspace, "2026-01")
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (0, 0)
    assert standing(workspace, chart.disputed("anna")) == 200
    assert standing(workspace, chart.disputed("bo")) == 200
    match_work(workspace, "w1", {"bo": "1"}, decided_by="judge-1", reason="dsp-1 decided")
    settle(workspace, "2026-02-05", {"w2": 10})
    close(workspace, "2026-02")
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (0, 400)
    assert standing(workspace, chart.disputed("anna")) == 0
    assert standing(workspace, chart.disputed("bo")) == 0


def test_a_net_paid_in_another_currency_is_converted_by_an_entry_that_cites_the_rate(workspace):
    """20.00 USD at 0.90 and 30.00 at 0.80: 18.00 and 24.00 EUR, each currency balances."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"bo": "1"}})
    agree(
        workspace,
        "anna",
        "payment: {currency: EUR/2, threshold: 30.00}",
        "terms: [{term_id: pool, then: {basis: pool_share, pool: main}}]",
    )
    agree(workspace, "bo")
    rates(
        workspace,
        ("USD", "EUR", "2026-01-30", "0.9"),
        ("USD", "EUR", "2026-02-27", "0.8"),
    )
    settle(workspace, "2026-01-05", {"w1": 2000, "w2": 500})
    close(workspace, "2026-01")
    assert (owed(workspace, "anna"), owed(workspace, "anna", "EUR/2")) == (0, 1800)
    settle(workspace, "2026-02-05", {"w1": 3000})
    closed = close(workspace, "2026-02")
    assert owed(workspace, "anna", "EUR/2") == by_party(closed)["anna"].payable_units == 4200
    account = chart.exchange("USD/2", "EUR/2")
    assert standing(workspace, account) == 5000
    assert standing(workspace, account, "EUR/2") == -4200
    first, second = entries_of(workspace, "conversion")
    assert "20.00 USD at 0.9 EUR per USD on 2026-01-30, ECB" in first.description
    assert second.evidence["rates"] == sha256_file(workspace.root / "rates.json")
    assert sum(p.units for p in first.postings if p.currency == "EUR/2") == 0
    assert close(workspace, "2026-02").plan.entries == closed.plan.entries
    with open_books(workspace) as books:
        batch = draft(workspace, books, "b1", prepared_by="accountant-1").batch
    rows = {(line.payee_id, line.currency, line.amount_units) for line in batch.left_out}
    assert rows == {("anna", "EUR/2", 4200), ("bo", "USD/2", 500)}
