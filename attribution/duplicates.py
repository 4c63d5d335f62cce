"""Near-duplicate documents, gathered into evidence clusters that score once.

1. Equal text is one cluster whatever its spacing and case (exact hash).
2. Near-equal text is one cluster: MinHash proposes pairs, and the real Jaccard
   similarity of the two shingle sets decides. A pair is never joined on the
   estimate alone, so the outcome does not depend on luck in the signatures.
3. Clusters are closed under joining: a like b and b like c puts all in one.
4. Every document is in exactly one cluster. The cluster is named after its
   smallest document id, so neither the order of the corpus nor the seed names it.

A shingle is five neighbouring words, or tokens where a document has no text.
Containment is not similarity: a short quotation of a long text is not a duplicate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from datasketch import MinHash, MinHashLSH

from attribution.corpus import Document

SHINGLE = 5
_PERMUTATIONS = 128
_SEED = 1
# Candidates are looked for well below the threshold, since the estimate is noisy.
_SLACK = 0.25


@dataclass(frozen=True)
class Cluster:
    """Documents that count as one piece of evidence.

    Attributes:
        cluster_id: the smallest of the members' ids.
        members: document ids, ascending.
    """

    cluster_id: str
    members: tuple[str, ...]


def evidence_clusters(documents: Iterable[Document], threshold: float = 0.8) -> list[Cluster]:
    """Gather documents into clusters of near-duplicates.

    Args:
        documents: each with its own id.
        threshold: Jaccard similarity of shingles from which two documents are
            one, in (0.3, 1]; 1 joins only documents with equal shingles.

    Returns:
        Every document in exactly one cluster, clusters in the order of their ids.

    Raises:
        ValueError: the threshold is out of range.
    """
    if not 0.3 < threshold <= 1:
        raise ValueError(f"threshold must be in (0.3, 1], got {threshold}")
    known = list(documents)
    parent = list(range(len(known)))
    first_of: dict[bytes, int] = {}
    distinct: dict[int, Document] = {}
    for place, document in enumerate(known):
        words = _words(document)
        digest = hashlib.sha256(b"\x00".join(words)).digest()
        if digest in first_of:
            _join(parent, place, first_of[digest])
            continue
        first_of[digest] = place
        distinct[place] = document
    for left, right in _similar_pairs(distinct, threshold):
        _join(parent, left, right)
    members: dict[int, list[str]] = {}
    for place, document in enumerate(known):
        members.setdefault(_root(parent, place), []).append(document.document_id)
    clusters = [Cluster(min(ids), tuple(sorted(ids))) for ids in members.values()]
    return sorted(clusters, key=lambda cluster: cluster.cluster_id)


def similarity(left: Document, right: Document) -> float:
    """Return the Jaccard similarity of two documents' shingle sets, in [0, 1]."""
    return _jaccard(_shingles(_words(left)), _shingles(_words(right)))


def _similar_pairs(distinct: Mapping[int, Document], threshold: float) -> list[tuple[int, int]]:
    """Return the pairs whose real similarity reaches the threshold.

    Shingles are made again for each candidate: kept, they would take a hundred bytes a word.
    """
    index = MinHashLSH(threshold=max(0.1, threshold - _SLACK), num_perm=_PERMUTATIONS)
    # The permutations are drawn once; every signature is a copy that shares them.
    blank = MinHash(num_perm=_PERMUTATIONS, seed=_SEED)
    pairs = []
    for place, document in distinct.items():
        own = _shingles(_words(document))
        if not own:
            continue
        signature = blank.copy()
        signature.update_batch(sorted(own))
        near = sorted(index.query(signature))
        pairs += [
            (other, place)
            for other in near
            if _jaccard(_shingles(_words(distinct[other])), own) >= threshold
        ]
        index.insert(place, signature)
    return pairs


def _words(document: Document) -> Sequence[bytes]:
    if document.text is not None:
        return document.text.casefold().encode("utf-8").split()
    assert document.input_ids is not None, document.document_id
    return [str(token).encode() for token in document.input_ids]


def _shingles(words: Sequence[bytes]) -> frozenset[bytes]:
    if not words:
        return frozenset()
    last = max(1, len(words) - SHINGLE + 1)
    return frozenset(b" ".join(words[start : start + SHINGLE]) for start in range(last))


def _jaccard(left: frozenset[bytes], right: frozenset[bytes]) -> float:
    both = len(left & right)
    union = len(left) + len(right) - both
    return both / union if union else 0.0


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


def _join(parent: list[int], left: int, right: int) -> None:
    left, right = _root(parent, left), _root(parent, right)
    # The smaller root wins, so the forest does not depend on who asked first.
    parent[max(left, right)] = min(left, right)
