"""Path weights: how much of the training run each checkpoint stands for.

Influence is a sum along the training path, `sum_k w_k (...)` over checkpoints.
The quadrature is stated and simple:

1. With a recipe, the trapezoid rule over the sum of learning rates: what the steps
   between two checkpoints add up to goes half to each, and what lies before the
   first or after the last goes to that one. Start and end alone so weigh a half
   each.
2. Without one, all checkpoints weigh the same.
3. Weights add up to 1. The scale of influence comes from calibration against
   the measured gain, not from the weights.
4. One checkpoint alone gives relative influence: sums over a corpus at the end
   of training have a random sign and must not be divided among people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attribution.errors import RecipeError

_STEP = re.compile(r"step-(\d+)$")


def equal_weights(checkpoints: int) -> list[float]:
    """Return the same weight for every checkpoint, adding up to 1."""
    assert checkpoints >= 1, checkpoints
    return [1.0 / checkpoints] * checkpoints


def learning_rate_weights(steps: Sequence[int], rates: Sequence[float]) -> list[float]:
    """Weigh checkpoints by the trapezoid rule over the sum of learning rates (rule 1).

    Args:
        steps: the state each checkpoint is (0 before the first step), rising.
        rates: learning rate of every step of the run; `len(rates)` is the last state.

    Returns:
        One weight per checkpoint, adding up to 1.

    Raises:
        RecipeError: the steps do not rise, or lie outside the run.
    """
    if list(steps) != sorted(set(steps)) or steps[0] < 0 or steps[-1] > len(rates):
        raise RecipeError(
            f"checkpoints are at steps {list(steps)} of a run of {len(rates)} steps; "
            f"they must rise and lie inside the run. Name them oldest first"
        )
    passed = np.concatenate([[0.0], np.cumsum(np.asarray(rates, dtype=float))])
    if not passed[-1] > 0:
        raise RecipeError("the learning rates of the recipe add up to nothing; give equal weights")
    marks = passed[list(steps)]  # [checkpoints]
    middles = (marks[1:] + marks[:-1]) / 2
    borders = np.concatenate([[0.0], middles, [passed[-1]]])
    return [float(value) for value in np.diff(borders) / passed[-1]]


def step_of(folder: Path | str) -> int | None:
    """Return the step a checkpoint folder is named for, or None."""
    match = _STEP.search(Path(folder).resolve().name)
    return int(match.group(1)) if match else None


def recipe_rates(model_dir: Path | str) -> list[float] | None:
    """Return the learning rate of every step from the recipe at or beside a model folder.

    Looks for `recipe.npz` (array `lr`) in the folder and in its parent; returns
    None where there is none.
    """
    model_dir = Path(model_dir)
    for folder in (model_dir, model_dir.parent):
        path = folder / "recipe.npz"
        if path.is_file():
            with np.load(path) as arrays:
                if "lr" in arrays:
                    return [float(rate) for rate in arrays["lr"]]
    return None


def recipe_steps(checkpoints: Sequence[Path | str], rates: Sequence[float]) -> list[int] | None:
    """Return the step of each checkpoint, where the folder names tell.

    The first may be unnamed (the starting point, step 0) and so may the last
    (the final model, step `len(rates)`).
    """
    steps = [step_of(folder) for folder in checkpoints]
    if steps and steps[0] is None and len(steps) > 1:
        steps[0] = 0
    if steps and steps[-1] is None:
        steps[-1] = len(rates)
    if any(step is None for step in steps):
        return None
    return [step for step in steps if step is not None]


def weights_for(
    checkpoints: Sequence[Path | str], model_dir: Path | str
) -> tuple[list[float], str]:
    """Choose path weights for checkpoints that end in the final model.

    Returns:
        The weights, and the name of the rule that made them:
        "learning_rate/2", "equal/1", or "end_only/1" for a single checkpoint.
    """
    if len(checkpoints) == 1:
        return [1.0], "end_only/1"
    rates = recipe_rates(model_dir)
    steps = recipe_steps(checkpoints, rates) if rates is not None else None
    if rates is None or steps is None:
        return equal_weights(len(checkpoints)), "equal/1"
    return learning_rate_weights(steps, rates), "learning_rate/2"


def optimizer_name(model_dir: Path | str) -> str | None:
    """Return the optimizer named in the recipe at or beside a model folder, where there is one."""
    name = _recipe_entry(model_dir, "optimizer")
    return str(name) if name is not None else None


def adam_epsilon(model_dir: Path | str) -> float:
    """Return Adam's eps of the recipe at or beside a model folder; 1e-8 where it says none."""
    value = _recipe_entry(model_dir, "eps")
    return 1e-8 if value is None else float(value)


def _recipe_entry(model_dir: Path | str, key: str) -> Any:
    model_dir = Path(model_dir)
    for folder in (model_dir, model_dir.parent):
        path = folder / "recipe.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8")).get(key)
    return None
