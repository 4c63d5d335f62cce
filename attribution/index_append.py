"""Add documents to a finished index: new shards in the old bases.

1. The documents must be new: an id that is in the index, dead or alive, is refused.
2. Rows are made with the same models, bases and batch rules as the old ones. The
   curvature is not fitted again, and the manifest lists what was appended since.
3. A near-duplicate of an old document joins its evidence cluster, where the old
   corpus is at hand to compare with; the manifest says whether it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from attribution.corpus import Document
from attribution.corpus_file import CorpusFile, Joined
from attribution.device import joined_by, within_memory
from attribution.errors import GradientIndexError
from attribution.evidence import find_clusters, unit_weights
from attribution.gradients import recording
from attribution.index_edit import commit_change
from attribution.index_manifest import IndexManifest, locked
from attribution.index_read import GradientIndex
from attribution.index_rows import documents_table, write_rows
from attribution.index_store import RowWriter, documents_parquet, finish_shard
from attribution.influence import Attributor
from attribution.recorders import RowRecorder
from attribution.signing import Signer
from attribution.tokens import Encoded, EncodedRows, check_ids, encode_document


def append_documents(
    folder: Path | str,
    corpus: Path | str,
    *,
    duplicate_threshold: float | None = 0.8,
    signer: Signer | None = None,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] = lambda _step, _done, _all: None,
) -> IndexManifest:
    """Add the documents of a corpus file.

    Args:
        folder: a finished index.
        corpus: documents of the same training stage that the index does not hold.
        duplicate_threshold: as in `IndexConfig`.
        signer: signs the new manifest.
        device: where the models run; see `device`.
        progress: called with (step, done, all).

    Returns:
        The new manifest.

    Raises:
        GradientIndexError: an id is in the index already; nothing was added.
        AttributionError: the corpus or a model cannot be read.
    """
    folder = Path(folder)
    with locked(folder):
        added = CorpusFile(corpus, folder)
        index = GradientIndex.open(folder)
        known = set(index.documents["document_id"].to_list())
        for document in added:
            if document.document_id in known:
                raise GradientIndexError(
                    f"document {document.document_id} is in index {folder} already; nothing was "
                    f"added. Give new documents only"
                )
        attributor = Attributor(index, device=device)
        loaded = attributor.final
        rows = (encode_document(document, loaded.tokenizer) for document in added)
        encoded = EncodedRows(rows, folder)
        check_ids(encoded, [d.document_id for d in added], loaded.vocab_size)
        content = joined_by(index.manifest.content, attributor.device)
        weights = _weigh(index, added, content, duplicate_threshold)
        name = f"{1 + max(int(s['name']) for s in content['shards']):06d}"
        digest = _shard(attributor, added, encoded, folder / "shards" / name, weights, progress)
        # Trained shards stand before decoys, whatever their number.
        shards = list(content["shards"])
        kinds = [shard.documents["kind"][0] for shard in index.shards]
        shards.insert(kinds.count("trained"), {"name": name, "sha256": digest})
        content["shards"] = shards
        content["appended"] = [*content.get("appended", []), added.digest]
        return commit_change(folder, index, content, signer)


def _weigh(
    index: GradientIndex,
    added: Sequence[Document],
    content: dict[str, Any],
    threshold: float | None,
) -> dict[str, float]:
    """Join new documents to clusters in `content`; return the new documents' unit weights."""
    path = index.corpus_file()
    table = index.documents.filter(pl.col("kind") == "trained")
    old: Sequence[Document] = ()
    if path is not None and path.is_file():
        old = index.living(CorpusFile(path, index.folder))
    content["appended_compared"] = bool(old)
    clusters = find_clusters(Joined(old, added), threshold, index.folder)
    fresh = {document.document_id for document in added}
    touched = {name: ms for name, ms in clusters.items() if fresh.intersection(ms)}
    members = {member for ms in touched.values() for member in ms}
    kept = {name: ms for name, ms in content["clusters"].items() if not members.intersection(ms)}
    content["clusters"] = {**kept, **{name: list(ms) for name, ms in touched.items()}}
    group_of = dict(table.select("document_id", "group_id").iter_rows())
    group_of |= {document.document_id: document.group_id for document in added}
    weights = unit_weights(touched, group_of)
    content["weight_changes"] = {
        **content["weight_changes"],
        **{name: weight for name, weight in weights.items() if name not in fresh},
    }
    return {name: weight for name, weight in weights.items() if name in fresh}


def _shard(
    attributor: Attributor,
    documents: Sequence[Document],
    encoded: Sequence[Encoded],
    folder: Path,
    weights: dict[str, float],
    progress: Callable[[str, int, int], None],
) -> str:
    """Write a shard of new documents at every checkpoint; return its digest."""
    index = attributor.index
    config = index.manifest.content["config"]
    shutil.rmtree(folder, ignore_errors=True)
    context, budget = attributor.final.context, int(config["token_budget"])
    for k in range(index.manifest.checkpoints):
        model, codec = attributor.model(k), index.codec(k)
        recorder = RowRecorder(index.layers, index.basis(k), model.device)
        writer = RowWriter(folder, k, codec.row_bytes)
        done = 0
        with (
            within_memory(attributor.device, None),
            recording(model.model, index.layers, recorder),
        ):
            for rows in write_rows(
                model,
                recorder,
                encoded,
                writer,
                codec,
                context=context,
                token_budget=budget,
                chunk_bytes=int(config["chunk_bytes"]),
            ):
                done += rows
                progress(f"rows {k}", done, len(documents))
    table = documents_table(
        "trained", documents, encoded, weights, context=context, token_budget=budget
    )
    documents_parquet(folder / "documents.parquet", table)
    return finish_shard(folder, len(documents), index.manifest.checkpoints)
