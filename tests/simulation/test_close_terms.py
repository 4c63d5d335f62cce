"""Closes on real books: each term, with the sums worked by hand."""

import json

import pytest

from contracts.errors import BadFilesError, MissingRateError
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


def test_every_use_and_right_that_is_reported_is_paid_by_the_term_for_it_alone(workspace):
    """Five uses at five prices; of the text and the sound of search the sound costs double."""
    write_works(workspace, {"w1": {"anna": "1"}})
    prices = {"train": "0.01", "finetune": "0.02", "rag_input": "0.03", "index": "0.04"}
    prices["search"] = "0.05"
    terms = [
        f"  - {{term_id: {use}, if: {{use: [{use}]}}, then: {{basis: per_output, price: {price}}}}}"
        for use, price in prices.items()
    ]
    sound = "if: {use: [search], right: [sound]}, then: {basis: per_output, price: 0.10}"
    agree(workspace, "anna", "terms:", *terms, f"  - {{term_id: sound, {sound}}}")
    usage = [{"work_id": "w1", "use": use, "outputs": "100", "right": "text"} for use in prices]
    usage += [{"work_id": "w1", "use": "search", "outputs": "10", "right": "sound"}]
    path = workspace.root / "usage" / "2026-01.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"format": "byline-usage/1", "usage": usage}))
    settle(workspace, "2026-01-05", {"w1": 1000})
    result = by_party(close(workspace, "2026-01"))["anna"]
    assert {t.term.term_id: t.royalty_units for t in result.terms} == {
        "train": 100,
        "finetune": 200,
        "rag_input": 300,
        "index": 400,
        "search": 500,
        "sound": 100,
    }
