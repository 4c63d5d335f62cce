"""Build a gradient index: fit each checkpoint, write its rows, sum them by work.

For each checkpoint of the path, oldest first:

    1. fit the bases and the curvature            bases/K/
    2. one pass over the corpus, then the decoys  shards/*/rows-K.bin
    3. sum the rows of each work                  groups/

then, once, calibrate the scale against the measured gain and write the manifest.
A finished part is never made again: the same command completes a build that was
killed, with the bytes an undisturbed build has.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from attribution.batches import collate, plan
from attribution.codec import Codec
from attribution.corpus import Corpus, Document, read_corpus
from attribution.errors import IndexLockedError
from attribution.evidence import find_clusters, unit_weights
from attribution.files import canonical_json, sha256_file, sha256_of, write_atomically
from attribution.gradients import LossModel, backward, recording
from attribution.index_basis import codec_for, load_basis, save_basis
from attribution.index_config import (
    IndexConfig,
    PathPoint,
    keep_to_plan,
    plan_of,
    relative_locations,
    training_path,
)
from attribution.index_groups import calibrate, sum_groups
from attribution.index_read import GradientIndex, IndexManifest
from attribution.index_store import RowWriter, documents_parquet, finish_shard
from attribution.layers import Coverage, find_layers
from attribution.model import LoadedModel, load_model
from attribution.preconditioner import fit
from attribution.recorders import RowRecorder
from attribution.tokens import Encoded, check_agreement, check_ids, encode_document

Progress = Callable[[str, int, int], None]


def _quiet(_step: str, _done: int, _all: int) -> None:
    """Show nothing."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other builder out of an index folder.

    Raises:
        IndexLockedError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise IndexLockedError(
                f"{folder} is being built or changed by another process; nothing was done. "
                f"Wait for it, or end it, and run the same command again"
            ) from fault
        yield


def build_index(config: IndexConfig, progress: Progress = _quiet) -> IndexManifest:
    """Build an index, or finish one that was begun, or return the one that is there.

    Args:
        config: what to build; see `IndexConfig`.
        progress: called with (step, done, all): "fit K", "rows K", "groups".

    Returns:
        The manifest of the finished index.

    Raises:
        AttributionError: bad input, another builder, another plan, a damaged folder.
    """
    out = Path(config.out)
    corpus = read_corpus(config.corpus)
    decoys = read_corpus(config.decoys) if config.decoys is not None else None
    points, rule = training_path(config)
    with locked(out):
        build = _Build(config, points, corpus, decoys)
        agreed = plan_of(config, points, rule, build.inputs, build.unit_weights)
        keep_to_plan(out / "build.json", agreed)
        if (out / "manifest.json").is_file():
            return GradientIndex.open(out).manifest
        write_atomically(out / "build.json", canonical_json(agreed))
        write_atomically(
            out / "locations.json",
            canonical_json(relative_locations(config, points)),
        )
        build.run(progress)
        return _finish(agreed, build, progress)


