"""What rows cost on an accelerator in bfloat16: tokens a second, and share of its matrix rate.

For a GPT-2 shape of 124 million parameters and a Llama shape of 1.1 billion, random weights,
documents of 512 tokens: a plain forward and backward pass with all weight gradients, rows of
all linear layers and rows of the default layers, as multiples of the plain pass measured
alongside. The matrix rate is that of large bfloat16 products on the same card in the same run;
the share counts four operations for each weight and token of a row pass over all layers
(forward, and backward to the activations) and six for the plain pass.

Skipped where there is no card. `--device cpu --tiny` runs the same code on a small shape.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from attribution.batches import Batch, collate, plan
from attribution.gradients import LossModel, backward, recording
from attribution.index_config import DEFAULT_LAYERS
from attribution.layers import TrackedLayer, find_layers
from attribution.projection import LayerBasis
from attribution.recorders import RowRecorder
from tests.benchmarks.bench_index_cost import documents, plain_pass

LENGTH, BUDGET, RANK = 512, 16_384, 64
DROPOUT = {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
SHAPES: dict[str, Callable[[], Any]] = {
    "gpt2 124M": lambda: GPT2LMHeadModel(GPT2Config(**DROPOUT)),
    "llama 1.1B": lambda: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32_000,
            hidden_size=2048,
            intermediate_size=5632,
            num_hidden_layers=22,
            num_attention_heads=32,
            num_key_value_heads=4,
            max_position_embeddings=2048,
        )
    ),
}
TINY: dict[str, Callable[[], Any]] = {
    "tiny": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=512, n_positions=LENGTH, n_embd=32, n_layer=2, n_head=2, **DROPOUT)
    )
}


def wait(device: torch.device) -> None:
    """Let what was queued on a card end."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, work: Callable[[], None], repeats: int) -> list[float]:
    """Return how long each of some repeats takes, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        wait(device)
        begun = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - begun)
    return times


def matrix_rate(device: torch.device, size: int) -> float:
    """Return the rate of large bfloat16 products, operations a second."""
    one = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    took = seconds(device, lambda: torch.mm(one, one), 5)
    return 2.0 * size**3 / min(took)


def sides(layers: list[TrackedLayer]) -> list[LayerBasis]:
    """Return random orthonormal sides of up to `RANK` columns: cost is that of fitted ones."""
    made = []
    for layer in layers:
        p_in = torch.linalg.qr(torch.randn(layer.rows, min(RANK, layer.rows)))[0]
        rank = min(RANK, layer.outputs)
        p_out = (
            torch.arange(rank)
            if layer.head
            else torch.linalg.qr(torch.randn(layer.outputs, rank))[0]
        )
        made.append(LayerBasis(p_in, p_out))
    return made


def row_pass(model: Any, batches: list[Batch], patterns: tuple[str, ...], *, head: bool) -> None:
    """Make the rows of every batch and bring them to the host."""
    lossy = LossModel(model)
    layers = list(find_layers(model, patterns, head=head).layers)
    recorder = RowRecorder(layers, sides(layers), lossy.device)
    with recording(model, layers, recorder):
        for batch in batches:
            recorder.start(batch)
            backward(lossy, batch, recorder=recorder)
            recorder.rows.cpu()


def measure(name: str, make: Callable[[], Any], device: torch.device, repeats: int) -> None:
    """Print one shape's lines."""
    torch.manual_seed(0)
    model = make().eval().to(device=device, dtype=torch.bfloat16)
    budget = BUDGET if device.type == "cuda" else 2 * LENGTH
    count = 4 * budget // LENGTH
    encoded = documents(count, LENGTH, model.config.vocab_size)
    batches = [collate(encoded, part, LENGTH) for part in plan(encoded, LENGTH, budget)]
    there = [
        Batch(b.documents, b.rows, b.input_ids.to(device), b.scored.to(device), b.live)
        for b in batches
    ]
    rate = matrix_rate(device, 8192 if device.type == "cuda" else 512)
    weights = sum(p.numel() for n, p in model.named_parameters() if "wte" not in n and p.dim() == 2)
    tokens = count * LENGTH
    plain = seconds(device, lambda: plain_pass(model, there), repeats)
    print(
        f"{name}: matrix rate {rate / 1e12:.1f} TFLOP/s, {weights / 1e6:.0f} M weights in products"
    )
    works = {
        "plain": (plain, 6),
        "rows, all linear": (
            seconds(device, lambda: row_pass(model, batches, ("*",), head=False), repeats),
            4,
        ),
        "rows, default": (
            seconds(device, lambda: row_pass(model, batches, DEFAULT_LAYERS, head=True), repeats),
            2,
        ),
    }
    for what, (took, operations) in works.items():
        ratios = [one / two for one, two in zip(took, plain, strict=True)]
        done = operations * weights * tokens / statistics.median(took)
        print(
            f"   {what:18s} {statistics.median(ratios):5.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
            f" of a plain pass   {tokens / statistics.median(took):9.0f} tokens/s"
            f"   {done / rate:4.0%} of the matrix rate",
            flush=True,
        )


def main(argv: list[str] | None = None) -> int:
    """Print the table, or why there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smaller shape alone")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny shape, to try the code")
    chosen = parser.parse_args(argv)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("skipped: no accelerator here; nothing was measured on one")
        return 0
    shapes = TINY if chosen.tiny else SHAPES
    for name, make in list(shapes.items())[: 1 if chosen.quick else None]:
        measure(name, make, torch.device(chosen.device), 5)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
