"""Move a model up and down the loss of one text, and nothing else.

From the base weights w0, with L the mean loss of the output's scored tokens (its
prompt is read and never scored) and F the diagonal empirical Fisher:

    natural   w <- w ± (lr / N) grad L / (F + eps)                      plain steps
    adamw     AdamW on ∓L + penalty * sum F (w - w0)^2, clipped         Adam's steps

+ is ascent. In `adamw` the penalty pulls back to w0 on both sides: the released
code multiplies it by the sign too, which pushes the ascending model away.

F[j] is the mean over the documents of the squared gradient of their mean loss, one
document at a time. Every text is seen in the windows that scoring uses.

N counts as at least 17,019, the smaller of the published corpora: lr / N is published
for it and for 1.9 million, and on a few hundred documents the same rule would step a
hundred times as far, out of the range where anything is linear.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attribution.errors import ScoringError
from attribution.gradients import LossModel
from attribution.replay import summed_loss
from attribution.tokens import Encoded, windows

VARIANTS = ("natural", "adamw")
PUBLISHED_CORPUS = 17_019


@dataclass(frozen=True)
class Steps:
    """How the weights are moved.

    Attributes:
        variant: "natural" or "adamw".
        steps: how many.
        lr: learning rate; of "natural" divided by N.
        corpus_min: N is the number of documents, but at least this.
        fisher_eps: added to F where it divides.
        penalty: weight of the Fisher penalty of "adamw".
        weight_decay: of "adamw".
        clip: the gradient's norm is cut to this in "adamw"; 0 means never.
    """

    variant: str = "natural"
    steps: int = 10
    lr: float = 1e-4
    corpus_min: int = PUBLISHED_CORPUS
    fisher_eps: float = 1e-6
    penalty: float = 1000.0
    weight_decay: float = 0.01
    clip: float = 1.0

    def check(self) -> None:
        """Refuse steps that move nothing or that nobody described.

        Raises:
            ScoringError: an unknown variant, or a number that is not positive.
        """
        if self.variant not in VARIANTS:
            raise ScoringError(f"variant is {self.variant!r}; choose one of {VARIANTS}")
        if self.steps < 1 or self.lr <= 0 or self.fisher_eps <= 0:
            raise ScoringError(
                f"steps {self.steps}, lr {self.lr} and fisher_eps {self.fisher_eps} must be above "
                f"zero; the model would not move and every score would be zero"
            )


class Movable:
    """A copy of a model that is moved and put back.

    Attributes:
        losses: the copy, for forward passes; it has the weights of the last move.
        fisher: per parameter, float32.
        rate: learning rate of a "natural" step, lr / N.
    """

    def __init__(
        self, model: nn.Module, documents: Sequence[Encoded], context: int, steps: Steps
    ) -> None:
        steps.check()
        self.steps, self.context = steps, context
        self.losses = LossModel(copy.deepcopy(model))
        self.parameters: list[nn.Parameter] = list(self.losses.model.parameters())
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.base = [parameter.detach().clone() for parameter in self.parameters]
        count = sum(1 for row in documents if row.scored)
        self.rate = steps.lr / max(count, steps.corpus_min)
        self.fisher = fisher_diagonal(self.losses.model, documents, context)

    def move(self, output: Encoded, sign: int) -> LossModel:
        """Return the model moved from its base weights: sign 1 is ascent, -1 descent."""
        self.rest()
        if self.steps.variant == "natural":
            self._natural(output, sign)
        else:
            self._adamw(output, sign)
        return self.losses

    @torch.no_grad()
    def rest(self) -> None:
        """Put the base weights back."""
        for parameter, value in zip(self.parameters, self.base, strict=True):
            parameter.copy_(value)

    def _natural(self, output: Encoded, sign: int) -> None:
        step = sign * self.rate
        for _ in range(self.steps.steps):
            gradients = mean_gradient(self.losses.model, output, self.context)
            with torch.no_grad():
                for parameter, gradient, fisher in zip(
                    self.parameters, gradients, self.fisher, strict=True
                ):
                    parameter.add_(step * gradient / (fisher + self.steps.fisher_eps))

    def _adamw(self, output: Encoded, sign: int) -> None:
        optimizer = torch.optim.AdamW(
            self.parameters, lr=self.steps.lr, weight_decay=self.steps.weight_decay
        )
        for _ in range(self.steps.steps):
            gradients = mean_gradient(self.losses.model, output, self.context)
            with torch.no_grad():
                for parameter, gradient, fisher, value in zip(
                    self.parameters, gradients, self.fisher, self.base, strict=True
                ):
                    pull = 2 * self.steps.penalty * fisher * (parameter - value)
                    parameter.grad = pull - sign * gradient
            if self.steps.clip > 0:
                nn.utils.clip_grad_norm_(self.parameters, self.steps.clip)
            optimizer.step()
        for parameter in self.parameters:
            parameter.grad = None


def fisher_diagonal(model: Any, documents: Sequence[Encoded], context: int) -> list[Tensor]:
    """Return per parameter the mean over documents of the squared gradient of the mean loss.

    Args:
        model: its parameters require gradients.
        documents: those with nothing to score, or without a finite gradient, do not count.
        context: the most tokens the model reads at once.

    Raises:
        ScoringError: no document has a finite gradient.
    """
    sums = [torch.zeros_like(parameter) for parameter in model.parameters()]
    count = 0
    for row in documents:
        if not row.scored:
            continue
        gradients = mean_gradient(model, row, context)
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            continue
        count += 1
        for total, gradient in zip(sums, gradients, strict=True):
            total.add_(gradient.square())
    if not count:
        raise ScoringError(
            "no document has a finite gradient; there is no Fisher to step by. Check the model"
        )
    return [total / count for total in sums]


def mean_gradient(model: Any, row: Encoded, context: int) -> tuple[Tensor, ...]:
    """Return the gradient of the mean loss over a row's scored tokens, per parameter."""
    pieces = windows(row, context)
    with torch.enable_grad():
        loss = summed_loss(model, pieces).sum() / row.scored
        return torch.autograd.grad(loss, list(model.parameters()))
