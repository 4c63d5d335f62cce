"""Closes on real books: each term, dispute and correction, with the sums worked by hand."""

import json

import pytest

from contracts.balances import AdjustmentType
from contracts.errors import BadFilesError, MissingRateError
from flows.books import open_books
from flows.errors import AgreementDeskError, CloseError
from flows.what_if import what_if
from flows.works_desk import match_work, suspended_works
from ledger import chart
from tests.simulation.paper import agree, close, paper_workspace, settle, write_works

USD = "USD/2"


@pytest.fixture
def workspace(tmp_path):
    """An installation on paper."""
    return paper_workspace(tmp_path / "home")


def owed(workspace, party, currency=USD):
    """Return what a payee is owed by the books."""
    with open_books(workspace) as books:
        return -books.balance(chart.royalties_payable(party), currency)


def standing(workspace, account, currency=USD):
    """Return what stands on a liability account by the books."""
    with open_books(workspace) as books:
        return -books.balance(account, currency)


def by_party(closed):
    """Return each licensor's calculation."""
    return {result.licensor: result for result in closed.plan.earnings}


def test_a_training_pool_equal_per_work_beside_an_output_pool_by_influence(workspace):
    """Two works of anna and one of bo: 300.00 in thirds; 100.00 of outputs by influence 3 to 1."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"anna": "1"}, "w3": {"bo": "1"}})
    both = (
        "terms:",
        "  - {term_id: out, then: {basis: pool_share, pool: main}}",
        "  - {term_id: train, if: {use: [train]}, then: {basis: equal_per_work, pool: training}}",
    )
    agree(workspace, "anna", *both)
    agree(workspace, "bo", *both)
    pool = {
        "pool_id": "training",
        "amount": "900.00",
        "first_period": "2026-01",
        "periods": "3",
        "source": "clause 4 of the licence",
    }
    text = json.dumps({"format": "byline-pools/1", "pools": [pool]})
    (workspace.root / "pools.json").write_text(text)
    settle(workspace, "2026-01-05", {"w1": 5000, "w2": 2500, "w3": 2500})
    closed = close(workspace, "2026-01")
    assert owed(workspace, "anna") == 7500 + 20000
    assert owed(workspace, "bo") == 2500 + 10000
    assert standing(workspace, chart.ROYALTY_EXPENSE) == -40000
    assert [pool.rule for pool in closed.plan.pools] == ["signed_linear/1", "equal_per_work"]
    assert close(workspace, "2026-01").plan.entries == closed.plan.entries


def test_a_fee_per_output_counts_the_outputs_that_are_a_works(workspace):
    """A quarter of 200 outputs at 0.04 is 2.00, of which bo's half share is 1.00."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"bo": "1/2", "cy": "1/2"}})
    agree(workspace, "anna")
    agree(workspace, "bo", "terms: [{term_id: fee, then: {basis: per_output, price: 0.04}}]")
    settle(workspace, "2026-01-05", {"w1": 750, "w2": 250}, outputs=200)
    closed = close(workspace, "2026-01")
    assert by_party(closed)["bo"].royalty_units == owed(workspace, "bo") == 100
    # Neither bo nor cy has a term on the pool: w2's part of it is unlicensed.
    assert standing(workspace, chart.UNLICENSED) == 250


def test_reported_retrieval_is_paid_by_its_own_term(workspace):
    """Usage that others counted, 1,000 retrievals at 0.002, is paid beside the pool."""
    write_works(workspace, {"w1": {"anna": "1"}})
    agree(
        workspace,
        "anna",
        "terms:",
        "  - {term_id: out, then: {basis: pool_share, pool: main}}",
        "  - {term_id: rag, if: {use: [rag_input]}, then: {basis: per_output, price: 0.002}}",
    )
    usage = [{"work_id": "w1", "use": "rag_input", "outputs": "1000"}]
    path = workspace.root / "usage" / "2026-01.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"format": "byline-usage/1", "usage": usage}))
    settle(workspace, "2026-01-05", {"w1": 1000})
    close(workspace, "2026-01")
    assert owed(workspace, "anna") == 1000 + 200


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


def test_reserves_of_an_ended_agreement_are_released_and_its_advance_stays_recouped(workspace):
    """Ten per cent held in January, released in halves in February and March, after the end."""
    write_works(workspace, {"w1": {"anna": "1"}})
    agree(
        workspace,
        "anna",
        "effective_to: 2026-02-01",
        "advances: [{advance_id: a, amount: 4.00, paid_on: 2026-01-02}]",
        "terms: [{term_id: pool, then: {basis: pool_share, pool: main, "
        "reserve: {rate: 10%, release: [50%, 50%]}}}]",
    )
    settle(workspace, "2026-01-05", {"w1": 1000})
    close(workspace, "2026-01")
    assert owed(workspace, "anna") == 1000 - 100 - 400
    assert standing(workspace, chart.reserve("anna")) == 100
    for month, reserve in (("02", 50), ("03", 0)):
        settle(workspace, f"2026-{month}-05", {"w1": 1000})
        close(workspace, f"2026-{month}")
        assert standing(workspace, chart.reserve("anna")) == reserve
    assert owed(workspace, "anna") == 600
    assert standing(workspace, chart.UNLICENSED) == 2000


