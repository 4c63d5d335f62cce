"""Run the steps of a recipe: the one loop that training and retraining share.

1. Replaying a recipe with all its documents gives the same weights, bit for bit
   on the same machine and number of threads.
2. Replaying it without some documents leaves their places empty: the order of
   the others, the learning rates and the batch borders do not change. The mean
   of a batch is over the scored tokens that are left.
3. Nothing of the caller's random state or thread count is changed for good.

The training loss of a batch is the mean, in nats, over its scored tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution.corpus import Document
from attribution.errors import RecipeError
from attribution.recipe import Optimizer, Recipe
from attribution.tokens import Encoded, encode_document, windows

Progress = Callable[[int, int, float], None]


def encode_corpus(
    documents: Sequence[Document], tokenizer: Any | None, context: int
) -> list[list[Encoded]]:
    """Encode every document into its windows; a document with nothing to score has none."""
    return [windows(encode_document(document, tokenizer), context) for document in documents]


def retrain(
    start: Any,
    rows: Sequence[Sequence[Encoded]],
    recipe: Recipe,
    *,
    without: Collection[int] = (),
    progress: Progress | None = None,
) -> None:
    """Replay a recipe in place, some documents left out and all else equal.

    Args:
        start: the model with its starting weights; holds the final ones after.
        rows: the windows of every document, in corpus order (encode_corpus).
        recipe: what was run.
        without: corpus positions of the documents to leave out.
        progress: called after every step.

    Raises:
        RecipeError: the recipe speaks of another number of documents.
    """
    documents = int(recipe.order.max()) + 1
    if len(rows) != documents or recipe.order.shape[1] != documents:
        raise RecipeError(
            f"the recipe orders {documents} documents but the corpus has {len(rows)}; "
            f"replay it with the corpus it was made from"
        )
    left_out = frozenset(without)
    kept = [() if place in left_out else row for place, row in enumerate(rows)]
    with deterministic(recipe.seed or 0, recipe.threads or torch.get_num_threads()):
        for _ in run_steps(start, kept, recipe, Trace(recipe), progress):
            pass


class Trace:
    """What each step did, gathered for the recipe."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.tokens: list[int] = []
        self.grad_norm: list[float] = []
        self.losses: list[float] = []

    def finished(self) -> Recipe:
        """Return the recipe with what was measured along the way."""
        return replace(
            self.recipe,
            tokens=np.asarray(self.tokens, dtype=np.int64),
            grad_norm=np.asarray(self.grad_norm, dtype=np.float64),
            losses=np.asarray(self.losses, dtype=np.float64),
        )


def run_steps(
    model: Any,
    rows: Sequence[Sequence[Encoded]],
    recipe: Recipe,
    trace: Trace,
    progress: Progress | None = None,
) -> Iterator[tuple[int, torch.optim.Optimizer]]:
    """Run every step of a recipe, yielding (steps done, optimizer), first 0.

    A batch without any scored token is a step of the schedule in which nothing
    moves: neither the weights nor the optimizer's moments.
    """
    optimizer = _adamw(model, recipe.optimizer)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    clip = recipe.optimizer.clip_grad_norm or math.inf
    model.train()
    yield 0, optimizer
    for step, (batch, rate) in enumerate(zip(recipe.batches(), recipe.lr, strict=True), start=1):
        present = [window for place in batch for window in rows[place]]
        count = sum(window.scored for window in present)
        loss_value = norm_value = 0.0
        if count:
            optimizer.zero_grad(set_to_none=True)
            loss = summed_loss(model, present).sum() / count
            loss.backward()
            norm_value = float(nn.utils.clip_grad_norm_(parameters, clip))
            for group in optimizer.param_groups:
                group["lr"] = float(rate)
            optimizer.step()
            loss_value = float(loss.detach())
        trace.tokens.append(count)
        trace.grad_norm.append(norm_value)
        trace.losses.append(loss_value)
        if progress is not None:
            progress(step, recipe.steps, loss_value)
        yield step, optimizer
    model.eval()


def summed_loss(model: Any, rows: Sequence[Encoded]) -> Tensor:
    """Return the loss of each row, summed over its scored tokens.

    Args:
        model: a causal LM of the transformers kind.
        rows: each fits the model's context.

    Returns:
        [rows], float32, nats.
    """
    longest = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)  # Shape: (B, T)
    labels = torch.full((len(rows), longest), -100, dtype=torch.long)
    for place, row in enumerate(rows):
        tokens = torch.tensor(row.input_ids, dtype=torch.long)
        ids[place, : len(tokens)] = tokens
        labels[place, row.prompt_length : len(tokens)] = tokens[row.prompt_length :]
    # No attention mask: padding stands on the right, and nothing looks to the right.
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]  # Shape: (B, T-1, V)
    losses = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), reduction="none"
    )
    return losses.view(len(rows), -1).sum(dim=1)


@contextmanager
def deterministic(seed: int, threads: int) -> Iterator[None]:
    """Seed torch, pin its threads and its algorithms, and put all back afterwards."""
    before = torch.get_num_threads()
    was = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(mode=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(mode=was)
            torch.set_num_threads(before)


def _adamw(model: Any, constants: Optimizer) -> torch.optim.Optimizer:
    decayed = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    plain = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": constants.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=0.0,
        betas=constants.betas,
        eps=constants.eps,
        foreach=True,
    )
