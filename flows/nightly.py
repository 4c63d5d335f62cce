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
from flows import clock, intake, seal, settle
from flows.artefacts import (
    canonical_json,
    is_as_recorded,
    is_complete,
    manifest_path,
    read_manifest,
    recorded_sha256,
    sha256_file,
    verify_data,
    write_bytes,
)
from flows.books import open_books
from flows.errors import NightError
from flows.estimation import ESTIMATES_FORMAT, INFLUENCE_FORMAT, Pool, estimate, ownership_on
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.intake import tenant_classes
from flows.mending import mended
from flows.night import Night, StepOutcome
from flows.progress import Step
from flows.revisions import revision_of, revision_sign
from flows.sampling import (
    SAMPLE_FORMAT,
    TENANT_CLASS,
    carries_money,
    draw_sample,
    night_seed,
)

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
    classes = tenant_classes(night.workspace) if TENANT_CLASS in wanted.strata else {}
    given = {
        "strata_columns": list(wanted.strata),
        "target_size": wanted.sample_size,
        "allocation": wanted.allocation,
        "tenant_classes": classes,
    }
    if is_complete(night.sample, SAMPLE_FORMAT):
        manifest = read_manifest(night.manifest("sample"), SAMPLE_FORMAT)
        same = manifest["inputs"]["outputs"] == _recorded(night.outputs, OUTPUTS_FORMAT)
        if same and all(manifest.get(key, {}) == given[key] for key in given):
            return _said_sample(manifest, worked=False)
    outputs = verify_data(night.outputs, OUTPUTS_FORMAT, step="`byline ingest`")
    fixed = _fixed_before_scoring(night, str(outputs["batch_root"]))
    manifest = draw_sample(
        night.outputs,
        night.sample,
        seed_hex=night_seed(fixed["previous_root"], str(outputs["batch_root"]), night.date),
        target_size=wanted.sample_size,
        strata=wanted.strata,
        allocation=wanted.allocation,
        spreads_ppm=fixed.get("spreads_ppm"),
        classes=classes,
        previous_root=fixed["previous_root"],
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
    taken_back = revision_sign(night.outputs) < 0
    pool_units = pool_of(int(sample["population"]["value_units"]), pool.rate_ppm)
    pool_units = -pool_units if taken_back else pool_units
    inputs = {
        "influence": sha256_file(night.influence),
        "gains": sha256_file(night.gains),
        "sample": recorded_sha256(sample, night.sample.name),
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
        pool=Pool(pool.id, pool_units, taken_back, pool.rate_ppm),
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


def unless_nil(function: StepFunction) -> StepFunction:
    """Skip a step of a night on which no payable output has a value: there is nothing to divide."""

    def run(night: Night, step: Step) -> StepOutcome:
        manifest = read_manifest(night.manifest("sample"), SAMPLE_FORMAT, step="the sample step")
        if carries_money(manifest):
            return function(night, step)
        return StepOutcome("nothing: no payable output has a value", worked=False)

    return run


def by_another_person(function: StepFunction) -> StepFunction:
    """Have a batch of accepted revisions approved by somebody else than who accepted them."""

    def run(night: Night, step: Step) -> StepOutcome:
        accepted_by = revision_of(night.outputs).get("accepted_by", [])
        if night.approved_by in accepted_by:
            with open_books(night.workspace) as books:
                posted = settle.posted_evidence(night, books) is not None
            if not posted:
                raise NightError(
                    f"{night.approved_by} accepted the revised values of {night.name} and cannot "
                    f"approve their adjustment too. Nothing was posted; give the same command with "
                    f"--approved-by SOMEBODY-ELSE"
                )
        return function(night, step)

    return run


STEPS: Mapping[str, StepFunction] = {
    "ingest": clock.checked(mended(intake.ingest_step)),
    "filter": intake.filter_step,
    "sample": guarded("sample", SAMPLE_FORMAT, sample_step),
    "attribute": unless_nil(
        guarded("influence", INFLUENCE_FORMAT, attribution_step.attribute_step)
    ),
    "estimate": unless_nil(guarded("estimates", ESTIMATES_FORMAT, estimate_step)),
    "settle": unless_nil(by_another_person(settle.settle_step)),
    "seal": seal.seal_step,
}


def _fixed_before_scoring(night: Night, batch_root: str) -> dict[str, Any]:
    """Give what the draw depends on beside the batch: once fixed, always the same.

    Between a kill and the next run another night may seal a checkpoint; the seed file keeps the
    root that was the latest when this batch was first sampled, and for Neyman allocation the
    spreads that the last night before had shown.
    """
    kept: dict[str, Any] = {"format": SEED_FORMAT, "batch_root": batch_root}
    if night.seed_file.exists():
        found = read_manifest(night.seed_file, SEED_FORMAT, step="the sample step")
        kept = found if found["batch_root"] == batch_root else kept
    neyman = night.workspace.settings.night.allocation == "neyman"
    if "previous_root" in kept and (not neyman or "spreads_ppm" in kept):
        return kept
    if "previous_root" not in kept:
        with open_books(night.workspace) as books:
            kept["previous_root"] = seal.latest_root(books)
    if neyman:
        kept["spreads_ppm"] = _latest_spreads(night)
    write_bytes(night.seed_file, canonical_json(kept))
    return kept


def _latest_spreads(night: Night) -> dict[str, int]:
    """Read each stratum's spread from the estimates of the last night before; none is no spread."""
    folder = night.manifest("estimates").parent
    names = sorted(path.name for path in folder.glob("????-??-??.manifest.json"))
    earlier = [name for name in names if name < night.date.isoformat()]
    if not earlier:
        return {}
    manifest = read_manifest(folder / earlier[-1], ESTIMATES_FORMAT)
    return {name: int(spread) for name, spread in manifest["spreads_ppm"].items()}


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
    return all(is_as_recorded(file, digest) for file, digest in files.items())


def _recorded(path: Path, form: str) -> str:
    """Give the digest that a file's manifest records; dropped texts do not change it."""
    return recorded_sha256(read_manifest(manifest_path(path), form), path.name)


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
