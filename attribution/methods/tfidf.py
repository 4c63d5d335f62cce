"""TF-IDF over token ids: the cosine of weighted token counts.

    weight[n, t] = count[n, t] * (log((1 + N) / (1 + documents with t)) + 1)

Rows have length one, so a score is a cosine in [0, 1]. The query is the output's
scored tokens; prompts are not read. The idf is the documents' own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfTransformer
from torch import Tensor

from attribution.methods.protocol import Declaration, MatrixTask
from attribution.tokens import Encoded


@dataclass(frozen=True)
class TfIdf:
    """The other lexical baseline.

    Attributes:
        sublinear: count a token 1 + log(times) instead of times.
    """

    sublinear: bool = False

    name = "tfidf"
    declared = Declaration(
        (),
        "one pass over the tokens; a sparse count matrix of the corpus in memory",
        "sees shared words only; length one makes a long document count like a short one",
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], cosines in [0, 1]."""
        vocabulary = task.model.vocab_size
        weigh = TfidfTransformer(sublinear_tf=self.sublinear)
        documents = weigh.fit_transform(_counts(task.documents_encoded, vocabulary))
        queries = weigh.transform(_counts(task.queries_encoded, vocabulary))
        return torch.from_numpy(np.asarray((queries @ documents.T).todense()))


def _counts(encoded: Sequence[Encoded], vocabulary: int) -> csr_array:
    """Return token counts [rows, vocabulary], float64, of the scored tokens."""
    counts = [Counter(row.input_ids[row.prompt_length :]) for row in encoded]
    ends = np.cumsum([0, *(len(row) for row in counts)])
    tokens = np.array([token for row in counts for token in sorted(row)], dtype=np.int64)
    times = np.array([float(row[token]) for row in counts for token in sorted(row)])
    return csr_array((times, tokens, ends), shape=(len(encoded), vocabulary))
