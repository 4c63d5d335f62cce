"""What a creator gains by tricks, and what documents earn that were never trained on.

One further scoring run over the corpus with documents added at its end:

    decoys      of the same kinds, never trained on (attribution.evaluation.decoys)
    copy        every document of one creator once more
    cut         each of them in two halves, filed as two documents
    pad         each of them followed by the text of another creator's document

1. The model stays as it was trained: what is measured is how the score and the
   rule answer to what a creator files, not what training on it would have done.
2. A gain is the creator's share after the trick over the share before; 1 is honest.
3. `rename` files every second document under another name, and needs no run.

Axes: Q queries, N documents, C creators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attribution.corpus import Corpus, Document, write_corpus
from attribution.evaluation.decoys import DecoyLevel, decoy_level
from attribution.evaluation.lds import shares
from attribution.tokens import Encoded

Nats = NDArray[np.float64]
TRICKS = ("copy", "cut", "pad")


@dataclass(frozen=True)
class ProbeCorpus:
    """The corpus with what was added to it.

    Attributes:
        corpus: the documents in their order, then what was added.
        creator: whose documents are the tricks'.
        added: "decoy" or a trick -> positions in the corpus.
        trained: documents of the original corpus.
    """

    corpus: Corpus
    creator: str
    added: dict[str, tuple[int, ...]]
    trained: int


def middle_creator(groups: Sequence[str], tokens: Sequence[int]) -> str:
    """Return the creator of middle size, by tokens; of two the earlier name."""
    size: dict[str, int] = {}
    for group, count in zip(groups, tokens, strict=True):
        size[group] = size.get(group, 0) + count
    ordered = sorted(size, key=lambda creator: (size[creator], creator))
    return ordered[(len(ordered) - 1) // 2]


def probe_corpus(
    corpus: Corpus,
    encoded: Sequence[Encoded],
    decoys: Sequence[Encoded],
    path: Path,
) -> ProbeCorpus:
    """Write the corpus with decoys and one creator's tricks at its end.

    Args:
        corpus: what was trained on.
        encoded: its token ids, in order.
        decoys: token ids of documents that were never trained on.
        path: the file to write.
    """
    groups = [document.group_id for document in corpus]
    creator = middle_creator(groups, [row.scored for row in encoded])
    documents = [
        replace(document, text=None, input_ids=row.input_ids)
        for document, row in zip(corpus, encoded, strict=True)
    ]
    added: dict[str, tuple[int, ...]] = {}
    own = [place for place, group in enumerate(groups) if group == creator]
    others = [place for place, group in enumerate(groups) if group != creator]
    made: dict[str, list[tuple[int, ...]]] = {"decoy": [row.input_ids for row in decoys]}
    made["copy"] = [encoded[place].input_ids for place in own]
    made["cut"] = [part for place in own for part in _halves(encoded[place].input_ids)]
    made["pad"] = [
        encoded[place].input_ids + encoded[others[turn % len(others)]].input_ids[1:]
        for turn, place in enumerate(own)
    ]
    for kind, rows in made.items():
        added[kind] = tuple(range(len(documents), len(documents) + len(rows)))
        name = f"{kind}:{creator}" if kind in TRICKS else kind
        documents += [
            Document(f"{kind}/{number:04d}", name, input_ids=row) for number, row in enumerate(rows)
        ]
    return ProbeCorpus(write_corpus(path, documents), creator, added, len(corpus))


def _halves(ids: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Cut a document in two; the second half opens as the first does, and says nothing twice."""
    middle = (len(ids) + 1) // 2
    return [ids[:middle], (ids[0], *ids[middle:])] if len(ids) >= 4 else [ids]


def decoys_of(scores: Nats, probe: ProbeCorpus, tokens: NDArray[np.float64]) -> DecoyLevel | None:
    """Compare trained documents and decoys; None without decoys.

    Args:
        scores: [Q, documents of the probe corpus].
        probe: what was scored.
        tokens: scored tokens of each of its documents.
    """
    decoys = list(probe.added["decoy"])
    if not decoys:
        return None
    tokens = np.maximum(tokens, 1)
    trained = slice(0, probe.trained)
    return decoy_level(scores[:, trained], tokens[trained], scores[:, decoys], tokens[decoys])


def gains(scores: Nats, probe: ProbeCorpus) -> dict[str, dict[str, float | None]]:
    """Return rule -> trick -> gain in the creator's share; None where the honest share is zero.

    Args:
        scores: [Q, documents of the probe corpus].
        probe: what was scored.
    """
    groups = [document.group_id for document in probe.corpus.documents[: probe.trained]]
    names = list(dict.fromkeys(groups))
    owner = np.asarray([names.index(group) for group in groups])
    honest = np.stack(
        [scores[:, : probe.trained][:, owner == c].sum(axis=1) for c in range(len(names))], axis=1
    )  # [Q, C]
    mine = names.index(probe.creator)
    sums = {trick: scores[:, list(probe.added[trick])].sum(axis=1) for trick in TRICKS}
    told = {
        "copy": [honest[:, mine] + sums["copy"]],
        "cut": [sums["cut"]],
        "pad": [sums["pad"]],
        "rename": _renamed(scores, np.flatnonzero(owner == mine)),
    }
    positive = np.maximum(scores[:, : probe.trained], 0).sum(axis=1)
    found: dict[str, dict[str, float | None]] = {}
    for rule, totals in (("linear", None), ("normalised", positive)):
        before = float(shares(honest, totals)[mine])
        found[rule] = {}
        for trick, columns in told.items():
            others = np.delete(honest, mine, axis=1)
            after = shares(np.column_stack([others, *columns]), totals)[-len(columns) :].sum()
            found[rule][trick] = float(after) / before if before > 0 else None
    return found


def _renamed(scores: Nats, own: NDArray[np.int64]) -> list[Nats]:
    return [scores[:, own[::2]].sum(axis=1), scores[:, own[1::2]].sum(axis=1)]
