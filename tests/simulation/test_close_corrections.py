"""Corrections on real books: disputes, matches, late terms, reversals; sums worked by hand."""

import pytest

from contracts.balances import AdjustmentType
from contracts.store_desk import AgreementDesk
from flows.books import open_books
from flows.errors import AgreementDeskError, CloseError
from flows.what_if import what_if
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


def test_a_work_claimed_twice_holds_the_contested_part_only_and_releases_it_when_decided(workspace):
    """Anna 70 % and bo 60 % of w1: 40 and 30 undisputed, 30 held; decided 60 to 40."""
    write_works(
        workspace,
        {"w1": {"anna": "7/10", "bo": "3/5"}, "w2": {"cy": "1"}},
        w1={"dispute": "dsp-1"},
    )
    for party in ("anna", "bo", "cy"):
        agree(workspace, party)
    settle(workspace, "2026-01-05", {"w1": 1000, "w2": 500})
    close(workspace, "2026-01")
    assert [owed(workspace, party) for party in ("anna", "bo", "cy")] == [400, 300, 500]
    assert standing(workspace, chart.DISPUTED) == 300
    (row,) = suspended_works(workspace, standings=("disputed",))
    assert (row.work_id, row.units, row.age_months) == ("w1", 300, 0)

    shares = {"anna": "60%", "bo": "40%"}
    match_work(workspace, "w1", shares, decided_by="judge-1", reason="dsp-1 decided")
    with open_books(workspace) as books:
        steps = AgreementDesk(books.engine).disputes()
    assert [(s.dispute_id, s.step, str(s.share), s.decided_by) for s in steps] == [
        ("dsp-1/w1/anna", "opened", "7/10", ""),
        ("dsp-1/w1/anna", "resolved", "3/5", "judge-1"),
        ("dsp-1/w1/bo", "opened", "3/5", ""),
        ("dsp-1/w1/bo", "resolved", "2/5", "judge-1"),
    ]
    settle(workspace, "2026-02-05", {"w1": 1000, "w2": 500})
    closed = close(workspace, "2026-02")
    found = closed.plan.restatement.adjustments
    assert {name: [a.amount_units for a in mine] for name, mine in found.items()} == {
        "agr-anna": [200],
        "agr-bo": [100],
    }
    assert found["agr-anna"][0].adjustment_type is AdjustmentType.DISPUTE_RELEASE
    assert found["agr-anna"][0].activity_period.text == "2026-01"
    assert [owed(workspace, p) for p in ("anna", "bo", "cy")] == [1200, 800, 1000]
    assert standing(workspace, chart.DISPUTED) == 0
    settle(workspace, "2026-03-05", {"w2": 500})
    assert not close(workspace, "2026-03").plan.restatement.adjustments


def test_a_dispute_that_opens_after_the_close_takes_back_what_is_contested(workspace):
    """Bo's claim on half of anna's work: 500 of 1000 come back, carried as a debit balance."""
    write_works(workspace, {"w1": {"anna": "1"}})
    agree(workspace, "anna")
    settle(workspace, "2026-01-05", {"w1": 1000})
    close(workspace, "2026-01")
    write_works(workspace, {"w1": {"anna": "1", "bo": "1/2"}}, w1={"dispute": "dsp-2"})
    settle(workspace, "2026-02-05", {"w1": 200})
    result = by_party(close(workspace, "2026-02"))["anna"]
    # February: 100 undisputed, less 500: 400 are left to pay off, nobody pays in.
    assert (result.net_units, result.closing.debit_units) == (0, 400)
    assert standing(workspace, chart.DISPUTED) == 500 + 100
    assert owed(workspace, "anna") == 1000
    assert standing(workspace, chart.debit_balance("anna")) == -400
    write_works(workspace, {"w1": {"anna": "1"}})
    settle(workspace, "2026-03-05", {"w1": 300})
    close(workspace, "2026-03")
    assert owed(workspace, "anna") == 1500
    assert standing(workspace, chart.debit_balance("anna")) == 0


