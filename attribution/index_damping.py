"""Choosing the damping by what retraining says, where somebody retrained.

1. The candidates share one pass over the stored rows: damping touches the query's side.
2. A candidate's worth is its LDS: per output the rank correlation, over retrains without
   random halves of the documents, of what it predicts with what happened.
3. Retrains are cut into folds. The damping is chosen on all folds but one and judged on
   that one; the mean of those judgements is what is reported, so that the choice itself
   is not rewarded for luck. What is put into use is the choice on all of them.
4. Without a truth the rule stays: a hundredth of a layer's mean eigenvalue, the output
   head a thousand times as much.

Axes: Q outputs, N documents, R retrains, C candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attribution.corpus import read_corpus, read_queries
from attribution.errors import GradientIndexError
from attribution.evaluation.lds import lds
from attribution.evaluation.truth import load_truth
from attribution.influence import Attributor, pinned_threads
from attribution.tokens import Encoded, encode_query

CANDIDATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FOLDS = 5


@dataclass(frozen=True)
class DampingChoice:
    """What cross-validation found.

    Attributes:
        damping: the best over all retrains.
        held_out: mean LDS, on each fold, of the damping chosen without it.
        table: candidate -> mean LDS over outputs and all retrains.
        chosen_by_fold: what each fold's absence chose.
    """

    damping: float
    held_out: float
    table: dict[float, float]
    chosen_by_fold: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values, candidates as text."""
        return {**asdict(self), "table": {str(d): value for d, value in self.table.items()}}


def choose_damping(
    attributor: Attributor,
    encoded: Sequence[Encoded],
    kept: NDArray[np.bool_],
    losses: NDArray[np.float64],
    *,
    candidates: Sequence[float] = CANDIDATES,
    folds: int = FOLDS,
) -> DampingChoice:
    """Choose the damping of an index's preconditioner.

    Args:
        attributor: of the index.
        encoded: the outputs whose losses were measured.
        kept: [R, N], which documents of the corpus, in file order, each retrain kept.
        losses: [R, Q], loss of each output after it.
        candidates: dampings to try, each in (0, 1].
        folds: at least 2.

    Raises:
        GradientIndexError: too few retrains for the folds, or the shapes do not fit.
    """
    documents = int((attributor.index.documents["kind"] == "trained").sum())
    if len(kept) < 3 * folds or kept.shape[1] != documents or losses.shape[1] != len(encoded):
        raise GradientIndexError(
            f"{len(kept)} retrains of {kept.shape[1]} documents and {losses.shape[1]} outputs "
            f"were given; {folds} folds need {3 * folds}, the index holds {documents} documents "
            f"and {len(encoded)} outputs were named. Nothing was chosen"
        )
    scores = candidate_scores(attributor, encoded, candidates).numpy()  # [C, Q, N]
    part = np.arange(len(kept)) % folds

    def worth(chosen: NDArray[np.bool_]) -> list[float]:
        return [float(np.mean(lds(each, kept[chosen], losses[chosen]))) for each in scores]

    everything = worth(np.ones(len(kept), dtype=bool))
    table = {d: round(value, 6) for d, value in zip(candidates, everything, strict=True)}
    choices, judged = [], []
    for fold in range(folds):
        best = int(np.argmax(worth(part != fold)))
        choices.append(candidates[best])
        judged.append(worth(part == fold)[best])
    damping = max(candidates, key=lambda d: (table[d], d))
    return DampingChoice(damping, round(float(np.mean(judged)), 6), table, tuple(choices))


def candidate_scores(
    attributor: Attributor, encoded: Sequence[Encoded], candidates: Sequence[float]
) -> Tensor:
    """Return influence with each damping, [C, Q, N] float64, documents in file order (rule 1).

    The scale is left out: rank correlations do not see it.
    """
    index = attributor.index
    table = index.documents
    out = torch.zeros(len(candidates) * len(encoded), table.height, dtype=torch.float64)
    with pinned_threads(attributor.threads):
        for k, weight in enumerate(index.manifest.path_weights):
            rows, _ = attributor.rows(k, encoded)
            sides = [(rows.double() * index.inverse(k, d) * weight).float() for d in candidates]
            codec = index.codec(k)
            folded = codec.fold(torch.cat(sides))
            for first, stored in index.stored(k):
                out[:, first : first + len(stored)] += codec.dot(stored, folded).T.double()
    trained = np.flatnonzero((table["kind"] == "trained").to_numpy())
    # Places count within a shard; shards of the build follow the file's order.
    order = np.lexsort((table["place"].to_numpy()[trained], table["shard"].to_numpy()[trained]))
    ordered = out[:, torch.from_numpy(trained[order])]
    return ordered.reshape(len(candidates), len(encoded), len(order))


def choose_from_folder(attributor: Attributor, queries: Path, truth: Path) -> DampingChoice:
    """Choose the damping from a folder of retrains without random halves (`doc-*.npz`).

    Args:
        attributor: of the index.
        queries: the outputs, in the query form.
        truth: the folder.

    Raises:
        GradientIndexError: the folder has no such retrains, or too few.
        AttributionError: corpus or queries cannot be read.
    """
    corpus = attributor.index.corpus_file()
    if corpus is None or not corpus.is_file():
        raise GradientIndexError(
            f"the corpus of index {attributor.index.folder} is not at {corpus}; the order of its "
            f"documents is what the retrains speak of. Nothing was chosen"
        )
    groups = [document.group_id for document in read_corpus(corpus)]
    encoded = [encode_query(query, attributor.tokenizer) for query in read_queries(queries)]
    found = load_truth(truth, groups, [row.scored for row in encoded])
    if "doc" not in found.kept:
        raise GradientIndexError(
            f"{truth} holds retrains of the kinds {sorted(found.kept)} and none without random "
            f"documents (doc-*.npz); nothing was chosen"
        )
    kept, losses = found.retrains("doc")
    return choose_damping(attributor, encoded, kept, losses)
