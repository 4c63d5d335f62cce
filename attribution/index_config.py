"""What an index is built from, and the plan that a build must keep to.

1. The plan is written before the first row, with digests of everything that
   decides a byte. A build that died is finished only under the same plan.
2. Paths are not in the plan: a folder may move, its content may not change.
3. The path ends in the final model. Where the last checkpoint given has the
   model's own weights it is that end, and is not counted twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attribution.adapters import base_folder, is_adapter
from attribution.codec import numbers_for
from attribution.errors import GradientIndexError, IndexMismatchError
from attribution.files import canonical_json, sha256_file, sha256_of
from attribution.half import COMPUTE
from attribution.layers import DEFAULT_LAYERS
from attribution.low_rank import LOW_RANK, check_room
from attribution.path import step_of, weights_for
from attribution.preconditioner import PROJECTIONS, FitConfig

FORMAT = "byline-index/2"
CODE_VERSION = "2"
# Where the bytes of a row have changed since the first form of a dtype.
ROW_FORMS = {"int4": 2}
_LIBRARIES = ("torch", "transformers", "numpy", "safetensors", "polars")


@dataclass(frozen=True)
class IndexConfig:
    """One gradient index to build.

    Attributes:
        model_dir: the final model, with its tokenizer where documents are text.
        corpus: the training documents, a file in the corpus form.
        out: the index folder.
        checkpoints: earlier weights of the same training stage, oldest first,
            its starting point among them; the final model may be the last.
        checkpoint_weights: one per point of the path; None: from the recipe at
            the model folder, else equal.
        decoys: documents of the same kinds that were never trained on.
        bytes_per_document: budget of stored bytes for one document over all
            checkpoints; None stores full rank.
        dtype: how document rows are stored: "float32", "float16", "int8", "int4",
            "int2" or "int1". At a given size eight or four bits of fewer numbers
            keep the scores; two and one bit of more numbers lose a fifth of the LDS.
            On a Llama-class model of 172,032 tracked numbers, a quarter kept, eight bits
            move 0.1 % of the money from where floats put it, four bits 1 %, two bits 30 %:
            numbers near zero are pushed one way and do not cancel in a catalogue's sum.
            "lowrank1", "lowrank2", "lowrank4", "lowrank8" store low-rank factors: on the
            retraining benchmark, at a sixteenth of the bytes and start and end, rank 1 and
            2 misallocate 48 % of the money where eight bits misallocate 14 %.
        compute: "float32", or "bfloat16" for the rows of documents (see `half`).
        projection: "eigen" or "random".
        damping: fraction of a layer's mean eigenvalue; used at scoring.
        layers: shell patterns of layer names to track; "last:N" keeps the last N,
            "adapters" the LoRA layers. Of a model that wears adapters the default is
            those and nothing else: the rest did not move.
        head: track the output head too.
        fit_share: share of the corpus the curvature is fitted on.
        fit_documents_min: but never fewer documents than this.
        seed: of sampled labels and random bases.
        token_budget: tokens in a batch; None finds it (see `token_budget`).
        chunk_bytes: rows are written and hashed in chunks of about this size.
        shard_documents: the most documents in one shard.
        duplicate_threshold: Jaccard similarity from which two documents are one
            piece of evidence; None looks for none.
        clusters: cluster id -> document ids; None finds them by the threshold.
        unit_weights: document_id -> weight of its row in its group, 1 where not
            named; None counts each cluster once (see `evidence`).
        device: where the models run (see `device`); not in the plan, so that a build begun
            on one device may be finished on another.
    """

    model_dir: Path
    corpus: Path
    out: Path
    checkpoints: tuple[Path, ...] = ()
    checkpoint_weights: tuple[float, ...] | None = None
    decoys: Path | None = None
    bytes_per_document: int | None = None
    dtype: str = "float32"
    compute: str = "float32"
    projection: str = "eigen"
    damping: float = 0.01
    layers: tuple[str, ...] = DEFAULT_LAYERS
    head: bool = True
    fit_share: float = 0.15
    fit_documents_min: int = 128
    seed: int = 0
    token_budget: int | None = None
    chunk_bytes: int = 16 << 20
    shard_documents: int = 100_000
    duplicate_threshold: float | None = 0.8
    clusters: Mapping[str, tuple[str, ...]] | None = None
    unit_weights: Mapping[str, float] | None = None
    device: str = "cpu"

    def fit_config(self, checkpoints: int, layers: int) -> FitConfig:
        """Return how each of so many checkpoints of a model with so many layers is fitted."""
        if self.projection not in PROJECTIONS:
            raise GradientIndexError(
                f"projection is {self.projection!r}; choose one of {PROJECTIONS}"
            )
        if self.compute not in COMPUTE:
            raise GradientIndexError(f"compute is {self.compute!r}; choose one of {COMPUTE}")
        if not 0 < self.damping <= 1:
            raise GradientIndexError(f"damping must be in (0, 1], got {self.damping}")
        numbers = factors = None
        if self.dtype in LOW_RANK:
            room = 1 << 62
            if self.bytes_per_document is not None:
                room = self.bytes_per_document // checkpoints
            check_room(room, LOW_RANK[self.dtype], layers)
            factors = (room, LOW_RANK[self.dtype])
        elif self.bytes_per_document is not None:
            numbers = numbers_for(self.dtype, self.bytes_per_document // checkpoints, layers)
        return FitConfig(
            self.projection,
            numbers,
            self.damping,
            self.fit_share,
            self.fit_documents_min,
            self.seed,
            factors,
        )


@dataclass(frozen=True)
class PathPoint:
    """One checkpoint of the path.

    Attributes:
        folder: where its weights are.
        step: the optimizer step it was kept after, where the folder's name tells.
        weight: its share of the path; all weights add up to 1.
    """

    folder: Path
    step: int | None
    weight: float


def training_path(config: IndexConfig) -> tuple[list[PathPoint], str]:
    """Return the points of the path, the final model last, and the weight rule's name."""
    folders = [Path(folder) for folder in config.checkpoints]
    if not folders or weights_digest(folders[-1]) != weights_digest(config.model_dir):
        folders.append(Path(config.model_dir))
    if config.checkpoint_weights is None:
        weights, rule = weights_for(folders, config.model_dir)
    else:
        weights, rule = list(config.checkpoint_weights), "given/1"
    if len(weights) != len(folders) or not sum(weights) > 0:
        raise GradientIndexError(
            f"{len(weights)} checkpoint weights {weights} for {len(folders)} points of the path "
            f"(the final model is one); give one each, adding up to more than zero"
        )
    total = sum(weights)
    points = [
        PathPoint(folder, step_of(folder), weight / total)
        for folder, weight in zip(folders, weights, strict=True)
    ]
    return points, rule


