"""Open a finished gradient index and read it, trusting no byte that was not checked.

1. The manifest is hashed at opening, and so is every small file it names (bases,
   curvature, shard manifests, group tables). Rows of documents and of groups are
   checked for their size at opening and hashed at first use.
2. A folder without a manifest is an unfinished build and is refused.
3. Rows are memory-mapped: opening does not read them.
4. Documents under a tombstone are never scored again, at any level.
5. Rows are decoded in the units of the build's own curvature, whichever version of the
   preconditioner scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from attribution.codec import Codec
from attribution.corpus import Document
from attribution.corpus_file import Picked
from attribution.errors import IndexDamagedError
from attribution.files import sha256_file
from attribution.index_basis import codec_for, load_basis
from attribution.index_manifest import IndexManifest, read_manifest
from attribution.index_preconditioner import (
    Preconditioner,
    chosen_version,
    load_curvature,
    small_files,
    version_folder,
)
from attribution.index_store import ShardReader
from attribution.layers import TrackedLayer
from attribution.low_rank import LowRankCodec
from attribution.preconditioner import Curvature
from attribution.projection import LayerBasis


class GradientIndex:
    """A gradient index, open for reading.

    Attributes:
        folder: where it is.
        manifest: what it says of itself.
        layers: the tracked layers in row order.
        shards: its shards, trained documents before decoys.
        preconditioner: the version that scores.
    """

    def __init__(
        self, folder: Path, manifest: IndexManifest, preconditioner: int | None = None
    ) -> None:
        self.folder, self.manifest = folder, manifest
        content = manifest.content
        self.preconditioner: Preconditioner = chosen_version(content, preconditioner)
        self.layers = tuple(
            TrackedLayer(y["name"], y["inputs"], y["outputs"], y["bias"], 0, y["head"])
            for y in content["layers"]
        )
        self._damping = float(content["config"]["damping"])
        self._points = [
            load_basis(folder / "bases" / f"{k:03d}", self.layers)
            for k in range(manifest.checkpoints)
        ]
        self._summed: set[int] = set()
        self._fitted = [self._curvature_file(k) for k in range(manifest.checkpoints)]
        widths = [self.codec(k).row_bytes for k in range(manifest.checkpoints)]
        self.shards = [
            ShardReader(folder / "shards" / shard["name"], widths) for shard in content["shards"]
        ]

    def _curvature_file(self, checkpoint: int) -> Curvature:
        built = self._points[checkpoint][1]
        version = self.preconditioner.curvature
        if version == 0:
            return built
        name = f"curvature-{checkpoint}.safetensors"
        path = version_folder(self.folder, version) / name
        return load_curvature(path, self.layers, built.widths)

    @classmethod
    def open(cls, folder: Path | str, *, preconditioner: int | None = None) -> GradientIndex:
        """Open a finished index.

        Args:
            folder: where it is.
            preconditioner: the version to score with; the manifest's when left out.

        Raises:
            IndexIncompleteError: the folder holds no finished index.
            IndexDamagedError: a file is missing, torn or altered.
            IndexMismatchError: there is no such version of the preconditioner.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        for name, wanted in _small_files(manifest.content):
            _check_digest(folder / name, wanted)
        index = cls(folder, manifest, preconditioner)
        index.check_group_sizes()
        return index

    @classmethod
    def loose(
        cls, folder: Path, content: dict[str, Any], *, preconditioner: int | None = None
    ) -> GradientIndex:
        """Open an index whose manifest is still being made; for the builder alone."""
        return cls(folder, IndexManifest(content, ""), preconditioner)

    def basis(self, checkpoint: int) -> list[LayerBasis]:
        """Return the bases of a checkpoint, one per layer."""
        return self._points[checkpoint][0]

    def curvature(self, checkpoint: int) -> Curvature:
        """Return the curvature of a checkpoint that the build fitted."""
        return self._points[checkpoint][1]

    def fitted(self, checkpoint: int) -> Curvature:
        """Return the curvature of a checkpoint in the version that scores."""
        return self._fitted[checkpoint]

    def inverse(self, checkpoint: int, damping: float | None = None) -> Tensor:
        """Return the elementwise preconditioner of a checkpoint, [D], float64."""
        if damping is None:
            damping = self.preconditioner.damping
        return self._fitted[checkpoint].inverse(damping)

    def codec(self, checkpoint: int) -> Codec | LowRankCodec:
        """Return how rows of a checkpoint are stored."""
        dtype = str(self.manifest.content["config"]["dtype"])
        bases, curvature = self._points[checkpoint]
        return codec_for(dtype, curvature, self._damping, bases)

    @cached_property
    def documents(self) -> pl.DataFrame:
        """One line per row over all shards, in row order, with `alive`."""
        return pl.concat(list(self.document_tables()))

    def document_tables(self) -> Iterator[pl.DataFrame]:
        """Yield the part of `documents` that each shard has; none is kept."""
        content = self.manifest.content
        dead = sorted({entry["document_id"] for entry in content["tombstones"]})
        weights = dict(content["weight_changes"])
        for number, shard in enumerate(self.shards):
            table = shard.documents.with_columns(
                pl.lit(number).alias("shard"), (~pl.col("document_id").is_in(dead)).alias("alive")
            )
            if weights:
                changed = pl.col("document_id").replace_strict(
                    weights, default=pl.col("unit_weight"), return_dtype=pl.Float64
                )
                table = table.with_columns(changed.alias("unit_weight"))
            yield table

    def living(self, documents: Sequence[Document]) -> Picked:
        """Return those of some documents that the index holds and that were not removed."""
        alive = set(self.documents.filter("alive")["document_id"])
        places = (i for i, row in enumerate(documents) if row.document_id in alive)
        return Picked(documents, np.fromiter(places, dtype=np.int64))

    @cached_property
    def groups(self) -> pl.DataFrame:
        """One line per group row: group_id, kind, documents, tokens_scored."""
        return pl.read_parquet(self._group_folder / "groups.parquet")

    @property
    def _group_folder(self) -> Path:
        return self.folder / "groups" / str(self.manifest.content["groups"]["name"])

    def check_group_sizes(self) -> None:
        """Compare the sizes of the group level's row files with what the manifest promises.

        Raises:
            IndexDamagedError: a file is missing or torn.
        """
        groups = int(self.manifest.content["groups"]["groups"])
        for k in range(self.manifest.checkpoints):
            path = self._group_folder / f"rows-{k}.bin"
            wanted = 4 * max(groups, 1) * len(self.curvature(k).eigenvalues)
            size = path.stat().st_size if path.is_file() else -1
            if size != wanted:
                found = "is missing" if size < 0 else f"has {size} bytes"
                raise IndexDamagedError(
                    f"{path} {found}, the manifest promises {wanted}; nothing of this index is "
                    f"used. Restore the file, or build the index again"
                )

    def group_rows(self, checkpoint: int, part: slice = slice(None)) -> Tensor:
        """Return the summed rows of groups at a checkpoint, [G, D], float32, mapped.

        Args:
            checkpoint: of the path.
            part: which groups; all when left out.
        """
        path = self._group_folder / f"rows-{checkpoint}.bin"
        begin, end, _ = part.indices(self.groups.height)
        width = len(self.curvature(checkpoint).eigenvalues)
        shape = (max(0, end - begin), width)
        if checkpoint not in self._summed:
            wanted = self.manifest.content["groups"]["files"].get(path.name)
            if wanted is not None:
                _check_digest(path, wanted)
            self._summed.add(checkpoint)
        if not shape[0]:
            return torch.zeros(shape)
        # Copy-on-write, because torch asks for a writable array; the file is not changed.
        offset = 4 * width * begin
        return torch.from_numpy(np.memmap(path, dtype="<f4", mode="c", offset=offset, shape=shape))

    def stored(self, checkpoint: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row over all shards, stored rows) of each chunk of a checkpoint."""
        first = 0
        for shard in self.shards:
            for begin, part in shard.stored(checkpoint):
                yield first + begin, part
            first += shard.rows

    def take(self, checkpoint: int, rows: np.ndarray) -> np.ndarray:
        """Return some stored rows, [n, B] uint8; only the chunks that hold them are read.

        Args:
            checkpoint: of the path.
            rows: [n], rising row numbers over all shards.
        """
        parts, first = [], 0
        for shard in self.shards:
            begin, end = np.searchsorted(rows, [first, first + shard.rows])
            if begin < end:
                parts.append(shard.take(checkpoint, rows[begin:end] - first))
            first += shard.rows
        width = self.codec(checkpoint).row_bytes
        return np.concatenate(parts) if parts else np.empty((0, width), dtype=np.uint8)

    def losses(self, checkpoint: int) -> np.ndarray:
        """Return the summed loss of every row's document, [N], float64, NaN where unknown."""
        return np.concatenate([shard.losses(checkpoint) for shard in self.shards])

    def excluded(self) -> list[dict[str, str]]:
        """List documents whose row is zero by definition, with the reason."""
        found = {}
        for shard, table in zip(self.shards, self.document_tables(), strict=True):
            names = table["document_id"]
            for name in names.filter(table["tokens_scored"] == 0):
                found[name] = "nothing to score: fewer than two tokens"
            for k in range(self.manifest.checkpoints):
                for name in names.filter(pl.Series(np.isnan(shard.losses(k)))):
                    found[name] = f"loss or gradient not finite at checkpoint {k}"
        return [{"document_id": name, "reason": why} for name, why in sorted(found.items())]

    def model_folders(self) -> list[Path]:
        """Return where the model of each point of the path was at the build."""
        said = json.loads((self.folder / "locations.json").read_bytes())
        return [(self.folder / name).resolve() for name in said["checkpoints"]]

    def model_folder(self) -> Path:
        """Return where the final model was at the build."""
        said = json.loads((self.folder / "locations.json").read_bytes())
        return (self.folder / str(said["model"])).resolve()

    def decoys_file(self) -> Path | None:
        """Return where the decoys were at the build, where there were any."""
        said = json.loads((self.folder / "locations.json").read_bytes())
        return (self.folder / said["decoys"]).resolve() if said.get("decoys") else None

    def corpus_file(self) -> Path | None:
        """Return where the corpus was at the build."""
        said = json.loads((self.folder / "locations.json").read_bytes())
        return (self.folder / said["corpus"]).resolve() if "corpus" in said else None

    def verify(self) -> None:
        """Hash every file and every chunk of every shard.

        Raises:
            IndexDamagedError: names the first file or row range that differs.
        """
        again = GradientIndex.open(self.folder)
        for k in range(self.manifest.checkpoints):
            again.group_rows(k)
        for shard in self.shards:
            shard.verify()


def _small_files(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (file, digest) of every file that is hashed at opening."""
    for k, digests in enumerate(content["bases"]):
        for name, wanted in sorted(digests.items()):
            yield f"bases/{k:03d}/{name}.safetensors", wanted
    yield from small_files(content)
    for shard in content["shards"]:
        yield f"shards/{shard['name']}/shard.json", shard["sha256"]
    name = "groups.parquet"
    yield f"groups/{content['groups']['name']}/{name}", content["groups"]["files"][name]


def _check_digest(path: Path, wanted: str) -> None:
    found = sha256_file(path) if path.is_file() else "missing"
    if found != wanted:
        raise IndexDamagedError(
            f"{path}: sha256 {found[:12]}… is not the {wanted[:12]}… in the manifest; the file "
            f"was altered. Restore it or build the index again"
        )
