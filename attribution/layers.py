"""Which layers of a model are tracked, and what part of it they are.

1. Linear layers are tracked: `nn.Linear` and Hugging Face's `Conv1D` (its weight
   is stored the other way round; nothing after this module needs to know).
2. The output head is tracked on its own terms: its gradient needs no backward pass,
   and of its output side, as wide as the vocabulary, the busiest tokens are kept.
   Where it is tied to the embedding, only its part as a head is seen.
3. Whatever holds parameters and is not tracked is named in the coverage, never
   skipped silently. Parameters that are shared are counted once.
4. The order of the layers is the order of the model's own module list, the head last.
5. Of a model that wears LoRA adapters the default tracks these, and not its frozen
   layers or head; `adapters` among the patterns asks for them by name.
6. `last:N` tracks the last N of the linear layers that match: the backward pass then
   ends where they begin, and costs accordingly less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from attribution.adapters import has_adapters
from attribution.errors import GradientIndexError

# Measured on the retraining benchmark: the head and the last linear layer predict what
# removal does better than all layers together do, and need almost no backward pass.
DEFAULT_LAYERS = ("last:1",)
ADAPTERS = "adapters"
_ADAPTER_PATTERNS = ("*.lora_A", "*.lora_A.*", "*.lora_B", "*.lora_B.*")


@dataclass(frozen=True)
class TrackedLayer:
    """One linear layer whose gradients are indexed.

    Attributes:
        name: its dotted name in the model.
        inputs: size of its input (activations), without the bias.
        outputs: size of its output.
        bias: whether it has a bias; then a constant 1 is added to the input.
        parameters: how many numbers it holds.
        head: whether it is the output head, whose outputs are tokens.
    """

    name: str
    inputs: int
    outputs: int
    bias: bool
    parameters: int
    head: bool = False

    @property
    def rows(self) -> int:
        """Size of the input axis of its gradient, the bias's constant included."""
        return self.inputs + int(self.bias)


@dataclass(frozen=True)
class Coverage:
    """What is tracked and what is not.

    Attributes:
        layers: the tracked layers in model order.
        tracked_parameters: numbers in them.
        total_parameters: numbers in the model, shared ones once.
        skipped: name -> number of parameters of each module that is not tracked.
    """

    layers: tuple[TrackedLayer, ...]
    tracked_parameters: int
    total_parameters: int
    skipped: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return the coverage as it stands in a manifest."""
        return {
            "layers": [layer.name for layer in self.layers],
            "parameters_skipped": dict(self.skipped),
            "parameters_total": self.total_parameters,
            "parameters_tracked": self.tracked_parameters,
        }


def find_layers(
    model: nn.Module, patterns: Sequence[str] = ("*",), *, head: bool = False
) -> Coverage:
    """Find the linear layers to track.

    Args:
        model: a Hugging Face causal LM, with or without PEFT adapters.
        patterns: shell patterns of layer names; a layer that matches one is tracked.
            "last:N" among them keeps only the last N that match, "adapters" stands
            for all LoRA layers.
        head: track the output head too.

    Raises:
        GradientIndexError: no layer matches.
    """
    top = output_head(model)
    if tuple(patterns) == DEFAULT_LAYERS and has_adapters(model):
        patterns, head = (ADAPTERS,), False
    patterns = [q for p in patterns for q in (_ADAPTER_PATTERNS if p == ADAPTERS else (p,))]
    last = [int(p.removeprefix("last:")) for p in patterns if p.startswith("last:")]
    patterns = [p for p in patterns if not p.startswith("last:")] or ["*"]
    found: list[tuple[str, nn.Module]] = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module is not top
        and any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    wanted = {name for name, _ in (found[-last[0] :] if last else found)}
    layers: list[TrackedLayer] = []
    heads: list[TrackedLayer] = []
    tracked: set[int] = set()
    skipped: dict[str, int] = {}
    for name, module in model.named_modules():
        own = {id(p): p.numel() for p in module.parameters(recurse=False)}
        if not own:
            continue
        if name in wanted:
            layers.append(_describe(name, module, sum(own.values())))
            tracked |= own.keys()
        elif head and module is top and isinstance(module, nn.Linear):
            heads.append(replace(_describe(name, module, sum(own.values())), head=True))
            tracked |= own.keys()
        else:
            skipped[name] = sum(own.values())
    layers += heads
    if not layers:
        raise GradientIndexError(
            f"no linear layer of {type(model).__name__} matches {list(patterns)}; "
            f"there would be nothing to index. Modules with parameters: {sorted(skipped)[:8]}"
        )
    numbers = {id(p): p.numel() for p in model.parameters()}
    return Coverage(
        layers=tuple(layers),
        tracked_parameters=sum(numbers[key] for key in tracked),
        total_parameters=sum(numbers.values()),
        skipped=skipped,
    )


def output_head(model: Any) -> nn.Module | None:
    """Return the module that turns hidden states into logits, where the model names one."""
    getter = getattr(model, "get_output_embeddings", None)
    head = getter() if getter is not None else None
    return head if isinstance(head, nn.Module) else None


def modules_of(model: nn.Module, layers: Sequence[TrackedLayer]) -> list[nn.Module]:
    """Return the modules of the layers, in order."""
    modules = dict(model.named_modules())
    missing = [layer.name for layer in layers if layer.name not in modules]
    if missing:
        raise GradientIndexError(
            f"the model has no layer {missing[0]!r} that the index tracks; "
            f"it is of another architecture. Give the model the index was built with"
        )
    return [modules[layer.name] for layer in layers]


def _describe(name: str, module: nn.Module, parameters: int) -> TrackedLayer:
    if isinstance(module, nn.Linear):
        outputs, inputs = module.weight.shape
    else:
        assert isinstance(module, Conv1D), type(module)
        inputs, outputs = module.weight.shape
    return TrackedLayer(name, int(inputs), int(outputs), module.bias is not None, parameters)
