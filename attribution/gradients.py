"""Per-document gradients of the summed token loss, without any weight gradient.

For a linear layer the gradient of one document's loss is `sum_t a_t d_t^T`, with
`a_t` the layer's input (1 appended for the bias) and `d_t` the gradient of its
output at token t. Hooks hand both to a recorder, which never needs more:

1. All parameters are frozen; autograd computes input gradients only.
2. The graph begins at the outputs of the lowest tracked layers: nothing below
   them is ever differentiated.
3. The loss is summed over scored tokens, in nats, never averaged.
4. Logits exist for one chunk of scored tokens at a time, and not at all for
   prompts and padding. The gradient of the loss at the logits is closed form,
   softmax minus one-hot, so the head needs no autograd.
5. Labels are the text's own tokens, or sampled from the model by numbers that
   depend on the document and the token alone, never on the batch.

Axes: W windows of a batch, S positions, I inputs and O outputs of a layer,
T scored tokens of a batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from attribution.batches import Batch
from attribution.errors import GradientIndexError
from attribution.layers import TrackedLayer, modules_of, output_head

CHUNK_BYTES = 32 << 20
_PROBE = 6


class Recorder(Protocol):
    """What is done with the activations and output gradients of each tracked layer.

    The output head, where it is tracked, is told chunk by chunk in the forward pass:
    its output gradients are as wide as the vocabulary and never exist at once.

    Attributes:
        head: place of the output head among the layers; None where it is not tracked.
    """

    head: int | None

    def keep(self, layer: int, activations: Tensor) -> Tensor:
        """Reduce the activations [W, S, I] to what `take` will need; called in the forward."""
        ...

    def take(self, layer: int, kept: Tensor, output_gradients: Tensor) -> None:
        """Use what was kept and the output gradients [W, S, O]; called in the backward."""
        ...

    def head_chunk(self, part: slice, hidden: Tensor, logit_gradients: Tensor) -> None:
        """See a run of scored tokens: hidden states [T', H] and logit gradients [T', V]."""
        ...

    def head_done(self, hidden: Tensor, where: Tensor) -> None:
        """Finish the head: all hidden states [W, S, H], and which predict a scored token."""
        ...


class LossModel:
    """A causal LM, frozen, cut into its trunk and its output head.

    Where the model does more than `head(trunk(ids))` (soft caps, scaling) the cut
    would change the loss. A probe compares the two at construction; if they
    differ, the whole model is the trunk and there is no head.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        bare = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.trunk: Any = bare.base_model
        head = output_head(bare)
        self.head: nn.Linear | None = head if isinstance(head, nn.Linear) else None
        self.device = next(model.parameters()).device
        # A soft cap is the identity on small logits, so a probe alone could miss it.
        capped = bool(getattr(bare.config, "final_logit_softcapping", None))
        self.split = self.head is not None and not capped and self._split_is_exact()

    @torch.no_grad()
    def _split_is_exact(self) -> bool:
        ids = torch.arange(1, _PROBE + 1, device=self.device)[None]  # [1, _PROBE]
        assert self.head is not None
        hidden = self.trunk(input_ids=ids, use_cache=False).last_hidden_state
        whole = self.model(input_ids=ids, use_cache=False).logits
        return torch.allclose(self.head(hidden).float(), whole.float(), rtol=1e-3, atol=1e-3)

    def top(self, input_ids: Tensor) -> Tensor:
        """Return hidden states [W, S, H], or logits [W, S, V] where there is no head to cut."""
        if self.split:
            hidden: Tensor = self.trunk(input_ids=input_ids, use_cache=False).last_hidden_state
            return hidden
        logits: Tensor = self.model(input_ids=input_ids, use_cache=False).logits
        return logits

    def logits(self, top: Tensor) -> Tensor:
        """Return float32 logits [T, V] of rows of `top`."""
        return (self.head(top) if self.split and self.head is not None else top).float()

    def pull_back(self, logit_gradients: Tensor) -> Tensor:
        """Return the gradient at the rows of `top` for a gradient [T, V] at their logits."""
        if self.split and self.head is not None:
            return logit_gradients.to(self.head.weight.dtype) @ self.head.weight
        return logit_gradients


