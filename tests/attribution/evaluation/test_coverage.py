"""Intervals held against their own claim, by samples of the outputs."""

import numpy as np
import pytest

from attribution.evaluation.coverage import LEVELS, covered_percent


def test_many_even_outputs_keep_their_word():
    """Intervals over 60 values of a bell curve hold the mean about as often as they claim."""
    values = list(np.random.default_rng(3).normal(size=60))
    found = covered_percent(values)
    assert found == sorted(found)
    assert found == pytest.approx(LEVELS, abs=6)


def test_a_few_skewed_outputs_do_not():
    """Where one output in ten carries nearly everything, 95 % means far less."""
    values = [*[0.0] * 9, 100.0]
    assert covered_percent(values)[LEVELS.index(95)] < 80


def test_the_same_outputs_give_the_same_figures():
    """Drawn from the seed."""
    values = [0.1, 0.5, 0.2, 0.9, 0.4]
    assert covered_percent(values, samples=50) == covered_percent(values, samples=50)
