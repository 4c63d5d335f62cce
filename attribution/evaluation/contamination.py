"""Contamination: texts that leaked into a corpus, planted on purpose and found again.

Replicas of held-out texts are planted at random places of a corpus until they make a
stated share of it; a model is trained on that; then the leaked texts are the outputs,
and a method's ranking is read for their replicas.

    recall    the share of replicas among as many documents as were planted, those
              with the largest score over any of the leaked texts

By chance recall is the share itself. It is averaged over leaked texts, with a 95 %
interval over them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attribution.corpus import Corpus, Document, read_corpus, read_queries, write_corpus
from attribution.errors import ScoringError
from attribution.evaluation.lds import Interval, bootstrap
from attribution.files import write_atomically
from attribution.methods import MatrixTask, Method, check_needs
from attribution.training import TrainConfig, train

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Planted:
    """A corpus with replicas in it.

    Attributes:
        documents: all of them, in their order.
        item: [N], which leaked text a document is a replica of; -1 for the others.
    """

    documents: tuple[Document, ...]
    item: NDArray[np.int64]

    @property
    def replicas(self) -> int:
        """How many were planted."""
        return int((self.item >= 0).sum())


def plant(
    documents: Sequence[Document], leaked: Sequence[Document], share: float, seed: int
) -> Planted:
    """Plant replicas of leaked texts, each as often as any other, at random places.

    Args:
        documents: the clean corpus.
        leaked: texts that are not in it.
        share: replicas over all documents, in (0, 1); at least one of each is planted.
        seed: draws the places.

    Raises:
        ScoringError: a share outside (0, 1), nothing to plant, or an id in both.
    """
    if not 0 < share < 1 or not leaked:
        raise ScoringError(
            f"{len(leaked)} texts at a share of {share} cannot be planted; give at least one "
            f"text and a share between 0 and 1"
        )
    both = {d.document_id for d in documents} & {d.document_id for d in leaked}
    if both:
        raise ScoringError(
            f"{min(both)} is leaked and in the corpus already; its recall would say nothing. "
            f"Leak texts that the corpus does not hold"
        )
    wanted = share * len(documents) / (1 - share)
    times = max(1, round(wanted / len(leaked)))
    copies = [
        (n, replace(text, document_id=f"{text.document_id}~{k}"))
        for n, text in enumerate(leaked)
        for k in range(times)
    ]
    mixed = [*((-1, document) for document in documents), *copies]
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(mixed))
    return Planted(
        tuple(mixed[place][1] for place in order),
        np.array([mixed[place][0] for place in order], dtype=np.int64),
    )


def replica_recall(scores: Scores, planted: Planted) -> Interval:
    """Return the mean recall of the leaked texts' replicas, with its interval over the texts.

    Args:
        scores: [leaked texts, N], positive = helped.
        planted: the corpus that was scored.
    """
    assert scores.shape[1] == len(planted.item), (scores.shape, len(planted.item))
    bucket = np.argsort(-scores.max(axis=0), kind="stable")[: planted.replicas]
    found = np.isin(np.arange(len(planted.item)), bucket)
    return bootstrap([float(found[planted.item == text].mean()) for text in range(len(scores))])


def contamination(
    corpus: Corpus,
    leaked: Sequence[Document],
    share: float,
    methods: Sequence[Method],
    config: TrainConfig,
    folder: Path,
) -> dict[str, Interval]:
    """Plant, train, score and judge.

    Args:
        corpus: the clean corpus, with text.
        leaked: held-out texts.
        share: see `plant`.
        methods: each is given the run's checkpoints.
        config: the training run; its seed draws the places too.
        folder: new; the contaminated corpus, the model and the queries are left there.

    Returns:
        method name -> recall, and "chance" -> what random scores expect.

    Raises:
        AttributionError: nothing to plant, or a method lacks what it needs.
    """
    planted = plant(corpus.documents, leaked, share, config.seed)
    folder.mkdir(parents=True)
    write_corpus(folder / "corpus.jsonl", planted.documents)
    lines = [{"output_id": text.document_id, "text": text.text} for text in leaked]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomically(folder / "queries.jsonl", text.encode())
    written = read_corpus(folder / "corpus.jsonl")
    result = train(written, folder / "model", config)
    task = MatrixTask(
        result.folder, result.checkpoints[:-1], written, read_queries(folder / "queries.jsonl"),
        seed=config.seed,
    )  # fmt: skip
    for method in methods:
        check_needs(method, task)
    found = {
        method.name: replica_recall(method.scores(task).double().numpy(), planted)
        for method in methods
    }
    chance = planted.replicas / len(planted.item)
    return {**found, "chance": Interval(chance, chance, chance)}
