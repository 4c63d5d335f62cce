"""Fees in dispute and payment in other currencies, on real books; sums worked by hand."""

import json

import pytest

from contracts.errors import MissingRateError
from flows.artefacts import sha256_file
from flows.books import open_books
from flows.payouts import draft
from flows.works_desk import match_work, suspended_works
from ledger import chart
from tests.simulation.paper import (
    agree,
    by_party,
    close,
    owed,
    settle,
    standing,
    write_works,
)

FEE = "terms: [{term_id: fee, then: {basis: per_output, price: 0.04}}]"
CLAIMS = {"w2": {"cy": "1"}}
DISPUTE = {"w1": {"dispute": "dsp-1"}}


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


def disputed(workspace):
    """Return what stands in dispute, by work."""
    return suspended_works(workspace, standings=("disputed",))


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
    # Of the pool 30 % is claimed twice as well.
    assert [(r.work_id, r.standing, r.pool_id, r.units) for r in disputed(workspace)] == [
        ("w1", "disputed", "fees of agr-anna", 60),
        ("w1", "disputed", "fees of agr-bo", 30),
        ("w1", "disputed", "main", 300),
    ]

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
    assert disputed(workspace) == []


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


POOL = "terms: [{term_id: pool, then: {basis: pool_share, pool: main%s}}]"


def in_euros(workspace, licensor, *lines, version=1):
    """Write an agreement in euros."""
    path = agree(workspace, licensor, *lines, version=version)
    path.write_text(path.read_text().replace("currency: USD/2", "currency: EUR/2"))
    return path


