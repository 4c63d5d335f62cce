"""Retraining as a method: the truth itself, for runs that are small enough to replay.

    removal     what each output loses without one creator
    banzhaf     a creator's mean change over random coalitions, by regression
    shapley     the mean change over orders of joining, by kernel regression
    datamodel   a document's effect, by lasso on random halves of the documents

A creator's value is spread over its documents by scored tokens. Retrains are kept in
a folder of the form of `byline evaluate build`; what is there is used, what is
missing is made, and a run that was stopped goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.errors import ScoringError
from attribution.evaluation.removal import RetrainSetup, TruthPlan, build_truth, losses_of
from attribution.evaluation.semivalues import datamodel, shapley
from attribution.evaluation.truth import Truth, load_truth
from attribution.files import canonical_json, write_atomically
from attribution.matrix_task import MatrixTask
from attribution.methods.protocol import Declaration, silence
from attribution.methods.unrolled import recipe_of
from attribution.model import load_model
from attribution.tokens import windows

KINDS = {"removal": "loco", "banzhaf": "creator", "shapley": "kernel", "datamodel": "doc"}
Nats = NDArray[np.float64]


@dataclass(frozen=True)
class Retraining:
    """The ground truth as a method.

    Attributes:
        value: one of KINDS.
        retrains: how many of the drawn kinds; `removal` makes one a creator.
        folder: keeps the retrains; must be given.
        draws: seed of what is left out.
    """

    value: str = "banzhaf"
    retrains: int = 120
    folder: str = ""
    draws: int = 0

    name = "retraining"
    declared = Declaration(
        ("checkpoints", "recipe"),
        "one whole training run a retrain: a hundred and more; nothing a query",
        "one training order; removal pays neither of two owners of the same content; judged by "
        "the truth it was made of it is perfect by construction",
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], nats.

        Raises:
            ScoringError: no folder was given, or there is no such value.
        """
        if self.value not in KINDS:
            raise ScoringError(
                f"option value of method {self.name} is {self.value!r}; give one of "
                f"{', '.join(KINDS)}"
            )
        if not self.folder:
            raise ScoringError(
                f"method {self.name} trains again {self.retrains} times and needs a folder that "
                f"keeps the outcomes; nothing was scored. Give one with --set folder=PATH (it may "
                f"hold retrains already), and --set retrains=N"
            )
        run = run_of(task)
        truth = self._truth(run, task)
        notes: dict[str, float] = {"retrains": float(len(truth.losses[KINDS[self.value]]))}
        if self.value == "datamodel":
            values, fit = datamodel(truth.kept["doc"], -truth.losses["doc"])
            notes["fit"] = float(fit.mean())
        else:
            creators = self._creator_values(run, truth, notes)
            size = np.asarray([float(row.scored) for row in task.documents_encoded])
            whole = size @ truth.membership  # [C]
            spread = truth.membership * size[:, None] / np.maximum(whole, 1e-30)
            values = creators @ spread.T
        if task.index_dir is not None:
            write_atomically(task.index_dir / "notes.json", canonical_json(notes))
        return silence(torch.from_numpy(values), task)

    def _creator_values(self, run: RetrainSetup, truth: Truth, notes: dict[str, float]) -> Nats:
        """Return [Q, C], nats."""
        if self.value == "banzhaf":
            found = truth.coalition()
            notes["fit"] = float(found.fit.mean())
            return found.values
        if self.value == "removal":
            lost, which = truth.removal()
            values = np.zeros((len(lost), len(truth.creators)))
            values[:, which] = lost
            return values
        before = losses_of(
            load_model(run.start).model, run.queries, run.recipe.context, run.recipe.threads
        )
        kept = truth.kept["kernel"] @ truth.membership > 0
        return shapley(kept, -truth.losses["kernel"], -before, -truth.full_loss)

    def _truth(self, run: RetrainSetup, task: MatrixTask) -> Truth:
        """Read the retrains, after making those that are missing."""
        folder, kind = Path(self.folder), KINDS[self.value]
        if any(folder.glob("*-*.npz")):
            there = load_truth([folder], run.groups, run.tokens)
            wanted = len(run.creators) if kind == "loco" else self.retrains
            if len(there.losses.get(kind, ())) >= wanted and "base" in there.losses:
                return there
        plan = TruthPlan(
            halves=self.retrains if kind == "doc" else 0,
            coalitions=self.retrains if kind == "creator" else 0,
            kernels=self.retrains if kind == "kernel" else 0,
            removals=kind == "loco",
            seed=self.draws,
        )
        return build_truth(
            run, folder, plan, progress=lambda done, all_: task.progress("retrain", done, all_)
        )


def run_of(task: MatrixTask) -> RetrainSetup:
    """Gather what a retrain of the task's model depends on.

    Raises:
        RecipeError: there is no recipe, or it is of another corpus.
    """
    recipe = recipe_of(task)
    context = recipe.context or task.model.context
    return RetrainSetup(
        start=task.checkpoints[0],
        rows=tuple(tuple(windows(row, context)) for row in task.documents_encoded),
        groups=tuple(document.group_id for document in task.corpus),
        recipe=replace(recipe, threads=recipe.threads or 1),
        queries=tuple(task.queries_encoded),
    )
