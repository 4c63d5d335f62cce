"""Measure influence again for a random sample of (output, work) pairs of an audit pack.

1. The pairs are drawn by the auditor's seed: each pair is ranked by HMAC-SHA256(seed, pair), the
   lowest are taken, so anyone can check one pair at a time.
2. The texts come from the workspace's own sample files, which must be those the pack names.
3. Rows of the index are computed again from model and corpus, and the outputs are scored anew. A
   pair differs when it is off by more than the stated part of the largest influence on its output.
"""

from __future__ import annotations

import hmac
import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from flows.artefacts import sha256_file
from flows.reperform import ReperformError
from flows.workspace import Workspace
from ledger.audit_frame import OpenPack

PPM = 10**6
SEED_BYTES_MIN = 16


@dataclass(frozen=True)
class PairCheck:
    """Influence measured again.

    Args:
        pairs: (output, work, booked nanonats, measured nanonats).
        worst_ppm: the largest difference, in ppm of the largest influence on its output.
        tolerance_ppm: what was allowed.
        rows: rows of the index computed again from model and corpus.
        worst_row: their largest difference, relative, as `byline index verify` measures it.
    """

    pairs: tuple[tuple[str, str, int, int], ...]
    worst_ppm: int
    tolerance_ppm: int
    rows: int
    worst_row: float

    @property
    def holds(self) -> bool:
        """Whether every pair is within the tolerance."""
        return self.worst_ppm <= self.tolerance_ppm


def check_pairs(
    pack_file: Path,
    workspace: Workspace,
    *,
    seed: bytes,
    count: int,
    tolerance_ppm: int,
    rows: int,
) -> PairCheck:
    """Measure a random sample of pairs again.

    Args:
        pack_file: the audit pack, whose influence tables are checked.
        workspace: has the model, the corpus, the index and the sampled texts.
        seed: the auditor's, at least 16 bytes.
        count: how many pairs.
        tolerance_ppm: what a pair may be off by, in ppm of its output's largest influence.
        rows: rows of the index to compute again; 0 for none.

    Raises:
        ReperformError: texts or index are not those of the pack, or the seed is too short.
        AttributionError: a row of the index is not what model and corpus give.
    """
    if len(seed) < SEED_BYTES_MIN:
        raise ReperformError(f"the seed has {len(seed)} bytes, give at least {SEED_BYTES_MIN}")
    booked = booked_influence(pack_file, workspace)
    drawn = sorted(
        booked["output_id", "group_id"].iter_rows(),
        key=lambda pair: hmac.digest(seed, "\t".join(pair).encode(), "sha256"),
    )[:count]
    outputs = sorted({output for output, _ in drawn})
    measured = _measured(workspace, outputs)
    values = {
        (output, group): units
        for output, group, units in booked.filter(pl.col("output_id").is_in(outputs))[
            "output_id", "group_id", "influence_nanonats"
        ].iter_rows()
    }
    largest: dict[str, int] = {}
    for (output, _), units in values.items():
        largest[output] = max(largest.get(output, 1), abs(units))
    pairs = tuple((*pair, values[pair], measured[pair]) for pair in sorted(drawn))
    worst = max(
        (-(-abs(new - old) * PPM // largest[output]) for output, _, old, new in pairs), default=0
    )
    read, worst_row = _rows(workspace, rows, seed)
    return PairCheck(pairs, worst, tolerance_ppm, read, worst_row)


def booked_influence(pack_file: Path, workspace: Workspace) -> pl.DataFrame:
    """Read the pack's influence of trained works; texts and index must be those it names.

    Raises:
        ReperformError: they are not, or the pack holds no influence.
    """
    tables = []
    with OpenPack(pack_file) as pack:
        pack.check_frame()
        for name in sorted(pack.parts):
            if not name.startswith("evidence/influence.") or not name.endswith(".manifest.json"):
                continue
            night = name.removeprefix("evidence/influence.").removesuffix(".manifest.json")
            sample = json.loads(pack.read(f"evidence/sample.{night}.manifest.json"))
            _check_texts(workspace, night, sample)
            index = json.loads(pack.read(name))["inputs"].get("index")
            found = workspace.index / "manifest.json"
            if not found.exists() or sha256_file(found) != index:
                raise ReperformError(
                    f"night {night} was measured with index {index}, the workspace has another; "
                    f"nothing was measured. Give the workspace with that index, or build it again"
                )
            tables.append(
                pl.read_parquet(io.BytesIO(pack.read(f"evidence/influence.{night}.parquet")))
            )
    if not tables:
        raise ReperformError(f"{pack_file} holds no influence; there is nothing to measure again")
    return pl.concat(tables).filter(pl.col("kind") == "trained")


def _check_texts(workspace: Workspace, night: str, manifest: Mapping[str, object]) -> None:
    path = workspace.root / "sample" / f"{night}.parquet"
    digests = manifest["sha256"]
    wanted = digests.get(path.name) if isinstance(digests, dict) else None
    found = sha256_file(path) if path.exists() else "no such file"
    if found != wanted:
        raise ReperformError(
            f"{workspace.relative(path)} is {found[:16]}, the pack names {str(wanted)[:16]}: its "
            f"texts were dropped or changed, so influence cannot be measured again. Re-perform "
            f"within the days that texts are kept"
        )


def _measured(workspace: Workspace, outputs: list[str]) -> dict[tuple[str, str], int]:
    """Score outputs anew, in a folder that is thrown away."""
    from attribution.run import (  # noqa: PLC0415 - torch, and only here
        AttributionRequest,
        QueryText,
        attribute_outputs,
    )

    frames = [
        pl.read_parquet(path, columns=["event_id", "prompt_text", "output_text"]).filter(
            pl.col("event_id").is_in(outputs)
        )
        for path in sorted((workspace.root / "sample").glob("*.parquet"))
    ]
    rows = pl.concat(frames).unique("event_id").sort("event_id")
    queries = tuple(QueryText(*row) for row in rows.iter_rows())
    with tempfile.TemporaryDirectory(prefix="byline-pairs-") as folder:
        request = AttributionRequest(
            index_dir=workspace.index,
            outputs=queries,
            out_dir=Path(folder),
            device=workspace.settings.attribution.device,
        )
        made = pl.read_parquet(attribute_outputs(request).influence_path)
    columns = made["output_id", "group_id", "influence_nanonats"].iter_rows()
    return {(output, group): units for output, group, units in columns}


def _rows(workspace: Workspace, rows: int, seed: bytes) -> tuple[int, float]:
    """Compute rows of the index again from model and corpus."""
    from attribution.index_verify import verify_index  # noqa: PLC0415 - torch

    if not rows:
        return 0, 0.0
    number = int.from_bytes(seed[:4], "big")
    report = verify_index(
        workspace.index,
        sample=rows,
        seed=number,
        corpus=workspace.corpus,
        device=workspace.settings.attribution.device,
    )
    return int(report["rows_recomputed"]), float(report["worst_difference"])
