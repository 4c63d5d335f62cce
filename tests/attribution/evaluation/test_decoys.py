"""Decoys show how much of influence any text would have earned."""

import numpy as np
import pytest

from attribution.evaluation.decoys import decoy_level

TOKENS = np.array([10.0, 20.0, 30.0, 40.0])


def test_decoys_that_earn_nothing_leave_all_of_it_specific():
    """A method that sees training gives never-trained text about zero."""
    trained = np.outer([1.0, 2.0], TOKENS)
    level = decoy_level(trained, TOKENS, np.zeros((2, 3)), np.array([5.0, 5.0, 9.0]))
    assert level.generic_share == 0
    assert level.separation.mean == 1.0
    assert level.trained_per_token == pytest.approx(1.5)


def test_decoys_that_earn_like_the_rest_make_all_of_it_generic():
    """A method that pays by size pays decoys as well, and is seen to."""
    level = decoy_level(np.outer([1.0, 1.0], TOKENS), TOKENS, np.outer([1.0, 1.0], TOKENS), TOKENS)
    assert level.generic_share == pytest.approx(1.0)
    assert level.separation.mean == pytest.approx(0.5)


def test_sizes_are_taken_out_before_levels_are_compared():
    """A few long decoys and many short documents compare token by token."""
    trained = np.full((1, 4), 3.0) * TOKENS
    level = decoy_level(trained, TOKENS, np.array([[1000.0]]), np.array([1000.0]))
    assert level.decoy_per_token == pytest.approx(1.0)
    assert level.generic_share == pytest.approx(1 / 3)


def test_there_is_no_generic_part_of_nothing():
    """Where the trained documents' total is not above zero it cannot be divided."""
    level = decoy_level(-np.ones((2, 4)), TOKENS, np.ones((2, 1)), np.array([1.0]))
    assert level.generic_share is None
