"""Path weights: which steps a checkpoint stands for."""

import numpy as np
import pytest

from attribution.errors import RecipeError
from attribution.path import learning_rate_weights, recipe_steps, step_of, weights_for


def test_start_and_end_weigh_the_same_however_the_rate_falls():
    """The trapezoid rule of two points."""
    assert learning_rate_weights([0, 4], [4.0, 3.0, 2.0, 1.0]) == [0.5, 0.5]


def test_what_lies_between_two_checkpoints_goes_half_to_each():
    """Learning rates 4 and 3 before the middle one, 2 and 1 after it: 7 and 3 of 10."""
    weights = learning_rate_weights([0, 2, 4], [4.0, 3.0, 2.0, 1.0])
    assert weights == pytest.approx([0.35, 0.5, 0.15])


def test_what_lies_outside_goes_to_the_nearest_checkpoint():
    """Nothing was kept before step 1 nor after step 3."""
    weights = learning_rate_weights([1, 3], [4.0, 3.0, 2.0, 1.0])
    assert weights == pytest.approx([(4 + 2.5) / 10, (2.5 + 1) / 10])


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
    assert (weights, rule) == ([0.5, 0.5], "learning_rate/2")
