"""Datamodels and Shapley values on games whose answer is known."""

import itertools
import math

import numpy as np
import pytest

from attribution.evaluation.removal import masks
from attribution.evaluation.semivalues import datamodel, kernel_sizes, shapley


def test_a_datamodel_finds_the_few_documents_that_matter():
    """Fewer retrains than documents, three of which matter: the lasso names them."""
    draw = np.random.default_rng(0)
    kept = draw.random((60, 150)) < 0.5
    effect = np.zeros((150, 2))
    effect[[4, 70, 149], 0] = [3.0, -2.0, 1.5]
    effect[10, 1] = 5.0
    helped = 7 + kept @ effect + 0.05 * draw.normal(size=(60, 2))
    found, fit = datamodel(kept, helped)
    assert set(np.argsort(-np.abs(found[0]))[:3]) == {4, 70, 149}
    assert np.argmax(found[1]) == 10
    assert found[0][4] == pytest.approx(3.0, rel=0.15)
    assert found[0][70] < 0
    assert (fit > 0.8).all()


def test_a_datamodel_of_noise_says_that_it_knows_nothing():
    """The cross-validated fit of noise is not above zero."""
    draw = np.random.default_rng(1)
    _, fit = datamodel(draw.random((40, 100)) < 0.5, draw.normal(size=(40, 6)))
    assert fit.mean() < 0.1


def exact_shapley(worth, players):
    """Average each player's gain over every order of joining."""
    found = np.zeros(players)
    for order in itertools.permutations(range(players)):
        there: set[int] = set()
        for player in order:
            found[player] += worth(there | {player}) - worth(there)
            there.add(player)
    return found / math.factorial(players)


def test_kernel_regression_over_every_coalition_is_the_shapley_value():
    """Exact for a game with substitutes and complements, when coalitions come as drawn."""

    def worth(there):
        return 4.0 * bool(there & {0, 1}) + 1.0 * (2 in there) + 3.0 * ({3, 4} <= there)

    rows, helped = [], []
    chance = kernel_sizes(5)
    for size in range(1, 5):
        each = list(itertools.combinations(range(5), size))
        # Whole numbers of copies, in proportion to the chance of each coalition.
        copies = round(1200 * chance[size - 1] / len(each))
        for members in each:
            rows += [np.isin(np.arange(5), members)] * copies
            helped += [[worth(set(members))]] * copies
    values = shapley(
        np.stack(rows),
        np.asarray(helped),
        np.array([worth(set())]),
        np.array([worth(set(range(5)))]),
    )
    assert values[0] == pytest.approx(exact_shapley(worth, 5), abs=0.02)
    assert values[0].sum() == pytest.approx(worth(set(range(5))))
    assert values[0][:2] == pytest.approx([2.0, 2.0], abs=0.02)


def test_coalitions_are_drawn_with_the_kernels_sizes():
    """Small and large coalitions are common, middling ones rare."""

    class Setup:
        rows = [()] * 12
        groups = tuple("abcdefghijkl")
        creators = tuple("abcdefghijkl")

    sizes = masks(Setup(), "kernel", 4000, 1).sum(axis=1)
    counted = np.bincount(sizes, minlength=13)[1:12] / 4000
    assert counted == pytest.approx(kernel_sizes(12), abs=0.03)
