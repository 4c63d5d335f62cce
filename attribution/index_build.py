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

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from attribution.corpus import Document
from attribution.corpus_file import CorpusFile
from attribution.device import (
    device_name,
    find_device,
    note_device,
    noted_devices,
    with_devices,
    within_memory,
)
from attribution.evidence import find_clusters, unit_weights
from attribution.files import canonical_json, sha256_file, write_atomically
from attribution.gradients import LossModel, recording
from attribution.half import halved
from attribution.index_basis import codec_for, load_basis, save_basis
from attribution.index_calibrate import NONE, calibrate
from attribution.index_config import (
    IndexConfig,
    PathPoint,
    keep_to_plan,
    plan_of,
    relative_locations,
    training_path,
)
from attribution.index_groups import sum_groups
from attribution.index_manifest import IndexManifest, locked, write_manifest
from attribution.index_read import GradientIndex
from attribution.index_rows import documents_table, write_rows
from attribution.index_store import RowWriter, documents_parquet, finish_shard
from attribution.influence import Attributor
from attribution.layers import Coverage, find_layers
from attribution.model import LoadedModel, load_model
from attribution.preconditioner import fit
from attribution.recorders import RowRecorder
from attribution.signing import Signer
from attribution.token_budget import find_token_budget, memory_allowed
from attribution.tokens import (
    Encoded,
    EncodedRows,
    check_agreement,
    check_ids,
    encode_document,
)

Progress = Callable[[str, int, int], None]


def _quiet(_step: str, _done: int, _all: int) -> None:
    """Show nothing."""


def build_index(
    config: IndexConfig, progress: Progress = _quiet, *, signer: Signer | None = None
) -> IndexManifest:
    """Build an index, or finish one that was begun, or return the one that is there.

    Args:
        config: what to build; see `IndexConfig`.
        progress: called with (step, done, all): "fit K", "rows K", "groups".
        signer: signs the manifest of an index that is finished now.

    Returns:
        The manifest of the finished index.

    Raises:
        AttributionError: bad input, another builder, another plan, a damaged folder.
    """
    out, device = Path(config.out), find_device(config.device)
    points, rule = training_path(config)
    with locked(out):
        corpus = CorpusFile(config.corpus, out)
        decoys = CorpusFile(config.decoys, out) if config.decoys is not None else None
        build = _Build(config, points, corpus, decoys, device)
        agreed = plan_of(build.config, points, rule, build.inputs, build.unit_weights)
        keep_to_plan(out / "build.json", agreed)
        if (out / "manifest.json").is_file():
            return GradientIndex.open(out).manifest
        write_atomically(out / "build.json", canonical_json(agreed))
        write_atomically(
            out / "locations.json",
            canonical_json(relative_locations(config, points)),
        )
        with within_memory(device, build.token_budget):
            build.run(progress)
            return _finish(agreed, build, progress, signer)