def test_an_unmatched_work_is_searchable_and_aged_and_paid_when_matched(workspace):
    """Two months of a work nobody owns are paid in the third, at the agreement's rate of half."""
    write_works(workspace, {"w1": {"anna": "1"}, "poem-7": {}}, {"bo"})
    agree(workspace, "anna")
    half = "terms: [{term_id: pool, then: {basis: pool_share, pool: main, rate: 50%}}]"
    agree(workspace, "bo", half)
    for month, units in (("01", 300), ("02", 100)):
        settle(workspace, f"2026-{month}-05", {"w1": 1000, "poem-7": units})
        close(workspace, f"2026-{month}")
    rows = suspended_works(workspace, search="POEM")
    assert [(r.work_id, r.period, r.age_months, r.units) for r in rows] == [
        ("poem-7", "2026-01", 1, 300),
        ("poem-7", "2026-02", 0, 100),
    ]
    assert suspended_works(workspace, search="nothing like it") == []
    match_work(workspace, "poem-7", {"bo": "1"}, decided_by="clerk-1", reason="claim 12")
    settle(workspace, "2026-03-05", {"w1": 1000})
    closed = close(workspace, "2026-03")
    mine = closed.plan.restatement.adjustments["agr-bo"]
    assert [(a.adjustment_type, a.amount_units) for a in mine] == [
        (AdjustmentType.BACKPAY_MATCH, 150),
        (AdjustmentType.BACKPAY_MATCH, 50),
    ]
    assert owed(workspace, "bo") == 200
    assert owed(workspace, "anna") == 3000
    assert standing(workspace, chart.UNMATCHED) == 0
    assert standing(workspace, chart.ROYALTY_EXPENSE) == -3200
    assert suspended_works(workspace) == []