class _Build:
    """The state of one build: encoded documents, split into shards."""

    def __init__(
        self,
        config: IndexConfig,
        points: Sequence[PathPoint],
        corpus: Corpus,
        decoys: Corpus | None,
    ) -> None:
        self.config, self.points = config, list(points)
        self.out = Path(config.out)
        self.final = load_model(config.model_dir)
        self.coverage: Coverage = find_layers(self.final.model, config.layers)
        self.inputs = {"corpus": corpus.digest, "model": self.final.digest}
        self.context = self.final.context
        self.clusters: Mapping[str, Sequence[str]] = (
            find_clusters(corpus, config.duplicate_threshold)
            if config.clusters is None
            else config.clusters
        )
        group_of = {document.document_id: document.group_id for document in corpus}
        self.unit_weights: Mapping[str, float] = (
            unit_weights(self.clusters, group_of)
            if config.unit_weights is None
            else config.unit_weights
        )
        self.shards: list[tuple[str, list[Document], list[Encoded]]] = []
        for kind, part in (("trained", corpus), ("decoy", decoys)):
            if part is None:
                continue
            if kind == "decoy":
                self.inputs["decoys"] = part.digest
            documents = list(part)
            encoded = self._encode(documents)
            if kind == "trained":
                self.trained = encoded
            step = config.shard_documents
            for begin in range(0, len(documents), step):
                piece = slice(begin, begin + step)
                self.shards.append((kind, documents[piece], encoded[piece]))

    def _encode(self, documents: Sequence[Document]) -> list[Encoded]:
        tokenizer = self.final.tokenizer
        encoded = [encode_document(document, tokenizer) for document in documents]
        check_ids(encoded, [d.document_id for d in documents], self.final.vocab_size)
        if tokenizer is not None:
            check_agreement(documents, tokenizer)
        return encoded

    def folder(self, shard: int) -> Path:
        return self.out / "shards" / f"{shard:06d}"

    def run(self, progress: Progress) -> None:
        """Fit and write every checkpoint; what is already there is kept."""
        for k, point in enumerate(self.points):
            if self._is_written(k):
                continue
            last = k == len(self.points) - 1
            loaded = self.final if last else load_model(point.folder)
            self._checkpoint(k, loaded, progress)
        for s, (kind, documents, encoded) in enumerate(self.shards):
            folder = self.folder(s)
            if not (folder / "shard.json").is_file():
                order = _row_order(encoded, self.context, self.config.token_budget)
                documents_parquet(
                    folder / "documents.parquet",
                    _table(kind, documents, encoded, order, self.unit_weights),
                )
                finish_shard(folder, len(documents), len(self.points))

    def _is_written(self, k: int) -> bool:
        """Whether every row of a checkpoint is on disk; bytes no journal promises are cut off."""
        folder = self.out / "bases" / f"{k:03d}"
        if not (folder / "curvature.safetensors").is_file():
            return False
        _, curvature = load_basis(folder, self.coverage.layers)
        width = codec_for(self.config.dtype, curvature, self.config.damping).row_bytes
        return all(
            RowWriter(self.folder(s), k, width).done == len(documents)
            for s, (_, documents, _) in enumerate(self.shards)
        )

    def _checkpoint(self, k: int, loaded: LoadedModel, progress: Progress) -> None:
        model = LossModel(loaded.model)
        layers = self.coverage.layers
        folder = self.out / "bases" / f"{k:03d}"
        if not (folder / "curvature.safetensors").is_file():
            bases, curvature = fit(
                model,
                layers,
                self.trained,
                self.config.fit_config(len(self.points), len(layers)),
                context=self.context,
                token_budget=self.config.token_budget,
                progress=lambda done, total: progress(f"fit {k}", done, total),
            )
            save_basis(folder, layers, bases, curvature)
        bases, curvature = load_basis(folder, layers)
        codec = codec_for(self.config.dtype, curvature, self.config.damping)
        recorder = RowRecorder(layers, bases, model.device)
        done, total = 0, sum(len(documents) for _, documents, _ in self.shards)
        with recording(model.model, layers, recorder):
            for s, (_, documents, encoded) in enumerate(self.shards):
                writer = RowWriter(self.folder(s), k, codec.row_bytes)
                for rows in self._rows(model, recorder, encoded, writer, codec):
                    done += rows
                    progress(f"rows {k}", done, total)
                assert writer.done == len(documents), (writer.done, len(documents))

    def _rows(
        self,
        model: LossModel,
        recorder: RowRecorder,
        encoded: Sequence[Encoded],
        writer: RowWriter,
        codec: Codec,
    ) -> Iterator[int]:
        """Write the rows of a shard that are missing; yield how many more are made."""
        chunk_rows = max(1, self.config.chunk_bytes // codec.row_bytes)
        if writer.done:
            yield writer.done
        seen, held, losses = 0, [], []
        for members in plan(encoded, self.context, self.config.token_budget):
            seen += len(members)
            if seen <= writer.done:
                continue
            batch = collate(encoded, members, self.context)
            recorder.start(batch)
            loss = backward(model, batch)
            held.append(_finite(recorder.rows.cpu().clone(), loss))
            losses += loss.tolist()
            yield len(loss)
            if len(losses) >= chunk_rows:
                writer.append(codec.encode(torch.cat(held)), losses)
                held, losses = [], []
        silent = len(encoded) - max(seen, writer.done)
        if held or silent:
            # Documents with nothing to score: rows of zeros, loss zero by definition.
            zeros = torch.zeros(silent, len(codec.steps))
            losses += [0.0] * silent
            writer.append(codec.encode(torch.cat([*held, zeros])), losses)
            yield silent


def _finite(rows: Tensor, losses: Tensor) -> Tensor:
    """Zero the rows of documents whose loss or gradient is not finite; mark their loss."""
    bad = ~(rows.isfinite().all(1) & losses.isfinite())
    losses[bad] = torch.nan
    rows[bad] = 0.0
    return rows


def _row_order(encoded: Sequence[Encoded], context: int, token_budget: int) -> list[int]:
    """Return the place in the shard of each row: processing order, silent documents last."""
    order = [i for members in plan(encoded, context, token_budget) for i in members]
    known = set(order)
    return order + [i for i in range(len(encoded)) if i not in known]


def _table(
    kind: str,
    documents: Sequence[Document],
    encoded: Sequence[Encoded],
    order: Sequence[int],
    unit_weights: Any,
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "document_id": [documents[i].document_id for i in order],
            "group_id": [documents[i].group_id for i in order],
            "source_id": [documents[i].source_id for i in order],
            "kind": [kind] * len(order),
            "place": list(order),
            "tokens_scored": [encoded[i].scored for i in order],
            "unit_weight": [float(unit_weights.get(documents[i].document_id, 1)) for i in order],
        },
        schema={
            "document_id": pl.String,
            "group_id": pl.String,
            "source_id": pl.String,
            "kind": pl.String,
            "place": pl.Int64,
            "tokens_scored": pl.Int64,
            "unit_weight": pl.Float64,
        },
    )


def _finish(agreed: dict[str, Any], build: _Build, progress: Progress) -> IndexManifest:
    out = build.out
    names = [build.folder(s).name for s in range(len(build.shards))]
    manifest = {
        **agreed,
        "bases": [
            {
                name: sha256_file(out / "bases" / f"{k:03d}" / f"{name}.safetensors")
                for name in ("basis", "curvature")
            }
            for k in range(len(build.points))
        ],
        "clusters": {name: list(ids) for name, ids in sorted(build.clusters.items())},
        "coverage": build.coverage.as_json(),
        "layers": [
            {"bias": y.bias, "inputs": y.inputs, "name": y.name, "outputs": y.outputs}
            for y in build.coverage.layers
        ],
        "shards": [
            {"name": name, "sha256": sha256_file(out / "shards" / name / "shard.json")}
            for name in names
        ],
        "tombstones": [],
    }
    progress("groups", 0, len(build.points))
    manifest["groups"] = sum_groups(out, manifest, generation=0)
    manifest["excluded"] = GradientIndex.loose(out, manifest).excluded()
    manifest["calibration"] = calibrate(GradientIndex.loose(out, manifest))
    progress("groups", len(build.points), len(build.points))
    data = canonical_json(json.loads(json.dumps(manifest)))
    write_atomically(out / "manifest.json", data)
    write_atomically(out / "manifest.sha256", f"{sha256_of(data)}  manifest.json\n".encode())
    return GradientIndex.open(out).manifest