def test_a_share_of_a_pool_in_dollars_is_converted_into_an_agreement_in_euros(workspace):
    """20.00 USD at 0.9 are 18.00 EUR; half of it, less a fee of 1.00, a cap and an advance."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"bo": "1"}})
    in_euros(
        workspace,
        "anna",
        "advances: [{advance_id: a, amount: 5.00, paid_on: 2026-01-02}]",
        POOL % ", rate: 50%, deductions: [{name: collection fee, amount: 1.00}], cap: 7.50",
    )
    agree(workspace, "bo")
    rates(workspace, ("USD", "EUR", "2026-01-30", "0.9"))
    settle(workspace, "2026-01-05", {"w1": 2000, "w2": 500}, unexplained=300)
    closed = close(workspace, "2026-01")
    result = by_party(closed)["anna"]
    # 18.00 x 50 % = 9.00; less 1.00 is 8.00; capped at 7.50; the advance takes 5.00.
    assert (result.royalty_units, result.recouped_units, result.net_units) == (750, 500, 250)
    assert "20.00 USD at 0.9 EUR per USD on 2026-01-30, ECB = 18.00 EUR" in result.lines[0].formula
    assert (owed(workspace, "anna"), owed(workspace, "anna", "EUR/2")) == (0, 250)
    assert owed(workspace, "bo") == 500
    account = chart.exchange("USD/2", "EUR/2")
    assert (standing(workspace, account), standing(workspace, account, "EUR/2")) == (2000, -1800)
    (entry,) = [e for e in entries_of(workspace, "apportionment") if "#agr-anna" in e.key]
    assert entry.evidence["rates"] == sha256_file(workspace.root / "rates.json")
    for currency in ("USD/2", "EUR/2"):
        with open_books(workspace) as books:
            assert sum(line.balance_units for line in books.trial_balance(currency)) == 0
    assert standing(workspace, chart.POOL_CLEARING) == 0
    assert close(workspace, "2026-01").plan.entries == closed.plan.entries


def test_a_missing_rate_stops_the_close_before_anything_is_booked(workspace):
    """Neither advances nor entries are there; with the rate the same command closes."""
    write_works(workspace, {"w1": {"anna": "1"}})
    advance = "advances: [{advance_id: a, amount: 5.00, paid_on: 2026-01-02}]"
    in_euros(workspace, "anna", advance, POOL % "")
    settle(workspace, "2026-01-05", {"w1": 2000})
    with pytest.raises(MissingRateError, match="from USD to EUR on 2026-01-31"):
        close(workspace, "2026-01")
    assert entries_of(workspace, "advance") == entries_of(workspace, "apportionment") == []
    rates(workspace, ("USD", "EUR", "2026-01-30", "0.9"))
    close(workspace, "2026-01")
    assert owed(workspace, "anna", "EUR/2") == 1800 - 500


def test_what_rounding_leaves_of_a_share_is_carried_to_the_next_month(workspace):
    """0.01 USD at 0.4 is 0.004 EUR: nothing, then 0.008 makes a cent, then -0.002 and 0.004."""
    write_works(workspace, {"w1": {"anna": "1"}})
    in_euros(workspace, "anna", POOL % "")
    days = ("2026-01-30", "2026-02-27", "2026-03-31", "2026-04-30", "2026-05-29")
    rates(workspace, *(("USD", "EUR", day, "0.4") for day in days))
    sums = []
    for month in range(1, 6):
        settle(workspace, f"2026-0{month}-05", {"w1": 1})
        closed = close(workspace, f"2026-0{month}")
        sums.append(owed(workspace, "anna", "EUR/2"))
    # 0.4, 0.8, 1.2, 1.6 and 2.0 cents.
    assert sums == [0, 1, 1, 2, 2]
    assert by_party(closed)["anna"].closing.remainders == {}
    kept = json.loads((workspace.root / "closes" / "2026-02.json").read_text())
    assert kept["agreements"]["agr-anna"]["balances"]["remainders"] == {"main": "-1/5"}
    assert standing(workspace, chart.exchange("USD/2", "EUR/2")) == 5


def test_a_net_below_half_a_unit_stays_owed_and_is_converted_with_the_next(workspace):
    """0.01 USD are 0.4 cents: owed in dollars; with 0.02 of February 1.2 cents, so 0.01 EUR."""
    write_works(workspace, {"w1": {"anna": "1"}})
    agree(workspace, "anna", "payment: {currency: EUR/2}", POOL % "")
    rates(workspace, ("USD", "EUR", "2026-01-30", "0.4"), ("USD", "EUR", "2026-02-27", "0.4"))
    settle(workspace, "2026-01-05", {"w1": 1})
    result = by_party(close(workspace, "2026-01"))["anna"]
    assert (result.converted_from_units, result.closing.unconverted_units) == (0, 1)
    assert (owed(workspace, "anna"), owed(workspace, "anna", "EUR/2")) == (1, 0)
    assert "less than half a unit" in result.lines[13].formula
    settle(workspace, "2026-02-05", {"w1": 2})
    result = by_party(close(workspace, "2026-02"))["anna"]
    assert "0.02 USD and 0.01 USD not converted before" in result.lines[13].formula
    assert (result.converted_from_units, result.closing.unconverted_units) == (3, 0)
    assert (owed(workspace, "anna"), owed(workspace, "anna", "EUR/2")) == (0, 1)


def test_an_owner_found_later_is_paid_in_his_agreements_currency_at_the_old_months_rate(workspace):
    """January's 10.00 USD at January's 0.9, though February's rate is 0.8."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {}}, w2={"unclaimed": True})
    agree(workspace, "anna")
    rates(workspace, ("USD", "EUR", "2026-01-30", "0.9"), ("USD", "EUR", "2026-02-27", "0.8"))
    settle(workspace, "2026-01-05", {"w1": 500, "w2": 1000})
    close(workspace, "2026-01")
    assert standing(workspace, chart.UNMATCHED) == 1000
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"bo": "1"}})
    in_euros(workspace, "bo", POOL % "")
    settle(workspace, "2026-02-05", {"w1": 500, "w2": 1000})
    closed = close(workspace, "2026-02")
    (adjustment,) = closed.plan.restatement.adjustments["agr-bo"]
    assert (adjustment.adjustment_type, adjustment.amount_units) == ("backpay_match", 900)
    assert owed(workspace, "bo", "EUR/2") == 900 + 800
    assert standing(workspace, chart.UNMATCHED) == 0