def test_an_agreement_signed_late_is_paid_from_what_stood_unlicensed(workspace):
    """Bo signs in March with effect from January; a dry run said the same before."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"bo": "1"}})
    agree(workspace, "anna")
    settle(workspace, "2026-01-05", {"w1": 600, "w2": 400})
    close(workspace, "2026-01")
    settle(workspace, "2026-02-05", {"w1": 600, "w2": 100})
    file = agree(workspace, "bo")
    kept = file.read_text()
    file.unlink()
    tried = workspace.home / "bo.yaml"
    tried.write_text(kept)
    with open_books(workspace) as books:
        before = books.head_seq()
    ((name, old, new),) = what_if(workspace, "2026-02", tried).changed()
    with open_books(workspace) as books:
        assert books.head_seq() == before
    assert (name, old) == ("agr-bo", None)
    assert (new.royalty_units, new.adjustment_units, new.net_units) == (100, 400, 500)
    file.write_text(kept)
    closed = close(workspace, "2026-02")
    assert by_party(closed)["bo"] == new
    assert owed(workspace, "bo") == 500
    assert standing(workspace, chart.UNLICENSED) == 0
    assert standing(workspace, chart.accrued("bo")) == 0


def test_a_rate_raised_backwards_pays_the_difference_and_keeps_the_closed_period(workspace):
    """Version 2 with effect from January: 10 % more of 1000, as expense, in February."""
    half = "terms: [{term_id: pool, then: {basis: pool_share, pool: main, rate: 50%}}]"
    write_works(workspace, {"w1": {"anna": "1"}})
    agree(workspace, "anna", half)
    settle(workspace, "2026-01-05", {"w1": 1000})
    first = close(workspace, "2026-01")
    agree(workspace, "anna", half.replace("50%", "60%"), version=2)
    settle(workspace, "2026-02-05", {"w1": 1000})
    closed = close(workspace, "2026-02")
    (adjustment,) = closed.plan.restatement.adjustments["agr-anna"]
    assert (adjustment.adjustment_type, adjustment.amount_units) == ("rate_correction", 100)
    assert owed(workspace, "anna") == 500 + 600 + 100
    # The closed period worked out again is what it was, with the version it cites.
    assert close(workspace, "2026-01").plan.entries == first.plan.entries


def test_an_escalator_missed_in_a_closed_period_counts_on_as_it_would_have(workspace):
    """Above 10.00 half as much again: found out in February, counted on from 15.00."""
    tiers = (
        "terms: [{term_id: pool, then: {basis: pool_share, pool: main, tiers: {counted: agreement, "
        "steps: [{above: 0, rate: 20%}, {above: 10.00, rate: 30%}]}}}]"
    )
    plain = "terms: [{term_id: pool, then: {basis: pool_share, pool: main, rate: 20%}}]"
    write_works(workspace, {"w1": {"anna": "1"}})
    agree(workspace, "anna", plain)
    settle(workspace, "2026-01-05", {"w1": 1500})
    close(workspace, "2026-01")
    agree(workspace, "anna", tiers, version=2)
    settle(workspace, "2026-02-05", {"w1": 1000})
    result = by_party(close(workspace, "2026-02"))["anna"]
    # January again: 1000 x 20 % + 500 x 30 % = 350, 300 were paid. February: all above.
    assert (result.adjustment_units, result.royalty_units) == (50, 300)


def test_a_version_changed_in_place_is_refused(workspace):
    """What was settled under a text cannot be worked out under another."""
    write_works(workspace, {"w1": {"anna": "1"}})
    path = agree(workspace, "anna")
    settle(workspace, "2026-01-05", {"w1": 1000})
    path.write_text(path.read_text() + "# a remark\n")
    with pytest.raises(CloseError, match=r"agr-anna v1 was settled under the text .* new version"):
        close(workspace, "2026-01")


def test_a_night_taken_back_leaves_its_own_period_or_the_open_one(workspace):
    """A reversal in February of a January night lowers February's claims by what it accrued."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"bo": "1"}})
    agree(workspace, "anna")
    agree(workspace, "bo")
    settle(workspace, "2026-01-05", {"w1": 300, "w2": 100})
    settle(workspace, "2026-01-06", {"w1": 50})
    close(workspace, "2026-01")
    settle(workspace, "2026-02-05", {"w1": 700, "w2": 500})
    with open_books(workspace) as books:
        (wrong,) = [s.entry for s in books.entries() if s.entry.key == "2026-01-05/main"]
        books.reverse(
            wrong.entry_id,
            key="2026-01-05/main/reversed",
            period="2026-02",
            effective_on="2026-02-10",
            prepared_by="accountant-1",
            approved_by="controller-1",
        )
    close(workspace, "2026-02")
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (350 + 400, 100 + 400)
    assert standing(workspace, chart.ROYALTY_EXPENSE) == -(450 + 800)
    assert standing(workspace, chart.accrued("anna")) == 0


