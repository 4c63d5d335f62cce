"""Unrolled influence: the recorded training run differentiated from its end to its start.

The audit method. One backward run gives every document's signed weight for the sum
of all outputs; that sum is what a period pays. With `outputs=each` every output has
a run of its own, which only small set-ups can afford.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.errors import RecipeError, ScoringError
from attribution.evaluation.removal import losses_of
from attribution.files import canonical_json, write_atomically
from attribution.matrix_task import MatrixTask
from attribution.methods.protocol import Declaration, silence
from attribution.model import load_model
from attribution.recipe import Recipe, load_recipe
from attribution.tokens import windows
from attribution.unrolling import POOR, Unrolling

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnrolledInfluence:
    """Metagradients through the whole run (MAGIC, arXiv 2504.16430).

    Attributes:
        outputs: "sum": one run for all outputs together, each output getting an equal
            part of the document's weight; "each": one run an output.
        level: what is added, because the weights add up to zero over the corpus: "none", or
            "tokens": each output's measured gain, divided by the documents' scored tokens.
        smoothness: measure the metasmoothness, by three more forward runs.
        double: compute in float64.
    """

    outputs: str = "sum"
    level: str = "none"
    smoothness: bool = True
    double: bool = False

    name = "unrolled"
    readings = ("level",)
    declared = Declaration(
        ("gradients", "checkpoints", "recipe"),
        "the training run about five times, three more to measure smoothness; once for all "
        "outputs together; two root-of-steps states of weights and moments in memory",
        "a derivative: right for small changes of documents' weights, less for leaving them out, "
        "and little where training jumps; adds up to zero over the corpus, so it says who gave "
        "more than others of his size, not how much all gave; with outputs=sum it does not tell "
        "the outputs apart",
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], nats."""
        return self.read(self.measured(task), task)

    def read(self, measured: Tensor, task: MatrixTask) -> Tensor:
        """Put the weights on their level."""
        if self.level == "none":
            return measured
        recipe = recipe_of(task)
        before, after = (
            losses_of(model, task.queries_encoded, recipe.context, recipe.threads or 1)
            for model in (load_model(task.checkpoints[0]).model, task.model.model)
        )
        sizes = torch.tensor([float(row.scored) for row in task.documents_encoded]).double()
        return silence(
            measured + torch.outer(torch.from_numpy(before - after), sizes / sizes.sum()), task
        )

    def measured(self, task: MatrixTask) -> Tensor:
        """Return the weights alone, [queries, documents], nats; over the documents about zero."""
        for name, allowed in (("outputs", ("sum", "each")), ("level", ("none", "tokens"))):
            if getattr(self, name) not in allowed:
                raise ScoringError(
                    f"option {name} of method {self.name} is {getattr(self, name)!r}; give "
                    f"{' or '.join(allowed)}"
                )
        recipe = recipe_of(task)
        context = recipe.context or task.model.context
        rows = [windows(row, context) for row in task.documents_encoded]
        queries = task.queries_encoded
        groups = [queries] if self.outputs == "sum" else [[query] for query in queries]
        found: list[Tensor] = []
        notes: dict[str, float] = {}
        for group in groups:
            model = load_model(task.checkpoints[0]).model
            run = Unrolling(model, rows, recipe, group, double=self.double)
            result = run.influence(task.progress)
            found.append(torch.from_numpy(result.influence))
            if not notes:
                notes = {"memory_bytes": result.memory_bytes, "steps": result.steps}
                if self.smoothness:
                    notes["metasmoothness"] = _measured(run)
        if task.index_dir is not None:
            write_atomically(task.index_dir / "notes.json", canonical_json(notes))
        scores = torch.stack(found)
        if self.outputs == "sum":
            scores = (scores / len(queries)).expand(len(queries), -1).clone()
        return silence(scores, task)


def recipe_of(task: MatrixTask) -> Recipe:
    """Return the recipe of the task's training run.

    Raises:
        RecipeError: there is none, or it is of another corpus.
    """
    folder = task.model_dir
    if not (folder / "recipe.json").is_file():
        folder = folder.parent
    recipe = load_recipe(folder)
    known = recipe.corpus_digest
    if recipe.order.shape[1] != len(task.corpus) or known not in {None, task.corpus.digest}:
        raise RecipeError(
            f"the recipe in {folder} orders {recipe.order.shape[1]} documents and the corpus has "
            f"{len(task.corpus)}, or other ones; only the run as it was recorded can be unrolled"
        )
    return recipe


def _measured(run: Unrolling) -> float:
    """Measure the metasmoothness, and say so where it is poor."""
    smooth = run.metasmoothness()
    if smooth < POOR:
        _LOG.warning(
            "metasmoothness %.2f is below %.1f: this run answers to small changes of weights by "
            "jumping, and unrolled influence may say little about leaving documents out; larger "
            "batches, a lower learning rate or a larger eps make a run smoother",
            smooth,
            POOR,
        )
    return round(smooth, 6)
