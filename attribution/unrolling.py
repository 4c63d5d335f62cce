"""Differentiate a whole training run: how the outputs' loss answers to each document's weight.

Metagradients through a replayed recipe (MAGIC, arXiv 2504.16430). Each document i
has a weight w_i in the loss of its batches,

    L_t(theta, w) = sum_i w_i l_i(theta) / sum_i w_i n_i        w_i = 1, n_i scored tokens

so that w_i = 0 is the document left out, as attribution.replay leaves it out. One
forward run keeps states (weights and both moments of AdamW) every sqrt(T) steps;
the backward run makes the states between two of them again and carries the adjoint
of the state from the last step to the first:

    u       = adjoint of the clipped gradient, through AdamW's own equations
    adjoint of theta  +=  d<u, grad L_t>/d theta       (a Hessian-vector product)
    d loss/d w        +=  d<u, grad L_t>/d w

1. The outcome is a sum over outputs with given values: one backward run gives every
   document's signed weight for all of a period at once, and it is linear in the values.
2. It costs two forward runs and about three more for the backward one, whatever the
   number of documents, and 2 sqrt(T) states of three numbers a parameter.
3. It is a derivative. Where training answers to a small change of weights by jumping
   (small batches, AdamW's tiny second moments) the derivative says little about leaving
   a document out; `metasmoothness` measures that and is part of the result.

Axes: T steps, N documents, P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from attribution.recipe import Recipe
from attribution.replay import deterministic, summed_loss
from attribution.tokens import Encoded, windows

Nats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
POOR = 0.5


@dataclass(frozen=True)
class Unrolled:
    """What one backward run through training says.

    Attributes:
        influence: [N], nats the valued outputs lose per unit of the document's weight
            taken away; positive = the document helped.
        loss: the valued sum of the outputs' losses after training, in nats.
        steps: T.
        memory_bytes: of the states that were held at the same time.
    """

    influence: Nats
    loss: float
    steps: int
    memory_bytes: int


@dataclass
class _State:
    """Weights and AdamW's moments before a step, and how many steps moved them."""

    theta: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]
    moved: int

    def copy(self) -> _State:
        """Return the state with tensors of its own."""
        theta, first, second = (
            [t.clone() for t in part] for part in (self.theta, self.first, self.second)
        )
        return _State(theta, first, second, self.moved)