def test_a_match_of_more_than_the_whole_or_of_nobody_known_changes_nothing(workspace):
    """The catalogue keeps its bytes, and the refusal says what to do."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {}})
    before = workspace.catalogue.read_bytes()
    told = {"decided_by": "clerk-1", "reason": "none"}
    with pytest.raises(AgreementDeskError, match="add up to 6/5"):
        match_work(workspace, "w2", {"anna": "60%", "operator": "60%"}, **told)
    with pytest.raises(AgreementDeskError, match="party nobody-known is neither"):
        match_work(workspace, "w2", {"nobody-known": "1"}, **told)
    assert workspace.catalogue.read_bytes() == before


def test_late_records_of_an_ended_agreement_are_paid_under_it(workspace):
    """The agreement ended with January; a January log that comes in February still pays."""
    write_works(workspace, {"w1": {"anna": "1"}})
    half = "terms: [{term_id: pool, then: {basis: pool_share, pool: main, rate: 50%}}]"
    agree(workspace, "anna", "effective_to: 2026-02-01", half)
    settle(workspace, "2026-01-05", {"w1": 1000})
    close(workspace, "2026-01")
    settle(workspace, "2026-01-06", {"w1": 200}, late="0123456789ab")
    settle(workspace, "2026-02-05", {"w1": 1000})
    close(workspace, "2026-02")
    # February's own use is unlicensed; of the pool of 1200 the late 200 are anna's.
    assert owed(workspace, "anna") == 500 + 100
    assert standing(workspace, chart.UNLICENSED) == 1000


def test_what_accrued_under_a_version_with_a_pool_is_paid_after_one_without(workspace):
    """Version 2 begins on the 15th and has a flat fee alone: the first half month is paid by v1."""
    write_works(workspace, {"w1": {"anna": "1"}})
    half = "terms: [{term_id: pool, then: {basis: pool_share, pool: main, rate: 50%}}]"
    flat = "terms: [{term_id: fee, then: {basis: flat, amount: 1.00, first_period: 2026-01}}]"
    agree(workspace, "anna", half)
    agree(workspace, "anna", flat, version=2, starts="2026-01-15")
    settle(workspace, "2026-01-05", {"w1": 1000})
    settle(workspace, "2026-01-20", {"w1": 300})
    result = by_party(close(workspace, "2026-01"))["anna"]
    assert {t.term.term_id: t.royalty_units for t in result.terms} == {"fee": 100, "pool@v1": 500}
    assert standing(workspace, chart.UNLICENSED) == 300
    settle(workspace, "2026-02-05", {"w1": 100})
    assert not close(workspace, "2026-02").plan.restatement.adjustments


def test_a_work_that_no_later_term_names_is_paid_by_the_first_term_on_its_pool(workspace):
    """The essay accrued 6.00 under version 1; version 2 names poem and note: 50 % of it is paid."""
    write_works(workspace, {"poem": {"anna": "1"}, "essay": {"anna": "1"}, "note": {"anna": "1"}})
    then = "then: {basis: pool_share, pool: main, rate: %s}"
    terms = (
        "terms:",
        f"  - {{term_id: poems, if: {{works: [poem]}}, {then % '50%'}}}",
        f"  - {{term_id: rest, if: {{works: [essay]}}, {then % '10%'}}}",
    )
    agree(workspace, "anna", *terms)
    later = terms[2].replace("essay", "note")
    agree(workspace, "anna", *terms[:2], later, version=2, starts="2026-01-16")
    settle(workspace, "2026-01-05", {"poem": 1000, "essay": 600})
    settle(workspace, "2026-01-20", {"poem": 100, "note": 50})
    result = by_party(close(workspace, "2026-01"))["anna"]
    royalties = {t.term.term_id: t.royalty_units for t in result.terms}
    assert royalties == {"poems": 550 + 300, "rest": 5}
    assert standing(workspace, chart.UNLICENSED) == 0


def test_a_territory_that_no_later_term_names_is_paid_by_the_first_term_on_its_pool(workspace):
    """Germany accrued 3.00 under version 1; version 2 licenses Sweden at 50 % and France."""
    write_works(workspace, {"w1": {"anna": "1"}})
    then = "then: {basis: pool_share, pool: main, rate: %s}"
    terms = (
        "terms:",
        f"  - {{term_id: se, if: {{territory: [SE]}}, {then % '50%'}}}",
        f"  - {{term_id: other, if: {{territory: [DE]}}, {then % '10%'}}}",
    )
    agree(workspace, "anna", *terms)
    later = terms[2].replace("DE", "FR")
    agree(workspace, "anna", *terms[:2], later, version=2, starts="2026-01-16")
    settle(workspace, "2026-01-05", {"w1": {"SE": 600, "DE": 300}})
    settle(workspace, "2026-01-20", {"w1": {"FR": 100, "DE": 70}})
    result = by_party(close(workspace, "2026-01"))["anna"]
    royalties = {t.term.term_id: t.royalty_units for t in result.terms}
    assert royalties == {"se": 300 + 150, "other": 10}
    assert standing(workspace, chart.UNLICENSED) == 70
