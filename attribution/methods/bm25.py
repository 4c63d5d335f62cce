"""BM25 over token ids: which documents share rare words with the output.

The usual constants (k1 1.5, b 0.75) and the idf of Lucene, log(1 + (N - n + .5) / (n + .5)).
The query is the output's scored tokens, each occurrence counted; prompts are not read.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import torch
from torch import Tensor

from attribution.methods.protocol import MatrixTask

K1 = 1.5
B = 0.75


class Bm25:
    """The lexical baseline."""

    name = "bm25"

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], BM25 scores, never negative."""
        documents = [row.input_ids[row.prompt_length :] for row in task.documents_encoded]
        count = len(documents)
        lengths = np.array([max(1, len(ids)) for ids in documents], dtype=float)
        norm = K1 * (1 - B + B * lengths / lengths.mean())  # [N]
        postings: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for place, ids in enumerate(documents):
            for token, times in Counter(ids).items():
                postings[token].append((place, times))
        out = np.zeros((len(task.queries), count))
        for q, row in enumerate(task.queries_encoded):
            for token, times in sorted(Counter(row.input_ids[row.prompt_length :]).items()):
                found = postings.get(token)
                if not found:
                    continue
                idf = np.log1p((count - len(found) + 0.5) / (len(found) + 0.5))
                places = np.array([place for place, _ in found])
                often = np.array([float(n) for _, n in found])
                out[q, places] += times * idf * often * (K1 + 1) / (often + norm[places])
        return torch.from_numpy(out)
