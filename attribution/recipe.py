"""The recipe of a training run: everything needed to run it again, or all but one document.

A recipe is two files beside the weights: `recipe.json` (what is one value) and
`recipe.npz` (what is one value a step or a document). They say

    which documents, in which order      order[epoch, place] -> position in the corpus
    how far each step went               lr[step], tokens[step], grad_norm[step]
    how the loss was reduced             mean over the scored tokens of the batch
    with what optimizer, and from where  AdamW, its constants; the first checkpoint

1. A document that is left out leaves its place in the batch empty: the order of
   the others, the learning rates and the batch borders do not change.
2. A recipe names the corpus and the starting weights by digest and refuses others.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.errors import RecipeError
from attribution.files import canonical_json, write_atomically

FORMAT = "byline-recipe/1"
LOSS = "mean over the scored tokens of the batch"
LEFT_OUT = (
    "a document that is left out leaves its place in the batch empty; "
    "the order of the others does not change"
)


@dataclass(frozen=True)
class Optimizer:
    """AdamW's constants.

    Attributes:
        betas: decay of the first and second moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled, on parameters with two axes or more.
        clip_grad_norm: the gradient's norm is cut to this; 0 means never.
    """

    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip_grad_norm: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """One training run, written down.

    Attributes:
        optimizer: AdamW's constants.
        batch_size: documents in a batch; the last batch of an epoch is shorter.
        order: [epochs, documents], position in the corpus of each place.
        lr: [steps], learning rate of every step.
        checkpoints: steps after which the weights were kept, 0 = the start.
        context: tokens the model read at once; longer documents were cut.
        seed: drew the starting weights and the order.
        threads: CPU threads of the run; another number may change last bits.
        corpus_digest: the documents, or None where the recipe does not say.
        tokens: [steps], scored tokens of every batch, or None where unknown.
        grad_norm: [steps], norm before clipping, or None where unknown.
        losses: [steps], mean loss of every batch in nats, or None where unknown.
    """

    optimizer: Optimizer
    batch_size: int
    order: NDArray[np.int64]
    lr: NDArray[np.float64]
    checkpoints: tuple[int, ...]
    context: int
    seed: int | None
    threads: int | None
    corpus_digest: str | None
    tokens: NDArray[np.int64] | None = None
    grad_norm: NDArray[np.float64] | None = None
    losses: NDArray[np.float64] | None = None

    @property
    def steps(self) -> int:
        """How many optimizer steps the run has."""
        return len(self.lr)

    def batches(self) -> list[NDArray[np.int64]]:
        """Return the corpus positions of every step's batch, in order."""
        size = self.batch_size
        return [
            epoch[begin : begin + size]
            for epoch in self.order
            for begin in range(0, len(epoch), size)
        ]


def save_recipe(folder: Path, recipe: Recipe, notes: dict[str, Any]) -> None:
    """Write `recipe.json` and `recipe.npz` into a folder.

    Args:
        folder: the model's folder.
        recipe: what was run.
        notes: further keys of the JSON, such as library versions.
    """
    described = {
        "format": FORMAT,
        "optimizer": "AdamW",
        **asdict(recipe.optimizer),
        "no_decay": "parameters with one axis",
        "batch_size": recipe.batch_size,
        "epochs": len(recipe.order),
        "steps": recipe.steps,
        "loss": LOSS,
        "precision": "float32",
        "dropout": 0,
        "checkpoints": list(recipe.checkpoints),
        "context": recipe.context,
        "seed": recipe.seed,
        "threads": recipe.threads,
        "corpus_digest": recipe.corpus_digest,
        "left_out": LEFT_OUT,
        **notes,
    }
    arrays = {"order": recipe.order, "lr": recipe.lr}
    for name in ("tokens", "grad_norm", "losses"):
        value = getattr(recipe, name)
        if value is not None:
            arrays[name] = value
    stream = io.BytesIO()
    # numpy dates every member of the archive 1980-01-01, so equal arrays give equal bytes.
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    write_atomically(folder / "recipe.npz", stream.getvalue())
    write_atomically(folder / "recipe.json", canonical_json(described))


def load_recipe(folder: Path | str) -> Recipe:
    """Read the recipe of a model folder.

    Raises:
        RecipeError: a file is missing or damaged, or says something this code
            cannot replay (another optimizer, loss reduction or dropout).
    """
    folder = Path(folder)
    try:
        said = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        with np.load(folder / "recipe.npz") as archive:
            arrays = {name: archive[name] for name in archive.files}
        _check_replayable(said, folder)
        recipe = Recipe(
            optimizer=Optimizer(
                betas=(float(said["betas"][0]), float(said["betas"][1])),
                eps=float(said["eps"]),
                weight_decay=float(said["weight_decay"]),
                clip_grad_norm=float(said["clip_grad_norm"] or 0),
            ),
            batch_size=int(said["batch_size"]),
            order=np.atleast_2d(arrays["order"]).astype(np.int64),
            lr=arrays["lr"].astype(np.float64),
            checkpoints=tuple(int(step) for step in said["checkpoints"]),
            context=int(said.get("context", 0)),
            seed=said.get("seed"),
            threads=said.get("threads"),
            corpus_digest=said.get("corpus_digest"),
            tokens=arrays.get("tokens"),
            grad_norm=arrays.get("grad_norm"),
            losses=arrays.get("losses"),
        )
    except FileNotFoundError as fault:
        raise RecipeError(
            f"{folder} has no {Path(fault.filename).name}: this training run cannot be replayed "
            f"or weighted by its learning rates; train with byline's own trainer or write the "
            f"recipe beside the model"
        ) from fault
    except (KeyError, ValueError, TypeError, IndexError) as fault:
        raise RecipeError(f"the recipe in {folder} is damaged: {fault!r}; restore it") from fault
    if len(recipe.batches()) != recipe.steps:
        raise RecipeError(
            f"the recipe in {folder} has {recipe.steps} learning rates but its order and batch "
            f"size make {len(recipe.batches())} steps; the two files do not belong together"
        )
    return recipe


def _check_replayable(said: dict[str, Any], folder: Path) -> None:
    for key, wanted in (("optimizer", "AdamW"), ("loss", LOSS), ("dropout", 0)):
        if said[key] != wanted:
            raise RecipeError(
                f"the recipe in {folder} says {key} {said[key]!r}; only {wanted!r} can be replayed"
            )
