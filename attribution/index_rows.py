"""Write the rows of one shard: gradients batch by batch, stored as soon as they exist.

1. Rows stand in processing order (longest documents first, silent ones last); the
   document table says which row is whose.
2. A chunk is a run of whole batches, so a build goes on where a chunk ended.
3. A document whose loss or gradient is not finite gets a row of zeros and a loss
   that is not a number: it is counted and listed, and never scored.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor

from attribution.batches import collate, plan
from attribution.codec import Codec
from attribution.corpus import Document
from attribution.gradients import LossModel, backward
from attribution.index_store import RowWriter
from attribution.low_rank import LowRankCodec
from attribution.recorders import RowRecorder
from attribution.tokens import Encoded, lengths_of

SCHEMA = {
    "document_id": pl.String,
    "group_id": pl.String,
    "source_id": pl.String,
    "kind": pl.String,
    "place": pl.Int64,
    "tokens_scored": pl.Int64,
    "unit_weight": pl.Float64,
}
_OF_DOCUMENT = {
    name: SCHEMA[name] for name in ("document_id", "group_id", "source_id", "unit_weight")
}
_BLOCK = 4096


def batch_rows(
    model: LossModel,
    recorder: RowRecorder,
    encoded: Sequence[Encoded],
    members: Sequence[int],
    context: int,
) -> tuple[Tensor, Tensor]:
    """Run one batch inside a `recording` block.

    Returns:
        Rows [documents, D], float32, a view of the recorder's buffer where the model
        is on the CPU; losses [documents], float64, NaN where the document is not finite.
    """
    batch = collate(encoded, members, context)
    recorder.start(batch)
    losses = backward(model, batch, recorder=recorder)
    rows = recorder.rows.cpu()
    bad = ~(rows.sum(1).isfinite() & losses.isfinite())
    losses[bad] = torch.nan
    rows[bad] = 0.0
    return rows, losses


def write_rows(
    model: LossModel,
    recorder: RowRecorder,
    encoded: Sequence[Encoded],
    writer: RowWriter,
    codec: Codec | LowRankCodec,
    *,
    context: int,
    token_budget: int,
    chunk_bytes: int,
) -> Iterator[int]:
    """Write the rows of a shard that are missing; yield how many more are made.

    Args:
        model: the checkpoint, inside a `recording` block of the recorder.
        recorder: with the checkpoint's bases.
        encoded: the shard's documents.
        writer: of this shard and checkpoint; knows what is there already.
        codec: how rows are stored.
        context: the most tokens the model reads at once.
        token_budget: see `batches.plan`.
        chunk_bytes: a chunk is closed when it has this many bytes.
    """
    chunk_rows = max(1, chunk_bytes // codec.row_bytes)
    if writer.done:
        yield writer.done
    seen = 0
    held: list[np.ndarray] = []
    losses: list[float] = []
    for members in plan(encoded, context, token_budget):
        seen += len(members)
        if seen <= writer.done:
            continue
        rows, loss = batch_rows(model, recorder, encoded, members, context)
        held.append(codec.encode(rows))
        losses += loss.tolist()
        yield len(members)
        if len(losses) >= chunk_rows:
            writer.append(np.concatenate(held), losses)
            held, losses = [], []
    silent = len(encoded) - max(seen, writer.done)
    if held or silent:
        # Documents with nothing to score: rows of zeros, loss zero by definition.
        held.append(codec.encode(torch.zeros(silent, len(codec.steps))))
        losses += [0.0] * silent
        writer.append(np.concatenate(held), losses)
        yield silent


def documents_table(
    kind: str,
    documents: Sequence[Document],
    encoded: Sequence[Encoded],
    unit_weights: Mapping[str, float],
    *,
    context: int,
    token_budget: int,
) -> pl.DataFrame:
    """Return the document table of a shard, one line per row, in row order."""
    order = plan(encoded, context, token_budget).order
    silent = np.ones(len(encoded), dtype=bool)
    silent[order] = False
    order = np.concatenate([order, np.flatnonzero(silent)])
    lengths, prompts = lengths_of(encoded)
    lines = (
        (y.document_id, y.group_id, y.source_id, float(unit_weights.get(y.document_id, 1)))
        for y in documents
    )
    parts = []
    # A block at a time: as objects, ids take many times their length.
    while block := list(itertools.islice(lines, _BLOCK)):
        parts.append(pl.DataFrame(block, schema=_OF_DOCUMENT, orient="row"))
    return pl.concat(parts)[order].select(
        "document_id",
        "group_id",
        "source_id",
        pl.lit(kind).alias("kind"),
        pl.Series("place", order, dtype=pl.Int64),
        pl.Series("tokens_scored", (lengths - prompts).clip(min=0)[order], dtype=pl.Int64),
        "unit_weight",
    )
