"""Score matrices of single checkpoints, made once and kept, for the accuracy benchmark.

A set-up is a folder as `attribution.evaluation.setup` reads it. Checkpoints are scored one
at a time and added along a path afterwards, so that every path shares the same matrices.
Kept files are named by the digest of the attribution package's sources: code that changed
never reads the matrices of older code.

Axes: Q outputs, N documents.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

import attribution
from attribution.corpus import write_corpus
from attribution.evaluation.removal import losses_of
from attribution.evaluation.setup import EvaluationSetup, open_setup
from attribution.evaluation.truth import Truth
from attribution.gradients import LossModel
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.influence import Attributor
from attribution.layers import find_layers
from attribution.matrix_task import MatrixTask
from attribution.model import load_model
from attribution.path import learning_rate_weights
from attribution.recipe import load_recipe
from attribution.streaming import StreamConfig, checkpoint_scores

# Of one row at one checkpoint, against the tracked numbers as float32.
SIZES = {"1/4": ("int8", 4), "1/16": ("int8", 16), "1/64": ("int8", 64)}
STREAMS = {
    "default": StreamConfig(fit_share=0.15),
    "gradient dot": StreamConfig(curvature=False),
    "head": StreamConfig(fit_share=0.15, layers=("none",)),
    "all linear": StreamConfig(fit_share=0.15, layers=("*",), head=False),
    "gradient dot, all linear": StreamConfig(curvature=False, layers=("*",), head=False),
}
_SOURCES = (
    "batches", "codec", "gradients", "index_build", "index_rows", "influence", "layers",
    "preconditioner", "projection", "recorders", "streaming", "tokens",
)  # fmt: skip


def code_digest() -> str:
    """Return a digest of the sources that decide a score."""
    room = Path(attribution.__file__).parent
    said = hashlib.sha256()
    for name in _SOURCES:
        said.update((room / f"{name}.py").read_bytes())
    return said.hexdigest()[:12]


class Matrices:
    """Score matrices of a set-up's checkpoints."""

    def __init__(self, name: str, folder: Path, cache: Path) -> None:
        self.name = name
        self.setup: EvaluationSetup = open_setup(folder)
        self.cache = cache / f"{name}-{code_digest()}"
        self.cache.mkdir(parents=True, exist_ok=True)
        self.task = MatrixTask(self.setup.model, (), self.setup.corpus, tuple(self.setup.queries))
        self.rates = load_recipe(self.setup.recipe).lr.tolist()
        self.folders = {_step(path): path for path in self.setup.checkpoints}
        self.folders[len(self.rates)] = self.setup.model

    @cached_property
    def truth(self) -> Truth:
        """The retrains."""
        return self.setup.truth()

    @property
    def paths(self) -> dict[str, tuple[int, ...]]:
        """The three paths that are compared: name -> steps."""
        steps = tuple(sorted(self.folders))
        return {"end": steps[-1:], "start + end": (steps[0], steps[-1]), "all": steps}

    @cached_property
    def gains(self) -> np.ndarray:
        """What training gained for each output, [Q], nats."""
        path = self.cache / "gains.npy"
        if not path.exists():
            context, queries = self.task.model.context, self.task.queries_encoded
            losses = [
                losses_of(load_model(folder).model, queries, context, 1)
                for folder in (self.setup.start, self.setup.model)
            ]
            np.save(path, losses[0] - losses[1])
        return np.load(path)

    @cached_property
    def tracked(self) -> int:
        """Numbers of a full-rank row at one checkpoint, with the default layers."""
        config = IndexConfig(self.setup.model, self.setup.corpus_file, self.cache)
        found = find_layers(self.task.model.model, config.layers, head=config.head).layers
        return sum(layer.rows * layer.outputs for layer in found)

    @cached_property
    def encoded_corpus(self) -> Path:
        """The documents as tokens: checkpoints in the middle of a run have no tokenizer."""
        path = self.cache / "encoded.jsonl"
        if not path.exists():
            rows = zip(self.task.corpus, self.task.documents_encoded, strict=True)
            write_corpus(path, [replace(d, text=None, input_ids=y.input_ids) for d, y in rows])
        return path

    def full(self, step: int, name: str = "default") -> np.ndarray:
        """Return unweighted influence [Q, N] at a step, full rank, float32 rows."""
        if name == "last":
            # The row is the two parts side by side, and a score their sum.
            return self.full(step) - self.full(step, "head")
        path = self.cache / f"full-{name}-{step:06d}.npy"
        if not path.exists():
            model = LossModel(load_model(self.folders[step]).model)
            np.save(path, checkpoint_scores(model, self.task, STREAMS[name])[0].numpy())
        return np.load(path)

    def stored(self, size: str, step: int) -> np.ndarray:
        """Return unweighted influence at a step from an index of a given size."""
        dtype, fraction = SIZES[size]
        path = self.cache / f"{dtype}-{fraction}-{step:06d}.npy"
        if not path.exists():
            folder = path.with_suffix(".index")
            build_index(
                IndexConfig(
                    self.folders[step],
                    self.encoded_corpus,
                    folder,
                    bytes_per_document=4 * self.tracked // fraction,
                    dtype=dtype,
                    token_budget=4096,
                    duplicate_threshold=None,
                )
            )
            index = GradientIndex.open(folder)
            scores = Attributor(index).documents(self.task.queries_encoded).influence.numpy()
            order = np.argsort(index.documents["place"].to_numpy())
            np.save(path, scores[:, order])
            shutil.rmtree(folder)
        return np.load(path)

    def along(self, parts: dict[int, np.ndarray]) -> np.ndarray:
        """Add checkpoints with learning-rate weights."""
        steps = sorted(parts)
        if len(steps) == 1:
            return parts[steps[0]]
        weights = learning_rate_weights(steps, self.rates)
        return sum(w * parts[s] for w, s in zip(weights, steps, strict=True))


def _step(folder: Path) -> int:
    found = re.search(r"step-(\d+)$", folder.name)
    return int(found.group(1)) if found else 0
