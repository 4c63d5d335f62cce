"""A toy GPT-2 and a corpus of random ids, small enough to differentiate densely."""

import json
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from attribution.corpus import Document, write_corpus

VOCAB = 40
CONTEXT = 16


def gpt2(seed: int) -> GPT2LMHeadModel:
    """One block of width 8, weights large enough that nothing is nearly linear."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=CONTEXT,
        n_embd=8,
        n_layer=1,
        n_head=2,
        initializer_range=0.4,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


def llama(seed: int) -> LlamaForCausalLM:
    """One block of a Llama: linear layers without bias, grouped heads, an untied head."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


_SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.4,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 1, "tie_word_embeddings": False}
# One of each class: what differs is heads, biases, norms, rotary parts, caps and scalings.
FAMILIES = {
    "gpt_neox": _SIZES,
    "qwen2": _GROUPED,
    "qwen3": {**_GROUPED, "head_dim": 4},
    "mistral": {**_GROUPED, "sliding_window": 8},
    "gemma": {**_GROUPED, "head_dim": 4},
    "gemma2": {**_GROUPED, "head_dim": 4, "final_logit_softcapping": 2.0, "sliding_window": 8},
    "gemma3_text": {**_GROUPED, "head_dim": 4, "sliding_window": 8},
    "mixtral": {**_GROUPED, "num_local_experts": 2, "num_experts_per_tok": 1},
}


def family(name: str, seed: int = 1):
    """A tiny model of a class of `FAMILIES`, weights drawn large."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(name, **FAMILIES[name])
    return AutoModelForCausalLM.from_config(config).eval()


def adapter(folder: Path, base: Path, seed: int, *, zero: bool = False) -> Path:
    """Write a LoRA adapter of rank 2 for the toy Llama as PEFT lays it out."""
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, inputs, outputs in (("self_attn.q_proj", 8, 8), ("mlp.down_proj", 12, 8)):
        key = f"base_model.model.model.layers.0.{name}.lora"
        tensors[f"{key}_A.weight"] = torch.randn(2, inputs, generator=draw) * 0.4
        up = torch.randn(outputs, 2, generator=draw) * 0.4
        tensors[f"{key}_B.weight"] = torch.zeros(outputs, 2) if zero else up
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    said = {
        "base_model_name_or_path": os.path.relpath(base, folder),
        "bias": "none",
        "lora_alpha": 6,
        "peft_type": "LORA",
        "r": 2,
        "target_modules": ["down_proj", "q_proj"],
        "task_type": "CAUSAL_LM",
        "use_dora": False,
    }
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return folder


def documents(count: int, *, seed: int = 0, groups: int = 3, longest: int = 14) -> list[Document]:
    """Random documents of 3 to `longest` tokens, filed under a few works in turn."""
    draw = np.random.default_rng(seed)
    return [
        Document(
            f"d{seed}-{i:03d}",
            f"g{i % groups}",
            input_ids=tuple(int(t) for t in draw.integers(1, VOCAB, draw.integers(3, longest + 1))),
        )
        for i in range(count)
    ]


def workspace(folder: Path, count: int = 24, family=gpt2) -> dict[str, Path]:
    """Save two checkpoints, a corpus and decoys; return their paths."""
    start, end = folder / "start", folder / "end"
    family(1).save_pretrained(start)
    family(2).save_pretrained(end)
    write_corpus(folder / "corpus.jsonl", documents(count))
    write_corpus(folder / "decoys.jsonl", documents(6, seed=9))
    return {
        "start": start,
        "end": end,
        "corpus": folder / "corpus.jsonl",
        "decoys": folder / "decoys.jsonl",
    }