class _Build:
    """The state of one build: documents and their tokens, both in files, split into shards."""

    def __init__(
        self,
        config: IndexConfig,
        points: Sequence[PathPoint],
        corpus: CorpusFile,
        decoys: CorpusFile | None,
        device: torch.device,
    ) -> None:
        self.config, self.points = config, list(points)
        self.out = Path(config.out)
        self.device = device
        self.final = load_model(config.model_dir, device=device)
        self.coverage: Coverage = find_layers(
            self.final.model,
            config.layers,
            head=config.head and LossModel(self.final.model).split,
        )
        self.corpora: tuple[Sequence[Document], Sequence[Document]] = (corpus, decoys or ())
        self.inputs = {"corpus": corpus.digest, "model": self.final.digest}
        self.context = self.final.context
        self.clusters: Mapping[str, Sequence[str]] = (
            find_clusters(corpus, config.duplicate_threshold, self.out)
            if config.clusters is None
            else config.clusters
        )
        copies = (name for members in self.clusters.values() for name in members)
        group_of = {name: corpus[corpus.place_of(name)].group_id for name in copies}
        self.unit_weights: Mapping[str, float] = (
            unit_weights(self.clusters, group_of)
            if config.unit_weights is None
            else config.unit_weights
        )
        self.shards: list[tuple[str, Sequence[Document], EncodedRows]] = []
        for kind, part in (("trained", corpus), ("decoy", decoys)):
            if part is None:
                continue
            if kind == "decoy":
                self.inputs["decoys"] = part.digest
            encoded = self._encode(part)
            if kind == "trained":
                self.trained = encoded
                self.token_budget = config.token_budget or self._found_budget()
            step = config.shard_documents
            for begin in range(0, len(part), step):
                piece = slice(begin, begin + step)
                self.shards.append((kind, part[piece], encoded[piece]))

        self.config = replace(config, token_budget=self.token_budget)

    def bases(self) -> list[Path]:
        """Return the folder of each checkpoint's bases."""
        return [self.out / "bases" / f"{k:03d}" for k in range(len(self.points))]

    def half_errors(self) -> list[float] | None:
        """Return the worst distance of rows in bfloat16 from float32, a checkpoint each."""
        if self.config.compute == "float32":
            return None
        said = [json.loads((folder / "bfloat16.json").read_bytes()) for folder in self.bases()]
        return [float(entry["worst"]) for entry in said]

    def _found_budget(self) -> int:
        """Return the token budget the plan has, where a build was begun, else find one."""
        begun = self.out / "build.json"
        if begun.is_file():
            return int(json.loads(begun.read_bytes())["config"]["token_budget"])
        model = LossModel(self.final.model)
        return find_token_budget(
            model,
            self.coverage.layers,
            self.trained,
            context=self.context,
            memory_bytes=memory_allowed(model.device),
        )

    def _encode(self, documents: Sequence[Document]) -> EncodedRows:
        tokenizer = self.final.tokenizer

        def rows() -> Iterator[Encoded]:
            for document in documents:
                row = encode_document(document, tokenizer)
                check_ids([row], [document.document_id], self.final.vocab_size)
                yield row

        encoded = EncodedRows(rows(), self.out)
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
            # Rows in bfloat16 change the model that makes them: the final one is kept as it is.
            own = last and self.config.compute == "float32"
            loaded = self.final if own else load_model(point.folder, device=self.device)
            self._checkpoint(k, loaded, progress)
        for s, (kind, documents, encoded) in enumerate(self.shards):
            folder = self.folder(s)
            if not (folder / "shard.json").is_file():
                table = documents_table(
                    kind,
                    documents,
                    encoded,
                    self.unit_weights,
                    context=self.context,
                    token_budget=self.token_budget,
                )
                documents_parquet(folder / "documents.parquet", table)
                finish_shard(folder, len(documents), len(self.points))

    def _is_written(self, k: int) -> bool:
        """Whether every row of a checkpoint is on disk; bytes no journal promises are cut off."""
        folder = self.out / "bases" / f"{k:03d}"
        if not (folder / "curvature.safetensors").is_file():
            return False
        bases, curvature = load_basis(folder, self.coverage.layers)
        width = codec_for(self.config.dtype, curvature, self.config.damping, bases).row_bytes
        return all(
            RowWriter(self.folder(s), k, width).done == len(documents)
            for s, (_, documents, _) in enumerate(self.shards)
        )

    def _checkpoint(self, k: int, loaded: LoadedModel, progress: Progress) -> None:
        model = LossModel(loaded.model)
        layers = self.coverage.layers
        folder = self.out / "bases" / f"{k:03d}"
        fitted = (folder / "curvature.safetensors").is_file()
        note_device(folder, self.device, begun=fitted)
        if not fitted:
            bases, curvature = fit(
                model,
                layers,
                self.trained,
                self.config.fit_config(len(self.points), len(layers)),
                context=self.context,
                token_budget=self.token_budget,
                progress=lambda done, total: progress(f"fit {k}", done, total),
            )
            save_basis(folder, layers, bases, curvature)
        bases, curvature = load_basis(folder, layers)
        codec = codec_for(self.config.dtype, curvature, self.config.damping, bases)
        if self.config.compute == "bfloat16":
            steps = curvature.damped(self.config.damping).clamp(min=1e-30).sqrt().float()
            model, error = halved(model, layers, bases, steps, self.trained, self.context)
            write_atomically(folder / "bfloat16.json", canonical_json({"worst": round(error, 4)}))
        recorder = RowRecorder(layers, bases, model.device)
        done, total = 0, sum(len(documents) for _, documents, _ in self.shards)
        with recording(model.model, layers, recorder):
            for s, (_, documents, encoded) in enumerate(self.shards):
                writer = RowWriter(self.folder(s), k, codec.row_bytes)
                for rows in write_rows(
                    model,
                    recorder,
                    encoded,
                    writer,
                    codec,
                    context=self.context,
                    token_budget=self.token_budget,
                    chunk_bytes=self.config.chunk_bytes,
                ):
                    done += rows
                    progress(f"rows {k}", done, total)
                assert writer.done == len(documents), (writer.done, len(documents))


def _finish(
    agreed: dict[str, Any], build: _Build, progress: Progress, signer: Signer | None
) -> IndexManifest:
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
        "bfloat16_error": build.half_errors(),
        "calibration": NONE,
        "clusters": {name: list(ids) for name, ids in sorted(build.clusters.items())},
        "coverage": build.coverage.as_json(),
        "layers": [
            {
                "bias": y.bias,
                "head": y.head,
                "inputs": y.inputs,
                "name": y.name,
                "outputs": y.outputs,
            }
            for y in build.coverage.layers
        ],
        "shards": [
            {"name": name, "sha256": sha256_file(out / "shards" / name / "shard.json")}
            for name in names
        ],
        "tombstones": [],
        "weight_changes": {},
    }
    progress("groups", 0, len(build.points))
    manifest["groups"] = sum_groups(out, manifest, generation=0)
    manifest["excluded"] = GradientIndex.loose(out, manifest).excluded()
    attributor = Attributor(GradientIndex.loose(out, manifest), device=build.device)
    manifest["calibration"] = calibrate(attributor, *build.corpora)
    progress("groups", len(build.points), len(build.points))
    made_on = set.union(*(noted_devices(folder) for folder in build.bases()))
    manifest = with_devices(manifest, made_on | {device_name(build.device)})
    write_manifest(out, manifest, signer)
    return GradientIndex.open(out).manifest
