"""Check an index from outside: every byte by its digest, and some rows by making them again.

    1. The manifest, the small files and every shard have the bytes that were promised.
    2. A random sample of documents is read again with the models of the path, and
       their rows agree with the stored ones within what storing them costs.

    3. Signatures of the manifest and of every removal record are by the key that is
       given, where one is given; else whoever they name is reported.

(1) proves that nothing was altered since the build, (2) that the rows are the
gradients of these documents at these weights and not merely well-kept numbers, (3)
who says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attribution.corpus_file import CorpusFile
from attribution.device import devices_of
from attribution.errors import IndexDamagedError, IndexMismatchError, IndexSignatureError
from attribution.files import sha256_of
from attribution.half import BOUND as HALF_BOUND
from attribution.index_edit import removals_of
from attribution.index_manifest import signature_path
from attribution.index_preconditioner import versions_of
from attribution.index_read import GradientIndex
from attribution.influence import Attributor
from attribution.signing import MANIFEST, REMOVAL, check_signature
from attribution.tokens import encode_document

# Stored and recomputed rows differ by float rounding, and by a level here and there
# where that rounding crosses the border between two codes.
_TOLERANCE = {"float32": 1e-3, "float16": 2e-3, "int8": 0.01, "int4": 0.05, "int2": 0.1}
_TOLERANCE_ONE_BIT = 0.2


def verify_index(
    folder: Path | str,
    *,
    sample: int = 8,
    seed: int = 0,
    corpus: Path | str | None = None,
    key: str | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Verify an index.

    Args:
        folder: a finished index.
        sample: how many documents to read again; 0 checks digests only.
        seed: of the sample.
        corpus: the documents; where the index was built from when left out.
        key: the public key, in hex, that manifest and removal records must be signed by.
        device: where the models run; see `device`.

    Returns:
        manifest, signed_by, removals, removals_signed, rows_hashed, rows_recomputed,
        worst_difference.

    Raises:
        IndexDamagedError: names the first file, row range or document that differs.
        IndexSignatureError: a signature is missing though a key was given, or is wrong.
        IndexMismatchError: the corpus is not the one that was indexed.
    """
    index = GradientIndex.open(folder)
    index.verify()
    removals, signed = _check_removals(index, key)
    report = {
        "manifest": index.manifest.sha256,
        "signed_by": _check_manifest(index, key),
        "removals": removals,
        "removals_signed": signed,
        "rows_hashed": index.documents.height * index.manifest.checkpoints,
        "rows_recomputed": 0,
        "worst_difference": 0.0,
    }
    if not sample:
        return report
    path = Path(corpus) if corpus is not None else index.corpus_file()
    if path is None or not path.is_file():
        raise IndexMismatchError(
            f"the corpus of index {folder} is not at {path}; give it, or verify with sample 0"
        )
    texts = _indexed_documents(index, path)
    rows = _sample(index, texts, sample, seed)
    attributor = Attributor(index, device=device)
    report["worst_difference"] = round(_compare_rows(attributor, texts, rows), 6)
    report["rows_recomputed"] = len(rows) * index.manifest.checkpoints
    return report


def _check_manifest(index: GradientIndex, key: str | None) -> str | None:
    """Return who signed the manifest, in hex; None where nobody did and nobody had to."""
    data = (index.folder / "manifest.json").read_bytes()
    path = signature_path(index.folder, sha256_of(data))
    return _check_signature(MANIFEST, path, data, key)


def _check_removals(index: GradientIndex, key: str | None) -> tuple[int, int]:
    """Return how many removals there were, and how many of their records are signed."""
    known = set(index.documents.filter(pl.col("alive"))["document_id"].to_list())
    signed = 0
    for number in range(1, removals_of(index) + 1):
        path = index.folder / "removals" / f"{number:06d}.json"
        if not path.is_file():
            raise IndexDamagedError(
                f"{path} is missing: the index says that {removals_of(index)} removals were "
                f"made, and this is the record of one. Restore it from a copy"
            )
        data = path.read_bytes()
        by = _check_signature(REMOVAL, path.with_suffix(".sig"), data, key)
        signed += by is not None
        back = known.intersection(json.loads(data)["documents"])
        if back:
            raise IndexDamagedError(
                f"{path} says that {min(back)} was removed, yet the index scores it; the record "
                f"or the manifest is of another index. Remove the document again"
            )
    return removals_of(index), signed


def _check_signature(kind: str, path: Path, data: bytes, key: str | None) -> str | None:
    if path.is_file():
        return check_signature(kind, path, data, path.read_text(encoding="utf-8"), key)
    if key is not None:
        raise IndexSignatureError(
            f"{path} is missing: the {kind} is not signed, a signature by {key[:16]}… was asked "
            f"for. Build, change or remove with that key, or verify without one"
        )
    return None


