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
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasketch import MinHash, MinHashLSH

from attribution.corpus import Document
from attribution.files import ScratchFile

SHINGLE = 5
_PERMUTATIONS = 128
_SEED = 1
# Candidates are looked for well below the threshold, since the estimate is noisy.
_SLACK = 0.25
_BLOCK = 1024
_KEY_BYTES = 8
_REFUSED_MAX = 1 << 18


@dataclass(frozen=True)
class Cluster:
    """Documents that count as one piece of evidence.

    Attributes:
        cluster_id: the smallest of the members' ids.
        members: document ids, ascending.
    """

    cluster_id: str
    members: tuple[str, ...]


def evidence_clusters(documents: Sequence[Document], threshold: float = 0.8) -> list[Cluster]:
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
    joined = joined_clusters(documents, threshold)
    members = {member for cluster in joined for member in cluster.members}
    names = (document.document_id for document in documents)
    alone = [Cluster(name, (name,)) for name in names if name not in members]
    return sorted([*joined, *alone], key=lambda cluster: cluster.cluster_id)


def joined_clusters(
    documents: Sequence[Document], threshold: float = 0.8, scratch: Path | None = None
) -> list[Cluster]:
    """Return the clusters of two documents or more, in the order of their ids.

    Thirty bytes a document are in memory at a time; documents are read when they are compared.

    Args:
        documents: as `evidence_clusters`; may be a file's.
        threshold: as `evidence_clusters`.
        scratch: folder for a file of 168 bytes a document that ends with the process.

    Raises:
        ValueError: the threshold is out of range.
    """
    if not 0.3 < threshold <= 1:
        raise ValueError(f"threshold must be in (0.3, 1], got {threshold}")
    parent = np.arange(len(documents))
    index = MinHashLSH(threshold=max(0.1, threshold - _SLACK), num_perm=_PERMUTATIONS)
    columns = _Columns(ScratchFile(scratch), len(documents))
    _write_keys(documents, columns, index.b, index.r)
    first_equal = _join_equal(documents, parent, columns.read(0))
    refused: set[int] = set()
    for band in range(index.b):
        for left, right in _pairs(columns.read(1 + band), first_equal, parent):
            pair = left * len(documents) + right
            if pair in refused:
                continue
            if similarity(documents[left], documents[right]) >= threshold:
                _join(parent, left, right)
            elif len(refused) < _REFUSED_MAX:
                refused.add(pair)
    return _named(documents, parent)


class _Columns:
    """Numbers of every document, a column after another in a file: [columns, N], uint64."""

    def __init__(self, file: ScratchFile, count: int) -> None:
        self._file, self._count = file, count

    def write(self, column: int, first: int, numbers: np.ndarray) -> None:
        """Write the numbers of documents from `first` on."""
        begin = _KEY_BYTES * (column * self._count + first)
        self._file.write(begin, numbers.astype(np.uint64).tobytes())

    def read(self, column: int) -> np.ndarray:
        """Return a column, [N]."""
        size = _KEY_BYTES * self._count
        return np.frombuffer(self._file.read(size * column, size), dtype=np.uint64)


def _write_keys(documents: Sequence[Document], columns: _Columns, bands: int, rows: int) -> None:
    """Write a digest of each document's words, and of each band of its signature.

    Documents with an equal number in a band are candidates. Equal numbers of unequal bands
    are a candidate too many, no more: the real similarity decides.
    """
    # The permutations are drawn once; every signature is a copy that shares them.
    blank = MinHash(num_perm=_PERMUTATIONS, seed=_SEED)
    numbered = iter(documents)
    for first in range(0, len(documents), _BLOCK):
        digests, signatures = [], []
        for document in itertools.islice(numbered, _BLOCK):
            words = _words(document)
            digests.append(_short(b"\x00".join(words)))
            signature = blank.copy()
            if words:
                signature.update_batch(sorted(_shingles(words)))
            signatures.append(signature.hashvalues)
        columns.write(0, first, np.array(digests, dtype=np.uint64))
        values = np.stack(signatures)  # [block, permutations]
        for band in range(bands):
            part = np.ascontiguousarray(values[:, band * rows : (band + 1) * rows])
            keys = [_short(row.tobytes()) for row in part]
            columns.write(1 + band, first, np.array(keys, dtype=np.uint64))


def _join_equal(
    documents: Sequence[Document], parent: np.ndarray, digests: np.ndarray
) -> np.ndarray:
    """Join documents with the same words (rule 1); return the first that has each one's, [N]."""
    first_equal = np.arange(len(documents))
    for same in _runs(digests):
        firsts: list[tuple[int, Sequence[bytes]]] = []
        for place in same:
            words = _words(documents[place])
            equal = next((first for first, known in firsts if known == words), None)
            if equal is None:
                firsts.append((place, words))
            else:
                _join(parent, place, equal)
                first_equal[place] = equal
    return first_equal


def _pairs(
    keys: np.ndarray, first_equal: np.ndarray, parent: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Yield pairs of one band that are not in one cluster yet; of equal texts the first alone."""
    for same in _runs(keys):
        firsts = [place for place in same if first_equal[place] == place]
        for left, right in itertools.combinations(firsts, 2):
            if _root(parent, left) != _root(parent, right):
                yield left, right


def _runs(keys: np.ndarray) -> Iterator[list[int]]:
    """Yield the places of each key that stands at two places or more, in rising order."""
    order = np.argsort(keys, kind="stable")
    begins = np.flatnonzero(np.diff(keys[order], prepend=~keys[order][:1]))
    ends = np.append(begins[1:], len(keys))
    for many in np.flatnonzero(ends - begins > 1):
        yield order[begins[many] : ends[many]].tolist()


def _named(documents: Sequence[Document], parent: np.ndarray) -> list[Cluster]:
    """Return the clusters of two or more, named by rule 4."""
    each = (_root(parent, place) for place in range(len(parent)))
    roots = np.fromiter(each, dtype=np.uint64, count=len(parent))
    clusters = []
    for same in _runs(roots):
        ids = sorted(documents[place].document_id for place in same)
        clusters.append(Cluster(ids[0], tuple(ids)))
    return sorted(clusters, key=lambda cluster: cluster.cluster_id)


def similarity(left: Document, right: Document) -> float:
    """Return the Jaccard similarity of two documents' shingle sets, in [0, 1]."""
    return _jaccard(_shingles(_words(left)), _shingles(_words(right)))


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


def _root(parent: np.ndarray, place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = int(parent[place])
    return place


def _join(parent: np.ndarray, left: int, right: int) -> None:
    left, right = _root(parent, left), _root(parent, right)
    # The smaller root wins, so the forest does not depend on who asked first.
    parent[max(left, right)] = min(left, right)


def _short(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=_KEY_BYTES).digest(), "little")
