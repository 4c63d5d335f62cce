"""Attribute logged outputs to works, and leave the result as files with digests.

1. A shard of outputs has a name that is the digest of the index, the outputs and
   this code's version. A shard that is there and whole is not made again.
2. Rows are sorted by (output_id, kind, group_id); numbers are whole nanonats.
3. Merging shards sorts again, so it does not matter who made which or when.
4. Decoys are scored like the rest and labelled; the total of an output is over
   trained groups only.
5. Completeness is total over measured gain. Where only the final model is known
   the manifest says `relative` and totals must not be divided among people.
6. No more than `run_tables.ROWS_HELD` rows are in memory, whatever the number of outputs
   and works: beyond that, outputs are scored in parts and their rows written as they come.
7. The manifest names the version of the preconditioner that scored. An older one can
   be asked for, and gives the bytes it gave then.
8. A shard has one name whatever device scores it: numbers agree within float rounding, and the
   first that is made is the one that counts. A manifest names the cards that took part.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from attribution import run_tables as tables
from attribution.device import device_name, devices_of, with_devices
from attribution.errors import IndexDamagedError, ScoringError
from attribution.files import canonical_json, sha256_file, sha256_of, write_atomically
from attribution.index_read import GradientIndex
from attribution.index_store import documents_parquet
from attribution.influence import Attributor
from attribution.tokens import check_ids, encode_output
from attribution.trace import Source, Trace, trace

__all__ = [
    "AttributionRequest",
    "AttributionResult",
    "QueryText",
    "Source",
    "Trace",
    "attribute_outputs",
    "merge_shards",
    "trace",
]

FORMAT = "byline-influence/1"
CODE_VERSION = "2"


@dataclass(frozen=True)
class QueryText:
    """One logged output.

    Attributes:
        output_id: its id (the event id of the log).
        prompt_text: what stood before it; read but not scored.
        output_text: what the model wrote; every token of it is scored.
    """

    output_id: str
    prompt_text: str | None
    output_text: str


@dataclass(frozen=True)
class AttributionRequest:
    """Outputs to attribute with an index.

    Attributes:
        index_dir: a finished gradient index.
        outputs: what to attribute; ids are distinct.
        out_dir: where the shard's files go.
        preconditioner: the version to score with; None for the index's own choice.
        device: where the models run; see `device`. An open attributor stays where it is.
    """

    index_dir: Path
    outputs: tuple[QueryText, ...]
    out_dir: Path
    preconditioner: int | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class AttributionResult:
    """The files of one shard or of a merged run."""

    influence_path: Path
    gains_path: Path
    manifest_path: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """The run manifest."""
        content: dict[str, Any] = json.loads(self.manifest_path.read_bytes())
        return content


def shard_name(
    index_sha256: str, outputs: Sequence[QueryText], preconditioner: int | None = None
) -> str:
    """Return the name of a shard: a digest of everything that decides its bytes (rule 1).

    Args:
        index_sha256: digest of the index's manifest.
        outputs: what is attributed.
        preconditioner: the version asked for; None for the one the manifest names.
    """
    said: dict[str, Any] = {
        "code_version": CODE_VERSION,
        "format": FORMAT,
        "index": index_sha256,
        "outputs": outputs_digest(outputs),
    }
    if preconditioner is not None:
        said["preconditioner"] = preconditioner
    return sha256_of(canonical_json(said))


def outputs_digest(outputs: Sequence[QueryText]) -> str:
    """Return the SHA-256 over ids and texts, in order."""
    return sha256_of(
        b"".join(canonical_json([o.output_id, o.prompt_text, o.output_text]) for o in outputs)
    )


def attribute_outputs(
    request: AttributionRequest,
    *,
    attributor: Attributor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AttributionResult:
    """Attribute some outputs to every group of an index.

    Args:
        request: what, with which index, and where to.
        attributor: an open one for the same index, to save loading models again.
        progress: called with (checkpoints done, checkpoints).

    Returns:
        The shard's files; made now or found whole.

    Raises:
        AttributionError: the index is damaged, unfinished or of another model, or
            two outputs share an id.
    """
    version = request.preconditioner
    if attributor is None or version not in (None, attributor.index.preconditioner.version):
        opened = GradientIndex.open(request.index_dir, preconditioner=version)
        attributor = Attributor(opened, models=attributor, device=request.device)
    outputs = tuple(sorted(request.outputs, key=lambda o: o.output_id))
    for before, after in itertools.pairwise(outputs):
        if before.output_id == after.output_id:
            raise ScoringError(
                f"output {before.output_id} is given twice; it would be paid for twice. "
                f"Give each output once"
            )
    index = attributor.index
    name = shard_name(index.manifest.sha256, outputs, request.preconditioner)
    result = _paths(Path(request.out_dir), name)
    if result.manifest_path.is_file() and _whole(result):
        return result
    if attributor.tokenizer is None:
        raise ScoringError(
            f"the model of index {request.index_dir} has no tokenizer, so logged text cannot be "
            f"read; put its tokenizer into the model folder"
        )
    encoded = [encode_output(o.prompt_text, o.output_text, attributor.tokenizer) for o in outputs]
    check_ids(encoded, [o.output_id for o in outputs], attributor.final.vocab_size)
    inputs = {"index": index.manifest.sha256, "outputs": outputs_digest(outputs)}
    ids = [o.output_id for o in outputs]
    step = max(1, tables.ROWS_HELD // max(1, index.groups.height))
    with tempfile.TemporaryDirectory(dir=_made(result.manifest_path.parent)) as scratch:
        parts, gains = [], []
        for begin in range(0, max(1, len(ids)), step):
            some = slice(begin, begin + step)
            scores = attributor.groups(encoded[some], progress)
            rows = tables.influence_table(index, ids[some], scores)
            gained = tables.gains_table(index, ids[some], scores, encoded[some])
            gains.append(gained)
            path = None if len(ids) <= step else Path(scratch) / f"{begin}.parquet"
            parts.append(tables.Part.held(rows, gained, path))
        facts = with_devices(run_facts(index), [device_name(attributor.device)])
        return _write(result, parts, pl.concat(gains), facts, inputs)


def run_facts(index: GradientIndex) -> dict[str, Any]:
    """Return what a run manifest repeats from its index."""
    content = index.manifest.content
    decoys = index.groups.filter(index.groups["kind"] == "decoy")
    return {
        "calibration": dict(index.preconditioner.calibration),
        "checkpoints": content["checkpoints"],
        "clusters": len(content["clusters"]),
        "decoy_documents": int(decoys["documents"].sum()),
        "decoy_groups": decoys.height,
        "groups": int((index.groups["kind"] == "trained").sum()),
        "path_rule": content["path_rule"],
        "preconditioner": index.preconditioner.as_json(),
        "relative": index.manifest.relative_only,
    }


def merge_shards(
    shards: Sequence[AttributionResult], out_dir: Path, name: str
) -> AttributionResult:
    """Put shards of one index together: NAME.parquet, NAME.gains.parquet, NAME.manifest.json.

    Raises:
        ScoringError: there is no shard, they come from different indexes, or two
            hold the same output.
        IndexDamagedError: a shard's file is not the one its manifest names.
    """
    if not shards:
        raise ScoringError(f"there is no shard to merge into {name}; attribute outputs first")
    manifests = [_checked(shard) for shard in shards]
    indexes = {manifest["inputs"]["index"] for manifest in manifests}
    versions = {manifest["preconditioner"]["version"] for manifest in manifests}
    if len(indexes) != 1 or len(versions) != 1:
        raise ScoringError(
            f"shards of {len(indexes)} different indexes and {len(versions)} versions of the "
            f"preconditioner cannot be merged into {name}: {sorted(i[:12] for i in indexes)}, "
            f"{sorted(versions)}; attribute all outputs with one index and one version"
        )
    parts = [tables.Part.of(y.influence_path, pl.read_parquet(y.gains_path)) for y in shards]
    gains = pl.concat([part.gains for part in parts]).sort("output_id")
    twice = gains.filter(pl.col("output_id").is_duplicated())
    if twice.height:
        raise ScoringError(
            f"output {twice['output_id'][0]} is in two shards of {name}; it would be paid for "
            f"twice. Give each output to one shard"
        )
    inputs = {
        "index": indexes.pop(),
        "outputs": sha256_of(
            canonical_json(sorted(manifest["inputs"]["outputs"] for manifest in manifests))
        ),
    }
    facts = with_devices(
        {key: manifests[0][key] for key in _FACTS if key in manifests[0]},
        set.union(*(devices_of(manifest) for manifest in manifests)),
    )
    result = AttributionResult(
        Path(out_dir) / f"{name}.parquet",
        Path(out_dir) / f"{name}.gains.parquet",
        Path(out_dir) / f"{name}.manifest.json",
    )
    return _write(result, parts, gains, facts, inputs)


_FACTS = (
    "calibration",
    "checkpoints",
    "clusters",
    "decoy_documents",
    "decoy_groups",
    "groups",
    "path_rule",
    "preconditioner",
    "relative",
)


def _write(
    result: AttributionResult,
    parts: Sequence[tables.Part],
    gains: pl.DataFrame,
    facts: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> AttributionResult:
    _made(result.influence_path.parent)
    decoy = tables.write_parts(result.influence_path, parts)
    documents_parquet(result.gains_path, gains)
    gain, total = int(gains["gain_nanonats"].sum()), int(gains["total_nanonats"].sum())
    manifest = {
        **facts,
        "code_version": CODE_VERSION,
        "completeness": {
            "gain_nanonats": gain,
            "ratio": round(total / gain, tables.COMPLETENESS_DIGITS) if gain else None,
            "total_nanonats": total,
        },
        "decoy_nanonats": decoy,
        "format": FORMAT,
        "inputs": dict(inputs),
        "outputs": gains.height,
        "outputs_without_score": gains.filter(pl.col("tokens_scored") == 0)["output_id"].to_list(),
        "sha256": {
            "gains": sha256_file(result.gains_path),
            "influence": sha256_file(result.influence_path),
        },
    }
    write_atomically(result.manifest_path, canonical_json(manifest))
    return result


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _paths(folder: Path, name: str) -> AttributionResult:
    return AttributionResult(
        folder / f"{name}.parquet",
        folder / f"{name}.gains.parquet",
        folder / f"{name}.manifest.json",
    )


def _whole(result: AttributionResult) -> bool:
    try:
        _checked(result)
    except (IndexDamagedError, ValueError, KeyError):
        return False
    return True


def _checked(result: AttributionResult) -> dict[str, Any]:
    """Return the manifest of a result whose files are the ones it names."""
    manifest = result.manifest
    for name, path in (("influence", result.influence_path), ("gains", result.gains_path)):
        wanted = manifest["sha256"][name]
        found = sha256_file(path) if path.is_file() else "missing"
        if found != wanted:
            raise IndexDamagedError(
                f"{path}: sha256 {found[:12]}… is not the {wanted[:12]}… in its manifest; "
                f"delete the shard and attribute its outputs again"
            )
    return manifest
