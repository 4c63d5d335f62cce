"""Contamination: texts that leaked into a corpus, planted on purpose and found again.

Replicas of held-out texts are planted at random places of a corpus until they make a
stated share of it; a model is trained on that; then the leaked texts are the outputs,
and a method's ranking is read for their replicas. A replica has one of the FORMS:

    exact      the text as it is
    partial    two fifths of its words, in one piece
    reworded   half of its words; each of the others is another one of the corpus, or gone
    buried     two fifths of its words in the middle of a clean document, whose place it takes

A replica is found when it is among as many documents as were planted, those with the
largest score over any of the leaked texts; by chance that happens to the planted share of
them. Recall is the mean over replicas, with a 95 % interval over them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from attribution.corpus import Corpus, Document, read_corpus, read_queries, write_corpus
from attribution.errors import ScoringError
from attribution.evaluation.lds import Interval
from attribution.files import write_atomically
from attribution.methods import MatrixTask, Method, check_needs
from attribution.methods.choice import labels
from attribution.training import TrainConfig, train

FORMS = ("exact", "partial", "reworded", "buried")
PART, KEPT, GONE = 0.4, 0.5, 0.25
Scores = NDArray[np.float64]
Found = NDArray[np.bool_]


@dataclass(frozen=True)
class Planted:
    """A corpus with replicas in it.

    Attributes:
        documents: all of them, in their order.
        item: [N], which leaked text a document is a replica of; -1 for the others.
        form: [N], of the replica; "" for the others.
    """

    documents: tuple[Document, ...]
    item: NDArray[np.int64]
    form: tuple[str, ...]

    @property
    def replicas(self) -> int:
        """How many were planted."""
        return int((self.item >= 0).sum())


@dataclass(frozen=True)
class Contaminated:
    """What was planted, and which of it each method found.

    Attributes:
        planted: the corpus.
        found: label of the method -> [replicas], in the order of the corpus.
    """

    planted: Planted
    found: dict[str, Found]

    @property
    def forms(self) -> tuple[str, ...]:
        """The form of every replica, in the order of the corpus."""
        return tuple(form for form in self.planted.form if form)

    @property
    def chance(self) -> float:
        """The recall of random scores."""
        return self.planted.replicas / len(self.planted.item)


def plant(
    documents: Sequence[Document],
    leaked: Sequence[Document],
    share: float,
    seed: int,
    forms: Sequence[str] = ("exact",),
) -> Planted:
    """Plant replicas of leaked texts, each as often as any other, at random places.

    Args:
        documents: the clean corpus, with text.
        leaked: texts that are not in it.
        share: replicas over all documents, in (0, 1); at least one of each is planted.
        seed: draws the places, the words and the hosts, and the form to begin with.
        forms: names in FORMS; replicas take them in turn.

    Raises:
        ScoringError: a share outside (0, 1), nothing to plant, an unknown form, or an id
            in both.
    """
    if not 0 < share < 1 or not leaked:
        raise ScoringError(
            f"{len(leaked)} texts at a share of {share} cannot be planted; give at least one "
            f"text and a share between 0 and 1"
        )
    if unknown := set(forms) - set(FORMS):
        raise ScoringError(f"{min(unknown)} is no form of a replica; choose among {FORMS}")
    both = {d.document_id for d in documents} & {d.document_id for d in leaked}
    if both:
        raise ScoringError(
            f"{min(both)} is leaked and in the corpus already; its recall would say nothing. "
            f"Leak texts that the corpus does not hold"
        )
    wanted = share * len(documents) / (1 - share)
    times = max(1, round(wanted / len(leaked)))
    draw = np.random.Generator(np.random.PCG64(seed))
    hosts = [int(place) for place in draw.permutation(len(documents))]
    words = [word for document in documents for word in (document.text or "").split()]
    copies = []
    for number in range(times * len(leaked)):
        text, form = leaked[number % len(leaked)], forms[(number + seed) % len(forms)]
        host = documents[hosts.pop()].text if form == "buried" else ""
        name = f"{text.document_id}~{number // len(leaked)}"
        body = " ".join(_replica((text.text or "").split(), form, draw, words, host or ""))
        copy = replace(text, document_id=name, text=body if form != "exact" else text.text)
        copies.append((number % len(leaked), form, copy))
    mixed = [*((-1, "", documents[place]) for place in sorted(hosts)), *copies]
    order = draw.permutation(len(mixed))
    return Planted(
        tuple(mixed[place][2] for place in order),
        np.array([mixed[place][0] for place in order], dtype=np.int64),
        tuple(mixed[place][1] for place in order),
    )


def _replica(
    own: Sequence[str], form: str, draw: np.random.Generator, words: Sequence[str], host: str
) -> Iterator[str]:
    """Yield the words of a replica."""
    if form == "reworded":
        for word in own:
            toss = draw.random()
            if toss < KEPT:
                yield word
            elif toss < 1 - GONE:
                yield words[int(draw.integers(len(words)))]
        return
    length = max(1, round(PART * len(own))) if form in {"partial", "buried"} else len(own)
    begin = int(draw.integers(len(own) - length + 1))
    around = host.split()
    yield from around[: len(around) // 2]
    yield from own[begin : begin + length]
    yield from around[len(around) // 2 :]


def replicas_found(scores: Scores, planted: Planted) -> Found:
    """Return which replicas were found, in the order of the corpus.

    Args:
        scores: [leaked texts, N], positive = helped.
        planted: the corpus that was scored.
    """
    assert scores.shape[1] == len(planted.item), (scores.shape, len(planted.item))
    bucket = np.argsort(-scores.max(axis=0), kind="stable")[: planted.replicas]
    found: Found = np.isin(np.flatnonzero(planted.item >= 0), bucket)
    return found


def recall(found: Sequence[bool] | Found) -> Interval:
    """Return the mean over replicas, of one run or several, with its 95 % interval (Wilson's).

    Where all are found it says how many could be missed, which a bootstrap does not.
    """
    count = len(found)
    assert count, "no replica was planted"
    known = sum(map(bool, found))
    bounds = binomtest(known, count).proportion_ci(method="wilson")
    return Interval(known / count, float(bounds.low), float(bounds.high))


def contamination(
    corpus: Corpus,
    leaked: Sequence[Document],
    share: float,
    methods: Sequence[Method],
    config: TrainConfig,
    folder: Path,
    forms: Sequence[str] = ("exact",),
) -> Contaminated:
    """Plant, train, score and judge.

    Args:
        corpus: the clean corpus, with text.
        leaked: held-out texts.
        share: see `plant`.
        methods: each is given the run's checkpoints.
        config: the training run; its seed draws the places too.
        folder: new; the contaminated corpus, the model and the queries are left there.
        forms: see `plant`.

    Raises:
        AttributionError: nothing to plant, or a method lacks what it needs.
    """
    planted = plant(corpus.documents, leaked, share, config.seed, forms)
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
        label: replicas_found(method.scores(task).double().numpy(), planted)
        for label, method in zip(labels(methods), methods, strict=True)
    }
    return Contaminated(planted, found)