def test_payment_in_another_currency_needs_a_dated_rate_with_its_source(workspace):
    """20.00 USD at 0.90 is 18.00 EUR, below the threshold of 30.00 and carried forward."""
    write_works(workspace, {"w1": {"anna": "1"}})
    agree(
        workspace,
        "anna",
        "payment: {currency: EUR/2, threshold: 30.00}",
        "terms: [{term_id: pool, then: {basis: pool_share, pool: main}}]",
    )
    settle(workspace, "2026-01-05", {"w1": 2000})
    with pytest.raises(MissingRateError, match="from USD to EUR on 2026-01-31"):
        close(workspace, "2026-01")
    rates = [
        {"from": "USD", "to": "EUR", "on": f"2026-0{m}-2{m}", "rate": rate, "source": "ECB"}
        for m, rate in ((1, "0.9"), (2, "0.8"))
    ]
    (workspace.root / "rates.json").write_text(
        json.dumps(
            {
                "format": "byline-rates/1",
                "rates": [
                    {**r, "on": d} for r, d in zip(rates, ("2026-01-30", "2026-02-27"), strict=True)
                ],
            }
        )
    )
    result = by_party(close(workspace, "2026-01"))["anna"]
    assert (result.payable_units, result.carried_forward_units) == (0, 1800)
    assert "0.9 EUR per USD on 2026-01-30, ECB" in result.lines[13].formula
    settle(workspace, "2026-02-05", {"w1": 2000})
    result = by_party(close(workspace, "2026-02"))["anna"]
    assert (result.payable_units, result.carried_forward_units) == (1800 + 1600, 0)
    cited = json.loads((workspace.root / "closes" / "2026-02.inputs.json").read_text())
    assert (workspace.root / "evidence" / f"rates-{cited['rates'][:16]}.json").exists()


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


def test_the_same_creators_works_under_two_names_change_no_total(workspace, tmp_path):
    """Filing anna's works as anna and ann-b pays the two together what anna was paid."""
    other = paper_workspace(tmp_path / "other")
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"anna": "1"}, "w3": {"bo": "1"}})
    write_works(other, {"w1": {"anna": "1"}, "w2": {"ann-b": "1"}, "w3": {"bo": "1"}})
    for place, parties in ((workspace, ("anna", "bo")), (other, ("anna", "ann-b", "bo"))):
        for party in parties:
            agree(place, party)
        settle(place, "2026-01-05", {"w1": 777, "w2": 333, "w3": 890})
        close(place, "2026-01")
    assert owed(workspace, "anna") == owed(other, "anna") + owed(other, "ann-b") == 1110
    assert owed(workspace, "bo") == owed(other, "bo")


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


def test_two_work_groups_of_one_pool_are_each_paid_by_their_own_term(workspace):
    """Poems at 50 %, the rest at 10 %: no work is paid twice, the cap holds for each."""
    write_works(workspace, {"poem": {"anna": "1"}, "essay": {"anna": "1"}, "note": {"anna": "1"}})
    agree(
        workspace,
        "anna",
        "terms:",
        "  - {term_id: rest, then: {basis: pool_share, pool: main, rate: 10%, cap_per_work: 0.30}}",
        "  - {term_id: poems, if: {works: [poem]}, "
        "then: {basis: pool_share, pool: main, rate: 50%}}",
    )
    settle(workspace, "2026-01-05", {"poem": 1000, "essay": 600, "note": 200})
    result = by_party(close(workspace, "2026-01"))["anna"]
    # rest: 10 % of 800 is 80, the essay's 60 is capped at 30; poems: 500.
    assert {item.term.term_id: item.royalty_units for item in result.terms} == {
        "rest": 30 + 20,
        "poems": 500,
    }
    assert owed(workspace, "anna") == 550


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


def test_a_rule_that_nights_do_not_accrue_by_is_refused(workspace):
    """per_output_positive/1 exists for comparison; a close does not pretend to have applied it."""
    write_works(workspace, {"w1": {"anna": "1"}})
    then = "then: {basis: pool_share, pool: main, method: per_output_positive/1}"
    agree(workspace, "anna", f"terms: [{{term_id: pool, {then}}}]")
    settle(workspace, "2026-01-05", {"w1": 1000})
    with pytest.raises(CloseError, match=r"divided by per_output_positive/1, but the night"):
        close(workspace, "2026-01")


def test_every_fault_of_the_accountants_files_is_named_at_once(workspace):
    """Two wrong pools: neither is used, both are named, and nothing is closed."""
    write_works(workspace, {"w1": {"anna": "1"}})
    agree(workspace, "anna")
    settle(workspace, "2026-01-05", {"w1": 1000})
    rows = [
        {"pool_id": "training", "amount": "1.001", "first_period": "2026-01", "source": "x"},
        {"pool_id": "main", "amount": "1.00", "first_period": "2026-01", "source": "x"},
    ]
    text = json.dumps({"format": "byline-pools/1", "pools": rows})
    (workspace.root / "pools.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadFilesError, match=r"2 faults(.|\n)*pools\[0\](.|\n)*pools\[1\]"):
        close(workspace, "2026-01")
    assert owed(workspace, "anna") == 0
