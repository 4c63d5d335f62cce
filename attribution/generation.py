"""Outputs of a model for prompts: batched, sampled, the same again for the same seed.

1. Each output draws from a random stream of its own, keyed by the seed and the
   output's place in the list, so no output depends on what else is written.
2. Prompts of equal length are written together, with a key-value cache and no
   padding, so nothing is masked and any causal model will do.
3. A prompt that leaves no room for the new tokens is cut from the left.
4. Writing ends at the end-of-text token (`stop`) or at the limit (`length`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.model import LoadedModel, load_model
from attribution.replay import deterministic
from attribution.tokens import encode_output


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    Attributes:
        max_new_tokens: the limit of one output.
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: draw among this many likeliest tokens; 0 means all.
        top_p: draw among the likeliest tokens that hold this much probability.
        batch: outputs written together.
        threads: CPU threads.
    """

    max_new_tokens: int = 48
    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 1.0
    batch: int = 64
    threads: int = 2


@dataclass(frozen=True)
class Output:
    """What the model wrote after one prompt.

    Attributes:
        text: the output, without the prompt and without special tokens.
        finish_reason: "stop" at the end-of-text token, "length" at the limit.
        prompt_tokens: tokens read, the opening special token among them.
        output_tokens: tokens written, the closing special token not counted.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    output_tokens: int


def generate(
    model_dir: Path | str,
    prompts: Sequence[str],
    *,
    seed: int,
    sampling: Sampling | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Output]:
    """Write one output after each prompt.

    Args:
        model_dir: a model folder with a tokenizer.
        prompts: the texts to go on from.
        seed: chooses every random stream.
        sampling: how to draw; the defaults when left out.
        progress: called with (outputs written, outputs).

    Returns:
        One output per prompt, in order.

    Raises:
        ModelFolderError: the folder is incomplete or has no tokenizer.
    """
    sampling = sampling or Sampling()
    loaded = load_model(model_dir, need_tokenizer=True)
    room = loaded.context - sampling.max_new_tokens
    if room < 1:
        raise ValueError(
            f"max_new_tokens {sampling.max_new_tokens} leaves no room for a prompt in a "
            f"context of {loaded.context} tokens; ask for fewer"
        )
    encoded = [
        encode_output(prompt, "", loaded.tokenizer).input_ids[-room:] or (0,) for prompt in prompts
    ]
    outputs: list[Output | None] = [None] * len(prompts)
    written = 0
    with deterministic(seed, sampling.threads), torch.inference_mode():
        for places in _batches(encoded, sampling.batch):
            prompt_ids = torch.tensor([encoded[place] for place in places])  # Shape: (B, T)
            draws = np.stack([_stream(seed, place, sampling) for place in places])
            tokens = _write(loaded, prompt_ids, draws, sampling)
            for place, row in zip(places, tokens, strict=True):
                outputs[place] = _finish(row, len(encoded[place]), loaded.tokenizer)
            written += len(places)
            if progress is not None:
                progress(written, len(prompts))
    return [output for output in outputs if output is not None]


def _batches(encoded: Sequence[tuple[int, ...]], size: int) -> Iterator[list[int]]:
    """Yield places of prompts with equal length, at most `size` together."""
    by_length: dict[int, list[int]] = {}
    for place, ids in enumerate(encoded):
        by_length.setdefault(len(ids), []).append(place)
    for _, places in sorted(by_length.items()):
        for begin in range(0, len(places), size):
            yield places[begin : begin + size]


def _stream(seed: int, place: int, sampling: Sampling) -> NDArray[np.float64]:
    """Return the uniform numbers of one output, one for each token it may write."""
    # Philox is counter-based: the key alone gives the stream, on every machine.
    key = np.array([seed % 2**64, place], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(sampling.max_new_tokens)


def _write(
    loaded: LoadedModel, prompt_ids: Tensor, draws: NDArray[np.float64], sampling: Sampling
) -> list[list[int]]:
    """Write a batch; a row ends at its first end-of-text token, which is kept."""
    end = loaded.tokenizer.eos_token_id if loaded.tokenizer is not None else None
    rows: list[list[int]] = [[] for _ in range(len(prompt_ids))]
    open_rows = np.ones(len(rows), dtype=bool)
    step_ids, cache = prompt_ids, None
    for step in range(sampling.max_new_tokens):
        answer = loaded.model(input_ids=step_ids, past_key_values=cache, use_cache=True)
        cache = answer.past_key_values
        chosen = _draw(answer.logits[:, -1].double(), draws[:, step], sampling)
        for place in np.flatnonzero(open_rows):
            rows[place].append(int(chosen[place]))
            open_rows[place] = int(chosen[place]) != end
        if not open_rows.any():
            break
        step_ids = chosen[:, None]
    return rows


def _draw(logits: Tensor, uniform: NDArray[np.float64], sampling: Sampling) -> Tensor:
    """Choose one token per row by inverting the cumulated probability.

    Args:
        logits: [B, V], float64.
        uniform: [B], in [0, 1).
        sampling: temperature, top_k and top_p.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    ranked, tokens = torch.sort(logits / sampling.temperature, descending=True, stable=True)
    if sampling.top_k:
        ranked, tokens = ranked[:, : sampling.top_k], tokens[:, : sampling.top_k]
    chance = torch.softmax(ranked, dim=-1)
    before = chance.cumsum(dim=-1) - chance
    chance = torch.where(before < sampling.top_p, chance, 0.0)
    reached = (chance / chance.sum(dim=-1, keepdim=True)).cumsum(dim=-1)
    place = (reached <= torch.from_numpy(uniform)[:, None]).sum(dim=-1)
    place = place.clamp(max=ranked.shape[-1] - 1)
    return tokens.gather(1, place[:, None])[:, 0]


def _finish(row: list[int], prompt_tokens: int, tokenizer: Any) -> Output:
    stopped = bool(row) and row[-1] == tokenizer.eos_token_id
    kept = row[:-1] if stopped else row
    text = tokenizer.decode(kept, skip_special_tokens=True)
    return Output(text, "stop" if stopped else "length", prompt_tokens, len(kept))
