"""Work a pack's nights out again: draws, pools and estimates, each stage with its first difference.

    evidence    the manifests of each night are those its entry cites, its tables those they name
    draws       each sampled output is the one its seed draws; the seed was fixed before its night
    influence   draws, gains and influence speak of the same outputs
    pools       value times rate is the pool
    estimates   shares, standard errors, intervals and accruals of works and creators, from the
                draws and the influence of every work on every output, equal in every number
    terms       accruals by model version and territory, or by another rule, where entries cite any

What a pack lacks (its draws, being of an earlier format; the rate, which nights recorded later)
is named, and the stages that need it are left out for that night.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from contracts.apportionment import SIGNED_LINEAR
from flows.accruals import night_of_key
from flows.artefacts import sha256_file
from flows.cells import cells_kind, night_cells
from flows.errors import FlowError
from flows.estimation import Pool, UnexplainedRule, estimate, ownership_on
from flows.knowledge import KnowledgeBase
from flows.night import Night
from flows.nightly import pool_of
from flows.positive import KIND as POSITIVE
from flows.positive import positive_tables
from flows.reperform_layout import ReperformError
from flows.revisions import revision_sign
from flows.settle import EVIDENCE_KINDS, SCOPE
from flows.workspace import Workspace
from ledger.audit_draws import check_night_draws, draws_member
from ledger.audit_errors import AuditError
from ledger.audit_frame import OpenPack
from ledger.audit_population import check_night_frame, frame_member
from ledger.audit_tables import CHECKPOINTS
from ledger.checkpoint import read_checkpoint, split_notes
from ledger.journal import SealedEntry

Tell = Callable[[str, str], None]
# What every version estimates alike; only the ends of intervals are made in another way.
_COMMON = ("work_id", "creator_id", "outputs", "share_ppt", "stderr_ppt", "accrual_units")


@dataclass(frozen=True)
class BookedNight:
    """A night of a pack and the entry that books it."""

    night: Night
    sealed: SealedEntry

    @property
    def has_draws(self) -> bool:
        """Whether the pack brought the night's sampled outputs."""
        return self.night.sample.exists()

    def manifest(self, kind: str) -> dict[str, Any]:
        """Read one of its manifests."""
        return dict(json.loads(self.night.manifest(kind).read_bytes()))


def booked_nights(
    workspace: Workspace, entries: Sequence[SealedEntry], period: str
) -> list[BookedNight]:
    """Find the nights that are booked in a period and whose estimates the pack brought."""
    found = []
    for sealed in entries:
        entry = sealed.entry
        if entry.scope == SCOPE and entry.period == period and entry.kind != "reversal":
            night = night_of_key(workspace, entry.key)
            if night is not None and night.manifest("estimates").exists():
                found.append(BookedNight(night, sealed))
    return found


def check_nights(
    pack: OpenPack, nights: Sequence[BookedNight], base: KnowledgeBase, scratch: Path, tell: Tell
) -> tuple[str, ...]:
    """Do every stage for every night.

    Args:
        pack: the pack the nights come from.
        nights: from `booked_nights`.
        base: what was known when.
        scratch: an empty folder.
        tell: called with each stage that held, and what it came to.

    Returns:
        What the pack lacks.

    Raises:
        ReperformError: the first difference, by stage and place.
    """
    files = sum(_check_evidence(each) for each in nights)
    tell("evidence", f"{files} manifests and tables of {len(nights)} nights are those cited")
    drawn = [each for each in nights if each.has_draws]
    lacks = [f"draws of {e.night.name}: its estimates are taken as they are" for e in nights]
    lacks = [text for text, each in zip(lacks, nights, strict=True) if not each.has_draws]
    counts = [_check_draws(pack, each) for each in drawn]
    population = sum(int(e.manifest("sample")["population"]["outputs"]) for e in drawn)
    tell("draws", f"{sum(counts)} of {population} payable outputs, drawn by {len(drawn)} seeds")
    cells = sum(_check_influence(each) for each in drawn)
    tell("influence", f"{cells} numbers for the outputs drawn")
    unrated = [each.night.name for each in drawn if not _check_pool(each)]
    lacks += [f"the pool's rate on {name}: the pool is taken as it is" for name in unrated]
    tell("pools", f"{len(drawn) - len(unrated)} pools are value times rate")
    rows = sum(_check_estimates(each, base, scratch) for each in drawn)
    lacks += [text for each in drawn if (text := _other_intervals(each, scratch))]
    tell("estimates", f"{rows} works and creators: shares, errors, intervals, accruals")
    tables = sum(_check_terms(pack, each, base) for each in drawn)
    if tables:
        tell("terms", f"{tables} tables by model version and territory, or by another rule")
    return tuple(lacks)


