"""Bases and curvature of one checkpoint on disk, and the codec that follows from them.

    bases/000/
        basis.safetensors        "<layer>/in" [I, r_in], "<layer>/out" [O, r_out]
        curvature.safetensors    eigenvalues [D], means [layers], documents [1]

A folder with a curvature is complete: it is written after the basis.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from attribution.codec import BITS, Codec
from attribution.errors import IndexDamagedError
from attribution.layers import TrackedLayer
from attribution.low_rank import LOW_RANK, LowRankCodec
from attribution.preconditioner import Curvature, damping_times
from attribution.projection import LayerBasis


def save_basis(
    folder: Path, layers: Sequence[TrackedLayer], bases: Sequence[LayerBasis], curvature: Curvature
) -> None:
    """Write the bases, then the curvature; a folder with a curvature is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    sides = {}
    for layer, basis in zip(layers, bases, strict=True):
        sides[f"{layer.name}/in"] = basis.p_in.cpu()
        sides[f"{layer.name}/out"] = basis.p_out.cpu()
    fitted = {
        "documents": torch.tensor([curvature.documents]),
        "eigenvalues": curvature.eigenvalues,
        "means": curvature.means,
    }
    for name, tensors in (("basis", sides), ("curvature", fitted)):
        temporary = folder / f".{name}.tmp"
        save_file(tensors, temporary)
        temporary.replace(folder / f"{name}.safetensors")


def load_basis(folder: Path, layers: Sequence[TrackedLayer]) -> tuple[list[LayerBasis], Curvature]:
    """Read what `save_basis` wrote."""
    try:
        sides = load_file(folder / "basis.safetensors")
        fitted = load_file(folder / "curvature.safetensors")
        bases = [
            LayerBasis(sides[f"{layer.name}/in"], sides[f"{layer.name}/out"]) for layer in layers
        ]
    except (OSError, KeyError, ValueError, SafetensorError) as fault:
        raise IndexDamagedError(
            f"{folder} does not hold the bases of this index ({fault}); build it again"
        ) from fault
    widths = tuple(basis.width for basis in bases)
    curvature = Curvature(
        fitted["eigenvalues"],
        fitted["means"],
        damping_times(layers),
        widths,
        int(fitted["documents"][0]),
    )
    return bases, curvature


def codec_for(
    dtype: str, curvature: Curvature, damping: float, bases: Sequence[LayerBasis] = ()
) -> Codec | LowRankCodec:
    """Return the codec of one checkpoint: coordinates in units of their expected size.

    Args:
        dtype: how rows are stored.
        curvature: that the build fitted.
        damping: of the build.
        bases: of the checkpoint; only low-rank rows need them.
    """
    # A layer that never had a gradient has eigenvalue 0; any positive unit serves it.
    steps = curvature.damped(damping).clamp(min=1e-30).sqrt().float()
    if dtype in LOW_RANK:
        shapes = tuple((int(b.p_in.shape[1]), int(b.p_out.shape[-1])) for b in bases)
        return LowRankCodec(dtype, steps, shapes)
    if BITS[dtype] >= 16:
        return Codec(dtype, torch.ones(len(curvature.eigenvalues)), curvature.widths)
    return Codec(dtype, steps, curvature.widths)
