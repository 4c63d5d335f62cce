"""Pools by signed_linear/1 and per_output_positive/1 side by side; sums worked by hand."""

import json

import pytest

from flows.errors import CloseError
from flows.what_if import what_if
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

POSITIVE = "method: per_output_positive/1"
BY_POSITIVE = f"terms: [{{term_id: pool, then: {{basis: pool_share, pool: main, {POSITIVE}}}}}]"
# Four outputs of 2.50 each. By the sum bo's work hindered as much as it helped, except once.
NIGHT = {"w1": 900, "w2": 100}
POSITIVELY = {"w1": 600, "w2": 400}


@pytest.fixture
def workspace(workspace):
    """An installation on paper with one work of anna's and one of bo's."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"bo": "1"}})
    return workspace


def training_pool(workspace, division):
    """Write a pool of 10.00 that a fee pays into in January."""
    pool = {"pool_id": "fees", "amount": "10.00", "first_period": "2026-01", "source": "clause 4"}
    pools = {"format": "byline-pools/1", "pools": [pool | {"division": division}]}
    (workspace.root / "pools.json").write_text(json.dumps(pools))


def test_a_pool_is_divided_by_the_rule_its_terms_name_and_what_was_booked_is_cleared(workspace):
    """The night booked 9.00 and 1.00 by the sum; the pool pays 6.00 and 4.00 by output."""
    agree(workspace, "anna", BY_POSITIVE)
    agree(workspace, "bo", BY_POSITIVE)
    settle(workspace, "2026-01-05", NIGHT, positive=POSITIVELY)
    assert standing(workspace, chart.accrued("anna")) == 900
    closed = close(workspace, "2026-01")
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (600, 400)
    assert standing(workspace, chart.accrued("anna")) == standing(workspace, "x") == 0
    assert closed.plan.apportionment.rule == "per_output_positive/1"
    assert close(workspace, "2026-01").plan.entries == closed.plan.entries


def test_two_pools_of_one_period_have_a_rule_each(workspace):
    """Revenue by the sum, 9.00 and 1.00; a fee of 10.00 by output, 6.00 and 4.00."""
    both = (
        "terms:",
        "  - {term_id: out, then: {basis: pool_share, pool: main}}",
        f"  - {{term_id: fee, then: {{basis: pool_share, pool: fees, {POSITIVE}}}}}",
    )
    agree(workspace, "anna", *both)
    agree(workspace, "bo", *both)
    training_pool(workspace, "per_output_positive/1")
    settle(workspace, "2026-01-05", NIGHT, positive=POSITIVELY)
    closed = close(workspace, "2026-01")
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (900 + 600, 100 + 400)
    assert [p.rule for p in closed.plan.pools] == ["signed_linear/1", "per_output_positive/1"]


def test_a_term_on_a_pool_of_fees_that_names_another_rule_than_the_pool_is_refused(workspace):
    """The agreement says one rule and pools.json another: neither is guessed to be right."""
    agree(workspace, "bo")
    agree(workspace, "anna", BY_POSITIVE.replace("main", "fees"))
    training_pool(workspace, "signed_linear/1")
    settle(workspace, "2026-01-05", NIGHT, positive=POSITIVELY)
    with pytest.raises(CloseError, match=r"signed_linear/1 according to pools.json, and agree"):
        close(workspace, "2026-01")


def test_a_rule_agreed_backwards_for_a_closed_pool_of_fees_is_refused(workspace):
    """January's fee was divided by the sum; anna alone signs the other rule for it in February."""
    both = (
        "terms:",
        "  - {term_id: out, then: {basis: pool_share, pool: main}}",
        "  - {term_id: fee, then: {basis: pool_share, pool: fees%s}}",
    )
    agree(workspace, "anna", *both[:2], both[2] % "")
    agree(workspace, "bo", *both[:2], both[2] % "")
    training_pool(workspace, "signed_linear/1")
    settle(workspace, "2026-01-05", NIGHT, positive=POSITIVELY)
    close(workspace, "2026-01")
    assert owed(workspace, "anna") == 900 + 900
    agree(workspace, "anna", *both[:2], both[2] % f", {POSITIVE}", version=2)
    settle(workspace, "2026-02-05", NIGHT, positive=POSITIVELY)
    told = r"agr-anna v2 takes part in pool fees by per_output_positive/1 in 2026-01, which is clos"
    with pytest.raises(CloseError, match=told):
        close(workspace, "2026-02")
    assert owed(workspace, "anna") == 900 + 900
    agree(workspace, "anna", *both[:2], both[2] % "", version=3)
    close(workspace, "2026-02")
    assert owed(workspace, "anna") == 900 + 900 + 900


