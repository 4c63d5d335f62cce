"""Attribute: cut the sample into shards, get every shard done, put the results together.

1. The shards are a function of sample, index and shard size alone, and each is named by its
   content; so a night that died goes on with the shards that are missing.
2. Where the work happens (here, or on workers) changes nothing in the result.
3. The text of a shard's request is removed when the night's influence is whole: numbers stay.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from flows.artefacts import canonical_json, read_manifest, sha256_bytes, sha256_file, verify_data
from flows.dispatch import run_shards
from flows.errors import NightError
from flows.estimation import INFLUENCE_FORMAT
from flows.night import Night, StepOutcome
from flows.progress import Step
from flows.sampling import SAMPLE_FORMAT
from flows.shards import ShardStore
from flows.tasks import describe

SHARD_SECONDS = (60, 300)
SHARD_SECONDS_AIM = 120
WORTH_ADVICE_S = 600


def attribute_step(night: Night, step: Step) -> StepOutcome:
    """Measure the influence of every work on every sampled output.

    Args:
        night: what is settled.
        step: told how many shards are done.

    Returns:
        Outputs attributed, and how much of what training gained they add up to.

    Raises:
        NightError: the sample is empty.
        ShardError: a shard failed for good.
        AttributionError: the index is missing, damaged or unfinished.
    """
    # Torch comes with it, and the other steps do without.
    from attribution.run import (  # noqa: PLC0415
        QueryText,
        merge_shards,
        outputs_digest,
        shard_name,
    )

    workspace = night.workspace
    verify_data(night.sample, SAMPLE_FORMAT, step="the sample step")
    index_file = workspace.require(workspace.index / "manifest.json", "`byline index build`")
    index_sha256 = sha256_file(index_file)
    rows = pl.read_parquet(night.sample, columns=["event_id", "prompt_text", "output_text"])
    if not rows.height:
        raise NightError(
            f"the sample of {night.name} is empty, so nobody's influence can be measured; "
            f"raise [night] sample_size and give the same command again"
        )
    outputs = [QueryText(*row) for row in rows.iter_rows()]
    measuring = workspace.settings.attribution
    size = measuring.shard_outputs
    cut = [tuple(outputs[start : start + size]) for start in range(0, len(outputs), size)]
    wanted = {
        "index": index_sha256,
        "outputs": sha256_bytes(canonical_json(sorted(outputs_digest(part) for part in cut))),
    }
    if (done := _merged_if_same(night, wanted)) is not None:
        return said(done, worked=False)
    store = ShardStore(workspace.shards)
    names = [shard_name(index_sha256, part) for part in cut]
    for name, part in zip(names, cut, strict=True):
        store.put(name, workspace.index, index_sha256, part)
    broker = workspace.settings.broker
    run_shards(store, names, broker, step.update, step.say, measuring.device)
    merge_shards([store.result(name) for name in names], night.influence.parent, night.name)
    if broker.url and (advice := size_advice(store, names, size)):
        step.say(advice)
    for name in names:
        store.drop_request(name)
    manifest = read_manifest(night.manifest("influence"), INFLUENCE_FORMAT)
    assert manifest["inputs"] == wanted, (manifest["inputs"], wanted)
    where = describe(broker)
    return said(manifest, worked=True, where=f"{len(cut)} shards {where}")


def size_advice(store: ShardStore, names: Sequence[str], size: int) -> str:
    """Say which shard size would take one to five minutes, when the present one does not.

    The size is never changed unasked: how outputs are cut into shards is written into the night's
    manifests, and with it into the book.

    Args:
        store: knows how long each shard took.
        names: the night's shards.
        size: outputs of a shard, as set now.

    Returns:
        The advice, or "" when there is none: shards are as long as they should be, or all of
        them together are so short that fewer and longer ones would keep fewer workers busy.
    """
    took = [seconds for name in names if (seconds := store.seconds(name)) is not None]
    if not took:
        return ""
    median = statistics.median(took)
    low, high = SHARD_SECONDS
    if low <= median <= high or (median < low and sum(took) < WORTH_ADVICE_S):
        return ""
    better = max(1, round(size * SHARD_SECONDS_AIM / max(median, 0.001)))
    return (
        f"shards took {median:.0f} s each, {low} to {high} s is wanted; [attribution] "
        f"shard_outputs = {better} would take about {SHARD_SECONDS_AIM} s, from the next night on"
    )


def said(manifest: Mapping[str, Any], *, worked: bool, where: str = "") -> StepOutcome:
    """Say what a night's influence holds."""
    ratio = manifest["completeness"]["ratio"]
    share = f"{100 * ratio:.0f} % of the gain" if ratio is not None else "no gain"
    return StepOutcome(
        f"{manifest['outputs']} outputs x {manifest['groups']} works, {share}"
        + (f", {where}" if where else ""),
        worked,
        {"outputs": manifest["outputs"], "works": manifest["groups"]},
    )


def _merged_if_same(night: Night, wanted: Mapping[str, str]) -> dict[str, Any] | None:
    path = night.manifest("influence")
    if not path.exists():
        return None
    manifest = read_manifest(path, INFLUENCE_FORMAT)
    files = {"influence": night.influence, "gains": night.gains}
    whole = all(
        file.exists() and sha256_file(file) == manifest["sha256"][name]
        for name, file in files.items()
    )
    return manifest if whole and manifest["inputs"] == wanted else None
