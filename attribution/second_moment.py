"""Adam's second moment as the metric that a layer's damping is measured in.

A step of Adam divides the gradient by `r = sqrt(v) + eps`, elementwise over the weights.
What keeps weights near where training had them is then not `damping |x|^2` but
`damping sum r x^2`. In a projected basis only the diagonal of that is kept:

    1 / metric[a, b]  is proportional to  sum_{i,o} P_in[i,a]^2 P_out[o,b]^2 / r[i,o]

1. The mean metric over a layer is about 1: a damping means the same with it and without.
2. A checkpoint without recorded moments takes those of the nearest step that has them.
3. Nothing is guessed: where no step has any, or one lacks a tracked weight, it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from attribution.errors import RecipeError
from attribution.layers import TrackedLayer, modules_of
from attribution.projection import LayerBasis

MOMENTS_FILE = "exp_avg_sq.safetensors"
_STEP = re.compile(r"step-(\d+)$")
_TINY = 1e-30


def recorded_moments(model_dir: Path, points: Sequence[Path]) -> dict[int, Path]:
    """Find the second moments a training run kept.

    Args:
        model_dir: the final model; looked at with `checkpoints/` in it and beside it.
        points: folders of the path.

    Returns:
        step -> file, of folders named `step-N`.
    """
    folders = [*points]
    for base in (model_dir, model_dir.parent):
        folders += sorted((base / "checkpoints").glob("step-*"))
    found = {}
    for folder in folders:
        match = _STEP.search(folder.resolve().name)
        if match and (folder / MOMENTS_FILE).is_file():
            found[int(match.group(1))] = folder / MOMENTS_FILE
    return found


def step_meant(step: int | None, place: int, checkpoints: int) -> int | None:
    """Return the step of a checkpoint on the path, or None for the end of training.

    Args:
        step: as its folder says, None where it does not.
        place: of the checkpoint on the path, the oldest first.
        checkpoints: how many there are; a path's first is its start, an only one the final model.
    """
    if step is None and place == 0 and checkpoints > 1:
        return 0
    return step


def nearest_moments(found: dict[int, Path], step: int | None) -> tuple[int, Path]:
    """Return (step, file) nearest to a step; the last where the step is not known (rule 2).

    Raises:
        RecipeError: nothing was recorded.
    """
    if not found:
        raise RecipeError(
            f"no {MOMENTS_FILE} lies in a step-N folder of this training run, so Adam's second "
            f"moment is not known; refit without it, or train with byline's own trainer, which "
            f"keeps it"
        )
    wanted = max(found) if step is None else step
    chosen = min(found, key=lambda known: (abs(known - wanted), known))
    return chosen, found[chosen]


def adam_metric(
    model: Any, layers: Sequence[TrackedLayer], bases: Sequence[LayerBasis], path: Path, eps: float
) -> Tensor:
    """Return the metric of every coordinate of a row, [D], float32.

    Args:
        model: any checkpoint of the run; only its parameters' names are read.
        layers: what is tracked.
        bases: of the checkpoint, one per layer.
        path: the second moments, by parameter name, shaped as the parameters are.
        eps: Adam's.

    Raises:
        RecipeError: the file lacks a tracked weight.
    """
    moments = load_file(path)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parts = []
    for layer, basis, module in zip(layers, bases, modules_of(model, layers), strict=True):
        wanted = ("weight", "bias") if layer.bias else ("weight",)
        found = []
        for kind in wanted:
            name = names[id(module.get_parameter(kind))]
            if name not in moments:
                raise RecipeError(
                    f"{path} has no second moment of {name}, which the index tracks; it was "
                    f"frozen, or the file is of another model. Refit without it"
                )
            found.append(moments[name].float())
        weight = found[0].T if isinstance(module, nn.Linear) else found[0]  # [I, O]
        rows = torch.cat([weight, *(extra[None] for extra in found[1:])])  # [I + bias, O]
        parts.append(_layer_metric(rows.sqrt() + eps, basis))
    return torch.cat(parts)


def _layer_metric(root: Tensor, basis: LayerBasis) -> Tensor:
    """Return the metric of one layer, [r_in * r_out], for `root` [I, O] = sqrt(v) + eps."""
    assert root.shape[0] == basis.p_in.shape[0], (root.shape, basis.p_in.shape)
    steps = basis.p_in.square().T @ (1.0 / root)  # [r_in, O]
    steps = steps[:, basis.p_out] if basis.p_out.dim() == 1 else steps @ basis.p_out.square()
    return (1.0 / (steps.clamp(min=_TINY) * root.mean())).reshape(-1)