def _check_evidence(each: BookedNight) -> int:
    """Hold manifests against the entry, and tables against the manifests."""
    count, cited = 0, each.sealed.entry.evidence
    for kind in EVIDENCE_KINDS:
        path = each.night.manifest(kind)
        _same_file(path, cited.get(kind), f"entry {each.sealed.entry_id}")
        count += 1
        if kind in {"influence", "estimates"}:
            for name, digest in each.manifest(kind)["sha256"].items():
                # Attribution calls its files by what they are, the others by their names.
                called = {"influence": each.night.influence, "gains": each.night.gains}
                _same_file(called.get(name, path.with_name(name)), digest, path.name)
                count += 1
    return count


def _same_file(path: Path, cited: object, by: str) -> None:
    found = sha256_file(path) if path.exists() else "no such file"
    if found != cited:
        raise ReperformError(
            f"evidence: {path.parent.name}/{path.name} has SHA-256 {found}, {by} cites {cited}; "
            f"it is not what the book rests on. Ask the payer, and keep the pack"
        )


def _check_draws(pack: OpenPack, each: BookedNight) -> int:
    """Draw the night again; its seed must come from a checkpoint older than its entry."""
    name = each.night.name
    notes = [read_checkpoint(n) for n in split_notes(pack.read(CHECKPOINTS).decode())]
    try:
        count = check_night_draws(pack, name, {note.root_hex for note in notes})
        if frame_member(name) in pack.parts:
            check_night_frame(pack, name)
    except AuditError as error:
        raise ReperformError(f"draws: {str(error).removeprefix('step 14: ')}") from None
    root = each.manifest("sample")["previous_root"]
    sizes = [note.size for note in notes if note.root_hex == root]
    if sizes and min(sizes) >= each.sealed.ledger_seq:
        raise ReperformError(
            f"draws: the seed of {name} rests on the checkpoint of {min(sizes)} leaves, its entry "
            f"is leaf {each.sealed.ledger_seq}; the seed was not fixed before the night was booked"
        )
    return count


def _check_influence(each: BookedNight) -> int:
    """Compare the outputs of draws, gains and influence; give how many numbers there are."""
    name = each.night.name
    drawn = set(pl.read_parquet(each.night.sample, columns=["event_id"])["event_id"])
    table = pl.scan_parquet(each.night.influence)
    tables = {
        f"influence/{each.night.gains.name}": pl.read_parquet(
            each.night.gains, columns=["output_id"]
        )["output_id"],
        f"influence/{each.night.influence.name}": table.select(pl.col("output_id").unique())
        .collect()
        .to_series(),
    }
    for where, column in tables.items():
        if odd := sorted(drawn ^ set(column)):
            has = "lacks" if odd[0] in drawn else "has"
            raise ReperformError(
                f"influence: {where} {has} {odd[0]}, {draws_member(name)} "
                f"{'has' if has == 'lacks' else 'lacks'} it ({len(odd)} outputs differ); what was "
                f"drawn is not what was measured"
            )
    return int(table.select(pl.len()).collect().item())


def _check_pool(each: BookedNight) -> bool:
    """Hold a night's pool against value times rate; False where no rate was recorded."""
    manifest, sample = each.manifest("estimates"), each.manifest("sample")
    rate_ppm = manifest.get("pool_rate_ppm")
    if rate_ppm is None:
        return False
    value = int(sample["population"]["value_units"])
    pool_units = pool_of(value, rate_ppm)
    pool_units = -pool_units if revision_sign(each.night.outputs) < 0 else pool_units
    if pool_units != manifest["pool_units"]:
        raise ReperformError(
            f"pools: {each.night.name}: {value} units of value at {rate_ppm} ppm are a pool of "
            f"{pool_units} units, its estimates say {manifest['pool_units']}"
        )
    return True


