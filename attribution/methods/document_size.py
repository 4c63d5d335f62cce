"""Pay by size, as a score: the document's scored tokens, the same for every output."""

from __future__ import annotations

import torch
from torch import Tensor

from attribution.methods.protocol import MatrixTask


class DocumentSize:
    """The baseline that reads nothing but lengths."""

    name = "document_size"

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents]: each document's scored tokens."""
        sizes = torch.tensor([float(row.scored) for row in task.documents_encoded])
        return sizes.double().expand(len(task.queries), -1).clone()
