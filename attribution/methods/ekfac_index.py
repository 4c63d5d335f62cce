"""EK-FAC influence along the training path, from a gradient index or streamed without one.

With an index folder the rows are built once and read; without one each document's
gradient is multiplied with the queries while it exists, at full rank, and nothing
is stored. `ekfac_end` takes the final weights alone, `grad_dot` no curvature, and
`ekfac` never reads an index: it is what a smaller index is measured against.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from attribution.errors import IndexMismatchError, ScoringError
from attribution.index import GradientIndex, IndexConfig, build_index, training_path
from attribution.influence import Attributor
from attribution.methods.gradient_rows import OnLayers
from attribution.methods.protocol import Declaration, MatrixTask
from attribution.streaming import StreamConfig, path_scores

_ADDITIVE = (
    "first order: what two works only do together, or either alone, it does not see; "
    "scores of copies add up"
)
_END = "end point alone: who helped more than average, not who helped; totals have either sign"


@dataclass(frozen=True)
class EkfacIndex:
    """The method Byline pays by."""

    name = "ekfac_index"
    declared = Declaration(
        ("gradients",),
        "about 1.3 training steps a document and checkpoint to build, then dot products; "
        "stores the chosen bytes a document",
        _ADDITIVE,
        along_path=True,
        on_card=True,
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], nats where the path allows a scale."""
        if task.index_dir is None:
            points, _ = training_path(_config(task, Path()))
            return path_scores(points, task, StreamConfig(damping=task.damping, seed=task.seed))
        if not (task.index_dir / "manifest.json").is_file():
            build_index(_config(task, task.index_dir), task.progress)
        index = GradientIndex.open(task.index_dir)
        _check_same(task, index)
        attributor = Attributor(index, device=task.device)
        scores = attributor.documents(task.queries_encoded).influence
        return scores[:, _file_order(task, index)]


@dataclass(frozen=True)
class Ekfac(OnLayers):
    """EK-FAC recomputed at full rank, nothing stored: the accuracy reference of the index."""

    name = "ekfac"
    declared = Declaration(
        ("gradients",),
        "three passes of forward and backward a checkpoint for every batch of queries; "
        "nothing stored",
        _ADDITIVE,
        along_path=True,
        on_card=True,
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], nats where the path allows a scale."""
        layers = tuple(self.layers.split(","))
        config = StreamConfig(damping=task.damping, seed=task.seed, layers=layers, head=self.head)
        return path_scores(training_path(_config(task, Path()))[0], task, config)


@dataclass(frozen=True)
class EkfacEnd:
    """EK-FAC at the final weights alone: who helped more than average, not who helped."""

    name = "ekfac_end"
    declared = Declaration(("gradients",), "as ekfac_index at one checkpoint", _END, on_card=True)

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], relative influence."""
        return EkfacIndex().scores(replace(task, checkpoints=()))


@dataclass(frozen=True)
class GradientDot:
    """Gradient dot product along the path: the same sum without any curvature."""

    name = "grad_dot"
    declared = Declaration(
        ("gradients",),
        "one pass of forward and backward a checkpoint for every batch of queries",
        "large gradients win whatever they say; " + _ADDITIVE,
        along_path=True,
        on_card=True,
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], squared nats per squared weight, up to scale."""
        points, _ = training_path(_config(task, Path()))
        return path_scores(points, task, StreamConfig(curvature=False))


def _config(task: MatrixTask, out: Path) -> IndexConfig:
    if task.corpus.path is None:
        raise ScoringError("the corpus was never written to a file; write it and read it again")
    return IndexConfig(
        model_dir=task.model_dir,
        corpus=task.corpus.path,
        out=out,
        checkpoints=task.checkpoints,
        damping=task.damping,
        seed=task.seed,
        token_budget=task.token_budget,
        device=task.device,
    )


def _check_same(task: MatrixTask, index: GradientIndex) -> None:
    inputs = index.manifest.content["inputs"]
    for name, found in (("corpus", task.corpus.digest), ("model", task.model.digest)):
        if inputs[name] != found:
            raise IndexMismatchError(
                f"index {index.folder} was built from {name} {inputs[name][:12]}…, asked is "
                f"{found[:12]}…; its rows are of other documents or weights. Build an index "
                f"for this {name}"
            )


def _file_order(task: MatrixTask, index: GradientIndex) -> Tensor:
    """Return, for each document of the file, its row in the index."""
    table = index.documents
    trained = (table["kind"] == "trained").to_list()
    ids = table["document_id"].to_list()
    row = {name: i for i, (name, kept) in enumerate(zip(ids, trained, strict=True)) if kept}
    return torch.tensor([row[document.document_id] for document in task.corpus])
