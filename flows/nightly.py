"""The steps of a night, as plain functions that read and write files.

    ingest     logs -> outputs/DATE            sample    outputs -> sample/DATE
    filter     outputs marked (not) payable    attribute sample x index -> influence/DATE
    estimate   influence -> estimates/DATE     settle    estimates x agreements -> one entry
    seal       every new leaf -> one signed checkpoint

1. A step whose artefact is there, whole, and made from the same inputs does nothing.
2. Artefacts appear whole or not at all, and the ledger takes an entry once, so a run that died
   anywhere is finished by the same command, with the same checkpoint root.
3. Records that arrive after their night was settled make a late batch: a night of its own whose
   entry is an adjustment, approved by a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from contracts.money import format_units
from contracts.split import split
from contracts.work import load_catalogue
from flows import attribute as attribution_step
from flows import intake, seal, settle
from flows.artefacts import (
    canonical_json,
    is_complete,
    read_manifest,
    sha256_file,
    verify_data,
    write_bytes,
)
from flows.books import open_books
from flows.estimation import ESTIMATES_FORMAT, INFLUENCE_FORMAT, Pool, estimate, ownership_on
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.night import Night, StepOutcome
from flows.progress import Step
from flows.sampling import SAMPLE_FORMAT, draw_sample, night_seed

SEED_FORMAT = "byline-night-seed/1"
POOL_PPM = 10**6

StepFunction = Callable[[Night, Step], StepOutcome]


def sample_step(night: Night, _step: Step) -> StepOutcome:
    """Draw the night's sample with a seed fixed by the last checkpoint and the batch.

    Args:
        night: what is settled.
        _step: told nothing; drawing is quick.

    Returns:
        How many outputs were drawn from how many.
    """
    wanted = night.workspace.settings.night
    given = {
        "outputs": sha256_file(night.outputs),
        "strata_columns": list(wanted.strata),
        "target_size": wanted.sample_size,
    }
    if is_complete(night.sample, SAMPLE_FORMAT):
        manifest = read_manifest(night.manifest("sample"), SAMPLE_FORMAT)
        same = manifest["inputs"]["outputs"] == given["outputs"]
        if same and all(manifest[key] == given[key] for key in ("strata_columns", "target_size")):
            return _said_sample(manifest, worked=False)
    outputs = verify_data(night.outputs, OUTPUTS_FORMAT, step="`byline ingest`")
    previous_root = _fixed_root(night, str(outputs["batch_root"]))
    manifest = draw_sample(
        night.outputs,
        night.sample,
        seed_hex=night_seed(previous_root, str(outputs["batch_root"]), night.date),
        target_size=wanted.sample_size,
        strata=wanted.strata,
        previous_root=previous_root,
    )
    return _said_sample(manifest, worked=True)


def estimate_step(night: Night, _step: Step) -> StepOutcome:
    """Turn influence into shares with intervals and divide the night's pool.

    Args:
        night: what is settled.
        _step: told nothing; estimating is quick.

    Returns:
        The pool, and the part of it that nobody's influence explains.
    """
    pool = night.workspace.settings.pool
    sample = read_manifest(night.manifest("sample"), SAMPLE_FORMAT)
    catalogue = load_catalogue(
        night.workspace.require(night.workspace.catalogue, "whoever keeps the catalogue of works")
    )
    owners = ownership_on(catalogue, night.date)
    pool_units = pool_of(int(sample["population"]["value_units"]), pool.rate_ppm)
    inputs = {
        "influence": sha256_file(night.influence),
        "gains": sha256_file(night.gains),
        "sample": sha256_file(night.sample),
        "ownership": owners.digest(),
    }
    done = _estimates_if_same(night, inputs, pool_units)
    if done is not None:
        return _said_estimates(done, pool.currency, worked=False)
    result = estimate(
        influence=night.influence,
        gains=night.gains,
        sample=night.sample,
        ownership=owners,
        out_dir=night.works.parent,
        name=night.name,
        pool=Pool(pool.id, pool_units),
    )
    return _said_estimates(result.manifest, pool.currency, worked=True)


def pool_of(value_units: int, rate_ppm: int) -> int:
    """Give the pool that a revenue pays into, by largest remainder.

    Args:
        value_units: revenue of the payable outputs.
        rate_ppm: the pool's part of it, in parts per million.

    Returns:
        Units of the same currency.
    """
    rate = Fraction(rate_ppm, POOL_PPM)
    return split(value_units, [rate, 1 - rate])[0]


def guarded(kind: str, form: str, function: StepFunction) -> StepFunction:
    """Leave a settled night's artefact alone, whatever settings or agreements say today.

    Args:
        kind: the artefact the step makes.
        form: its format.
        function: the step.

    Returns:
        A step that does nothing when the ledger cites the very manifest that is there and its
        files are whole.
    """

    def run(night: Night, step: Step) -> StepOutcome:
        path = night.manifest(kind)
        if path.exists():
            with open_books(night.workspace) as books:
                evidence = settle.posted_evidence(night, books)
            if evidence is not None and evidence.get(kind) == sha256_file(path):
                manifest = read_manifest(path, form)
                if _is_whole(path, manifest):
                    return _kept(kind, manifest)
        return function(night, step)

    return run


STEPS: Mapping[str, StepFunction] = {
    "ingest": intake.ingest_step,
    "filter": intake.filter_step,
    "sample": guarded("sample", SAMPLE_FORMAT, sample_step),
    "attribute": guarded("influence", INFLUENCE_FORMAT, attribution_step.attribute_step),
    "estimate": guarded("estimates", ESTIMATES_FORMAT, estimate_step),
    "settle": settle.settle_step,
    "seal": seal.seal_step,
}


def _fixed_root(night: Night, batch_root: str) -> str:
    """Give the checkpoint root that the seed is made from: once fixed, always the same.

    Between a kill and the next run another night may seal a checkpoint; the seed file keeps
    the root that was the latest when this batch was first sampled.
    """
    if night.seed_file.exists():
        kept = read_manifest(night.seed_file, SEED_FORMAT, step="the sample step")
        if kept["batch_root"] == batch_root:
            return str(kept["previous_root"])
    with open_books(night.workspace) as books:
        previous_root = seal.latest_root(books)
    kept = {"format": SEED_FORMAT, "batch_root": batch_root, "previous_root": previous_root}
    write_bytes(night.seed_file, canonical_json(kept))
    return previous_root


def _estimates_if_same(
    night: Night, inputs: Mapping[str, str], pool_units: int
) -> dict[str, Any] | None:
    path = night.manifest("estimates")
    if not path.exists():
        return None
    manifest = read_manifest(path, ESTIMATES_FORMAT)
    same = manifest["inputs"] == inputs and manifest["pool_units"] == pool_units
    return manifest if same and _is_whole(path, manifest) else None


def _is_whole(path: Path, manifest: Mapping[str, Any]) -> bool:
    """Say whether every file a manifest describes is beside it with the digest it says."""
    stem = path.name.removesuffix(".manifest.json")
    # Attribution calls its files by what they are, the others by their names.
    called = {"influence": f"{stem}.parquet", "gains": f"{stem}.gains.parquet"}
    files = {path.parent / called.get(k, k): digest for k, digest in manifest["sha256"].items()}
    return all(file.exists() and sha256_file(file) == digest for file, digest in files.items())


def _kept(kind: str, manifest: Mapping[str, Any]) -> StepOutcome:
    """Say what a settled night's artefact holds."""
    if kind == "sample":
        return _said_sample(manifest, worked=False)
    if kind == "estimates":
        return _said_estimates(manifest, manifest["currency"], worked=False)
    return attribution_step.said(manifest, worked=False)


def _said_sample(manifest: Mapping[str, Any], *, worked: bool) -> StepOutcome:
    population = manifest["population"]["outputs"]
    return StepOutcome(
        f"{manifest['sampled']} of {population} payable outputs, seed {manifest['seed'][:8]}",
        worked,
        {"sampled": manifest["sampled"], "payable": population, "seed": manifest["seed"]},
    )


def _said_estimates(manifest: Mapping[str, Any], currency: str, *, worked: bool) -> StepOutcome:
    pool_units, unexplained = manifest["pool_units"], manifest["unexplained_units"]
    return StepOutcome(
        f"pool {format_units(pool_units, currency)}, "
        f"unexplained {format_units(unexplained, currency)} {currency.partition('/')[0]}",
        worked,
        {"pool_units": pool_units, "unexplained_units": unexplained},
    )
