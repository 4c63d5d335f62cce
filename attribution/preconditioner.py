"""The damped curvature that turns a gradient dot product into an influence.

For one checkpoint and one layer, with labels sampled from the model:

    A = E[a a^T],  S = E[d d^T]              K-FAC factors, over live positions
    l[i,j] = E[((P_in^T G P_out)[i,j])^2]    corrected eigenvalues, over documents
    inverse[i,j] = 1 / (l[i,j] + damping * mean(l))

1. The mean is over the layer's whole eigenbasis, so damping does not move when
   the rank does. What the kept box does not hold is estimated from the factors.
2. Only the query side is multiplied by the inverse. Stored rows stay gradients,
   and the curvature can be fitted again without touching them.
3. The output head is damped `HEAD_TIMES` as much: its eigenvalues follow the tokens'
   frequencies, and their mean lies far above most of them.
4. The fit reads a sample of the documents (`fit_sample`). A document that is not finite
   is left out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attribution.batches import Batch
from attribution.errors import GradientIndexError
from attribution.fit_sample import DrawnBatches, sample_documents
from attribution.gradients import LossModel, backward, recording
from attribution.layers import TrackedLayer
from attribution.low_rank import factor_bytes
from attribution.projection import (
    LayerBasis,
    Spectrum,
    allocate_ranks,
    eigen_basis,
    head_spectrum,
    random_basis,
    spectrum_of,
)
from attribution.recorders import CovarianceRecorder, FiniteRecorder, RowRecorder
from attribution.tokens import Encoded

PROJECTIONS = ("eigen", "random")
# Where less than one number in sixteen is kept, wide factors are decomposed in part.
_FEW = 16
_TOKENS_MAX = 4096
# Of 1, 10, 100, 1000 and 10,000 times: best in money on both set-ups with retraining truth, and
# where the totals of outputs agree best with what training gained for them, on both.
HEAD_TIMES = 1000.0
_COLUMNS = 256


@dataclass(frozen=True)
class FitConfig:
    """How a basis and its curvature are fitted.

    Attributes:
        projection: "eigen" or "random".
        numbers: budget of numbers in a row of one checkpoint; None for full rank.
        damping: fraction of the layer's mean eigenvalue that is added.
        share: share of the documents the fit reads, in (0, 1].
        documents_min: but never fewer than this many (or all there are).
        seed: of sampled labels, of the sample of documents, of random bases.
        factors: (bytes of a row, rank) where rows are stored as low-rank factors; it
            takes the place of `numbers`.
    """

    projection: str = "eigen"
    numbers: int | None = None
    damping: float = 0.01
    share: float = 0.15
    documents_min: int = 128
    seed: int = 0
    factors: tuple[int, int] | None = None


@dataclass(frozen=True)
class Curvature:
    """Corrected eigenvalues of one checkpoint in its basis.

    Attributes:
        eigenvalues: [D], float32, in the order of a row.
        means: [layers], float64, mean eigenvalue over each layer's whole basis.
        times: per layer, what its damping is multiplied by.
        widths: numbers of a row that belong to each layer.
        documents: how many documents it was fitted on.
        metric: [D], float32: what each coordinate's damping is multiplied by beside
            `times`; None for 1. See `second_moment`.
    """

    eigenvalues: Tensor
    means: Tensor
    times: tuple[float, ...]
    widths: tuple[int, ...]
    documents: int
    metric: Tensor | None = None

    def with_metric(self, metric: Tensor | None) -> Curvature:
        """Return the same curvature, damped in another metric."""
        return replace(self, metric=metric)

    def inverse(self, damping: float) -> Tensor:
        """Return the elementwise preconditioner, [D], float64; zero where nothing ever moved."""
        damped = self.damped(damping)
        return torch.where(damped > 0, 1.0 / damped, 0.0)

    def damped(self, damping: float) -> Tensor:
        """Return the damped eigenvalues, [D], float64."""
        means = self.means * torch.tensor(self.times, dtype=torch.float64)
        floor = torch.repeat_interleave(means, torch.tensor(self.widths))  # [D]
        if self.metric is not None:
            floor = floor * self.metric.double()
        return self.eigenvalues.double() + damping * floor


def fit(
    model: LossModel,
    layers: Sequence[TrackedLayer],
    encoded: Sequence[Encoded],
    config: FitConfig,
    *,
    context: int,
    token_budget: int,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[list[LayerBasis], Curvature]:
    """Fit the bases and the curvature of one checkpoint.

    Args:
        model: the frozen model of the checkpoint.
        layers: what is tracked.
        encoded: the training documents.
        config: see `FitConfig`.
        context: the most tokens the model reads at once.
        token_budget: see `batches.plan`.
        progress: called with (documents read, documents to read) over both passes.

    Returns:
        One basis per layer, and the curvature in it.

    Raises:
        GradientIndexError: no document can be read, or the factors are not finite.
    """
    chosen = _chosen(encoded, config)
    drawn = DrawnBatches(encoded, chosen, config.seed, context, token_budget)
    total = 2 * len(chosen)
    covariances = _covariances(model, layers, drawn, lambda n: progress(n, total))
    if not covariances.finite:
        # Rule 4: looked for only where needed, since it costs a pass of its own.
        chosen = _finite(model, layers, drawn, chosen)
        drawn = DrawnBatches(encoded, chosen, config.seed, context, token_budget)
        total = 2 * len(chosen)
        covariances = _covariances(model, layers, drawn, lambda n: progress(n, total))
    bases, held = _bases(layers, covariances, config)
    squares = _squares(model, layers, bases, drawn, lambda n: progress(len(chosen) + n, total))
    return bases, _curvature(layers, bases, squares / len(chosen), held, len(chosen))


def refit(  # noqa: PLR0913 - as fit, and what it was
    model: LossModel,
    layers: Sequence[TrackedLayer],
    bases: Sequence[LayerBasis],
    before: Curvature,
    encoded: Sequence[Encoded],
    config: FitConfig,
    *,
    context: int,
    token_budget: int,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Curvature:
    """Estimate the corrected eigenvalues of a checkpoint again, in the bases it has.

    Args:
        model: the frozen model of the checkpoint.
        layers: what is tracked.
        bases: of the index; they do not change.
        before: an earlier curvature in them: what share of each layer's mass the kept
            box holds is taken over from it.
        encoded: the training documents.
        config: share, fewest documents and seed of the fit.
        context: the most tokens the model reads at once.
        token_budget: see `batches.plan`.
        progress: called with (documents read, documents to read).

    Returns:
        The new curvature.

    Raises:
        GradientIndexError: no document can be read.
    """
    chosen = _chosen(encoded, config)
    drawn = DrawnBatches(encoded, chosen, config.seed, context, token_budget)
    squares = _squares(model, layers, bases, drawn, lambda n: progress(n, len(chosen)))
    if not bool(squares.isfinite().all()):
        chosen = _finite(model, layers, drawn, chosen)
        drawn = DrawnBatches(encoded, chosen, config.seed, context, token_budget)
        squares = _squares(model, layers, bases, drawn, lambda n: progress(n, len(chosen)))
    sums = [float(part.sum()) for part in torch.split(before.eigenvalues, list(before.widths))]
    held = [
        total / max(mean * layer.rows * layer.outputs, 1e-300)
        for layer, total, mean in zip(layers, sums, before.means.tolist(), strict=True)
    ]
    return _curvature(layers, bases, squares / len(chosen), held, len(chosen))


def _chosen(encoded: Sequence[Encoded], config: FitConfig) -> list[int]:
    chosen = sample_documents(
        encoded, config.share, documents_min=config.documents_min, seed=config.seed
    )
    if not chosen:
        raise GradientIndexError(
            "no document of the corpus has two tokens or more; there is nothing to fit on"
        )
    return chosen


def _covariances(
    model: LossModel,
    layers: Sequence[TrackedLayer],
    batches: Iterable[tuple[Batch, Tensor]],
    progress: Callable[[int], None],
) -> CovarianceRecorder:
    """Sum the factors over the documents, with sampled labels."""
    seen = CovarianceRecorder(layers, model.device)
    done = 0
    with recording(model.model, layers, seen):
        for batch, draws in batches:
            seen.start(batch)
            backward(model, batch, draws, seen)
            done += len(batch.documents)
            progress(done)
    return seen


def _finite(
    model: LossModel,
    layers: Sequence[TrackedLayer],
    batches: Iterable[tuple[Batch, Tensor]],
    chosen: Sequence[int],
) -> list[int]:
    """Return the chosen documents whose loss, activations and gradients are finite.

    Raises:
        GradientIndexError: none are.
    """
    look = FiniteRecorder(layers)
    good = []
    with recording(model.model, layers, look):
        for batch, draws in batches:
            look.start(batch)
            losses = backward(model, batch, draws, look)
            fine = (losses.isfinite() & ~look.bad).tolist()
            good += [chosen[i] for i, ok in zip(batch.documents, fine, strict=True) if ok]
    if not good:
        raise GradientIndexError(
            f"not one of {len(chosen)} documents has a finite loss and gradient; an index would "
            f"hold noise. Check the checkpoint, and build in float32"
        )
    return sorted(good)


def _squares(
    model: LossModel,
    layers: Sequence[TrackedLayer],
    bases: Sequence[LayerBasis],
    batches: Iterable[tuple[Batch, Tensor]],
    progress: Callable[[int], None],
) -> Tensor:
    """Sum the squared rows of documents with sampled labels, [D], float64."""
    rows = RowRecorder(layers, bases, model.device)
    squares = torch.zeros(rows.width, dtype=torch.float64, device=model.device)
    done = 0
    with recording(model.model, layers, rows):
        for batch, draws in batches:
            rows.start(batch)
            backward(model, batch, draws, rows)
            squares += rows.rows.square().sum(0)
            done += len(batch.documents)
            progress(done)
    return squares.cpu()


def _bases(
    layers: Sequence[TrackedLayer], seen: CovarianceRecorder, config: FitConfig
) -> tuple[list[LayerBasis], list[float]]:
    """Return bases, and per layer the share of the factors' mass inside the kept box."""
    spectra = []
    whole = sum(layer.rows * layer.outputs for layer in layers)
    few = config.numbers is not None and config.numbers * _FEW < whole
    columns = _COLUMNS if few else None
    for k, layer in enumerate(layers):
        count = max(1, seen.scored if layer.head else seen.positions)
        factors = (seen.inputs[k] / count, seen.outputs[k] / count)
        if not all(bool(factor.isfinite().all()) for factor in factors):
            raise GradientIndexError(
                f"layer {layer.name} has activations or gradients that are not finite; "
                f"an index would hold noise. Check the checkpoint, and build in float32"
            )
        if layer.head:
            tokens = None if config.numbers is None else _TOKENS_MAX
            spectra.append(head_spectrum(*factors, tokens))
        else:
            spectra.append(spectrum_of(*factors, columns))
    dampings = [config.damping * times for times in damping_times(layers)]
    ranks = _ranks(spectra, config, dampings)
    bases, held = [], []
    for k, (layer, spectrum, rank) in enumerate(zip(layers, spectra, ranks, strict=True)):
        if config.projection == "random" and not layer.head:
            covariance = (seen.inputs[k] / seen.positions, seen.outputs[k] / seen.positions)
            bases.append(random_basis(layer, covariance, rank, config.seed))
        else:
            bases.append(eigen_basis(spectrum, *rank))
        held.append(_mass_held(seen, k, bases[-1]))
    return bases, held


