"""A new version of an index's preconditioner, without touching a row.

    refit_index(folder, Refit(damping=0.02))           other damping, same curvature
    refit_index(folder, Refit(share=0.5, seed=1))      eigenvalues estimated again
    refit_index(folder, Refit(geometry="adam"))        damping in Adam's own metric

1. Rows, bases and group sums stay as they are, byte for byte; the cost is one pass over
   a share of the corpus, or none.
2. Each version is calibrated anew, on the documents the build was calibrated on.
3. The manifest is the commit point: before it nothing has happened, after it every new
   score uses the new version. Earlier ones stay and can be asked for by number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribution.corpus import Document
from attribution.corpus_file import CorpusFile
from attribution.device import joined_by, within_memory
from attribution.errors import GradientIndexError, IndexMismatchError
from attribution.files import sha256_file
from attribution.index_calibrate import NONE, calibrate
from attribution.index_manifest import IndexManifest, locked, write_manifest
from attribution.index_preconditioner import (
    REDAMPED,
    REFITTED,
    save_curvatures,
    version_folder,
    versions_of,
)
from attribution.index_read import GradientIndex
from attribution.influence import Attributor
from attribution.path import adam_epsilon
from attribution.preconditioner import Curvature, FitConfig, refit
from attribution.second_moment import (
    adam_metric,
    nearest_moments,
    recorded_moments,
    step_meant,
)
from attribution.signing import Signer
from attribution.tokens import EncodedRows, encode_document

GEOMETRIES = ("plain", "adam")


@dataclass(frozen=True)
class Refit:
    """What a new version shall be; what is left out stays as it is in the version in use.

    Attributes:
        damping: fraction of a layer's mean eigenvalue, in (0, 1].
        share: share of the corpus the eigenvalues are estimated on again, in (0, 1].
        documents_min: but never fewer documents than this.
        seed: of that sample and its labels.
        geometry: "plain", or "adam": damping in the metric of Adam's second moment.
        corpus, decoys: where they are now, if not where the build had them.
    """

    damping: float | None = None
    share: float | None = None
    documents_min: int = 128
    seed: int = 0
    geometry: str | None = None
    corpus: Path | None = None
    decoys: Path | None = None


def refit_index(
    folder: Path | str,
    wanted: Refit,
    *,
    signer: Signer | None = None,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] = lambda _step, _done, _all: None,
) -> IndexManifest:
    """Add a version of the preconditioner and put it into use.

    Args:
        folder: a finished index.
        wanted: what the version shall be.
        signer: signs the new manifest.
        device: where the models run; see `device`.
        progress: called with (step, done, all).

    Returns:
        The new manifest.

    Raises:
        GradientIndexError: nothing would change, or a value is out of range.
        IndexMismatchError: the corpus or the decoys are not those of the build.
        RecipeError: Adam's second moment was not recorded.
    """
    folder = Path(folder)
    with locked(folder):
        index = GradientIndex.open(folder)
        _check(wanted, index)
        attributor = Attributor(index, device=device)
        content = joined_by(index.manifest.content, attributor.device)
        before = index.preconditioner
        geometry = wanted.geometry or before.geometry
        version = len(versions_of(content))
        texts = {kind: _documents(index, wanted, kind) for kind in ("corpus", "decoys")}
        fresh = wanted.share is not None or geometry != before.geometry
        if fresh:
            made = [
                _curvature(attributor, k, wanted, geometry, texts["corpus"], progress)
                for k in range(index.manifest.checkpoints)
            ]
            save_curvatures(version_folder(folder, version), made)
        entry = {
            "calibration": NONE,
            "curvature": version if fresh else before.curvature,
            "damping": wanted.damping or before.damping,
            "documents_min": wanted.documents_min if wanted.share is not None else None,
            "files": _digests(index, version if fresh else before.curvature),
            "geometry": geometry,
            "rule": REFITTED if fresh else REDAMPED,
            "seed": wanted.seed if wanted.share is not None else None,
            "share": wanted.share,
            "version": version,
        }
        content["preconditioner"] = version
        content["preconditioners"] = [*content.get("preconditioners", []), entry]
        raw = Attributor(GradientIndex.loose(folder, content), models=attributor)
        entry["calibration"] = calibrate(raw, texts["corpus"], texts["decoys"])
        return write_manifest(folder, content, signer)


def use_version(folder: Path | str, version: int, *, signer: Signer | None = None) -> IndexManifest:
    """Score with a version that is there already.

    Raises:
        IndexMismatchError: there is no such version.
    """
    folder = Path(folder)
    with locked(folder):
        index = GradientIndex.open(folder, preconditioner=version)
        content = {**index.manifest.content, "preconditioner": version}
        return write_manifest(folder, content, signer)


def _check(wanted: Refit, index: GradientIndex) -> None:
    if wanted.damping is not None and not 0 < wanted.damping <= 1:
        raise GradientIndexError(f"damping must be in (0, 1], got {wanted.damping}")
    if wanted.share is not None and not 0 < wanted.share <= 1:
        raise GradientIndexError(f"the share to fit on must be in (0, 1], got {wanted.share}")
    if wanted.geometry not in (None, *GEOMETRIES):
        raise GradientIndexError(f"geometry is {wanted.geometry!r}; choose one of {GEOMETRIES}")
    before = index.preconditioner
    if (
        wanted.share is None
        and wanted.damping in (None, before.damping)
        and wanted.geometry in (None, before.geometry)
    ):
        raise GradientIndexError(
            f"version {before.version} of the preconditioner has damping {before.damping} and "
            f"geometry {before.geometry!r} already; nothing was refitted. Give another damping, "
            f"a share to fit on, or another geometry"
        )


def _documents(index: GradientIndex, wanted: Refit, kind: str) -> Sequence[Document]:
    """Read the corpus or the decoys of the build, without what was removed since."""
    digest = index.manifest.content["inputs"].get(kind)
    if digest is None:
        return ()
    given = wanted.corpus if kind == "corpus" else wanted.decoys
    known = index.corpus_file() if kind == "corpus" else index.decoys_file()
    path = given or known
    if path is None or not path.is_file():
        raise IndexMismatchError(
            f"the {kind} that index {index.folder} was built from is not at {path}; a version "
            f"is fitted and calibrated on it, so nothing was refitted. Give --{kind}"
        )
    found = CorpusFile(path, index.folder)
    if found.digest != digest:
        raise IndexMismatchError(
            f"{path} has the digest {found.digest[:12]}…, the index was built from "
            f"{digest[:12]}…; nothing was refitted. Give that {kind}"
        )
    return index.living(found)


def _curvature(
    attributor: Attributor,
    k: int,
    wanted: Refit,
    geometry: str,
    documents: Sequence[Document],
    progress: Callable[[str, int, int], None],
) -> Curvature:
    index = attributor.index
    curvature, model = index.fitted(k), attributor.model(k)
    if wanted.share is not None:
        settings = FitConfig(
            share=wanted.share, documents_min=wanted.documents_min, seed=wanted.seed
        )
        rows = (encode_document(document, attributor.tokenizer) for document in documents)
        budget = int(index.manifest.content["config"]["token_budget"])
        with within_memory(attributor.device, None):
            curvature = refit(
                model,
                index.layers,
                index.basis(k),
                index.curvature(k),
                EncodedRows(rows, index.folder),
                settings,
                context=attributor.final.context,
                token_budget=budget,
                progress=lambda done, total: progress(f"fit {k}", done, total),
            )
    metric = None
    if geometry == "adam":
        folders = index.model_folders()
        found = recorded_moments(index.model_folder(), folders)
        step = index.manifest.content["checkpoints"][k]["step"]
        _, path = nearest_moments(found, step_meant(step, k, index.manifest.checkpoints))
        epsilon = adam_epsilon(index.model_folder())
        metric = adam_metric(model.model, index.layers, index.basis(k), path, epsilon)
    return curvature.with_metric(metric)


def _digests(index: GradientIndex, version: int) -> list[dict[str, str]]:
    """Return the digest of each checkpoint's curvature file of a version."""
    content: dict[str, Any] = index.manifest.content
    if version == 0:
        return [{"curvature": digests["curvature"]} for digests in content["bases"]]
    folder = version_folder(index.folder, version)
    return [
        {"curvature": sha256_file(folder / f"curvature-{k}.safetensors")}
        for k in range(index.manifest.checkpoints)
    ]
