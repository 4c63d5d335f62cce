"""Ranks, intervals, shares and the two truths, on numbers small enough to check by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attribution.errors import RecipeError
from attribution.evaluation.lds import (
    bootstrap,
    ceilings,
    evaluate,
    lds,
    misallocated_percent,
    shares,
    spearman,
)
from attribution.evaluation.truth import Truth, load_truth

FLOATS = st.lists(st.integers(-5, 5), min_size=3, max_size=30)


def linear_truth(seed=0, documents=40, creators=8, queries=5, retrains=60):
    """Make a truth in which every document helps every query by a fixed amount."""
    draw = np.random.default_rng(seed)
    effect = draw.gamma(1.0, size=(queries, documents))
    owner = np.arange(documents) % creators
    groups = tuple(f"c{number}" for number in owner)
    kept = {
        "base": np.ones((1, documents), dtype=bool),
        "loco": owner[None, :] != np.arange(creators)[:, None],
        "doc": draw.random((retrains, documents)) < 0.5,
        "creator": (draw.random((retrains, creators)) < 0.5)[:, owner],
    }
    losses = {kind: 100 - rows @ effect.T for kind, rows in kept.items()}
    numbers = {kind: tuple(range(len(rows))) for kind, rows in kept.items()}
    return Truth(groups, np.full(queries, 10), kept, losses, numbers), effect


@given(FLOATS, st.randoms())
def test_spearman_is_that_of_the_statistics_library(values, random):
    """Ties are averaged, and a constant side has no correlation."""
    other = list(values)
    random.shuffle(other)
    left, right = np.asarray(values, dtype=float), np.asarray(other, dtype=float)
    if len(set(values)) == 1:
        assert spearman(left, right) == 0.0
    else:
        assert spearman(left, right) == pytest.approx(stats.spearmanr(left, right).statistic)


def test_equal_sums_that_differ_by_rounding_have_no_order():
    """Sums of equal parts are not ranked by their last bits."""
    equal = np.array([sum([1 / n] * n) for n in (3, 7, 10, 49, 6, 11)])
    assert len(set(equal)) > 1
    assert spearman(equal, np.arange(6.0)) == 0.0


def test_true_effects_score_perfectly_under_every_measure():
    """Where effects add up, the effects themselves are the perfect scores."""
    truth, effect = linear_truth()
    judged = evaluate(effect, truth)
    assert judged.lds_documents.mean == pytest.approx(1.0)
    assert judged.lds_creators.mean == pytest.approx(1.0)
    assert judged.removal_rank.mean == pytest.approx(1.0)
    assert judged.summed == pytest.approx({"documents": 1, "creators": 1, "removal": 1})
    assert judged.coalition_fit == pytest.approx(1.0, abs=1e-3)
    assert all(percent < 0.1 for percent in judged.misallocated.values())


def test_only_order_and_ratios_of_scores_are_read():
    """A method may score in any unit."""
    truth, effect = linear_truth()
    noisy = effect + np.random.default_rng(1).normal(size=effect.shape)
    once, scaled = evaluate(noisy, truth), evaluate(1e6 * noisy, truth)
    assert once.lds_documents == scaled.lds_documents
    assert once.removal_rank == scaled.removal_rank
    assert once.misallocated == pytest.approx(scaled.misallocated)


def test_scores_turned_round_are_as_wrong_as_can_be():
    """The sign counts: harm is not help."""
    truth, effect = linear_truth()
    assert evaluate(-effect, truth).lds_documents.mean == pytest.approx(-1.0)
    assert lds(-effect, truth.kept["doc"], truth.losses["doc"]) == pytest.approx([-1.0] * 5)


def test_where_creators_replace_each_other_removal_pays_neither_and_coalition_both():
    """Two owners of the same content: the reason that two truths are shown."""
    draw = np.random.default_rng(2)
    kept_creators = draw.random((200, 3)) < 0.5
    loco = ~np.eye(3, dtype=bool)

    def loss(kept):
        # Creators 0 and 1 hold the same content, creator 2 holds something else.
        return 10.0 - 4.0 * (kept[:, :1] | kept[:, 1:2]) - 1.0 * kept[:, 2:]

    kept = {"base": np.ones((1, 3), dtype=bool), "loco": loco, "creator": kept_creators}
    truth = Truth(
        ("a", "b", "c"), np.array([1]), kept,
        {kind: loss(rows) for kind, rows in kept.items()},
        {kind: tuple(range(len(rows))) for kind, rows in kept.items()},
    )  # fmt: skip
    removal, _ = truth.removal()
    assert removal[0].tolist() == [0.0, 0.0, 1.0]
    coalition = truth.coalition().values[0]
    assert coalition == pytest.approx([2.0, 2.0, 1.0], abs=0.4)


def test_coalitions_of_one_size_get_their_level_from_the_whole():
    """Exact halves show only who helped more than average; the rest is told by everybody."""
    truth, effect = linear_truth()
    draw = np.random.default_rng(4)
    halves = np.stack([draw.permutation(8) < 4 for _ in range(60)])[:, np.arange(40) % 8]
    truth.kept["creator"] = halves
    truth.losses["creator"] = 100 - halves @ effect.T
    assert truth.coalition().values == pytest.approx(effect @ truth.membership, rel=1e-3)


def test_money_has_an_interval_around_it():
    """Other queries would have given another figure, and so would other retrains."""
    truth, effect = linear_truth(queries=12)
    noisy = effect + np.random.default_rng(1).normal(size=effect.shape)
    judged = evaluate(noisy, truth)
    assert set(judged.misallocated_interval) == set(judged.misallocated)
    for name, (low, high) in judged.misallocated_interval.items():
        assert 0 <= low < judged.misallocated[name] < high <= 100
    assert len(judged.misallocated) == 6


def test_small_removals_in_further_orders_are_a_truth_of_their_own():
    """The recipe's order is not averaged away, and the ceiling says how far the two agree."""
    truth, effect = linear_truth(documents=30)
    draw = np.random.default_rng(3)
    truth.kept["drop"] = draw.random((25, 30)) < 0.9
    truth.losses["drop"] = 100 - truth.kept["drop"] @ effect.T
    assert evaluate(effect, truth).lds_drops_reordered is None
    truth.kept["drop9"] = truth.kept["drop"][5:]
    truth.losses["drop9"] = -truth.losses["drop"][5:]
    found = evaluate(effect, truth)
    assert found.lds_drops.mean == pytest.approx(1)
    assert found.lds_drops_reordered.mean == pytest.approx(-1)
    assert ceilings(truth)["drops/rank"] == pytest.approx(-1)
    kept, losses = truth.retrains("drop")
    assert len(kept) == 25
    assert np.allclose(losses[5:], 0)


