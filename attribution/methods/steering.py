"""Steering operators: what a subset of the corpus would do to a frozen model, cheaply.

At one layer the hidden state h of a text becomes, for subset k,

    h + unit * ((h B) / unit) A_k        B [H, r] shared by all subsets, A_k [r, H] its own

with `unit` the root mean square of h. The model is never changed; B and all A_k are
trained together, a batch of documents against all their subsets at once:

    fidelity    loss of the subset's own documents, after steering
    stability   KL of steered from unsteered predictions on documents of the others
    linearity   |(S(S^T S + g)^-1 S^T - 1) y|^2 / K, y the loss drops of all subsets on
                one document, S a sketch of the membership: drops should be linear in
                who is in the subset

1. The layers below the steered one run once for a text, however many subsets: their
   output is repeated there, once for each operator.
2. A drop is `loss(unsteered) - loss(steered by k)` in summed nats: positive = helped.
3. Training reads at most `positions` scored tokens of a window, drawn anew each time.

After Dagli, Harrasse et al. 2026, arXiv 2606.05165; its equations write the operator on
the logits and its figure on the hidden state; this is the figure's.

Axes: W windows, S positions, H hidden size, E repeated windows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution.errors import ScoringError
from attribution.gradients import LossModel
from attribution.tokens import Encoded, windows

PLAIN = -1


@dataclass(frozen=True)
class SteerConfig:
    """How operators are trained.

    Attributes:
        rank: columns of the shared basis.
        depth: the steered layer, as a share of the depth.
        epochs: times each document is read.
        batch: windows a step.
        lr: of Adam, in units of the hidden state.
        positions: scored tokens read of a window in one step.
        references: subsets without the document that it is held stable under.
        stability: weight of the KL.
        linearity: weight of the linearity loss; 0 leaves it out.
        linear_every: steps from one linearity loss to the next.
        seed: draws the basis, the order, positions and references.
    """

    rank: int = 16
    depth: float = 0.63
    epochs: int = 3
    batch: int = 16
    lr: float = 5e-3
    positions: int = 24
    references: int = 2
    stability: float = 1.0
    linearity: float = 1.0
    linear_every: int = 4
    seed: int = 0


class Operators(nn.Module):
    """All subsets' operators on one layer of a frozen model.

    Attributes:
        layer: the steered block, counted from 1.
        unit: root mean square of the hidden states there, set by the first text.
    """

    def __init__(self, model: LossModel, subsets: int, config: SteerConfig) -> None:
        super().__init__()
        blocks = blocks_of(model)
        self.layer = min(len(blocks), max(1, round(config.depth * len(blocks))))
        self._model = [model]  # In a list: its parameters are not this module's.
        self._block = [blocks[self.layer - 1]]
        hidden = int(model.model.config.hidden_size)
        draw = torch.Generator().manual_seed(config.seed)
        self.basis = nn.Parameter(torch.randn(hidden, config.rank, generator=draw) / hidden**0.5)
        self.edits = nn.Parameter(torch.zeros(subsets, config.rank, hidden))
        self.unit = 0.0

    def top(self, input_ids: Tensor, times: Tensor, which: Tensor) -> Tensor:
        """Run texts, each under several operators.

        Args:
            input_ids: [W, S].
            times: [W], how often each text is repeated at the steered layer.
            which: [E], the subset of each repetition; `PLAIN` steers nothing.

        Returns:
            [E, S, H], what the head reads.
        """
        with self._repeated(times, which):
            found: Tensor = self._model[0].top(input_ids)
        return found

    def logits(self, rows: Tensor) -> Tensor:
        """Return float32 logits [T, V] of rows of `top`."""
        return self._model[0].logits(rows)

    @contextmanager
    def _repeated(self, times: Tensor, which: Tensor) -> Iterator[None]:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            if not self.unit:
                self.unit = float(hidden.square().mean().sqrt())
            steered = self._steer(hidden.repeat_interleave(times, dim=0), which)
            return (steered, *output[1:]) if isinstance(output, tuple) else steered

        handle = self._block[0].register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def _steer(self, hidden: Tensor, which: Tensor) -> Tensor:
        edits = self.edits[which.clamp(min=0)] * (which != PLAIN)[:, None, None]
        return hidden + self.unit * torch.bmm((hidden / self.unit) @ self.basis, edits)


def blocks_of(model: LossModel) -> list[nn.Module]:
    """Return the blocks of a transformer in order.

    Raises:
        ScoringError: the model has no list of as many blocks as it says layers.
    """
    wanted = int(getattr(model.model.config, "num_hidden_layers", 0))
    for module in model.trunk.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted > 0:
            return list(module)
    raise ScoringError(
        f"{type(model.model).__name__} has no list of {wanted} blocks to steer between; choose a "
        f"method that needs no layer (`byline methods` lists them)"
    )


def train_operators(
    model: LossModel,
    documents: Sequence[Encoded],
    members: Tensor,
    hat: Tensor,
    context: int,
    config: SteerConfig,
) -> Operators:
    """Train the operators of all subsets together.

    Args:
        model: frozen.
        documents: token ids of the corpus.
        members: [K, N], bool: which documents are in which subset.
        hat: [K, K], the smoother of the linearity loss.
        context: the most tokens the model reads at once.
        config: see `SteerConfig`.
    """
    operators = Operators(model, len(members), config)
    draw = torch.Generator().manual_seed(config.seed + 1)
    pieces = [(n, piece) for n, row in enumerate(documents) for piece in windows(row, context)]
    optimizer = torch.optim.Adam(operators.parameters(), lr=config.lr)
    step = 0
    for _ in range(config.epochs):
        order = torch.randperm(len(pieces), generator=draw).tolist()
        for begin in range(0, len(order), config.batch):
            batch = [pieces[place] for place in order[begin : begin + config.batch]]
            optimizer.zero_grad(set_to_none=True)
            loss = _fidelity_and_stability(operators, batch, members, config, draw)
            if config.linearity and step % config.linear_every == 0:
                loss = loss + config.linearity * _linearity(
                    operators, batch[0][1], hat, config, draw
                )
            torch.autograd.backward([loss])
            optimizer.step()
            step += 1
    return operators


@torch.no_grad()
def drops(operators: Operators, output: Encoded, context: int, chunk: int = 64) -> Tensor:
    """Return [K], float64: by how many nats each subset's steering lowers the output's loss."""
    subsets = len(operators.edits)
    found = torch.zeros(subsets, dtype=torch.float64)
    for piece in windows(output, context):
        ids = torch.tensor([piece.input_ids])
        where = slice(piece.prompt_length - 1, len(piece.input_ids) - 1)
        labels = ids[0, piece.prompt_length :]
        for begin in range(0, subsets, chunk):
            which = torch.arange(begin, min(subsets, begin + chunk))
            which = torch.cat([torch.tensor([PLAIN]), which])
            top = operators.top(ids, torch.tensor([len(which)]), which)[:, where]  # [E, T, H]
            losses = _losses(operators, top, labels.expand(len(which), -1)).double().sum(1)
            found[which[1:]] += losses[0] - losses[1:]
    return found


def _fidelity_and_stability(
    operators: Operators,
    batch: Sequence[tuple[int, Encoded]],
    members: Tensor,
    config: SteerConfig,
    draw: torch.Generator,
) -> Tensor:
    """Each window unsteered, under its own subsets, and under some that it is not in."""
    which, times, roles = [], [], []
    for document, _ in batch:
        inside = members[:, document].nonzero()[:, 0]
        outside = (~members[:, document]).nonzero()[:, 0]
        few = outside[torch.randperm(len(outside), generator=draw)[: config.references]]
        which.append(torch.cat([torch.tensor([PLAIN]), inside, few]))
        roles += [0, *[1] * len(inside), *[2] * len(few)]
        times.append(len(which[-1]))
    ids, places, labels = _sampled([piece for _, piece in batch], config.positions, draw)
    repeat = torch.tensor(times)
    role = torch.tensor(roles)
    owner = torch.arange(len(batch)).repeat_interleave(repeat)  # [E]
    top = operators.top(ids, repeat, torch.cat(which))
    rows = top.gather(1, places[owner][:, :, None].expand(-1, -1, top.shape[-1]))  # [E, T, H]
    own, held, plain = role == 1, role == 2, role == 0
    loss = _losses(operators, rows[own], labels[owner[own]]).mean()
    if bool(held.any()) and config.stability:
        with torch.no_grad():
            base = _log_probabilities(operators, rows[plain])[owner[held]]  # [E', T, V]
        steered = _log_probabilities(operators, rows[held])
        kl = functional.kl_div(steered, base, log_target=True, reduction="none").sum(-1).mean()
        loss = loss + config.stability * kl
    return loss


def _linearity(
    operators: Operators,
    piece: Encoded,
    hat: Tensor,
    config: SteerConfig,
    draw: torch.Generator,
) -> Tensor:
    subsets = len(operators.edits)
    which = torch.cat([torch.tensor([PLAIN]), torch.arange(subsets)])
    ids, places, labels = _sampled([piece], max(1, config.positions // 4), draw)
    rows = operators.top(ids, torch.tensor([len(which)]), which)[:, places[0]]  # [E, T, H]
    losses = _losses(operators, rows, labels.expand(len(which), -1)).mean(1)
    found = losses[0] - losses[1:]  # [K]
    centred = found - found.mean()
    return (hat @ centred - centred).square().sum() / subsets


def _sampled(
    pieces: Sequence[Encoded], positions: int, draw: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids [W, S], predicting places [W, T] and labels [W, T] of drawn scored tokens."""
    longest = max(len(piece.input_ids) for piece in pieces)
    ids = torch.zeros(len(pieces), longest, dtype=torch.long)
    places = torch.zeros(len(pieces), positions, dtype=torch.long)
    for row, piece in enumerate(pieces):
        ids[row, : len(piece.input_ids)] = torch.tensor(piece.input_ids)
        # With repetition where a window has fewer scored tokens than are asked for.
        chosen = torch.randperm(piece.scored, generator=draw)
        chosen = chosen.repeat(-(-positions // piece.scored))[:positions]
        places[row] = piece.prompt_length - 1 + chosen
    return ids, places, ids.gather(1, places + 1)


def _losses(operators: Operators, rows: Tensor, labels: Tensor) -> Tensor:
    """Return the loss [E, T] of labels [E, T] at rows [E, T, H]."""
    logits = operators.logits(rows.flatten(0, 1))
    losses = functional.cross_entropy(logits, labels.reshape(-1), reduction="none")
    return losses.view(labels.shape)


def _log_probabilities(operators: Operators, rows: Tensor) -> Tensor:
    return torch.log_softmax(operators.logits(rows.flatten(0, 1)), dim=-1).view(*rows.shape[:2], -1)
