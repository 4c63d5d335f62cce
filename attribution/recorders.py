"""What is made of activations and output gradients: covariances, or projected rows.

1. A covariance sums over live positions only; padding never enters it.
2. A row is the projected gradient of one document, all layers side by side in
   model order, each as its [r_in, r_out] matrix laid out row by row.
3. A batch fills one buffer; whoever reads it copies it once.
4. Of the output head's gradient the columns of the kept tokens are gathered, which
   is a projection on them; its rows come from the forward pass alone.
5. Per layer and sequence length the cheaper order is taken: project both sides,
   then multiply; or multiply, then project both sides. Both give the same row.

Axes: W windows, S positions, I inputs (bias's constant included), O outputs,
D numbers of a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attribution.batches import Batch
from attribution.layers import TrackedLayer
from attribution.projection import LayerBasis

# From this width on half of a covariance is worth saving; narrower ones are one product.
_WIDE = 1024
_STRIPES = 8


class CovarianceRecorder:
    """Sums `a a^T` and `d d^T` of every tracked layer over live positions.

    Attributes:
        inputs: per layer [I, I], float64.
        outputs: per layer [O, O], float64; of the head only the diagonal, [O].
        positions: how many live positions were summed.
        scored: how many scored tokens were; the head sees no other.
    """

    def __init__(self, layers: Sequence[TrackedLayer], device: torch.device) -> None:
        self.layers = layers
        self.inputs = [_square(layer.rows, device) for layer in layers]
        self.outputs = [
            torch.zeros(layer.outputs, dtype=torch.float64, device=device)
            if layer.head
            else _square(layer.outputs, device)
            for layer in layers
        ]
        self.positions = self.scored = 0
        self.head = head_of(layers)
        self._live = torch.empty(0)

    @property
    def finite(self) -> bool:
        """Whether every sum is."""
        return all(bool(sums.isfinite().all()) for sums in (*self.inputs, *self.outputs))

    def start(self, batch: Batch) -> None:
        """Name the batch that is about to run."""
        self._live = batch.live.to(self.inputs[0].device)
        self.positions += int(batch.live.sum())

    def keep(self, layer: int, activations: Tensor) -> Tensor:
        """Add the activations' products."""
        seen = with_constant(self.layers[layer], activations[self._live].float())  # [T, I]
        self.inputs[layer] += gram(seen)
        return self._live

    def take(self, layer: int, kept: Tensor, output_gradients: Tensor) -> None:
        """Add the output gradients' products."""
        seen = output_gradients[kept].float()  # [T, O]
        self.outputs[layer] += gram(seen)

    def head_chunk(self, part: slice, hidden: Tensor, logit_gradients: Tensor) -> None:
        """Add the head's products: its output side is taken to be diagonal."""
        assert self.head is not None, part
        seen = with_constant(self.layers[self.head], hidden.float())
        self.inputs[self.head] += gram(seen)
        self.outputs[self.head] += logit_gradients.square().sum(0)
        self.scored += len(hidden)

    def head_done(self, hidden: Tensor, where: Tensor) -> None:
        """Nothing is left to do."""


class FiniteRecorder:
    """Notes which documents of a batch have activations or gradients that are not finite.

    Attributes:
        bad: [documents of the batch], bool.
    """

    def __init__(self, layers: Sequence[TrackedLayer]) -> None:
        # The head adds nothing: its inputs reach the loss, which is looked at anyway.
        self.head: int | None = None
        self.layers = layers
        self.bad = torch.zeros(0, dtype=torch.bool)
        self._batch: Batch | None = None

    def start(self, batch: Batch) -> None:
        """Name the batch that is about to run."""
        self._batch, self.bad = batch, torch.zeros(len(batch.documents), dtype=torch.bool)

    def keep(self, layer: int, activations: Tensor) -> Tensor:
        """Look at the activations."""
        self._look(activations)
        return activations[:0]

    def take(self, layer: int, kept: Tensor, output_gradients: Tensor) -> None:
        """Look at the output gradients."""
        self._look(output_gradients)

    def head_chunk(self, part: slice, hidden: Tensor, logit_gradients: Tensor) -> None:
        """Nothing is noted of the head."""

    def head_done(self, hidden: Tensor, where: Tensor) -> None:
        """Nothing is noted of the head."""

    def _look(self, seen: Tensor) -> None:
        assert self._batch is not None, "a batch must be started first"
        live = self._batch.live.to(seen.device)
        wrong = (~seen.isfinite().all(-1) & live).any(1).cpu()  # [W]
        self.bad[self._batch.rows[wrong]] = True