def test_losses_of_further_orders_are_averaged_where_they_kept_the_same():
    """A second order halves the noise of the first; what it did not repeat stays as it was."""
    truth, _ = linear_truth(retrains=4)
    truth.kept["doc5"], truth.losses["doc5"] = truth.kept["doc"][:2], truth.losses["doc"][:2] + 2
    kept, losses = truth.retrains("doc")
    assert np.array_equal(kept, truth.kept["doc"])
    assert losses - truth.losses["doc"] == pytest.approx(
        np.array([[1.0], [1], [0], [0]]) * [[1] * 5]
    )


def test_a_second_order_is_the_ceiling_of_the_first():
    """What one training order says of another bounds what any method can be asked for."""
    truth, _ = linear_truth()
    for kind in ("base", "loco"):
        truth.kept[f"{kind}5"] = truth.kept[kind][:6]
        truth.losses[f"{kind}5"] = truth.losses[kind][:6]
        truth.numbers[f"{kind}5"] = truth.numbers[kind][:6]
    same = ceilings(truth)
    assert same["order5/rank"] == pytest.approx(1)
    assert same["order5/linear"] == pytest.approx(0, abs=1e-9)
    assert same["order5/creators"] == 6
    draw = np.random.default_rng(3)
    truth.losses["loco5"] = truth.losses["loco5"] + draw.normal(size=truth.losses["loco5"].shape)
    noisy = ceilings(truth)
    assert noisy["order5/rank"] < 1
    assert noisy["order5/linear"] > 0
    assert same["coalition/linear"] == pytest.approx(0, abs=0.1)
    assert same["halves/linear"] > 0


