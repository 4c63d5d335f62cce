"""A toy corpus and a toy training run that tests of the model side share."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from attribution.corpus import Corpus, Document
from attribution.training import TrainConfig, train

TOPICS = {
    "bakery": "the baker kneads dough and the oven bakes warm bread for hungry people",
    "harbour": "a sailor ties the ship to the old pier while gulls cry over grey water",
    "orchard": "ripe apples fall from the tree and children carry baskets through the grass",
    "library": "quiet readers turn old pages and the keeper lends books about distant stars",
}
TOY = TrainConfig(
    layers=1, width=32, heads=2, context=48, vocab=300, epochs=2, batch=4, lr=5e-3,
    seed=7, checkpoints=3, threads=1,
)  # fmt: skip


def toy_corpus(per_group: int = 6, seed: int = 0) -> Corpus:
    """Make documents of four topics by shuffling each topic's words."""
    draw = random.Random(seed)
    documents = []
    for group, sentence in TOPICS.items():
        for place in range(per_group):
            words = sentence.split()
            draw.shuffle(words)
            documents.append(
                Document(f"{group}/{place}", group, f"In {group}: {' '.join(words[:10])}.")
            )
    return Corpus(tuple(documents))


@cache
def toy_model() -> Path:
    """Train the toy model once for all tests of a process and return its folder."""
    folder = Path(mkdtemp(prefix="byline-toy-")) / "model"
    train(toy_corpus(), folder, TOY)
    return folder