class Unrolling:
    """A recorded run that can be run forwards under any weights, and backwards.

    Args:
        model: holds the starting weights; a causal LM. Its weights are changed.
        rows: the windows of every document, in corpus order.
        recipe: what was run.
        queries: the outputs whose loss is differentiated.
        values: what each output counts; 1 when left out.
        double: compute in float64.
    """

    def __init__(
        self,
        model: Any,
        rows: Sequence[Sequence[Encoded]],
        recipe: Recipe,
        queries: Sequence[Encoded],
        values: Sequence[float] | None = None,
        *,
        double: bool = False,
    ) -> None:
        self.model = model.double() if double else model.float()
        self.rows, self.recipe = rows, recipe
        self.queries = queries
        self.values = [1.0] * len(queries) if values is None else list(values)
        assert len(self.values) == len(queries), (len(self.values), len(queries))
        self.batches = recipe.batches()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        # The two moments start at zero and weight decay spares parameters with one axis.
        self.decay = [
            recipe.optimizer.weight_decay if p.dim() > 1 else 0.0 for p in self.parameters
        ]
        zeros = [torch.zeros_like(p) for p in self.parameters]
        self.start = _State(
            [p.detach().clone() for p in self.parameters], zeros, [z.clone() for z in zeros], 0
        )

    def train(self, weights: Nats | None = None) -> float:
        """Train under the documents' weights and return the valued loss of the outputs.

        Args:
            weights: [N]; all 1 when left out, which is the run as recorded.
        """
        with self._exact():
            state = self.start.copy()
            for step in range(len(self.batches)):
                self._forward(state, step, self._weights(weights))
            self._load(state)
            with torch.no_grad():
                return float(sum(self._query_losses()))

    def influence(self, progress: Progress | None = None) -> Unrolled:
        """Run forwards and backwards once.

        Args:
            progress: called with ("unroll", steps done, steps in all).
        """
        steps = len(self.batches)
        spacing = max(1, math.isqrt(steps - 1) + 1)
        ones = self._weights(None)
        told = progress or (lambda _name, _done, _all: None)
        with self._exact():
            kept: list[_State] = []
            state = self.start.copy()
            for step in range(steps):
                if step % spacing == 0:
                    kept.append(state.copy())
                self._forward(state, step, ones)
                told("unroll", step + 1, 3 * steps)
            self._load(state)
            loss, adjoint = self._outcome(state.moved)
            gradient = torch.zeros_like(ones)
            for place in reversed(range(len(kept))):
                begin, state = place * spacing, kept.pop()
                between = []
                for step in range(begin, min(begin + spacing, steps)):
                    between.append(state.copy())
                    self._forward(state, step, ones)
                for step in reversed(range(begin, begin + len(between))):
                    self._backward(between.pop(), step, adjoint, gradient)
                    told("unroll", steps + 2 * (steps - step), 3 * steps)
        numbers = sum(p.numel() * p.element_size() for p in self.parameters)
        held = 3 * numbers * (math.ceil(steps / spacing) + spacing + 1)
        return Unrolled(-gradient.double().numpy(), loss, steps, held)

    def metasmoothness(
        self,
        *,
        share: float = 0.05,
        depth: float = 0.5,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> float:
        """Measure how evenly training answers when some documents' weights fall.

        Takes the trained weights under 1, 1 - h and 1 - 2h times the weights of a random
        part of the documents, and returns how far the second change has the signs of the
        first, each number weighed by the size of its first change: 1 where training is
        smooth in the weights of documents, about 0 where it jumps.

        Args:
            share: part of the documents whose weights fall.
            depth: 2h, how far they fall; 1 would leave them out.
            seed: draws the documents.
            progress: called with ("smoothness", runs done, runs in all).
        """
        told = progress or (lambda _name, _done, _all: None)
        documents = len(self.rows)
        drawn = np.random.default_rng(seed).permutation(documents)
        chosen = drawn[: max(1, round(share * documents))]
        ends = []
        for fall in (0.0, depth / 2, depth):
            weights = np.ones(documents)
            weights[chosen] -= fall
            self.train(weights)
            ends.append(torch.cat([p.detach().flatten().clone() for p in self.parameters]))
            told("smoothness", len(ends), 3)
        before, after = ends[1] - ends[0], ends[2] - ends[1]
        size = float(before.abs().sum())
        return float((before.abs() * before.sign() * after.sign()).sum()) / max(size, 1e-300)

    def _weights(self, weights: Nats | None) -> Tensor:
        dtype = self.parameters[0].dtype
        if weights is None:
            return torch.ones(len(self.rows), dtype=dtype)
        return torch.from_numpy(np.asarray(weights, dtype=np.float64)).to(dtype)

    @contextmanager
    def _exact(self) -> Iterator[None]:
        # The fused attention kernels have no second derivative.
        threads = self.recipe.threads or torch.get_num_threads()
        with deterministic(self.recipe.seed or 0, threads), sdpa_kernel([SDPBackend.MATH]):
            yield

    def _load(self, state: _State) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, state.theta, strict=True):
                parameter.copy_(value)

    def _loss(self, step: int, weights: Tensor) -> Tensor | None:
        """Return the batch's weighted mean loss, None where nothing in it is scored."""
        present = [(place, row) for place in self.batches[step] for row in self.rows[place]]
        if not present:
            return None
        part = weights[[int(place) for place, _ in present]]
        scored = torch.tensor([float(row.scored) for _, row in present], dtype=weights.dtype)
        losses = summed_loss(self.model, [row for _, row in present])
        return (part * losses).sum() / (part * scored).sum()

    def _clip(self, gradients: Sequence[Tensor]) -> tuple[float, float]:
        """Return the gradients' norm and the factor that clipping puts on them."""
        most = self.recipe.optimizer.clip_grad_norm or math.inf
        norm = math.sqrt(sum(float((g.detach() ** 2).sum()) for g in gradients))
        return norm, min(1.0, most / (norm + 1e-6))

    def _forward(self, state: _State, step: int, weights: Tensor) -> None:
        """Take one step of AdamW in place, as torch takes it."""
        self._load(state)
        loss = self._loss(step, weights)
        if loss is None:
            return
        gradients = torch.autograd.grad(loss, self.parameters)
        _, factor = self._clip(gradients)
        told, rate = self.recipe.optimizer, float(self.recipe.lr[step])
        state.moved += 1
        one, two = (1 - beta**state.moved for beta in told.betas)
        for place, gradient in enumerate(gradients):
            clipped = factor * gradient
            theta, first, second = state.theta[place], state.first[place], state.second[place]
            first.mul_(told.betas[0]).add_(clipped, alpha=1 - told.betas[0])
            second.mul_(told.betas[1]).addcmul_(clipped, clipped, value=1 - told.betas[1])
            theta.mul_(1 - rate * self.decay[place])
            theta.addcdiv_(first, (second / two).sqrt().add_(told.eps), value=-rate / one)

    def _query_losses(self) -> Iterator[Tensor]:
        context = self.recipe.context or max(4, *(len(row.input_ids) for row in self.queries))
        return valued_losses(self.model, self.queries, self.values, context)

    def _outcome(self, moved: int) -> tuple[float, _State]:
        """Return the valued loss and its derivative, as the adjoint of the final state."""
        total = 0.0
        theta = [torch.zeros_like(p) for p in self.parameters]
        for loss in self._query_losses():
            total += float(loss.detach())
            for place, part in enumerate(torch.autograd.grad(loss, self.parameters)):
                theta[place] += part
        zeros = [torch.zeros_like(p) for p in self.parameters]
        return total, _State(theta, zeros, [z.clone() for z in zeros], moved)

    def _backward(self, state: _State, step: int, adjoint: _State, gradient: Tensor) -> None:
        """Carry the adjoint over one step, and add the step's part of d loss/d w in place."""
        self._load(state)
        weights = torch.ones_like(gradient).requires_grad_()
        loss = self._loss(step, weights)
        if loss is None:
            return
        found = torch.autograd.grad(loss, self.parameters, create_graph=True)
        norm, factor = self._clip(found)
        into = [
            self._through_adamw(state, step, adjoint, place, factor * raw.detach())
            for place, raw in enumerate(found)
        ]
        if factor < 1.0:
            # The factor c / (norm + 1e-6) depends on the gradient itself.
            along = sum(float((u * raw.detach()).sum()) for u, raw in zip(into, found, strict=True))
            bend = factor * along / ((norm + 1e-6) * norm)
            into = [factor * u - bend * r.detach() for u, r in zip(into, found, strict=True)]
        product = torch.stack([(u * r).sum() for u, r in zip(into, found, strict=True)]).sum()
        *curved, part = torch.autograd.grad(product, [*self.parameters, weights])
        for place, bent in enumerate(curved):
            adjoint.theta[place] += bent
        gradient += part

    def _through_adamw(
        self, state: _State, step: int, adjoint: _State, place: int, clipped: Tensor
    ) -> Tensor:
        """Carry one parameter's adjoint over the update; return that of its clipped gradient."""
        told, rate = self.recipe.optimizer, float(self.recipe.lr[step])
        (beta1, beta2), moved = told.betas, state.moved + 1
        one, two = 1 - beta1**moved, 1 - beta2**moved
        first = beta1 * state.first[place] + (1 - beta1) * clipped
        second = beta2 * state.second[place] + (1 - beta2) * clipped * clipped
        root = (second / two).sqrt()
        below = root + told.eps
        pull = (rate / one) * adjoint.theta[place] / below
        to_first = adjoint.first[place] - pull
        # A second moment of zero has never moved: its root has no slope that matters.
        slope = torch.where(root > 0, 0.5 / (two * root.clamp(min=1e-300)), 0.0)
        to_second = adjoint.second[place] + pull * first / below * slope
        adjoint.first[place] = beta1 * to_first
        adjoint.second[place] = beta2 * to_second
        adjoint.theta[place] = (1 - rate * self.decay[place]) * adjoint.theta[place]
        return (1 - beta1) * to_first + 2 * (1 - beta2) * clipped * to_second


def valued_losses(
    model: Any, queries: Sequence[Encoded], values: Sequence[float], context: int
) -> Iterator[Tensor]:
    """Yield the summed loss of each window of each output, in nats, times the output's value."""
    for value, row in zip(values, queries, strict=True):
        for piece in windows(row, context):
            yield value * summed_loss(model, [piece]).sum()
