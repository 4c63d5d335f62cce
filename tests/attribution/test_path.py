"""Path weights: which steps a checkpoint stands for."""

import numpy as np
import pytest

from attribution.errors import RecipeError
from attribution.path import learning_rate_weights, recipe_steps, step_of, weights_for


def test_weights_add_up_to_one_and_follow_the_learning_rates():
    """Start and end of a run whose rate falls: the start weighs more."""
    weights = learning_rate_weights([0, 4], [4.0, 3.0, 2.0, 1.0])
    assert weights == [0.7, 0.3]


def test_a_step_half_way_counts_half_for_each():
    """Three steps between two checkpoints: the middle one belongs to both."""
    assert learning_rate_weights([0, 3], [1.0, 1.0, 1.0]) == [0.5, 0.5]


@pytest.mark.parametrize("steps", [[4, 0], [0, 0], [0, 9]])
def test_checkpoints_that_do_not_rise_inside_the_run_are_refused(steps):
    """The text says which steps and how long the run is."""
    with pytest.raises(RecipeError, match="of a run of 4 steps"):
        learning_rate_weights(steps, [1.0] * 4)


def test_steps_are_read_from_folder_names():
    """The starting point and the final model may go unnamed."""
    assert step_of("a/step-000040") == 40
    assert step_of("a/model") is None
    assert recipe_steps(["base", "step-2", "model"], [1.0] * 5) == [0, 2, 5]
    assert recipe_steps(["base", "odd", "model"], [1.0] * 5) is None


def test_without_a_recipe_all_checkpoints_weigh_the_same(tmp_path):
    """And one checkpoint alone is named for what it is."""
    assert weights_for([tmp_path / "a", tmp_path], tmp_path) == ([0.5, 0.5], "equal/1")
    assert weights_for([tmp_path], tmp_path) == ([1.0], "end_only/1")
    np.savez(tmp_path / "recipe.npz", lr=np.array([3.0, 1.0]))
    weights, rule = weights_for([tmp_path / "step-0", tmp_path], tmp_path)
    assert (weights, rule) == ([0.75, 0.25], "learning_rate/1")
