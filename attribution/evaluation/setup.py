"""A set-up on disk: a model whose training can be replayed, its corpus and outputs of it.

    model/            the final model
    recipe.json/.npz  here or in model/: order, learning rates, optimizer
    base/             the starting weights; else the oldest of checkpoints/
    checkpoints/      here or in model/: weights along the way, `step-NNN`
    docs.jsonl        (or documents.jsonl) what the recipe trained on
    queries.jsonl     outputs whose loss is measured
    decoys.jsonl      optional: documents of the same kinds that were never trained on
    retrain/, truth/  optional: retrains (attribution.evaluation.removal)

1. The folder is only read; a truth may be made in it or anywhere else.
2. What is missing is named with what it is for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from attribution.corpus import Corpus, Query, read_corpus, read_queries
from attribution.errors import RecipeError
from attribution.evaluation.removal import RetrainSetup, setup_of
from attribution.evaluation.truth import Truth, load_truth
from attribution.model import load_model
from attribution.tokens import Encoded, encode_query

_STEP = re.compile(r"step-(\d+)$")


@dataclass(frozen=True)
class EvaluationSetup:
    """Where everything of a set-up lies.

    Attributes:
        model: folder of the final model.
        start: folder of the starting weights.
        checkpoints: weights to go along, oldest first: the start, and what was kept
            between it and the final model, which is not among them.
        recipe: folder of `recipe.json`.
        corpus_file, queries_file: JSON lines.
        decoys_file: JSON lines, or None.
        truths: folders of retrains.
    """

    model: Path
    start: Path
    checkpoints: tuple[Path, ...]
    recipe: Path
    corpus_file: Path
    queries_file: Path
    decoys_file: Path | None = None
    truths: tuple[Path, ...] = ()

    @cached_property
    def corpus(self) -> Corpus:
        """The documents, in file order; group_id is the creator."""
        return read_corpus(self.corpus_file)

    @cached_property
    def queries(self) -> tuple[Query, ...]:
        """The outputs, in file order."""
        return read_queries(self.queries_file)

    @cached_property
    def queries_encoded(self) -> tuple[Encoded, ...]:
        """Token ids of the outputs."""
        tokenizer = None
        if any(query.input_ids is None for query in self.queries):
            tokenizer = load_model(self.model, tokenizer_from=self.start).tokenizer
        return tuple(encode_query(query, tokenizer) for query in self.queries)

    def retrains(self, threads: int | None = None) -> RetrainSetup:
        """Gather what a retrain depends on.

        Args:
            threads: CPU threads where the recipe does not say; 1 when left out, so
                that equal work gives equal bytes.

        Raises:
            RecipeError: there is no recipe, or it names another corpus.
        """
        made = setup_of(
            self.model, self.corpus, self.queries_encoded, start=self.start, recipe=self.recipe
        )
        if made.recipe.threads is not None:
            return made
        return replace(made, recipe=replace(made.recipe, threads=threads or 1))

    def truth(self, more: Sequence[Path] = ()) -> Truth:
        """Read every retrain of the set-up, and of further folders.

        Raises:
            RecipeError: there is none, or one has other documents or queries.
        """
        folders = list(dict.fromkeys((*self.truths, *more)))
        groups = [document.group_id for document in self.corpus]
        scored = [row.scored for row in self.queries_encoded]
        return load_truth(folders, groups, scored)


def open_setup(folder: Path | str) -> EvaluationSetup:
    """Find the parts of a set-up folder.

    Raises:
        RecipeError: a part is missing.
    """
    folder = Path(folder)
    model = _first(folder, ("model",), "the final model")
    recipe = _first(folder, ("recipe.json", "model/recipe.json"), "the recipe").parent
    kept = _steps(folder) or _steps(model)
    base = folder / "base"
    if not base.is_dir() and 0 not in kept:
        raise RecipeError(
            f"{folder} has neither base/ nor checkpoints/step-0: without the starting weights "
            f"its training cannot be replayed; put them there"
        )
    start = base if base.is_dir() else kept[0]
    final = max(kept, default=0)
    between = [path for step, path in sorted(kept.items()) if 0 < step < final]
    decoys = folder / "decoys.jsonl"
    return EvaluationSetup(
        model=model,
        start=start,
        checkpoints=(start, *between),
        recipe=recipe,
        corpus_file=_first(folder, ("docs.jsonl", "documents.jsonl"), "the documents"),
        queries_file=_first(folder, ("queries.jsonl",), "the outputs"),
        decoys_file=decoys if decoys.is_file() else None,
        truths=tuple(path for path in (folder / "retrain", folder / "truth") if path.is_dir()),
    )


def _steps(folder: Path) -> dict[int, Path]:
    """Return step -> folder of the kept weights; a folder with moments only is the final step."""
    found = {}
    for path in (folder / "checkpoints").glob("step-*"):
        match = _STEP.search(path.name)
        if match:
            found[int(match.group(1))] = path
    return found


def _first(folder: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise RecipeError(
        f"{folder} has no {' or '.join(names)} ({what}); a set-up is a folder as the "
        f"documentation of attribution.evaluation.setup lists it"
    )