class RowRecorder:
    """Fills one buffer row per document of a batch with its projected gradient.

    Attributes:
        spans: per layer the slice of a row that belongs to it.
        width: numbers in a row (D).
    """

    def __init__(
        self, layers: Sequence[TrackedLayer], bases: Sequence[LayerBasis], device: torch.device
    ) -> None:
        assert len(layers) == len(bases), (len(layers), len(bases))
        self.layers = layers
        self.bases = [LayerBasis(b.p_in.to(device), b.p_out.to(device)) for b in bases]
        ends = torch.tensor([basis.width for basis in bases]).cumsum(0).tolist()
        self.spans = [slice(end - basis.width, end) for end, basis in zip(ends, bases, strict=True)]
        self.width = int(ends[-1])
        self.head = head_of(layers)
        self._chunks: list[Tensor] = []
        self._device = device
        self._buffer = torch.empty(0, self.width, device=device)
        self._batch: Batch | None = None

    def start(self, batch: Batch) -> None:
        """Name the batch that is about to run, and make room for its rows."""
        if len(batch.documents) > len(self._buffer):
            self._buffer = torch.empty(len(batch.documents), self.width, device=self._device)
        self._batch = batch

    @property
    def rows(self) -> Tensor:
        """The rows of the batch that ran last, [documents, D], float32; a view of the buffer."""
        assert self._batch is not None, "no batch has run"
        return self._buffer[: len(self._batch.documents)]

    def keep(self, layer: int, activations: Tensor) -> Tensor:
        """Project the input side, unless multiplying first is cheaper."""
        basis, tracked = self.bases[layer], self.layers[layer]
        if multiply_first(basis, activations.shape[1]):
            return activations
        p_in = basis.p_in.to(activations.dtype)
        if not tracked.bias:
            return activations @ p_in
        return activations @ p_in[:-1] + p_in[-1]  # [W, S, r_in]

    def take(self, layer: int, kept: Tensor, output_gradients: Tensor) -> None:
        """Finish the rows of one layer."""
        self.add(layer, self.product(layer, kept, output_gradients))

    def head_chunk(self, part: slice, hidden: Tensor, logit_gradients: Tensor) -> None:
        """Keep the columns of the kept tokens."""
        assert self.head is not None, part
        self._chunks.append(logit_gradients[:, self.bases[self.head].p_out])

    def head_done(self, hidden: Tensor, where: Tensor) -> None:
        """Finish the rows of the head."""
        assert self.head is not None, "only a recorder with a head is told of it"
        kept = torch.cat(self._chunks)  # [T, r_out]
        self._chunks = []
        sides = torch.zeros(*where.shape, kept.shape[1], device=kept.device)
        sides[where] = kept
        seen = with_constant(self.layers[self.head], hidden.float()) @ self.bases[self.head].p_in
        self.add(self.head, torch.bmm(seen.mT, sides))

    def add(self, layer: int, product: Tensor) -> None:
        """Put the windows' projected gradients [W, r_in, r_out] of one layer into the rows."""
        assert self._batch is not None, "a batch must be started first"
        place = self.rows[:, self.spans[layer]]
        if self._batch.single:
            place.copy_(product.flatten(1))
        else:
            place.zero_()
            place.index_add_(0, self._batch.rows.to(place.device), product.flatten(1))

    def product(self, layer: int, kept: Tensor, output_gradients: Tensor) -> Tensor:
        """Return the projected gradients of the windows, [W, r_in, r_out], float32."""
        basis = self.bases[layer]
        if multiply_first(basis, kept.shape[1]):
            seen = with_constant(self.layers[layer], kept)  # [W, S, I]
            full = torch.bmm(seen.mT, output_gradients).float()  # [W, I, O]
            return basis.p_in.T @ full @ basis.p_out
        projected = output_gradients @ basis.p_out.to(output_gradients.dtype)
        return torch.bmm(kept.mT, projected).float()


def gram(seen: Tensor) -> Tensor:
    """Return `seen^T seen`; of a wide one the lower half is copied and not computed.

    Args:
        seen: [T, n], float32.
    """
    n = seen.shape[1]
    if n < _WIDE:
        return seen.T @ seen
    out = torch.empty(n, n, dtype=seen.dtype, device=seen.device)
    step = -(-n // _STRIPES)
    for begin in range(0, n, step):
        stripe = slice(begin, begin + step)
        out[stripe, begin:] = seen[:, stripe].T @ seen[:, begin:]
        out[begin + step :, stripe] = out[stripe, begin + step :].T
    return out


def with_constant(layer: TrackedLayer, activations: Tensor) -> Tensor:
    """Append the constant 1 that the bias is the weight of, where there is a bias."""
    if not layer.bias:
        return activations
    return torch.cat([activations, torch.ones_like(activations[..., :1])], dim=-1)


def head_of(layers: Sequence[TrackedLayer]) -> int | None:
    """Return the place of the output head among the layers, or None."""
    return next((place for place, layer in enumerate(layers) if layer.head), None)


def multiply_first(basis: LayerBasis, positions: int) -> bool:
    """Whether forming the full gradient and then projecting it costs fewer products."""
    (inputs, r_in), (outputs, r_out) = basis.p_in.shape, basis.p_out.shape
    project = positions * (inputs * r_in + outputs * r_out + r_in * r_out)
    multiply = positions * inputs * outputs + r_in * outputs * (inputs + r_out)
    return multiply < project


def _square(size: int, device: torch.device) -> Tensor:
    return torch.zeros(size, size, dtype=torch.float64, device=device)