def test_what_was_carried_in_one_payment_currency_is_not_read_as_another(workspace):
    """18.00 EUR wait below 30.00; paid in crowns from February, they stay 18.00 EUR, due now."""
    write_works(workspace, {"w1": {"anna": "1"}})
    agree(workspace, "anna", "payment: {currency: EUR/2, threshold: 30.00}", POOL % "")
    crowns = "payment: {currency: SEK/2}"
    agree(workspace, "anna", crowns, POOL % "", version=2, starts="2026-02-01")
    rates(workspace, ("USD", "EUR", "2026-01-30", "0.9"), ("USD", "SEK", "2026-02-27", "10"))
    settle(workspace, "2026-01-05", {"w1": 2000})
    assert by_party(close(workspace, "2026-01"))["anna"].carried_forward_units == 1800
    settle(workspace, "2026-02-05", {"w1": 300})
    result = by_party(close(workspace, "2026-02"))["anna"]
    assert (result.payable_units, result.carried_forward_units) == (3000, 0)
    assert "18.00 carried before in EUR/2 stay owed in that currency" in result.lines[14].formula
    assert (owed(workspace, "anna", "EUR/2"), owed(workspace, "anna", "SEK/2")) == (1800, 3000)
    with open_books(workspace) as books:
        batch = draft(workspace, books, "b1", prepared_by="accountant-1").batch
    assert not any("threshold" in line.reason for line in batch.left_out)


def test_what_was_carried_in_the_agreements_currency_is_converted_with_the_next_net(workspace):
    """20.00 USD below 30.00, then paid in euros: with February's 10.00 USD they are 27.00 EUR."""
    write_works(workspace, {"w1": {"anna": "1"}})
    agree(workspace, "anna", "payment: {currency: USD/2, threshold: 30.00}", POOL % "")
    agree(
        workspace, "anna", "payment: {currency: EUR/2}", POOL % "", version=2, starts="2026-02-01"
    )
    rates(workspace, ("USD", "EUR", "2026-02-27", "0.9"))
    settle(workspace, "2026-01-05", {"w1": 2000})
    close(workspace, "2026-01")
    assert owed(workspace, "anna") == 2000
    settle(workspace, "2026-02-05", {"w1": 1000})
    result = by_party(close(workspace, "2026-02"))["anna"]
    assert (result.converted_from_units, result.payable_units) == (3000, 2700)
    assert (owed(workspace, "anna"), owed(workspace, "anna", "EUR/2")) == (0, 2700)


def test_a_restated_share_is_rounded_by_itself_and_what_is_taken_back_is_what_was_given(workspace):
    """0.01 USD a month is 0.4 cents; January's 0.04 more are 2.0 - 0.4: 0.02 to and fro."""
    rates(workspace, *(("USD", "EUR", f"2026-0{month}-26", "0.4") for month in range(1, 5)))
    in_euros(workspace, "anna", POOL % "")
    sums = []
    for month, found in enumerate((False, True, False, True), start=1):
        works = {"w1": {"anna": "1"}, "w2": {"anna": "1"} if found else {}}
        write_works(workspace, works, w2={"unclaimed": not found})
        settle(workspace, f"2026-0{month}-05", {"w1": 1} | ({"w2": 4} if month == 1 else {}))
        adjusted = close(workspace, f"2026-0{month}").plan.restatement.adjustments
        change = sum(a.amount_units for a in adjusted.get("agr-anna", ()))
        sums.append((owed(workspace, "anna", "EUR/2"), change))
    # Shares of 0, 1, 0 and 1 cents: 1.6 in all, rounded as they came. March's 0.02 are owed back.
    assert sums == [(0, 0), (1 + 2, 2), (3, -2), (3 + 1 + 2 - 2, 2)]
    # A restatement is expense in euros and less expense in dollars: nothing of it was exchanged.
    assert standing(workspace, chart.ROYALTY_EXPENSE) == -(5 + 3 - 4)
    assert standing(workspace, chart.ROYALTY_EXPENSE, "EUR/2") == -2
    account = chart.exchange("USD/2", "EUR/2")
    assert (standing(workspace, account), standing(workspace, account, "EUR/2")) == (4, -2)
    with open_books(workspace) as books:
        for currency in ("USD/2", "EUR/2"):
            assert sum(line.balance_units for line in books.trial_balance(currency)) == 0