def weights_digest(folder: Path | str) -> str:
    """Return a SHA-256 over the weight files of a model folder and nothing else.

    Those of an adapter's base model are part of it.
    """
    folder = Path(folder)
    files = sorted([*folder.glob("*model*.safetensors"), *folder.glob("pytorch_model*.bin")])
    lines = [f"{sha256_file(path)}\n" for path in files]
    if is_adapter(folder):
        lines.append(f"base {weights_digest(base_folder(folder))}\n")
    return sha256_of("".join(lines).encode())


def plan_of(
    config: IndexConfig,
    points: list[PathPoint],
    rule: str,
    inputs: Mapping[str, str],
    unit_weights: Mapping[str, float],
) -> dict[str, Any]:
    """Return the plan: every choice and digest that decides a byte of the index."""
    return {
        "checkpoints": [
            {"step": p.step, "weight": p.weight, "weights_sha256": weights_digest(p.folder)}
            for p in points
        ],
        "code_version": CODE_VERSION,
        "config": {
            "bytes_per_document": config.bytes_per_document,
            "chunk_bytes": config.chunk_bytes,
            "compute": config.compute,
            "damping": config.damping,
            "dtype": config.dtype,
            "fit_documents_min": config.fit_documents_min,
            "fit_share": config.fit_share,
            "head": config.head,
            "layers": list(config.layers),
            "projection": config.projection,
            **({"row_form": ROW_FORMS[config.dtype]} if config.dtype in ROW_FORMS else {}),
            "seed": config.seed,
            "shard_documents": config.shard_documents,
            "token_budget": config.token_budget,
        },
        "format": FORMAT,
        "inputs": dict(inputs),
        "path_rule": rule,
        "unit_weights_sha256": sha256_of(canonical_json(dict(unit_weights))),
        "versions": {name: version(name) for name in _LIBRARIES},
    }


def keep_to_plan(path: Path, plan: Mapping[str, Any]) -> None:
    """Refuse to go on with a folder that was begun under another plan.

    Raises:
        IndexMismatchError: names the first entry that differs, with both values.
    """
    if not path.is_file():
        return
    begun = json.loads(path.read_bytes())
    before, now = _flat(begun), _flat(plan)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise IndexMismatchError(
                f"{path.parent} was begun with {key} = {before.get(key)!r}, this build has "
                f"{now.get(key)!r}; rows of the two cannot stand in one index. Build into "
                f"another folder, or delete this one first"
            )


def relative_locations(config: IndexConfig, points: list[PathPoint]) -> dict[str, Any]:
    """Return where model, checkpoints and corpus are, seen from the index folder."""
    base = Path(config.out).resolve()
    return {
        "checkpoints": [os.path.relpath(p.folder.resolve(), base) for p in points],
        "corpus": os.path.relpath(Path(config.corpus).resolve(), base),
        "decoys": os.path.relpath(Path(config.decoys).resolve(), base) if config.decoys else None,
        "model": os.path.relpath(Path(config.model_dir).resolve(), base),
    }


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        out = {}
        for key, inner in value.items():
            out.update(_flat(inner, f"{prefix}.{key}" if prefix else str(key)))
        return out
    if isinstance(value, list):
        return {f"{prefix}[{i}]": v for i, v in enumerate(value)} or {prefix: []}
    return {prefix: value}