@contextmanager
def recording(
    model: nn.Module, layers: Sequence[TrackedLayer], recorder: Recorder
) -> Iterator[None]:
    """Call the recorder for each tracked layer in every forward and backward of the block."""
    handles = []

    def hook(layer: int) -> Any:
        def forward(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not torch.is_grad_enabled():
                return
            if output.dim() != 3:
                raise GradientIndexError(
                    f"layer {layers[layer].name} gives a tensor of shape {tuple(output.shape)}, "
                    f"not [windows, positions, outputs]: its tokens cannot be told apart (a "
                    f"routed expert, perhaps). Leave it out with `layers`"
                )
            kept = recorder.keep(layer, inputs[0].detach())
            if not output.requires_grad:
                # A lowest tracked layer: the graph begins here (rule 2).
                output.requires_grad_(True)
            output.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: recorder.take(layer, kept, gradient)
            )

        return forward

    for layer, module in enumerate(modules_of(model, layers)):
        if layers[layer].head:
            continue
        handles.append(module.register_forward_hook(hook(layer)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def losses(model: LossModel, batch: Batch) -> Tensor:
    """Summed loss of each document of a batch, forward only.

    Returns:
        [documents of the batch], float64, nats.
    """
    with torch.no_grad():
        return _run(model, batch, None, None, backward=False)


def backward(
    model: LossModel,
    batch: Batch,
    draws: Tensor | None = None,
    recorder: Recorder | None = None,
) -> Tensor:
    """Run one batch forward and backward; recorders see every tracked layer.

    Args:
        model: the frozen model, inside a `recording` block.
        batch: what to read.
        draws: [T], float64 in [0, 1), one number for each scored token in the
            order of the batch: labels are sampled from the model with them.
            None: the text's own tokens are the labels.
        recorder: told about the output head, where it tracks it; the other layers
            it sees through the hooks of `recording`.

    Returns:
        [documents of the batch], float64, the summed loss of each in nats.
    """
    with torch.enable_grad():
        return _run(model, batch, draws, recorder, backward=True)


def _run(
    model: LossModel,
    batch: Batch,
    draws: Tensor | None,
    recorder: Recorder | None,
    *,
    backward: bool,
) -> Tensor:
    tap = recorder if recorder is not None and recorder.head is not None else None
    device = model.device
    input_ids, scored = batch.input_ids.to(device), batch.scored.to(device)
    top = model.top(input_ids)  # [W, S, H]
    # Token t is predicted at position t - 1.
    where = torch.zeros_like(scored)
    where[:, :-1] = scored[:, 1:]
    rows = top.detach()[where]  # [T, H]
    labels = input_ids[scored]  # [T]
    token_losses, gradients = _head(model, rows, labels, draws, tap, backward=backward)
    if tap is not None:
        tap.head_done(top.detach(), where)
    if top.requires_grad:
        at_top = torch.zeros_like(top)
        at_top[where] = gradients
        torch.autograd.backward([top], [at_top])
    # Summed on the processor: a card adds in whatever order its threads come.
    owner = batch.rows[:, None].expand_as(batch.scored)[batch.scored.cpu()]  # [T]
    totals = torch.zeros(len(batch.documents), dtype=torch.float64)
    return totals.index_add_(0, owner, token_losses.double().cpu())


@torch.no_grad()
def _head(
    model: LossModel,
    rows: Tensor,
    labels: Tensor,
    draws: Tensor | None,
    tap: Recorder | None,
    *,
    backward: bool,
) -> tuple[Tensor, Tensor]:
    """Return token losses [T] and the gradient of their sum at `rows` [T, H], chunk by chunk."""
    vocabulary = int(model.model.config.vocab_size)
    step = max(1, CHUNK_BYTES // (4 * vocabulary))
    token_losses = torch.empty(len(rows), device=rows.device)
    gradients = torch.empty_like(rows) if backward else rows
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        logp = torch.log_softmax(model.logits(rows[part]), dim=-1)  # [T', V]
        chosen = labels[part]
        token_losses[part] = -logp.gather(1, chosen[:, None])[:, 0]
        if not backward:
            continue
        probabilities = logp.exp_()
        if draws is not None:
            chosen = _sample(probabilities, draws[part])
        probabilities.scatter_add_(1, chosen[:, None], torch.full_like(probabilities[:, :1], -1.0))
        if tap is not None:
            tap.head_chunk(part, rows[part], probabilities)
        gradients[part] = model.pull_back(probabilities).to(rows.dtype)
    return token_losses, gradients


def _sample(probabilities: Tensor, draws: Tensor) -> Tensor:
    """Return the label [T] at which the running sum of probabilities passes each draw [T]."""
    running = probabilities.cumsum(-1)
    target = (draws.to(running.device, running.dtype) * running[:, -1])[:, None].contiguous()
    return torch.searchsorted(running, target, right=True)[:, 0].clamp_(max=running.shape[1] - 1)


def label_draws(keys: Mapping[int, int] | Sequence[int], batch: Batch, seed: int) -> Tensor:
    """Numbers to sample labels with: a function of seed, document and token only (rule 5).

    Args:
        keys: a number for each document of the caller's list that never changes; of the
            batch's documents at least.
        batch: the batch whose scored tokens need labels.
        seed: of the run.

    Returns:
        [T], float64 in [0, 1), in the order of the batch's scored tokens.
    """
    counts = batch.scored.sum(1).tolist()
    streams = {}
    draws = []
    for row, count in zip(batch.rows.tolist(), counts, strict=True):
        if row not in streams:
            key = np.array([seed, keys[batch.documents[row]]], dtype=np.uint64)
            streams[row] = np.random.Philox(key=key)
        draws.append((streams[row].random_raw(count) >> np.uint64(11)) * 2.0**-53)
    return torch.from_numpy(np.concatenate(draws))