def _check_estimates(each: BookedNight, base: KnowledgeBase, scratch: Path) -> int:
    """Estimate the night again and compare every number."""
    night, manifest = each.night, each.manifest("estimates")
    known = base.cited(each.sealed.entry.evidence)
    try:
        again = estimate(
            influence=night.influence,
            gains=night.gains,
            sample=night.sample,
            ownership=ownership_on(known.catalogue, night.date),
            out_dir=scratch,
            name=night.name,
            pool=Pool(
                manifest["pool_id"],
                manifest["pool_units"],
                taken_back=revision_sign(night.outputs) < 0,
                rate_ppm=manifest.get("pool_rate_ppm"),
            ),
            rule=UnexplainedRule(**manifest["rule"]),
        )
    except FlowError as error:
        raise ReperformError(f"estimates: {night.name}: {error}") from error
    same = manifest["confidence"] == again.manifest["confidence"]
    rows, left_out = 0, frozenset() if same else frozenset({"confidence"})
    for booked, made in ((night.works, again.works), (night.creators, again.creators)):
        before, now = pl.read_parquet(booked), pl.read_parquet(made)
        if left_out:
            before, now = (t.select(c for c in _COMMON if c in t.columns) for t in (before, now))
        if difference := _first_difference(before, now):
            raise ReperformError(f"estimates: {booked.name}: {difference}")
        rows += before.height
    odd = next(_odd_fields(manifest, again.manifest, left_out), None)
    if odd is not None:
        raise ReperformError(f"estimates: {night.name}.manifest.json: {odd}")
    return rows


def _check_terms(pack: OpenPack, each: BookedNight, base: KnowledgeBase) -> int:
    """Make what a night's entry cites besides again, and compare; give the number of tables."""
    evidence, night = each.sealed.entry.evidence, each.night
    makers: dict[str, Callable[[], object]] = {
        cells_kind(SIGNED_LINEAR.name): lambda: night_cells(night),
        POSITIVE: lambda: positive_tables(night, base.cited(evidence)),
    }
    count = 0
    for kind in sorted(makers.keys() & evidence.keys()):
        makers[kind]()
        for name in each.manifest(kind)["sha256"]:
            before = pl.read_parquet(io.BytesIO(pack.read(f"evidence/{kind}.{name}")))
            now = pl.read_parquet(night.manifest(kind).with_name(name))
            if difference := _first_difference(before, now):
                raise ReperformError(f"terms: {kind}/{name}: {difference}")
            count += 1
    return count


def _other_intervals(each: BookedNight, scratch: Path) -> str:
    """Say that a night's intervals are of another version, so that their ends were not compared."""
    booked = each.manifest("estimates")["confidence"]
    ours = json.loads((scratch / f"{each.night.name}.manifest.json").read_bytes())["confidence"]
    if booked == ours:
        return ""
    return f"intervals of {each.night.name} as made here ({booked!r}, not {ours!r}): not compared"


def _odd_fields(
    booked: Mapping[str, Any], again: Mapping[str, Any], left_out: AbstractSet[str]
) -> Iterator[str]:
    """Name the fields that differ; digests of tables that are equal may, with another library."""
    for key in sorted((booked.keys() | again.keys()) - {"sha256"} - left_out):
        if booked.get(key) != again.get(key):
            yield f"{key} is {booked.get(key)!r}; worked out again it is {again.get(key)!r}"


def _first_difference(booked: pl.DataFrame, again: pl.DataFrame) -> str:
    """Name the first row and column in which two tables differ; "" where they are equal."""
    if booked.columns != again.columns:
        return f"columns {booked.columns}; worked out again {again.columns}"
    for before, now in zip(booked.rows(), again.rows(), strict=False):
        for column, old, new in zip(booked.columns, before, now, strict=True):
            if old != new:
                return f"{before[0]}: {column} is {old}; worked out again it is {new}"
    if booked.height != again.height:
        return f"{booked.height} rows; worked out again {again.height}"
    return ""
