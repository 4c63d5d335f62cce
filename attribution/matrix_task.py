"""One scoring task: documents and queries in their file order, a model and its path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from attribution.corpus import Corpus, Query
from attribution.device import find_device
from attribution.model import LoadedModel, load_model
from attribution.tokens import Encoded, check_agreement, check_ids, encode_document, encode_query


def _quiet(_step: str, _done: int, _all: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class MatrixTask:
    """Score every document for every query.

    Attributes:
        model_dir: the final model.
        checkpoints: earlier weights of the same stage, oldest first.
        corpus: the documents, in file order.
        queries: the outputs, in file order.
        index_dir: a gradient index to use, and to build where there is none yet.
        damping: for methods with a curvature.
        seed: for methods that draw.
        token_budget: tokens in a batch.
        device: where the models run; see `device`.
        progress: called with (step, done, all).
    """

    model_dir: Path
    checkpoints: tuple[Path, ...]
    corpus: Corpus
    queries: tuple[Query, ...]
    index_dir: Path | None = None
    damping: float = 0.01
    seed: int = 0
    token_budget: int = 4096
    device: str = "cpu"
    progress: Callable[[str, int, int], None] = field(default=_quiet)

    @cached_property
    def model(self) -> LoadedModel:
        """The final model, loaded once."""
        return self.loaded(self.model_dir)

    def loaded(self, folder: Path) -> LoadedModel:
        """Load a model of the path, on the task's device."""
        return load_model(folder, device=find_device(self.device))

    @cached_property
    def documents_encoded(self) -> list[Encoded]:
        """Tokens of the documents, checked against the model's vocabulary."""
        loaded = self.model
        encoded = [encode_document(document, loaded.tokenizer) for document in self.corpus]
        check_ids(encoded, [d.document_id for d in self.corpus], loaded.vocab_size)
        if loaded.tokenizer is not None:
            check_agreement(self.corpus.documents, loaded.tokenizer)
        return encoded

    @cached_property
    def queries_encoded(self) -> list[Encoded]:
        """Tokens of the queries, checked against the model's vocabulary."""
        loaded = self.model
        encoded = [encode_query(query, loaded.tokenizer) for query in self.queries]
        check_ids(encoded, [query.output_id for query in self.queries], loaded.vocab_size)
        return encoded
