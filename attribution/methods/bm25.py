"""BM25 over token ids: which documents share rare words with the output.

The usual constants (k1 1.5, b 0.75) and the idf of Lucene, log(1 + (N - n + .5) / (n + .5)).
The query is the output's scored tokens, each occurrence counted; prompts are not read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attribution.methods.protocol import Declaration, MatrixTask


@dataclass(frozen=True)
class Bm25:
    """The lexical baseline.

    Attributes:
        k1: how soon a repeated word stops counting.
        b: how much a long document is held back, 0 to 1.
    """

    k1: float = 1.5
    b: float = 0.75

    name = "bm25"
    declared = Declaration(
        (),
        "one pass over the tokens; postings of the corpus in memory",
        "sees shared words only: no paraphrase, no style, no sign, no size of the effect",
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], BM25 scores, never negative."""
        documents = [row.input_ids[row.prompt_length :] for row in task.documents_encoded]
        count = len(documents)
        lengths = np.array([max(1, len(ids)) for ids in documents], dtype=float)
        norm = self.k1 * (1 - self.b + self.b * lengths / lengths.mean())  # [N]
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
                out[q, places] += times * idf * often * (self.k1 + 1) / (often + norm[places])
        return torch.from_numpy(out)
