"""What a period's outputs say of every work when the recorded run is differentiated once.

One backward run (attribution.unrolling) for the sum of all outputs, each times what it pays
for a nat. The run that is differentiated must be the run that was paid for: the index names
its model, and after the replay the outputs' losses must be those of the recorded weights.

A batch's loss is a mean over its tokens, so weighing all its documents alike changes nothing:
over the corpus the weights add up to zero. They say who gave more than others of his size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from attribution.corpus import read_corpus
from attribution.errors import IndexMismatchError, RecipeError, ScoringError
from attribution.evaluation.removal import setup_of
from attribution.index_read import GradientIndex
from attribution.model import load_model, model_digest
from attribution.run import QueryText
from attribution.tokens import encode_output
from attribution.unrolling import Unrolling, valued_losses

REPLAY_APART_MAX = 1e-3


@dataclass(frozen=True)
class UnrolledPeriod:
    """The works' weights by the unrolled run.

    Attributes:
        units: work -> value of the nats that its documents gave to the outputs, beyond
            what as many tokens of its batches gave; signed, and nothing in all.
        tokens: work -> scored tokens.
        loss_apart: relative difference of the valued losses, replayed against recorded.
        metasmoothness: how evenly the run answers to small changes of weights; None where
            it was not measured.
        steps: of the run.
        memory_bytes: of the states held at the same time.
    """

    units: dict[str, float]
    tokens: dict[str, int]
    loss_apart: float
    metasmoothness: float | None
    steps: int
    memory_bytes: int


def unroll_period(
    *,
    model_dir: Path,
    corpus_file: Path,
    index_dir: Path,
    outputs: Sequence[QueryText],
    values: Sequence[float],
    smoothness: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> UnrolledPeriod:
    """Differentiate the run that made a model, for valued outputs.

    Args:
        model_dir: the final model with its recipe and its starting weights.
        corpus_file: what it was trained on; a document's group is its work.
        index_dir: the index that the outputs were paid by.
        outputs: logged texts.
        values: what each pays for a nat, in any unit.
        smoothness: measure the metasmoothness, by three more runs.
        progress: called with ("unroll", steps done, steps in all), then with ("smoothness", runs
            done, runs in all).

    Raises:
        IndexMismatchError: the index was built from another model.
        RecipeError: the recipe is missing, or does not lead to the recorded weights.
        ScoringError: the model has no tokenizer to read texts with.
    """
    _check_model(index_dir, model_dir)
    final = load_model(model_dir)
    if final.tokenizer is None:
        raise ScoringError(
            f"{model_dir} has no tokenizer, so logged text cannot be read; put its files there"
        )
    corpus = read_corpus(corpus_file)
    encoded = [encode_output(row.prompt_text, row.output_text, final.tokenizer) for row in outputs]
    setup = setup_of(model_dir, corpus, encoded)
    run = Unrolling(load_model(setup.start).model, setup.rows, setup.recipe, encoded, values)
    result = run.influence(progress)
    context = setup.recipe.context or final.context
    apart = _apart(result.loss, valued_losses(final.model, encoded, values, context), model_dir)
    smooth = run.metasmoothness(progress=progress) if smoothness else None
    units: dict[str, float] = {}
    tokens: dict[str, int] = {}
    for document, value, rows in zip(corpus, result.influence, setup.rows, strict=True):
        work = document.group_id
        units[work] = units.get(work, 0.0) + float(value)
        tokens[work] = tokens.get(work, 0) + sum(row.scored for row in rows)
    return UnrolledPeriod(units, tokens, apart, smooth, result.steps, result.memory_bytes)


def _check_model(index_dir: Path, model_dir: Path) -> None:
    """Refuse a model that the index was not built from."""
    named = GradientIndex.open(index_dir).manifest.content["inputs"]["model"]
    found = model_digest(model_dir)
    if named != found:
        raise IndexMismatchError(
            f"index {index_dir} was built from model {named[:12]}, {model_dir} is {found[:12]}; "
            f"another run than the one that was paid for would be unrolled. Put that model back"
        )


def _apart(replayed: float, losses: Iterator[Tensor], model_dir: Path) -> float:
    """Return how far the replayed loss is from the recorded weights', or refuse the recipe."""
    with torch.no_grad():
        recorded = float(sum(losses))
    apart = abs(replayed - recorded) / max(abs(recorded), 1e-300)
    if apart > REPLAY_APART_MAX:
        raise RecipeError(
            f"after the replay the outputs lose {replayed:.6g}, by the weights in {model_dir} "
            f"{recorded:.6g}: this recipe does not lead to that model, so nothing was compared. "
            f"Ask for the recipe that the model was trained by"
        )
    return apart
