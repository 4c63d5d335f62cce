"""The scale that turns raw influence into nats: what training is measured to have gained.

1. `scale = sum of measured gains / sum of raw totals`, over decoys where there are any:
   training never saw them, as it never saw an output. They are read as outputs are,
   without the end token, which every document shares and no output has.
2. Without decoys, over trained documents, each without its influence on itself: that
   one would drown the rest.
3. With one checkpoint, or where either sum is not positive, the scale is 1 and the
   rule says `none/1`: influence is then relative.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from typing import Any

import polars as pl
import torch

from attribution.corpus import Document
from attribution.influence import Attributor, pinned_threads
from attribution.tokens import Encoded, encode_document, encode_output

DOCUMENTS_MAX = 64
NONE: dict[str, Any] = {"documents": 0, "rule": "none/1", "scale": 1.0}


def calibrate(
    attributor: Attributor, trained: Sequence[Document], decoys: Sequence[Document]
) -> dict[str, Any]:
    """Measure the scale of an index whose scale is still 1.

    Args:
        attributor: of the index that is being finished.
        trained: the documents that were trained on.
        decoys: documents of the same kinds that were not.

    Returns:
        rule, scale, documents used, and their measured and raw sums.
    """
    index = attributor.index
    assert index.preconditioner.scale == 1.0, "calibrated twice"
    if index.manifest.checkpoints == 1:
        return NONE
    chosen = heapq.nsmallest(DOCUMENTS_MAX, decoys or trained, key=_draw)
    encoded = [_as_output(document, attributor) for document in chosen]
    scores = attributor.groups(encoded)
    kinds = torch.from_numpy((index.groups["kind"] == "trained").to_numpy().copy())
    totals = scores.influence[:, kinds].sum(1)
    if not decoys:
        totals = totals - _own(attributor, chosen, encoded)
    usable = scores.losses.isfinite().all(0)
    gain, total = float(scores.gains[usable].sum()), float(totals[usable].sum())
    if not (gain > 0 and total > 0):
        return {**NONE, "documents": int(usable.sum())}
    return {
        "documents": int(usable.sum()),
        "gain_nats": gain,
        "raw_total": total,
        "rule": "decoys/2" if decoys else "trained_without_self/2",
        "scale": gain / total,
    }


def _draw(document: Document) -> tuple[bytes, str]:
    """Return what orders documents by chance: a digest of the id, whatever the file's order."""
    name = document.document_id
    return hashlib.blake2b(name.encode(), digest_size=8).digest(), name


def _as_output(document: Document, attributor: Attributor) -> Encoded:
    """Encode a document as an output without a prompt, where it has text."""
    if document.input_ids is not None or attributor.tokenizer is None:
        return encode_document(document, attributor.tokenizer)
    return encode_output(None, document.text or "", attributor.tokenizer)


def _own(
    attributor: Attributor, chosen: Sequence[Document], encoded: Sequence[Encoded]
) -> torch.Tensor:
    """Return each document's influence on itself as its work is paid for it, [n], float64."""
    names = [document.document_id for document in chosen]
    known: dict[str, tuple[int, float]] = {}
    first = 0
    for table in attributor.index.document_tables():
        found = table.with_row_index("row", offset=first).filter(pl.col("document_id").is_in(names))
        known |= {
            name: (row, unit)
            for name, row, unit in found.select("document_id", "row", "unit_weight").iter_rows()
        }
        first += table.height
    places = torch.tensor([known[name][0] for name in names])
    weights = torch.tensor([known[name][1] for name in names], dtype=torch.float64)
    own = torch.zeros(len(chosen), dtype=torch.float64)
    with pinned_threads(attributor.threads):
        queries, losses = attributor.queries(encoded)
        for rows, block in attributor.document_blocks(queries):
            inside = torch.nonzero((places >= rows.start) & (places < rows.stop))[:, 0]
            own[inside] += block[inside, places[inside] - rows.start]
    own[~losses.isfinite().all(0)] = 0.0
    return own * weights
