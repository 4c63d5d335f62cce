"""The group level: one summed row per work.

1. A group row is the sum of its documents' stored rows, each times its unit
   weight, in float64 and in row order, then stored as float32.
2. Near-duplicates of one evidence cluster have unit weights that add up to 1:
   however many copies there are, the cluster counts once.
3. Dead documents are in no sum.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from attribution.files import sha256_file
from attribution.index_read import GradientIndex
from attribution.index_store import documents_parquet

_BLOCK_BYTES = 256 << 20
# Stored rows are small and their sums are in float64: decoded, a chunk would be many times it.
_DECODED_BYTES = 8 << 20


def sum_groups(out: Path, manifest: dict[str, Any], *, generation: int) -> dict[str, Any]:
    """Write the group level of an index, and return its entry in the manifest.

    Args:
        out: the index folder.
        manifest: its manifest so far, shards and tombstones included.
        generation: a number no group level of this folder has yet.
    """
    index = GradientIndex.loose(out, manifest)
    name = f"{generation:06d}"
    folder = out / "groups" / name
    folder.mkdir(parents=True, exist_ok=True)
    owners, weights, table = _owners(index)
    documents_parquet(folder / "groups.parquet", table)
    for k in range(index.manifest.checkpoints):
        _sum_checkpoint(index, k, owners, weights, table.height, folder / f"rows-{k}.bin")
    names = ["groups.parquet", *(f"rows-{k}.bin" for k in range(index.manifest.checkpoints))]
    return {
        "files": {file: sha256_file(folder / file) for file in names},
        "groups": table.height,
        "name": name,
    }


def _few(chunks: Iterable[tuple[int, np.ndarray]], rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cut chunks of (first row, rows) into pieces of at most so many rows, or one."""
    step = max(1, rows)
    for first, stored in chunks:
        for begin in range(0, len(stored), step):
            yield first + begin, stored[begin : begin + step]


def _owners(index: GradientIndex) -> tuple[Tensor, Tensor, pl.DataFrame]:
    """Return each row's group [N] (-1 for dead rows), its unit weight [N], and the group table.

    Names are read a shard at a time: twelve bytes a document are kept.
    """
    table = _group_table(index)
    numbered = table.select(
        "kind", "group_id", pl.int_range(pl.len(), dtype=pl.Int32).alias("owner")
    )
    count = sum(shard.rows for shard in index.shards)
    owners, weights = np.full(count, -1, dtype=np.int32), np.ones(count)
    first = 0
    for documents in index.document_tables():
        part = slice(first, first + documents.height)
        joined = documents.select("kind", "group_id", "alive").join(
            numbered, on=["kind", "group_id"], how="left", maintain_order="left"
        )
        live = joined["alive"].to_numpy()
        owners[part][live] = joined["owner"].fill_null(-1).to_numpy()[live]
        weights[part] = documents["unit_weight"].to_numpy()
        first = part.stop
    return torch.from_numpy(owners), torch.from_numpy(weights), table


def _group_table(index: GradientIndex) -> pl.DataFrame:
    """Count the living documents and their tokens by group."""
    keys, table = ["kind", "group_id"], None
    for documents in index.document_tables():
        part = documents.filter("alive").select(
            *keys, pl.lit(1, dtype=pl.Int64).alias("documents"), "tokens_scored"
        )
        both = part if table is None else pl.concat([table, part])
        table = both.group_by(keys).agg(pl.col("documents", "tokens_scored").sum())
    assert table is not None, "an index has a shard"
    return table.sort(keys).select("group_id", "kind", "documents", "tokens_scored")


def _sum_checkpoint(
    index: GradientIndex, k: int, owners: Tensor, weights: Tensor, groups: int, path: Path
) -> None:
    width = len(index.curvature(k).eigenvalues)
    codec = index.codec(k)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as stream:
        # The room is taken before it is mapped: a disk that fills under a map kills the process.
        os.posix_fallocate(stream.fileno(), 0, 4 * max(groups, 1) * width)
    out = np.memmap(temporary, dtype="<f4", mode="r+", shape=(max(groups, 1), width))
    step = max(1, min(width, _BLOCK_BYTES // (8 * max(groups, 1))))
    for begin in range(0, width, step):
        part = slice(begin, min(begin + step, width))
        sums = torch.zeros(groups, part.stop - part.start, dtype=torch.float64)
        for first, stored in _few(index.stored(k), _DECODED_BYTES // (8 * width)):
            owner = owners[first : first + len(stored)].long()
            live = owner >= 0
            rows = codec.decode(stored)[live, part].double()
            rows *= weights[first : first + len(stored)][live, None]
            sums.index_add_(0, owner[live], rows)
        if groups:
            out[:, part] = sums.float().numpy()
    out.flush()
    del out
    temporary.replace(path)
