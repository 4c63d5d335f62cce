"""Evidence clusters: near-duplicates count once, divided among the works that hold them.

1. A cluster of W distinct works weighs 1/W for each of them, and a work's share is
   divided equally between its own copies: the weights of a cluster add up to 1.
2. So a copy inside a work, and a second copy under another name of the same work,
   change no total; only a distinct work takes a part.
3. A document in no cluster of two or more weighs 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from attribution.corpus import Document
from attribution.duplicates import joined_clusters


def unit_weights(
    clusters: Mapping[str, Sequence[str]], group_of: Mapping[str, str]
) -> dict[str, float]:
    """Weigh each document of each cluster so that the cluster counts once.

    Args:
        clusters: cluster id -> document ids, each document in at most one.
        group_of: document id -> group id.

    Returns:
        document id -> weight in (0, 1], for members of clusters only.
    """
    weights: dict[str, float] = {}
    for members in clusters.values():
        copies = Counter(group_of[member] for member in members)
        for member in members:
            assert member not in weights, f"{member} is in two clusters"
            weights[member] = 1.0 / (len(copies) * copies[group_of[member]])
    return weights


def find_clusters(
    documents: Sequence[Document], threshold: float | None, scratch: Path | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the clusters of two documents or more; none where the threshold is None."""
    if threshold is None:
        return {}
    found = joined_clusters(documents, threshold, scratch)
    return {cluster.cluster_id: cluster.members for cluster in found}
