"""LoRA adapters as PEFT saves them, put onto their base model without the library.

    adapter_config.json          which base, rank and scale
    adapter_model.safetensors    base_model.model.<module>.lora_A.weight [r, I], lora_B [O, r]

1. A wrapped layer computes `base(x) + scale * B(A(x))`; A and B are plain linear layers,
   so that hooks see them as they see any other.
2. The base model is a local folder, found from the adapter's folder or from here.
3. What is not plain LoRA (DoRA, trained biases, saved modules, other methods) is refused
   by name: an index without it would miss part of what was trained.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from attribution.errors import ModelFolderError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight$")
_REFUSED = ("use_dora", "lora_bias", "modules_to_save", "trainable_token_indices")


class AdaptedLinear(nn.Module):
    """A linear layer with a low-rank addition.

    Attributes:
        base_layer: the frozen layer.
        lora_A, lora_B: [r, I] and [O, r], without bias.
        scale: what their product is multiplied by.
    """

    def __init__(self, base: nn.Module, down: Tensor, up: Tensor, scale: float) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.Linear(down.shape[1], down.shape[0], bias=False)
        self.lora_B = nn.Linear(up.shape[1], up.shape[0], bias=False)
        self.lora_A.weight.data.copy_(down)
        self.lora_B.weight.data.copy_(up)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., O] for [..., I]."""
        out: Tensor = self.base_layer(x) + self.lora_B(self.lora_A(x)) * self.scale
        return out


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter and no model of its own."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def base_folder(folder: Path) -> Path:
    """Return the folder of the model an adapter was trained on (rule 2).

    Raises:
        ModelFolderError: the configuration is damaged, or names no local folder.
    """
    named = str(_config(folder).get("base_model_name_or_path") or "")
    for place in (folder / named, Path(named)):
        if named and place.is_dir():
            return place
    raise ModelFolderError(
        folder,
        f"adapts the model {named!r}, which is no local folder",
        f"nothing is downloaded: put the model there and its path into {CONFIG}",
    )


def wear(model: Any, folder: Path) -> None:
    """Put the adapter of a folder onto its base model, in place.

    Raises:
        ModelFolderError: it is not plain LoRA, is damaged, or is of another model.
    """
    said = _config(folder)
    _refuse_unknown(folder, said)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as fault:
        raise ModelFolderError(
            folder, f"has no readable {WEIGHTS} ({fault})", "save it with model.save_pretrained"
        ) from fault
    sides: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.match(key)
        if match is None:
            raise ModelFolderError(
                folder,
                f"holds {key}, which is not the weight of a plain LoRA layer",
                "only linear layers can be adapted here; merge the adapter into its model",
            )
        sides.setdefault(match["module"], {})[match["side"]] = tensor.float()
    modules = dict(model.named_modules())
    for name, pair in sorted(sides.items()):
        if name not in modules or pair.keys() != {"A", "B"}:
            raise ModelFolderError(
                folder,
                f"adapts {name}, which its base model does not have or which lacks one side",
                "give the model the adapter was trained on",
            )
        adapted = AdaptedLinear(modules[name], pair["A"], pair["B"], _scale(said, name, pair["A"]))
        owner, _, leaf = name.rpartition(".")
        setattr(modules[owner] if owner else model, leaf, adapted)


def has_adapters(model: nn.Module) -> bool:
    """Say whether a model wears LoRA adapters, ours or PEFT's."""
    return any(".lora_A" in name for name, _ in model.named_modules())


def _scale(said: dict[str, Any], name: str, down: Tensor) -> float:
    """Return alpha / r, or alpha / sqrt(r) where the adapter is rank-stabilised."""
    alpha = float(said["lora_alpha"])
    for pattern, value in (said.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            alpha = float(value)
            break
    rank = down.shape[0]
    return alpha / (math.sqrt(rank) if said.get("use_rslora") else rank)


def _refuse_unknown(folder: Path, said: dict[str, Any]) -> None:
    problem = next((f"uses {key}" for key in _REFUSED if said.get(key)), None)
    if said.get("peft_type") != "LORA":
        problem = f"is of the kind {said.get('peft_type')!r}"
    elif said.get("bias", "none") != "none":
        problem = f"trained biases too ({said['bias']!r})"
    if problem:
        raise ModelFolderError(
            folder,
            f"holds an adapter that {problem}; only plain LoRA can be read",
            "merge it into its model and index that model's layers",
        )


def _config(folder: Path) -> dict[str, Any]:
    try:
        said = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise ModelFolderError(
            folder, f"has no readable {CONFIG} ({fault})", "save it with model.save_pretrained"
        ) from fault
    if not isinstance(said, dict):
        raise ModelFolderError(folder, f"has a {CONFIG} that is no object", "save it again")
    return said
