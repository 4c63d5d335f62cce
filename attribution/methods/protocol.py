"""What every attribution method declares, what it is given, and what it gives back.

1. A method is a function of its task: model, path, documents and queries in their
   file order, and a seed. Its options are the fields of its dataclass.
2. It returns one number per query and document; positive means helped.
3. A document or query with nothing to score gets zero, never NaN.
4. It declares what it needs, what it costs and where it must not be trusted. What
   is missing is refused before any work, with the way to get it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from attribution.device import AUTO, CPU
from attribution.errors import ScoringError
from attribution.matrix_task import MatrixTask
from attribution.path import recipe_rates

__all__ = [
    "NEEDS",
    "Declaration",
    "MatrixTask",
    "Method",
    "Reread",
    "check_needs",
    "device_for",
    "options_of",
    "silence",
    "with_options",
]

NEEDS = {
    "gradients": "the model is run backwards",
    "checkpoints": "earlier weights of the same training stage",
    "recipe": "the recorded training run (recipe.json and recipe.npz)",
    "encoder": "a local folder of a sentence-embedding model",
}


@dataclass(frozen=True)
class Declaration:
    """What a method says of itself.

    Attributes:
        needs: names in `NEEDS`; empty where tokens and lengths are enough.
        cost: its cost model, in words: what is run how often, what is stored.
        limits: where its scores must not be trusted.
        along_path: it sums over the task's checkpoints, and is judged at the end
            point alone where there are none; the two are different methods.
        on_card: it follows the task's device; the others keep to the processor.
    """

    needs: tuple[str, ...]
    cost: str
    limits: str
    along_path: bool = False
    on_card: bool = False

    def __post_init__(self) -> None:
        assert set(self.needs) <= NEEDS.keys(), self.needs


class Method(Protocol):
    """One attribution method."""

    @property
    def name(self) -> str:
        """What `--method` calls it."""
        ...

    @property
    def declared(self) -> Declaration:
        """Its needs, cost and limits."""
        ...

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], float64, in file order, positive = helped."""
        ...


@runtime_checkable
class Reread(Protocol):
    """A method whose costly part is the same however it is read: measured once for all readings.

    `readings` names the options that decide only how.
    """

    readings: tuple[str, ...]

    def measured(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], float64, before it is read."""
        ...

    def read(self, measured: Tensor, task: MatrixTask) -> Tensor:
        """Return the scores."""
        ...


def device_for(method: Method, wanted: str) -> str:
    """Return the device that a method is given: the one asked for, where it can follow it.

    Raises:
        ScoringError: a card was asked for by name, and the method keeps to the processor.
    """
    if method.declared.on_card or wanted == CPU.type:
        return wanted
    if wanted != AUTO:
        raise ScoringError(
            f"device {wanted} was asked for and method {method.name} runs on the processor only; "
            f"nothing was scored. Give --device cpu or auto"
        )
    return CPU.type


def check_needs(method: Method, task: MatrixTask) -> None:
    """Refuse a task that lacks what the method needs (rule 4).

    Raises:
        ScoringError: names what is missing and the way to get it.
    """
    needs = method.declared.needs
    if "checkpoints" in needs and not task.checkpoints:
        raise ScoringError(
            f"method {method.name} needs checkpoints and the task has none; nothing was scored. "
            f"Give earlier weights of the same stage, oldest first, with --checkpoint; "
            f"`byline demo` and attribution.training keep them in checkpoints/step-*"
        )
    if "recipe" in needs and recipe_rates(task.model_dir) is None:
        raise ScoringError(
            f"method {method.name} needs the recipe of the training run and there is no "
            f"recipe.npz at or beside {task.model_dir}; nothing was scored. Train with "
            f"attribution.training, which writes one, or choose a method without that need "
            f"(`byline methods` lists them)"
        )
    if "encoder" in needs and not getattr(method, "folder", ""):
        raise ScoringError(
            f"method {method.name} needs the folder of a sentence-embedding model and got none; "
            f"nothing is downloaded. Give one with --set folder=PATH"
        )


def with_options(method: Method, options: Mapping[str, str]) -> Method:
    """Return the method with some of its options set.

    Args:
        method: a dataclass whose fields are its options.
        options: option -> value as text; read as the type of the default.

    Raises:
        ScoringError: an unknown option, or a value of another type.
    """
    if not options:
        return method
    known = options_of(method)
    chosen = {}
    for name, text in options.items():
        if name not in known:
            listed = ", ".join(f"{key}={value}" for key, value in known.items()) or "none"
            raise ScoringError(f"method {method.name} has no option {name!r}; it has: {listed}")
        chosen[name] = _read(method.name, name, text, known[name])
    dataclass_method: Any = method
    changed: Method = replace(dataclass_method, **chosen)
    return changed


def options_of(method: Any) -> dict[str, Any]:
    """Return the options of a method with their values; one that is no dataclass has none."""
    if not is_dataclass(method):
        return {}
    return {field.name: getattr(method, field.name) for field in fields(method)}


def silence(scores: Tensor, task: MatrixTask) -> Tensor:
    """Set the rows and columns with nothing to score to zero, in place (rule 3)."""
    scores[[row.scored == 0 for row in task.queries_encoded]] = 0.0
    scores[:, [row.scored == 0 for row in task.documents_encoded]] = 0.0
    return scores


def _read(method: str, name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() in {"true", "false"}:
            return text.lower() == "true"
    elif isinstance(default, str):
        return text
    else:
        try:
            return type(default)(text)
        except ValueError:
            pass
    raise ScoringError(
        f"option {name} of method {method} is {text!r}; give a value of the kind of its "
        f"default, {default!r}"
    )
