"""Two small matrices a layer, applied to both sides before the product.

The gradient of a layer is `sum_t a_t d_t^T`. With `P_in` [I, r_in] and `P_out`
[O, r_out] the projected gradient `(A P_in)^T (D P_out)` is formed directly and
the full one never exists.

1. Columns are orthonormal, so at full rank inner products are kept exactly.
2. `eigen` (default): the leading eigenvectors of the layer's K-FAC factors. The
   row is then the gradient itself in a truncated eigenbasis.
3. `random`: an orthonormal basis of a random subspace, turned inside it to the
   projected factors' own axes, so that the preconditioner is elementwise again.
   Its numbers come from a counter, the same on every device and for any rank.
4. An eigenvector's sign is fixed: its largest entry is positive.
5. Ranks are given out by a budget of numbers: the next row or column goes where
   it adds most expected score energy per number stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attribution.layers import TrackedLayer

_ITERATIONS = 3


@dataclass(frozen=True)
class LayerBasis:
    """Projection of one layer.

    Attributes:
        p_in: [I, r_in], float32 (I counts the bias's constant).
        p_out: [O, r_out], float32; of the output head [r_out], int64: kept tokens.
    """

    p_in: Tensor
    p_out: Tensor

    @property
    def width(self) -> int:
        """Numbers in one projected gradient."""
        return int(self.p_in.shape[1]) * int(self.p_out.shape[-1])


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues and eigenvectors of one layer's K-FAC factors, largest first.

    Attributes:
        values_in: [K_in], float64; vectors_in: [I, K_in], float64.
        values_out: [K_out], float64; vectors_out: [O, K_out], float64; of the
            output head, taken to be diagonal, [K_out], int64: tokens, busiest first.
        mean: mean eigenvalue of the Kronecker product over its whole basis.
    """

    values_in: Tensor
    vectors_in: Tensor
    values_out: Tensor
    vectors_out: Tensor
    mean: float


def head_spectrum(factor_in: Tensor, diagonal: Tensor, tokens_max: int | None) -> Spectrum:
    """Decompose the factors of the output head.

    Args:
        factor_in: [I, I], float64.
        diagonal: [V], float64: mean squared logit gradient of each token.
        tokens_max: keep no more than so many tokens; None keeps all.
    """
    order = torch.argsort(diagonal, descending=True, stable=True)
    kept = order if tokens_max is None else order[:tokens_max]
    mean = float(factor_in.trace() * diagonal.sum()) / (len(factor_in) * len(diagonal))
    return Spectrum(*decompose(factor_in), diagonal[kept], kept, mean)


def spectrum_of(factor_in: Tensor, factor_out: Tensor, columns: int | None = None) -> Spectrum:
    """Decompose both factors of a layer.

    Args:
        factor_in: [I, I], float64.
        factor_out: [O, O], float64.
        columns: of a factor more than four times as wide, only so many leading
            eigenvectors are found, by subspace iteration; None finds all.
    """
    sides = []
    for factor in (factor_in, factor_out):
        wide = columns is not None and factor.shape[0] > 4 * columns
        sides.append(leading(factor, columns or 0) if wide else decompose(factor))
    size = factor_in.shape[0] * factor_out.shape[0]
    mean = float(factor_in.trace() * factor_out.trace()) / size
    return Spectrum(*sides[0], *sides[1], mean)


def leading(factor: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Return the leading eigenvalues and eigenvectors of a positive matrix.

    Subspace iteration in float32 from fixed random signs, then Rayleigh-Ritz in
    float64: enough for a projection, which needs an orthonormal basis that holds
    the mass and not exact eigenvectors.

    Args:
        factor: [n, n], float64.
        columns: how many; at most n.

    Returns:
        Values [columns], largest first, and vectors [n, columns], float64.
    """
    signs = random_signs("leading", factor.shape[0], columns, 0)
    single = factor.float()
    span = signs.float().to(factor.device)
    for _ in range(_ITERATIONS):
        span, _ = torch.linalg.qr(single @ span)
    exact, _ = torch.linalg.qr(span.double())
    values, turn = decompose(exact.T @ factor @ exact)
    return values, exact @ turn


def decompose(factor: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (largest first, not negative) and eigenvectors of a symmetric matrix.

    Args:
        factor: [n, n], float64.
    """
    values, vectors = torch.linalg.eigh(factor)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    largest = vectors.abs().argmax(0)
    signs = torch.sign(vectors[largest, torch.arange(vectors.shape[1], device=vectors.device)])
    return values, vectors * torch.where(signs == 0, 1.0, signs)


def eigen_basis(spectrum: Spectrum, rank_in: int, rank_out: int) -> LayerBasis:
    """Keep the leading eigenvectors of both factors (rule 2)."""
    p_in = spectrum.vectors_in[:, :rank_in].float().contiguous()
    if spectrum.vectors_out.dim() == 1:
        return LayerBasis(p_in, spectrum.vectors_out[:rank_out].contiguous())
    return LayerBasis(p_in, spectrum.vectors_out[:, :rank_out].float().contiguous())


def random_basis(
    layer: TrackedLayer, covariance: tuple[Tensor, Tensor], ranks: tuple[int, int], seed: int
) -> LayerBasis:
    """Make the random alternative of one layer (rule 3).

    Args:
        layer: its name is part of the key of the numbers.
        covariance: the factors [I, I] and [O, O], float64.
        ranks: columns kept on the input and on the output side.
        seed: of the index.
    """
    sides = []
    for side, (factor, rank) in enumerate(zip(covariance, ranks, strict=True)):
        signs = random_signs(f"{layer.name}/{side}", factor.shape[0], rank, seed)
        span, _ = torch.linalg.qr(signs)  # [n, rank]
        _, turn = decompose(span.T @ factor.cpu() @ span)  # [rank, rank]
        sides.append((span @ turn).float().contiguous())
    return LayerBasis(*sides)


def random_signs(name: str, rows: int, columns: int, seed: int) -> Tensor:
    """Return +1 and -1 in equal chance, [rows, columns], float64.

    Column j is drawn from its own counter range, so a larger matrix begins with
    the columns of a smaller one, on every machine.
    """
    key = np.array([seed, _name_key(name)], dtype=np.uint64)
    words = -(-rows // 64)
    out = np.empty((rows, columns))
    for j in range(columns):
        raw = np.random.Philox(key=key, counter=np.array([0, 0, j, 0], np.uint64)).random_raw(words)
        bits = np.unpackbits(raw.astype("<u8").view(np.uint8), bitorder="little")[:rows]
        out[:, j] = bits * 2.0 - 1.0
    return torch.from_numpy(out)


def _name_key(name: str) -> int:
    """FNV-1a, 64 bits: a stable number for a name."""
    value = 0xCBF29CE484222325
    for byte in name.encode("utf-8"):
        value = ((value ^ byte) * 0x100000001B3) % (1 << 64)
    return value


def allocate_ranks(
    spectra: Sequence[Spectrum], numbers: int | None, dampings: Sequence[float]
) -> list[tuple[int, int]]:
    """Give each layer its two ranks, at most `numbers` projected numbers in all (rule 5).

    The expected energy of coordinate (i, j) in a preconditioned score is
    `(l / (l + damping mean(l)))^2` with `l = values_in[i] values_out[j]`.

    Args:
        spectra: per layer.
        numbers: budget over all layers; None keeps full rank.
        dampings: per layer, as the preconditioner's.

    Returns:
        (rank_in, rank_out) per layer, each at least 1.
    """
    full = [(len(y.values_in), len(y.values_out)) for y in spectra]
    if numbers is None or numbers >= sum(a * s for a, s in full):
        return full
    energies = [_energy(y, d) for y, d in zip(spectra, dampings, strict=True)]
    ranks = [(1, 1)] * len(spectra)
    spent = len(spectra)
    offers = [_offer(energy, rank) for energy, rank in zip(energies, ranks, strict=True)]
    while True:
        best = max(
            (k for k in range(len(offers)) if spent + offers[k][1] <= numbers),
            key=lambda k: (offers[k][0], -k),
            default=None,
        )
        if best is None or offers[best][0] <= 0:
            return ranks
        _, cost, rank = offers[best]
        ranks[best], spent = rank, spent + cost
        offers[best] = _offer(energies[best], rank)


def _energy(spectrum: Spectrum, damping: float) -> Tensor:
    """Return running sums over the box, [K_in + 1, K_out + 1], float64."""
    table = torch.outer(spectrum.values_in.cpu(), spectrum.values_out.cpu())
    table = (table / (table + damping * spectrum.mean).clamp(min=1e-300)).square()
    box = torch.zeros(table.shape[0] + 1, table.shape[1] + 1, dtype=torch.float64)
    box[1:, 1:] = table.cumsum(0).cumsum(1)
    return box


def _offer(box: Tensor, rank: tuple[int, int]) -> tuple[float, int, tuple[int, int]]:
    """Return (energy gained per number, numbers it costs, ranks after) of the best next step."""
    i, j = rank
    step_in, step_out = max(1, i // 16), max(1, j // 16)
    best = (0.0, 0, rank)
    for a, b in ((i + step_in, j), (i, j + step_out)):
        a, b = min(a, box.shape[0] - 1), min(b, box.shape[1] - 1)  # noqa: PLW2901
        cost = a * b - i * j
        if cost > 0:
            gain = float(box[a, b] - box[i, j]) / cost
            if gain > best[0]:
                best = (gain, cost, (a, b))
    return best
