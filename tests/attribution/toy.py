"""A toy GPT-2 and a corpus of random ids, small enough to differentiate densely."""

from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

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
