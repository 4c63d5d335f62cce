"""Where in a text an output is felt: the bidirectional change, token by token.

1. The tokens' changes add up to the document's change.
2. A token is read as fact where few documents have it, as style where many do:
   names, numbers and rare words on one side; the words and marks that everybody
   uses, and how often, on the other. The border is a stated share of the documents.
3. Maps inform; nobody is paid by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from attribution.gradients import LossModel
from attribution.methods.bidirectional import Bidirectional
from attribution.methods.protocol import MatrixTask
from attribution.tokens import Encoded, windows

RARE = 0.05


@dataclass(frozen=True)
class TokenMap:
    """One document as one output sees it.

    Attributes:
        document_id: the document.
        output_id: the output.
        input_ids: its scored tokens.
        change: [tokens], nats: loss moved up minus loss moved down; positive = helped.
        rare: [tokens], whether few documents have the token.
    """

    document_id: str
    output_id: str
    input_ids: tuple[int, ...]
    change: Tensor
    rare: Tensor

    @property
    def factual(self) -> float:
        """Change on tokens that few documents have, nats."""
        return float(self.change[self.rare].sum())

    @property
    def stylistic(self) -> float:
        """Change on tokens that many documents have, nats."""
        return float(self.change[~self.rare].sum())


def token_maps(
    task: MatrixTask,
    method: Bidirectional,
    query: int,
    documents: Sequence[int],
    *,
    rare: float = RARE,
) -> list[TokenMap]:
    """Map some documents for one output.

    Args:
        task: documents and queries.
        method: how the model is moved.
        query: place of the output among the queries.
        documents: places of the documents in the corpus.
        rare: a token is rare in at most this share of the corpus's documents.

    Returns:
        One map a document, in the order asked for.
    """
    model = method.movable(task)
    output = task.queries_encoded[query]
    rows = [task.documents_encoded[place] for place in documents]
    seen = Counter(token for row in task.documents_encoded for token in set(_scored(row)))
    most = max(1, int(rare * len(task.corpus)))
    sides = []
    for sign in (1, -1):
        moved = model.move(output, sign)
        sides.append([token_losses(moved, row, task.model.context) for row in rows])
    return [
        TokenMap(
            document_id=task.corpus.documents[place].document_id,
            output_id=task.queries[query].output_id,
            input_ids=_scored(row),
            change=up - down,
            rare=torch.tensor([seen[token] <= most for token in _scored(row)], dtype=torch.bool),
        )
        for place, row, up, down in zip(documents, rows, *sides, strict=True)
    ]


@torch.no_grad()
def token_losses(model: LossModel, row: Encoded, context: int) -> Tensor:
    """Return [scored tokens], float64: the loss of each, in nats, in the order of the row."""
    parts = [torch.zeros(0, dtype=torch.float64)]
    for piece in windows(row, context):
        ids = torch.tensor([piece.input_ids], device=model.device)
        begin = piece.prompt_length
        logits = model.logits(model.top(ids)[0, begin - 1 : -1])  # [T, V]
        part = functional.cross_entropy(logits, ids[0, begin:], reduction="none")
        parts.append(part.double().cpu())
    return torch.cat(parts)


def _scored(row: Encoded) -> tuple[int, ...]:
    return row.input_ids[row.prompt_length :]
