"""Slow oracles for tests: damped EK-FAC influence by dense matrices, one document at a time.

Written from the definitions and sharing nothing with the fast path but the tracked
layers and the numbers that labels are sampled with: weight gradients come from
autograd, the curvature is a dense matrix over all of a layer's weights, and it is
inverted whole. Usable for toys of a few hundred weights a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attribution.batches import collate
from attribution.gradients import label_draws
from attribution.layers import TrackedLayer, modules_of
from attribution.preconditioner import HEAD_TIMES
from attribution.tokens import Encoded


def weight_gradients(
    model: Any, layers: Sequence[TrackedLayer], row: Encoded, labels: Tensor | None = None
) -> list[Tensor]:
    """Return each layer's gradient of the summed loss, [inputs + bias, outputs], float64.

    Args:
        model: a causal LM; its parameters may require a gradient again after this.
        layers: what is tracked.
        row: one document that fits the context.
        labels: [scored tokens], other labels than the text's own.
    """
    loss = _loss(model, row, labels)
    gradients = []
    for layer, module in zip(layers, modules_of(model, layers), strict=True):
        weight, bias = module.get_parameter("weight"), getattr(module, "bias", None)
        wanted = [weight] if bias is None else [weight, bias]
        found = torch.autograd.grad(loss, wanted, retain_graph=True)
        matrix = found[0].T if isinstance(module, nn.Linear) else found[0]
        assert matrix.shape == (layer.inputs, layer.outputs), (matrix.shape, layer)
        rows = [matrix, *(extra[None] for extra in found[1:])]
        gradients.append(torch.cat(rows).double())
    return gradients


def sampled_labels(model: Any, row: Encoded, key: int, seed: int) -> Tensor:
    """Return labels [scored tokens] sampled from the model, as the fit samples them."""
    draws = label_draws([key], collate([row], [0], max(4, len(row.input_ids))), seed)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row.input_ids])).logits[0].double()
    labels = []
    for place, draw in zip(range(row.prompt_length, len(row.input_ids)), draws, strict=True):
        running = torch.softmax(logits[place - 1], 0).cumsum(0)
        labels.append(int((running <= draw * running[-1]).sum()))
    return torch.tensor(labels)


def factors(
    model: Any,
    layers: Sequence[TrackedLayer],
    rows: Sequence[Encoded],
    keys: Sequence[int],
    seed: int,
) -> list[tuple[Tensor, Tensor]]:
    """Return each layer's K-FAC factors E[a a^T], E[d d^T] over live positions, float64."""
    sums = [
        (
            torch.zeros(layer.rows, layer.rows).double(),
            torch.zeros(layer.outputs, layer.outputs).double(),
        )
        for layer in layers
    ]
    positions = 0
    for row, key in zip(rows, keys, strict=True):
        labels = sampled_labels(model, row, key, seed)
        seen: list[tuple[Tensor, Tensor]] = []

        def see(_: nn.Module, inputs: Any, output: Tensor, to: Any = seen) -> None:
            to.append((inputs[0], output))

        handles = [module.register_forward_hook(see) for module in modules_of(model, layers)]
        loss = _loss(model, row, labels)
        outer = torch.autograd.grad(loss, [output for _, output in seen])
        for handle in handles:
            handle.remove()
        live = len(row.input_ids) - 1
        positions += live
        for k, layer in enumerate(layers):
            a = seen[k][0][0, :live].detach().double()
            if layer.bias:
                a = torch.cat([a, torch.ones(live, 1).double()], 1)
            d = outer[k][0, :live].double()
            sums[k] = (sums[k][0] + a.T @ a, sums[k][1] + d.T @ d)
    return [(a / positions, s / positions) for a, s in sums]


def dense_influence(
    model: Any,
    layers: Sequence[TrackedLayer],
    documents: Sequence[Encoded],
    queries: Sequence[Encoded],
    *,
    damping: float,
    seed: int,
) -> Tensor:
    """Return damped EK-FAC influence at one checkpoint, [queries, documents], float64.

    The curvature of a layer is the dense matrix `Q diag(l + damping mean l) Q^T` with
    Q the Kronecker product of the factors' eigenvectors; it is solved against every
    query's gradient. All documents are fitted on, with their own keys.
    """
    keys = [row.key for row in documents]
    both = factors(model, layers, documents, keys, seed)
    sampled = [
        weight_gradients(model, layers, row, sampled_labels(model, row, key, seed))
        for key, row in zip(keys, documents, strict=True)
    ]
    left = [weight_gradients(model, layers, row) for row in queries]
    right = [weight_gradients(model, layers, row) for row in documents]
    out = torch.zeros(len(queries), len(documents), dtype=torch.float64)
    for k, (a, s) in enumerate(both):
        # The head's output factor is taken to be diagonal, and damped HEAD_TIMES as much.
        head = layers[k].head
        right_side = torch.eye(len(s)).double() if head else torch.linalg.eigh(s).eigenvectors
        q = torch.kron(torch.linalg.eigh(a).eigenvectors.contiguous(), right_side.contiguous())
        turned = torch.stack([g[k].reshape(-1) for g in sampled]) @ q
        eigenvalues = turned.square().mean(0)
        added = damping * (HEAD_TIMES if head else 1.0) * eigenvalues.mean()
        curvature = q @ torch.diag(eigenvalues + added) @ q.T
        one = torch.stack([g[k].reshape(-1) for g in left])
        two = torch.stack([g[k].reshape(-1) for g in right])
        out += one @ torch.linalg.solve(curvature, two.T)
    return out


def _loss(model: Any, row: Encoded, labels: Tensor | None) -> Tensor:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    logits = model(input_ids=torch.tensor([row.input_ids])).logits[0]
    places = torch.arange(row.prompt_length, len(row.input_ids))
    wanted = torch.tensor(row.input_ids)[places] if labels is None else labels
    return nn.functional.cross_entropy(logits[places - 1], wanted, reduction="sum")
