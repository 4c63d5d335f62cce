"""Versions of the preconditioner of an index: what turns its stored rows into influence.

    preconditioners/000001/curvature-K.safetensors      one per checkpoint, never changed

1. Version 0 is what the build fitted; it also set the units rows are stored in, so it
   stays whatever comes later. Rows are never touched by a new version.
2. Every version is kept and has a damping, a calibration and a digest of its own. The
   manifest says which one scores; an older one can be asked for by number and gives the
   numbers it always gave.
3. A version that changes only the damping names the version whose curvature it uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from attribution.errors import IndexDamagedError, IndexMismatchError
from attribution.files import canonical_json, sha256_of
from attribution.layers import TrackedLayer
from attribution.preconditioner import Curvature, damping_times

BUILT = "built/1"
REDAMPED = "redamped/1"
REFITTED = "refitted/1"


@dataclass(frozen=True)
class Preconditioner:
    """One version.

    Attributes:
        version: 0 for the build's own.
        curvature: the version whose curvature files it uses.
        damping: fraction of a layer's mean eigenvalue that is added.
        rule: how it came about: "built/1", "redamped/1" or "refitted/1".
        geometry: "plain", or "adam" where the damping follows Adam's second moment.
        calibration: its scale; see `index_calibrate`.
        sha256: digest over all that decides it; what a run's manifest names.
    """

    version: int
    curvature: int
    damping: float
    rule: str
    geometry: str
    calibration: Mapping[str, Any]
    sha256: str

    @property
    def scale(self) -> float:
        """What raw influence is multiplied by to be in nats."""
        return float(self.calibration["scale"])

    def as_json(self) -> dict[str, Any]:
        """Return what a run's manifest says of it."""
        return {"sha256": self.sha256, "version": self.version}


def versions_of(content: Mapping[str, Any]) -> list[Preconditioner]:
    """Return every version an index has, oldest first."""
    files = [{"curvature": digests["curvature"]} for digests in content["bases"]]
    built = {
        "calibration": content["calibration"],
        "curvature": 0,
        "damping": content["config"]["damping"],
        "files": files,
        "geometry": "plain",
        "rule": BUILT,
        "version": 0,
    }
    return [_read(entry) for entry in (built, *content.get("preconditioners", []))]


def _read(entry: Mapping[str, Any]) -> Preconditioner:
    return Preconditioner(
        int(entry["version"]),
        int(entry["curvature"]),
        float(entry["damping"]),
        str(entry["rule"]),
        str(entry["geometry"]),
        entry["calibration"],
        sha256_of(canonical_json(dict(entry))),
    )


def chosen_version(content: Mapping[str, Any], version: int | None) -> Preconditioner:
    """Return the version asked for, or the one the manifest says is in use.

    Raises:
        IndexMismatchError: the index has no such version.
    """
    known = versions_of(content)
    wanted = int(content.get("preconditioner", 0)) if version is None else version
    if not 0 <= wanted < len(known):
        raise IndexMismatchError(
            f"the index has preconditioner versions 0 to {len(known) - 1}, asked is {wanted}; "
            f"nothing was scored. Look them up with `byline index info`"
        )
    return known[wanted]


def version_folder(index: Path, version: int) -> Path:
    """Return where the curvature files of a version later than the build's are."""
    return index / "preconditioners" / f"{version:06d}"


def save_curvatures(folder: Path, curvatures: Sequence[Curvature]) -> None:
    """Write one file per checkpoint; the manifest that names them makes them valid."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, curvature in enumerate(curvatures):
        tensors = {
            "documents": torch.tensor([curvature.documents]),
            "eigenvalues": curvature.eigenvalues,
            "means": curvature.means,
        }
        if curvature.metric is not None:
            tensors["metric"] = curvature.metric
        temporary = folder / f".curvature-{k}.tmp"
        save_file(tensors, temporary)
        temporary.replace(folder / f"curvature-{k}.safetensors")


def load_curvature(
    path: Path, layers: Sequence[TrackedLayer], widths: tuple[int, ...]
) -> Curvature:
    """Read one checkpoint's curvature.

    Raises:
        IndexDamagedError: the file is not the curvature of these layers.
    """
    try:
        said = load_file(path)
        curvature = Curvature(
            said["eigenvalues"],
            said["means"],
            damping_times(layers),
            widths,
            int(said["documents"][0]),
            said.get("metric"),
        )
    except (OSError, KeyError, ValueError, SafetensorError) as fault:
        raise IndexDamagedError(
            f"{path} does not hold a curvature of this index ({fault}); restore it, or score "
            f"with preconditioner version 0"
        ) from fault
    if len(curvature.eigenvalues) != sum(widths):
        raise IndexDamagedError(
            f"{path} has {len(curvature.eigenvalues)} eigenvalues, rows have {sum(widths)} "
            f"numbers; it belongs to another index. Restore it"
        )
    return curvature


def small_files(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (file, digest) of every curvature file of later versions."""
    return [
        (f"preconditioners/{entry['version']:06d}/curvature-{k}.safetensors", digests["curvature"])
        for entry in content.get("preconditioners", [])
        if entry["curvature"] == entry["version"]
        for k, digests in enumerate(entry["files"])
    ]
