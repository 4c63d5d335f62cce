"""Model folders: any causal language model in the transformers format, and its digest.

1. A folder is used only if it is whole: configuration, weights and, where text
   must be read, a tokenizer. What is missing is named with the way to get it.
2. The digest covers the bytes that decide the numbers (configuration, weights,
   tokenizer) and no other file, so that a note beside them changes nothing.
3. Nothing is downloaded: a name that is not a folder is refused.
4. Weights are loaded in float32 and the model is in evaluation mode.
5. A folder with a LoRA adapter (see `adapters`) is its base model wearing it; both are
   in the digest.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from attribution.adapters import WEIGHTS as ADAPTER_WEIGHTS
from attribution.adapters import base_folder, is_adapter, wear
from attribution.device import CPU, within_memory
from attribution.errors import ModelFolderError
from attribution.files import sha256_file

# Its bars for loading and saving would break into ours.
transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)
_DIGESTED = (
    "config.json",
    "adapter_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    *_WEIGHTS,
    *_TOKENIZER,
)


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model ready to score or to write.

    Attributes:
        model: a transformers causal LM, float32, in evaluation mode.
        tokenizer: its tokenizer, or None where the folder has none.
        digest: SHA-256 over the files that decide the numbers.
        folder: where it was loaded from.
    """

    model: Any
    tokenizer: Any | None
    digest: str
    folder: Path

    @property
    def context(self) -> int:
        """The most tokens the model reads at once (2048 where it states no limit)."""
        return context_of(self.model.config)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        found: torch.device = next(self.model.parameters()).device
        return found

    @property
    def vocab_size(self) -> int:
        """How many token ids the model has a row for."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def parameters(self) -> int:
        """How many parameters the model has, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def context_of(config: Any) -> int:
    """Return the context length of a transformers configuration, 2048 where it has none."""
    for name in ("n_positions", "max_position_embeddings", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 2048


def model_digest(folder: Path | str) -> str:
    """Return the SHA-256, in hex, over names and digests of the deciding files.

    Raises:
        ModelFolderError: there is no such folder, or it has no weights.
    """
    folder = Path(folder)
    _check_folder(folder)
    digest = hashlib.sha256()
    names = {name for name in _DIGESTED if (folder / name).is_file()}
    names |= {path.name for path in folder.glob("*.safetensors") if path.name.startswith("model")}
    names |= {path.name for path in folder.glob("pytorch_model*.bin")}
    if is_adapter(folder):
        names.add(ADAPTER_WEIGHTS)
        digest.update(f"base {model_digest(base_folder(folder))}\n".encode())
    for name in sorted(names):
        digest.update(f"{name} {sha256_file(folder / name)}\n".encode())
    return digest.hexdigest()


def load_model(
    folder: Path | str,
    *,
    tokenizer_from: Path | str | None = None,
    need_tokenizer: bool = False,
    device: torch.device = CPU,
) -> LoadedModel:
    """Load a causal language model from a local folder.

    Args:
        folder: a folder in the transformers format.
        tokenizer_from: a folder to take the tokenizer from when `folder` has
            none, as checkpoints along a training run do.
        need_tokenizer: refuse a model for which no tokenizer is found.
        device: where it is put; see `device.find_device`.

    Raises:
        ModelFolderError: the folder is missing or incomplete, or a file in it is
            damaged or of a kind that transformers cannot read as a causal LM.
        DeviceMemoryError: it is larger than the card's free memory.
    """
    folder = Path(folder)
    _check_folder(folder)
    tokenizer = None
    if has_tokenizer(folder):
        tokenizer = load_tokenizer(folder)
    elif tokenizer_from is not None and has_tokenizer(Path(tokenizer_from)):
        tokenizer = load_tokenizer(tokenizer_from)
    elif is_adapter(folder) and has_tokenizer(base_folder(folder)):
        tokenizer = load_tokenizer(base_folder(folder))
    elif need_tokenizer:
        raise _no_tokenizer(folder)
    digest = model_digest(folder)
    model = _load_weights(base_folder(folder) if is_adapter(folder) else folder)
    if is_adapter(folder):
        wear(model, folder)
    with within_memory(device, None):
        model.to(device).eval()
    return LoadedModel(model, tokenizer, digest, folder)


def _load_weights(folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        return AutoModelForCausalLM.from_pretrained(
            folder, config=config, local_files_only=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as fault:
        first = str(fault).strip().splitlines()[0] if str(fault).strip() else repr(fault)
        raise ModelFolderError(
            folder,
            f"could not be loaded as a causal language model: {first}",
            "copy the folder again from where the model was saved",
        ) from fault


def has_tokenizer(folder: Path) -> bool:
    """Say whether the folder holds the files of a tokenizer."""
    return any((folder / name).is_file() for name in _TOKENIZER)


def load_tokenizer(folder: Path | str) -> Any:
    """Load the tokenizer of a local model folder.

    Raises:
        ModelFolderError: the folder has none, or its files are damaged.
    """
    folder = Path(folder)
    if not has_tokenizer(folder):
        raise _no_tokenizer(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as fault:  # The tokenizer library raises bare Exception on bad files.
        raise ModelFolderError(
            folder,
            f"has a tokenizer that could not be read: {fault}",
            "save it again with tokenizer.save_pretrained",
        ) from fault


def _no_tokenizer(folder: Path) -> ModelFolderError:
    return ModelFolderError(
        folder,
        f"has no tokenizer (none of {', '.join(_TOKENIZER)})",
        "save it there with tokenizer.save_pretrained, or give input_ids instead of text",
    )


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelFolderError(
            folder,
            "does not exist" if not folder.exists() else "is a file",
            "give the path of a local folder; nothing is downloaded",
        )
    if is_adapter(folder):
        if not (folder / ADAPTER_WEIGHTS).is_file():
            raise ModelFolderError(
                folder, f"has no {ADAPTER_WEIGHTS}", "save it with model.save_pretrained"
            )
        _check_folder(base_folder(folder))
        return
    config = folder / "config.json"
    if not config.is_file():
        raise ModelFolderError(folder, "has no config.json", "save it with model.save_pretrained")
    try:
        json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as fault:
        raise ModelFolderError(
            folder, f"has a config.json that is not JSON ({fault})", "copy the folder again"
        ) from fault
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise ModelFolderError(
            folder,
            f"has no weights (none of {', '.join(_WEIGHTS)})",
            "save it with model.save_pretrained",
        )
