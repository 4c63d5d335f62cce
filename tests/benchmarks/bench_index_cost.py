"""What a build costs, in plain forward + backward passes over the same batches.

Same process, same threads, same batches; the plain pass is the transformers model with its
own loss and all weight gradients, as training has it. The floor without weight gradients is
about 0.68 where every layer is tracked; the default tracks the last layer and the head, whose
backward pass is almost nothing. Timings are interleaved and the median of the repeats is
taken, because the machine is shared.

Peers bring a torch or a tree of libraries of their own: `bench_index_peers` measures them in
the same run where an interpreter has them. The figures printed here are those of the retraining
benchmark's README, measured once on a machine of this kind: not of this run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from attribution.batches import collate, plan
from attribution.gradients import LossModel, backward, recording
from attribution.index_basis import codec_for
from attribution.index_config import DEFAULT_LAYERS
from attribution.layers import find_layers
from attribution.preconditioner import FitConfig, fit
from attribution.recorders import RowRecorder
from attribution.tokens import Encoded

BUDGET = 4096
# Multiples of a plain pass: bergson 2.5.1, dattri-llm 0.1.0, kronfluence 1.0.1.
PEERS = (
    "bench       bergson build p16 / p32           rows .98 / .94",
    "bench       bergson TrackStar p16             rows 1.06             score 48  1.03",
    "bench       bergson EK-FAC                    fit  3.91             score 48  1.48",
    "bench       kronfluence EK-FAC                fit  4.37             score 48  1.46",
    "bench       dattri-llm factors + EK-FAC       rows 1.78  fit 1.56   score 48   .48",
    "gpt2-small  bergson build p16 / p64           rows .95 / .90",
    "gpt2-small  dattri-llm factors / LoGra 16     rows 1.20 / 1.03",
    "gpt2-small  kronfluence covariance + lambda   fit  1.77 + 4.17      score 2   2.77",
)


def shape(name: str) -> tuple[GPT2LMHeadModel, int]:
    """Return a model of random weights and the length of its documents."""
    torch.manual_seed(0)
    if name == "gpt2-small":
        return GPT2LMHeadModel(GPT2Config(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)).eval(), 256
    config = GPT2Config(
        vocab_size=3072,
        n_positions=128,
        n_embd=160,
        n_layer=4,
        n_head=5,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
    )
    return GPT2LMHeadModel(config).eval(), 128


def documents(count: int, length: int, vocabulary: int) -> list[Encoded]:
    """Random documents of one length: no padding, so the ratios are of work alone."""
    draw = np.random.default_rng(0)
    return [Encoded(tuple(draw.integers(0, vocabulary, length).tolist()), 1) for _ in range(count)]


def plain_pass(model, batches) -> None:
    """Forward and backward as training has it, weight gradients included."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
    for batch in batches:
        logits = model(input_ids=batch.input_ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1][batch.scored[:, 1:]], batch.input_ids[batch.scored], reduction="sum"
        )
        loss.backward()


def measure(
    name: str,
    count: int,
    fractions: list[int],
    dtype: str,
    repeats: int,
    *,
    patterns: tuple[str, ...] = DEFAULT_LAYERS,
    head: bool = True,
) -> None:
    """Print a shape's ratios."""
    model, length = shape(name)
    encoded = documents(count, length, model.config.vocab_size)
    batches = [collate(encoded, part, length) for part in plan(encoded, length, BUDGET)]
    layers = find_layers(model, patterns, head=head).layers
    tracked = sum(layer.rows * layer.outputs for layer in layers)
    bits = {"int8": 8, "int4": 4, "int2": 2, "int1": 1, "float16": 16}[dtype]
    for fraction in fractions:
        numbers = min(tracked, tracked * 32 // (fraction * bits))
        times: dict[str, list[float]] = {"plain": [], "rows": [], "fit": [], "score": []}
        for _ in range(repeats):
            started = time.perf_counter()
            plain_pass(model, batches)
            times["plain"].append(time.perf_counter() - started)
            lossy = LossModel(model)
            started = time.perf_counter()
            share = FitConfig(numbers=numbers, share=0.15, documents_min=max(2, count * 15 // 100))
            bases, curvature = fit(
                lossy, layers, encoded, share, context=length, token_budget=BUDGET
            )
            times["fit"].append(time.perf_counter() - started)
            codec = codec_for(dtype, curvature, 0.01)
            recorder = RowRecorder(layers, bases, torch.device("cpu"))
            stored = []
            with tempfile.TemporaryFile() as sink, recording(model, layers, recorder):
                started = time.perf_counter()
                for batch in batches:
                    recorder.start(batch)
                    backward(lossy, batch, recorder=recorder)
                    stored.append(codec.encode(recorder.rows))
                    sink.write(stored[-1].tobytes())
                times["rows"].append(time.perf_counter() - started)
            queries = codec.fold(torch.randn(48, len(codec.steps)))
            started = time.perf_counter()
            for part in stored:
                codec.dot(part, queries)
            times["score"].append(time.perf_counter() - started)
        middle = {key: statistics.median(values) for key, values in times.items()}
        plain = middle["plain"]
        told = "all linear" if patterns == ("*",) else "default"
        print(
            f"{name:11s} {told:10s} 1/{fraction:<5d} {dtype:6s} {numbers:9d} numbers"
            f" {codec.row_bytes / 1024:8.1f} KiB   rows {middle['rows'] / plain:5.2f}"
            f"   fit {middle['fit'] / plain:5.2f}"
            f"   both {(middle['rows'] + middle['fit']) / plain:5.2f}"
            f"   score 48 {middle['score'] / plain:6.3f}   (plain {plain:.2f} s,"
            f" {count * length / plain:.0f} tokens/s)",
            flush=True,
        )


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args(argv)
    torch.set_num_threads(chosen.threads)
    print(f"ratios to a plain forward + backward pass, {chosen.threads} threads; floor about 0.68")
    print("targets: rows .80, both 1.10 (bench at 1/16 of the bytes: 1.3), score 48 .020")
    repeats = 1 if chosen.quick else 3
    count = 64 if chosen.quick else 256
    for dtype in ("int8", "int4"):
        measure("bench", count, [16], dtype, repeats)
    measure("bench", count, [16], "int8", repeats, patterns=("*",), head=False)
    if not chosen.quick:
        measure("gpt2-small", 48, [256, 1024], "int8", 2)
        measure("gpt2-small", 48, [256], "int8", 2, patterns=("*",), head=False)
    print("peers, from the retraining benchmark's README, not of this run:")
    for line in PEERS:
        print(f"   {line}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