def test_one_pool_has_one_rule(workspace):
    """Anna's agreement names one rule and bo's the other; both are named, nothing is closed."""
    agree(workspace, "anna", BY_POSITIVE)
    agree(workspace, "bo")
    settle(workspace, "2026-01-05", NIGHT, positive=POSITIVELY)
    with pytest.raises(CloseError, match=r"two rules at once in 2026-01: agreement agr-anna v1"):
        close(workspace, "2026-01")
    assert owed(workspace, "anna") == 0


def test_the_noise_floor_and_the_fallback_hold_for_the_second_rule_too(workspace):
    """Bo's 4.00 has an error of 3.00: below noise; with a fallback it is paid all the same."""
    agree(workspace, "anna", BY_POSITIVE)
    agree(workspace, "bo", BY_POSITIVE)
    errors = {"w2": 3 * 10**11, "bo": 3 * 10**11}
    settle(workspace, "2026-01-05", NIGHT, positive=POSITIVELY, stderr_ppt=errors)
    before = what_if(workspace, "2026-01", workspace.agreements / "bo.v1.yaml").before
    assert before.apportionment.portions["bo"].destination == "below_noise"
    assert before.apportionment.destinations["below_noise"] == 400
    fallback = "reliability: {limit: 1/2, fallback: equal_per_work}"
    agree(workspace, "bo", BY_POSITIVE, fallback, version=2)
    closed = close(workspace, "2026-01")
    portion = closed.plan.apportionment.portions["bo"]
    assert (portion.moved_units, portion.fallback_units, portion.payable_units) == (400, 400, 400)