def test_few_retrains_pull_coalition_values_towards_size_and_many_do_not():
    """The pull is chosen by how well it foretells retrains that it has not seen."""
    few, effect = linear_truth(documents=80, creators=20, retrains=14)
    noise = np.random.default_rng(5).normal(size=few.losses["creator"].shape)
    few.losses["creator"] += 20 * noise
    many, _ = linear_truth(documents=80, creators=20, retrains=200)
    assert few.coalition().ridge > many.coalition().ridge
    assert many.coalition().values == pytest.approx(effect @ many.membership, rel=1e-3)
    assert many.coalition().fit.mean() > few.coalition().fit.mean()


def test_shares_floor_a_creator_only_after_summing():
    """Harm in one output is set against help in another before anything is floored."""
    nats = np.array([[3.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])
    assert shares(nats).tolist() == [0.5, 0.0, 0.5]
    assert shares(nats, np.array([4.0, 1.0])) == pytest.approx([0.0, 0.0, 1.0])
    assert shares(-np.abs(nats)).sum() == 0


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any))
def test_misallocated_money_is_between_nothing_and_everything(weights):
    """Paying the truth misplaces nothing; paying only the wrong one misplaces all."""
    true = np.asarray(weights, dtype=float) / sum(weights)
    assert misallocated_percent(true, true) == 0
    assert 0 <= misallocated_percent(np.full(4, 0.25), true) <= 75 + 1e-9
    assert misallocated_percent(np.array([1.0, 0, 0, 0]), np.array([0, 0, 0, 1.0])) == 100


def test_an_interval_holds_its_mean_and_shrinks_with_more_queries():
    """The interval says how much of the mean is the luck of these queries."""
    draw = np.random.default_rng(0)
    few, many = bootstrap(list(draw.normal(size=10))), bootstrap(list(draw.normal(size=1000)))
    assert few.low < few.mean < few.high
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize(
    ("scores", "message"),
    [(np.zeros((2, 2)), "scores are"), (np.full((5, 40), np.nan), "NaN or infinity")],
)
def test_scores_that_cannot_be_judged_are_refused(scores, message):
    """A wrong shape or a NaN is not judged as if it were zero."""
    truth, _ = linear_truth()
    with pytest.raises(RecipeError, match=message):
        evaluate(scores, truth)


def test_a_kind_of_retrain_that_is_missing_is_not_judged():
    """What was not measured is None, not zero."""
    truth, effect = linear_truth(retrains=5)
    del truth.losses["doc"]
    judged = evaluate(effect, truth)
    assert judged.lds_documents is None
    assert judged.coalition_fit is None
    assert {name.split("/")[1] for name in judged.misallocated} == {"removal"}
    with pytest.raises(RecipeError, match="5 retrains of random creators are too few"):
        truth.coalition()


def test_a_removal_of_half_a_creator_is_refused():
    """Retrains made for other creators are not read as if they were these."""
    truth, _ = linear_truth()
    truth.kept["loco"][0, 8] = True
    with pytest.raises(RecipeError, match="loco-000 left out documents of 1 creators, not all"):
        truth.removal()


def test_files_of_another_corpus_are_refused(tmp_path):
    """A truth is read whole, with the documents and queries it was made for."""
    with pytest.raises(RecipeError, match="holds no retrain"):
        load_truth(tmp_path, ("a",), np.array([1]))
    np.savez(tmp_path / "base-000.npz", mask=np.ones(3, dtype=bool), loss=np.zeros(2))
    with pytest.raises(RecipeError, match="of 3 documents and 2 queries, not 1 and 1"):
        load_truth(tmp_path, ("a",), np.array([1]))
    truth = load_truth(tmp_path, ("a", "b", "b"), np.array([4, 2]))
    assert truth.creators == ("a", "b")
