"""Change a finished index without rebuilding it: remove, append, compact.

1. Removal is a tombstone: from the moment the manifest is replaced, no score at any
   level holds the document. Group rows are summed again without it.
2. Where a copy of an evidence cluster is removed, the copies that stay are weighed
   anew, so that the cluster still counts once.
3. Each removal leaves a record, `removals/NNNNNN.json`, with the index before and
   after it, what was asked and what was found; signed by whoever passes a signer. The
   record is there before the manifest that carries the removal out.
4. Appending writes new shards in the old bases; nothing that is there is touched.
5. Compacting rewrites shards that hold dead rows, and only then forgets tombstones.
6. A change that dies leaves the index as it was: the manifest is the commit point,
   and files that no manifest names are cleared by the next change.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attribution.errors import GradientIndexError
from attribution.evidence import unit_weights
from attribution.files import canonical_json, sha256_of, write_atomically
from attribution.index_groups import sum_groups
from attribution.index_manifest import IndexManifest, locked, write_manifest
from attribution.index_read import GradientIndex
from attribution.index_store import RowWriter, documents_parquet, finish_shard
from attribution.signing import REMOVAL, Signer

REMOVAL_FORMAT = "byline-removal/1"


@dataclass(frozen=True)
class Removal:
    """What to remove; a document is removed when any of the three names it.

    Attributes:
        documents, groups, sources: ids.
        reason: why, in the words of whoever asked; kept in the record.
        requested_on: ISO date of the request, where there is one.
    """

    documents: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    reason: str = ""
    requested_on: str | None = None


def remove_documents(
    folder: Path | str, removal: Removal, *, signer: Signer | None = None
) -> IndexManifest:
    """Put documents under a tombstone, honoured by every later score.

    Args:
        folder: a finished index.
        removal: what to remove and why.
        signer: signs the record and the new manifest.

    Returns:
        The new manifest; the old one where everything named was removed before.

    Raises:
        GradientIndexError: a name is of no document of the index; nothing is removed.
    """
    folder = Path(folder)
    with locked(folder):
        index = GradientIndex.open(folder)
        found = _named(index, removal)
        alive = dict(index.documents.select("document_id", "alive").iter_rows())
        fresh = [name for name in found if alive[name]]
        if not fresh:
            return index.manifest
        content = dict(index.manifest.content)
        number = 1 + removals_of(index)
        content["removals"] = number
        content["tombstones"] = [
            *content["tombstones"],
            *({"document_id": name, "removal": number} for name in fresh),
        ]
        content["weight_changes"] = _reweighed(index, content)
        said = {
            "documents": fresh,
            "format": REMOVAL_FORMAT,
            "index_before": index.manifest.sha256,
            "reason": removal.reason,
            "requested": {
                "documents": list(removal.documents),
                "groups": list(removal.groups),
                "sources": list(removal.sources),
            },
            "requested_on": removal.requested_on,
        }

        def write_record(index_after: str) -> None:
            record = canonical_json({**said, "index_after": index_after})
            path = folder / "removals" / f"{number:06d}.json"
            if signer is not None:
                write_atomically(path.with_suffix(".sig"), signer(REMOVAL, record).encode())
            write_atomically(path, record)

        return commit_change(folder, index, content, signer, write_record)


def removals_of(index: GradientIndex) -> int:
    """Return how many removals an index has seen: the number of its last record."""
    content = index.manifest.content
    known = [entry["removal"] for entry in content["tombstones"]]
    return int(content.get("removals", max(known, default=0)))


def compact(folder: Path | str, *, signer: Signer | None = None) -> IndexManifest:
    """Rewrite shards that hold dead rows, without them.

    Args:
        folder: a finished index.
        signer: signs the new manifest.

    Returns:
        The new manifest; the old one where nothing is dead.
    """
    folder = Path(folder)
    with locked(folder):
        index = GradientIndex.open(folder)
        if not index.manifest.content["tombstones"]:
            return index.manifest
        content = dict(index.manifest.content)
        names = [int(shard["name"]) for shard in content["shards"]]
        fresh = max(names) + 1
        shards = []
        for number, shard in enumerate(content["shards"]):
            live = index.documents.filter(pl.col("shard") == number)["alive"].to_numpy()
            if live.all():
                shards.append(shard)
                continue
            if live.any():
                name = f"{fresh:06d}"
                fresh += 1
                digest = _rewrite(index, number, live, folder / "shards" / name)
                shards.append({"name": name, "sha256": digest})
        content["shards"] = shards
        content["removals"] = removals_of(index)
        content["tombstones"] = []
        return commit_change(folder, index, content, signer)


def commit_change(
    folder: Path,
    index: GradientIndex,
    content: dict[str, Any],
    signer: Signer | None = None,
    before_commit: Callable[[str], None] = lambda _digest: None,
) -> IndexManifest:
    """Sum the groups anew, replace the manifest, and clear what no manifest names.

    Args:
        folder: of the index.
        index: as it is.
        content: the manifest that shall be; its groups and exclusions are made here.
        signer: signs it.
        before_commit: called with the new manifest's digest just before it is in place.
    """
    generation = int(index.manifest.content["groups"]["name"]) + 1
    content["groups"] = sum_groups(folder, content, generation=generation)
    content["excluded"] = GradientIndex.loose(folder, content).excluded()
    before_commit(sha256_of(canonical_json(content)))
    manifest = write_manifest(folder, content, signer)
    keep = {shard["name"] for shard in content["shards"]}
    for path in (folder / "shards").iterdir():
        if path.name not in keep:
            shutil.rmtree(path)
    for path in (folder / "groups").iterdir():
        if path.name != content["groups"]["name"]:
            shutil.rmtree(path)
    return manifest


def _named(index: GradientIndex, removal: Removal) -> list[str]:
    """Return the ids of the trained documents a removal names, in row order."""
    table = index.documents.filter(pl.col("kind") == "trained")
    for column, names in (
        ("document_id", removal.documents),
        ("group_id", removal.groups),
        ("source_id", removal.sources),
    ):
        known = set(table[column].to_list())
        for name in names:
            if name not in known:
                what = column.removesuffix("_id")
                raise GradientIndexError(
                    f"index {index.folder} has no {what} {name!r} among its {table.height} "
                    f"documents; nothing was removed. Look it up with `byline index info`"
                )
    wanted = (
        pl.col("document_id").is_in(list(removal.documents))
        | pl.col("group_id").is_in(list(removal.groups))
        | pl.col("source_id").is_in(list(removal.sources)).fill_null(value=False)
    )
    return [str(name) for name in table.filter(wanted)["document_id"].to_list()]


def _reweighed(index: GradientIndex, content: Mapping[str, Any]) -> dict[str, float]:
    """Return the unit weights that differ from the shards' own, dead members left out."""
    dead = {entry["document_id"] for entry in content["tombstones"]}
    group_of = dict(index.documents.select("document_id", "group_id").iter_rows())
    live: dict[str, Sequence[str]] = {}
    for name, members in content["clusters"].items():
        if any(member in dead for member in members):
            live[name] = [m for m in members if m in group_of and m not in dead]
    return {**content["weight_changes"], **unit_weights(live, group_of)}


def _rewrite(index: GradientIndex, number: int, live: np.ndarray, folder: Path) -> str:
    """Copy the live rows of a shard into a new one, chunk by chunk; return its digest."""
    shutil.rmtree(folder, ignore_errors=True)
    shard = index.shards[number]
    for k in range(index.manifest.checkpoints):
        writer = RowWriter(folder, k, index.codec(k).row_bytes)
        losses = shard.losses(k)
        for first, stored in shard.stored(k):
            kept = live[first : first + len(stored)]
            if kept.any():
                writer.append(
                    np.ascontiguousarray(stored[kept]),
                    losses[first : first + len(stored)][kept].tolist(),
                )
    documents_parquet(folder / "documents.parquet", shard.documents.filter(pl.Series(live)))
    return finish_shard(folder, int(live.sum()), index.manifest.checkpoints)