def _ranks(
    spectra: Sequence[Spectrum], config: FitConfig, dampings: Sequence[float]
) -> list[tuple[int, int]]:
    """Return each layer's ranks; for low-rank rows the largest box whose factors fit."""
    if config.factors is None:
        return allocate_ranks(spectra, config.numbers, dampings)
    budget, rank = config.factors
    low, high = len(spectra), sum(len(y.values_in) * len(y.values_out) for y in spectra)
    while low < high:
        middle = (low + high + 1) // 2
        fits = factor_bytes(tuple(allocate_ranks(spectra, middle, dampings)), rank) <= budget
        low, high = (middle, high) if fits else (low, middle - 1)
    return allocate_ranks(spectra, low, dampings)


def _mass_held(seen: CovarianceRecorder, layer: int, basis: LayerBasis) -> float:
    share = 1.0
    for factor, side in (
        (seen.inputs[layer], basis.p_in),
        (seen.outputs[layer], basis.p_out),
    ):
        if side.dim() == 1:
            share *= float(factor[side].sum() / factor.sum().clamp(min=1e-300))
            continue
        span = side.double().to(factor.device)
        share *= float((span * (factor @ span)).sum() / factor.trace().clamp(min=1e-300))
    return share


def _curvature(
    layers: Sequence[TrackedLayer],
    bases: Sequence[LayerBasis],
    eigenvalues: Tensor,
    held: Sequence[float],
    documents: int,
) -> Curvature:
    widths = tuple(basis.width for basis in bases)
    sums = [float(part.sum()) for part in torch.split(eigenvalues, list(widths))]
    means = [
        total / max(share, 1e-12) / (layer.rows * layer.outputs)
        for layer, total, share in zip(layers, sums, held, strict=True)
    ]
    return Curvature(
        eigenvalues.float(),
        torch.tensor(means, dtype=torch.float64),
        damping_times(layers),
        widths,
        documents,
    )


def damping_times(layers: Sequence[TrackedLayer]) -> tuple[float, ...]:
    """Return what each layer's damping is multiplied by (rule 3)."""
    return tuple(HEAD_TIMES if layer.head else 1.0 for layer in layers)