def test_unlicensed_and_unmatched_parts_keep_their_names_under_the_second_rule(workspace):
    """What nobody is owed of 6.00 and 4.00 stands by work, and is paid when it is matched."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {}}, w2={"unclaimed": True})
    agree(workspace, "anna", BY_POSITIVE)
    settle(workspace, "2026-01-05", NIGHT, unexplained=50, positive=POSITIVELY)
    close(workspace, "2026-01")
    assert owed(workspace, "anna") == 600
    assert standing(workspace, chart.UNMATCHED) == 400
    assert standing(workspace, chart.UNEXPLAINED) == 50
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"anna": "1/2", "bo": "1/2"}})
    agree(workspace, "bo", BY_POSITIVE)
    settle(workspace, "2026-02-05", NIGHT, positive=POSITIVELY)
    closed = close(workspace, "2026-02")
    adjusted = {
        name: [(a.adjustment_type.value, a.amount_units) for a in mine]
        for name, mine in closed.plan.restatement.adjustments.items()
    }
    half = [("backpay_match", 200)]
    assert adjusted == {"agr-anna": half, "agr-bo": half}
    assert owed(workspace, "anna") == 600 + 200 + 600 + 200
    assert standing(workspace, chart.UNMATCHED) == 0


def test_what_a_territory_brought_is_cut_by_the_rule_that_divides_the_pool(workspace):
    """Anna licenses Sweden alone: of her 6.00 by output 4.00 came from there."""
    only = BY_POSITIVE.replace("then:", "if: {territory: [SE]}, then:")
    agree(workspace, "anna", only)
    agree(workspace, "bo", BY_POSITIVE)
    positive = {"w1": {"SE": 400, "DE": 200}, "w2": 400}
    settle(workspace, "2026-01-05", {"w1": {"SE": 100, "DE": 800}, "w2": 100}, positive=positive)
    close(workspace, "2026-01")
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (400, 400)
    assert standing(workspace, chart.UNLICENSED) == 200


def test_a_rule_agreed_with_effect_backwards_restates_the_closed_month_for_everybody(workspace):
    """January was paid by the sum; both sign the other rule for it in March: 3.00 change hands."""
    agree(workspace, "anna")
    agree(workspace, "bo")
    settle(workspace, "2026-01-05", NIGHT, unexplained=70, positive=POSITIVELY)
    close(workspace, "2026-01")
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (900, 100)
    agree(workspace, "anna", BY_POSITIVE, version=2)
    settle(workspace, "2026-02-05", {"w1": 10, "w2": 10}, positive={"w1": 10, "w2": 10})
    with pytest.raises(CloseError, match="two rules at once in 2026-02"):
        close(workspace, "2026-02")
    agree(workspace, "bo", BY_POSITIVE, version=2)
    closed = close(workspace, "2026-02")
    adjusted = {
        name: [(a.adjustment_type.value, a.amount_units, a.reason) for a in mine]
        for name, mine in closed.plan.restatement.adjustments.items()
    }
    why = "pool main by per_output_positive/1 instead of signed_linear/1"
    assert adjusted == {
        "agr-anna": [("method_restatement", -300, why)],
        "agr-bo": [("method_restatement", 300, why)],
    }
    # Anna earned 0.10 in February and owes the rest of 3.00, which later royalties pay off.
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (900, 100 + 300 + 10)
    assert standing(workspace, chart.debit_balance("anna")) == -290
    assert standing(workspace, chart.ROYALTY_EXPENSE) == -(1000 + 70 + 20)
    cited = json.loads((workspace.root / "closes" / "2026-02.inputs.json").read_text())
    assert sorted(cited["positive"]) == ["2026-01-05", "2026-02-05"]
    settle(workspace, "2026-03-05", {"w1": 500}, positive={"w1": 500})
    assert not close(workspace, "2026-03").plan.restatement.adjustments
    assert owed(workspace, "anna") == 900 + 500 - 290


def test_a_dry_run_of_the_other_rule_says_what_would_change_and_books_nothing(workspace, tmp_path):
    """What if anna, alone on the pool, had agreed on the other rule."""
    agree(workspace, "anna")
    settle(workspace, "2026-01-05", NIGHT, positive=POSITIVELY)
    tried = tmp_path / "tried.yaml"
    text = (workspace.agreements / "anna.v1.yaml").read_text()
    tried.write_text(text.replace("pool: main}", f"pool: main, {POSITIVE}}}"))
    ((_, before, after),) = what_if(workspace, "2026-01", tried).changed()
    assert (before.royalty_units, after.royalty_units) == (900, 600)
    assert by_party(close(workspace, "2026-01"))["anna"].royalty_units == 900


def test_fees_per_use_are_counted_by_the_sum_whatever_divides_the_pool(workspace):
    """Nine tenths of 100 outputs at 0.01 is 0.90, beside 6.00 of the pool."""
    fee = "  - {term_id: fee, then: {basis: per_output, price: 0.01}}"
    pool = f"  - {{term_id: pool, then: {{basis: pool_share, pool: main, {POSITIVE}}}}}"
    agree(workspace, "anna", "terms:", pool, fee)
    settle(workspace, "2026-01-05", NIGHT, positive=POSITIVELY)
    close(workspace, "2026-01")
    assert owed(workspace, "anna") == 600 + 90


def test_a_closed_month_is_not_worked_out_on_other_accruals_than_its_close_cites(workspace):
    """The table and its manifest are made anew with other numbers: the close cites the old ones."""
    agree(workspace, "anna", BY_POSITIVE)
    settle(workspace, "2026-01-05", NIGHT, positive=POSITIVELY)
    close(workspace, "2026-01")
    manifest = workspace.root / "positive" / "2026-01-05.manifest.json"
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(data | {"note": "x"}))
    with pytest.raises(CloseError, match=r"cites the positive [0-9a-f]{64}, found [0-9a-f]{64}"):
        close(workspace, "2026-01")