def _indexed_documents(index: GradientIndex, path: Path) -> CorpusFile:
    """Read the corpus the index was built from, or name the two digests."""
    found = CorpusFile(path)
    wanted = index.manifest.content["inputs"]["corpus"]
    if found.digest != wanted:
        raise IndexMismatchError(
            f"{path} has the digest {found.digest[:12]}…, the index was built from "
            f"{wanted[:12]}…; rows of other documents cannot be compared. Give that corpus"
        )
    return found


def _compare_rows(attributor: Attributor, texts: CorpusFile, rows: Sequence[int]) -> float:
    """Make rows again at every checkpoint; return the worst relative difference."""
    index = attributor.index
    names = index.documents["document_id"].to_list()
    found = (texts[texts.place_of(names[row])] for row in rows)
    encoded = [encode_document(document, attributor.tokenizer) for document in found]
    dtype = index.manifest.content["config"]["dtype"]
    limit = _TOLERANCE.get(dtype, _TOLERANCE_ONE_BIT)
    if index.manifest.content["config"].get("compute") == "bfloat16":
        limit += 2 * HALF_BOUND  # The bound was checked on some documents, not on all.
    worst = 0.0
    for k in range(index.manifest.checkpoints):
        made, _ = attributor.rows(k, encoded)
        codec = index.codec(k)
        again = codec.decode(codec.encode(made))
        kept = codec.decode(_stored_rows(index, k, rows))
        scale = (kept / codec.steps).norm(dim=1)
        differ = ((again - kept) / codec.steps).norm(dim=1) / scale.clamp(min=1e-30)
        for row, value in zip(rows, differ.tolist(), strict=True):
            worst = max(worst, value)
            if value > limit:
                raise IndexDamagedError(
                    f"document {names[row]} at checkpoint {k}: its row made again differs from "
                    f"the stored one by {value:.3g} of its length, {limit:g} is allowed for "
                    f"{dtype}; the index was not made from this document and these weights"
                )
    return worst


def index_info(folder: Path | str) -> dict[str, Any]:
    """Describe an index in a few numbers: size, path, coverage, what was removed."""
    index = GradientIndex.open(folder)
    content = index.manifest.content
    widths = [index.codec(k).row_bytes for k in range(index.manifest.checkpoints)]
    table = index.documents
    trained = table.filter(pl.col("kind") == "trained")
    coverage = content["coverage"]
    return {
        "bfloat16_error": content.get("bfloat16_error"),
        "bytes_per_document": sum(widths),
        "calibration": dict(index.preconditioner.calibration),
        "checkpoints": [{"step": p["step"], "weight": p["weight"]} for p in content["checkpoints"]],
        "clusters": len(content["clusters"]),
        "decoys": table.height - trained.height,
        "devices": sorted(devices_of(content)),
        "documents": int(trained["alive"].sum()),
        "dtype": content["config"]["dtype"],
        "excluded": len(content["excluded"]),
        "folder": str(folder),
        "groups": content["groups"]["groups"],
        "layers": len(coverage["layers"]),
        "manifest": index.manifest.sha256,
        "numbers_per_checkpoint": [
            len(index.curvature(k).eigenvalues) for k in range(index.manifest.checkpoints)
        ],
        "parameters_tracked_share": round(
            coverage["parameters_tracked"] / coverage["parameters_total"], 4
        ),
        "path_rule": content["path_rule"],
        "preconditioner": index.preconditioner.version,
        "preconditioners": [
            {"damping": v.damping, "geometry": v.geometry, "rule": v.rule, "version": v.version}
            for v in versions_of(content)
        ],
        "relative": index.manifest.relative_only,
        "removals": removals_of(index),
        "removed": len(content["tombstones"]),
        "row_bytes_total": sum(widths) * table.height,
        "shards": len(content["shards"]),
        "signed": signature_path(index.folder, index.manifest.sha256).is_file(),
        "skipped": coverage["parameters_skipped"],
        "token_budget": content["config"]["token_budget"],
    }


def _sample(index: GradientIndex, corpus: CorpusFile, count: int, seed: int) -> list[int]:
    """Return rows of living trained documents with something to score, in row order."""
    known = [document.document_id for document in corpus]
    able = index.documents.with_row_index("row").filter(
        pl.col("alive")
        & (pl.col("kind") == "trained")
        & (pl.col("tokens_scored") > 0)
        & pl.col("document_id").is_in(known)
    )["row"]
    draw = np.random.Generator(np.random.Philox(key=seed))
    count = min(count, able.len())
    return sorted(int(row) for row in draw.choice(able.to_numpy(), count, replace=False))


def _stored_rows(index: GradientIndex, checkpoint: int, rows: Sequence[int]) -> np.ndarray:
    found = {}
    for first, stored in index.stored(checkpoint):
        for row in rows:
            if first <= row < first + len(stored):
                found[row] = np.array(stored[row - first])
    assert len(found) == len(rows), (sorted(found), rows)
    return np.stack([found[row] for row in rows])
