"""Sentence embeddings: the cosine of mean-pooled states of any local encoder.

The folder is read by transformers as it stands; nothing is downloaded. Texts
longer than the encoder reads are cut into pieces, and a text's embedding is the
mean over all its tokens. Rows without text are decoded from their token ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from attribution.corpus import Document, Query
from attribution.errors import ScoringError
from attribution.methods.protocol import Declaration, MatrixTask, silence
from attribution.model import context_of
from attribution.tokens import Encoded


@dataclass(frozen=True)
class Embedding:
    """Similarity in the eyes of another model.

    Attributes:
        folder: a local folder in the transformers format, model and tokenizer.
        prefix_document, prefix_query: put before each text; some encoders want one.
        batch: texts that are encoded together.
    """

    folder: str = ""
    prefix_document: str = ""
    prefix_query: str = ""
    batch: int = 16

    name = "embedding"
    declared = Declaration(
        ("encoder",),
        "one pass of the encoder over the corpus and the outputs; one vector a document",
        "sees likeness, not influence: knows nothing of the model that is paid for",
    )

    def scores(self, task: MatrixTask) -> Tensor:
        """Return [queries, documents], cosines in [-1, 1]."""
        encoder = _load(Path(self.folder))
        documents = [
            self.prefix_document + _text(row, encoded, task)
            for row, encoded in zip(task.corpus, task.documents_encoded, strict=True)
        ]
        queries = [
            self.prefix_query + _text(row, encoded, task)
            for row, encoded in zip(task.queries, task.queries_encoded, strict=True)
        ]
        left, right = (self._embed(encoder, texts) for texts in (queries, documents))
        return silence(left @ right.T, task)

    @torch.no_grad()
    def _embed(self, encoder: tuple[Any, Any, int], texts: Sequence[str]) -> Tensor:
        """Return [texts, H], float64, of length one."""
        tokenizer, model, context = encoder
        sums, counts = [], []
        for begin in range(0, len(texts), self.batch):
            part = texts[begin : begin + self.batch]
            ids = tokenizer(
                list(part),
                truncation=True,
                max_length=context,
                return_overflowing_tokens=True,
                padding=True,
                return_tensors="pt",
            )
            owner = ids.pop("overflow_to_sample_mapping")
            mask = ids["attention_mask"].double()
            hidden = model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"])
            states = hidden.last_hidden_state.double() * mask[:, :, None]  # [W, S, H]
            total = torch.zeros(len(part), states.shape[-1], dtype=torch.float64)
            sums.append(total.index_add_(0, owner, states.sum(1)))
            counts.append(torch.zeros(len(part)).double().index_add_(0, owner, mask.sum(1)))
        means = torch.cat(sums) / torch.cat(counts).clamp(min=1)[:, None]
        return torch.nn.functional.normalize(means, dim=1)


def _load(folder: Path) -> tuple[Any, Any, int]:
    if not (folder / "config.json").is_file():
        raise ScoringError(
            f"{folder} is not a model folder (no config.json); nothing is downloaded. Give the "
            f"local folder of a sentence-embedding model with --set folder=PATH"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as fault:
        raise ScoringError(
            f"{folder} could not be read as an encoder with its tokenizer: {fault}. "
            f"Copy the folder again from where it was saved"
        ) from fault
    return tokenizer, model.eval(), context_of(model.config)


def _text(row: Document | Query, encoded: Encoded, task: MatrixTask) -> str:
    """Return what is scored of a row, as text."""
    if isinstance(row, Document) and row.text is not None:
        return row.text
    if task.model.tokenizer is None:
        name = row.document_id if isinstance(row, Document) else row.output_id
        raise ScoringError(
            f"{name} has token ids only and {task.model_dir} has no tokenizer to read them "
            f"back; an encoder needs text. Put the tokenizer's files into the model folder"
        )
    ids = encoded.input_ids[encoded.prompt_length :]
    return str(task.model.tokenizer.decode(ids, skip_special_tokens=True))
