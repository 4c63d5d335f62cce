"""Intake: from log files to the night's table, with what is payable marked in it.

1. Logs whose bytes were all read before are not read again.
2. Once a night is sampled its table never changes; what arrives later is a late batch of its own,
   with an entry of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from pathlib import Path
from typing import Any

import polars as pl

from contracts.money import show_money
from flows.appeals import read_appeals
from flows.artefacts import is_complete, manifest_path, read_manifest
from flows.canonical_rows import IngestSettings, pseudonym
from flows.data_errors import ReconciliationError
from flows.filter_keys import FilterSettings
from flows.ingest import ingest, late_batches, plain_filters
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.logs.reading import find_logs, reader_of
from flows.night import Night, StepOutcome
from flows.progress import Step
from flows.quarantine import read_quarantine
from flows.reconciliation import (
    GatewayTotal,
    Reconciliation,
    read_total,
    reconcile,
    write_reconciliation,
)
from flows.revisions import read_revisions
from flows.sampling import SAMPLE_FORMAT
from flows.workspace import Workspace

HMAC_KEY_BYTES_MIN = 16


def ingest_step(night: Night, _step: Step) -> StepOutcome:
    """Read the night's logs into its table, or into a late batch when it is sampled already.

    Args:
        night: what is settled; a late batch is on the disk already.
        _step: told nothing; reading is quick.

    Returns:
        Outputs logged and lines quarantined.

    Raises:
        LogError: a log cannot be read as asked.
    """
    if night.late or _all_read(night):
        return _said(night, worked=False)
    result = ingest(
        list(night.logs),
        night.date,
        night.outputs,
        quarantine_file(night),
        read_hmac_key(night.workspace),
        settings=replace(
            ingest_settings(night.workspace),
            revisions=read_revisions(revisions_file(night.workspace, night.date)),
        ),
        filters=filter_settings(night.workspace, night.date),
        settled=is_complete(night.sample, SAMPLE_FORMAT),
        now_us=_now_us(night.workspace),
        processes=night.workspace.settings.ingest.processes,
    )
    late = f", late batch {result.new_late.stem.rpartition('-')[2]}" if result.new_late else ""
    said = _said(night, worked=True)
    return StepOutcome(said.text + late, worked=True, values=said.values)


def filter_step(night: Night, _step: Step) -> StepOutcome:
    """Say what the filters took out of the night's pool, and that the counts foot.

    The reasons are decided when the table is written, since a duplicate is one among all.

    Args:
        night: what is settled.
        _step: told nothing.

    Returns:
        Payable outputs, the excluded ones by reason, and the comparison with the gateway.

    Raises:
        ReconciliationError: the gateway counts otherwise and the night is not sampled yet.
    """
    counts = read_manifest(night.manifest("outputs"), OUTPUTS_FORMAT)["counts"]
    excluded = {reason: entry["outputs"] for reason, entry in counts["excluded"].items()}
    payable = counts["payable"]["outputs"]
    whole = payable + sum(excluded.values())
    assert whole == counts["outputs"], (whole, counts)
    named = ", ".join(f"{count} {reason}" for reason, count in excluded.items())
    units = {reason: entry["value_units"] for reason, entry in counts["excluded"].items()}
    values = {"payable": payable, "excluded": excluded, "excluded_units": units}
    values |= {"payable_units": counts["payable"]["value_units"], "rejected": counts["rejected"]}
    told = _reconciled(night)
    gap = _gap_text(told, night.workspace.settings.pool.currency)
    if told is not None:
        values["reconciliation"] = asdict(told)
    return StepOutcome(
        f"{payable} payable" + (f"; out: {named}" if named else "") + gap,
        worked=True,
        values=values,
    )


def reconcile_night(night: Night, total: GatewayTotal) -> Reconciliation:
    """Compare a date's outputs, late batches and rejects with a gateway's total, and keep both.

    Args:
        night: the date.
        total: what the gateway says.

    Returns:
        Both sides and the gaps.

    Raises:
        ReconciliationError: the gap is beyond the tolerance; the record of it is written.
    """
    tolerance = night.workspace.settings.ingest.gateway_tolerance_ppm
    tables = tables_of(night)
    found = reconcile(night.date, tables, quarantine_file(night), total, tolerance_ppm=tolerance)
    write_reconciliation(reconciliation_file(night), found, tables)
    return found


def reconciliation_file(night: Night) -> Path:
    """Name the record of a date's comparison with the gateway."""
    return night.outputs.with_name(f"{night.date.isoformat()}.reconciliation.json")


def gateway_file(workspace: Workspace, date: Date) -> Path:
    """Name the file of what the gateway says about a date."""
    return workspace.root / "gateway" / f"{date.isoformat()}.json"


def _reconciled(night: Night) -> Reconciliation | None:
    """Compare with the gateway if it has said anything.

    A gap stops a night that is not sampled yet. A settled one is not stopped, since its late
    batches are what closes the gap; its line says it until it is closed.
    """
    total = None if night.late else read_total(gateway_file(night.workspace, night.date))
    if total is None:
        return None
    try:
        return reconcile_night(night, total)
    except ReconciliationError as error:
        if not is_complete(night.sample, SAMPLE_FORMAT):
            raise
        kept: Reconciliation = error.found
        return kept


def _gap_text(told: Reconciliation | None, currency: str) -> str:
    """Say a comparison in a few words."""
    if told is None:
        return ""
    if told.within_tolerance:
        return "; as the gateway counts"
    gap = f"; GAP of {told.calls_gap:+d} calls"
    units = told.value_gap_units
    money = f" and {'+' * (units > 0)}{show_money(units, currency)}" if units else ""
    return f"{gap}{money} to {told.gateway.source}"


def late_nights(night: Night) -> list[Night]:
    """List the late batches of a night as nights of their own, by name."""
    return [
        Night(night.workspace, night.date, (), path.stem.rpartition("-")[2], night.approved_by)
        for path in late_batches(night.outputs)
    ]


def ingest_settings(workspace: Workspace) -> IngestSettings:
    """Give the rules by which log records become rows."""
    section = workspace.settings.ingest
    return IngestSettings(
        currency=workspace.settings.pool.currency,
        value_from=section.value_from,
        value_units_each=section.value_units_each,
        territory=section.territory,
        clock_skew_s=section.clock_skew_s,
        log_format=section.log_format or None,
        field_map=_pairs(section.field_map) or None,
    )


def filter_settings(workspace: Workspace, date: Date) -> FilterSettings:
    """Give a date's filters, with tenants' and users' names replaced by their pseudonyms."""
    section = workspace.settings.filter
    key = read_hmac_key(workspace)
    dealing = _pairs(section.self_dealing)
    return FilterSettings(
        test_tenants=frozenset(pseudonym(key, "tenant", name) for name in section.test_tenants),
        self_dealing={pseudonym(key, "tenant", t): party for t, party in dealing.items()},
        pay_cache_hits=section.pay_cache_hits,
        user_per_minute_max=section.user_per_minute_max,
        tenant_per_minute_max=section.tenant_per_minute_max,
        drop_duplicates=section.drop_duplicates,
        near_duplicate_letters_min=section.near_duplicate_letters_min,
        names={name.lower(): creator for name, creator in _pairs(section.names).items()},
        name_prompts_max=section.name_prompts_max,
        user_per_day_max=section.user_per_day_max,
        tenant_per_day_max=section.tenant_per_day_max,
        bot_users=frozenset(pseudonym(key, "user", name) for name in section.bot_users),
        appeals=frozenset(read_appeals(appeals_file(workspace, date))),
    )


def _pairs(items: Iterable[str]) -> dict[str, str]:
    """Read a list of LEFT=RIGHT."""
    return dict(item.split("=", 1) for item in items)


def tenant_classes(workspace: Workspace) -> dict[str, str]:
    """Give the class of each tenant that has one, by its pseudonym."""
    key = read_hmac_key(workspace)
    classes = _pairs(workspace.settings.night.tenant_classes)
    return {pseudonym(key, "tenant", tenant): name for tenant, name in sorted(classes.items())}


def read_hmac_key(workspace: Workspace) -> bytes:
    """Read the key of the pseudonyms.

    Raises:
        WorkspaceError: there is none, or it is too short.
    """
    path = workspace.require(workspace.hmac_key, "`byline init`")
    key = path.read_bytes().strip()
    assert len(key) >= HMAC_KEY_BYTES_MIN, f"{path} holds {len(key)} bytes"
    return key


def appeals_file(workspace: Workspace, date: Date) -> Path:
    """Name the file of a date's granted appeals."""
    return workspace.root / "appeals" / f"{date.isoformat()}.jsonl"


def tables_of(night: Night) -> list[Path]:
    """List the tables of a date: the night's own, then its late batches."""
    return [night.outputs, *late_batches(night.outputs)]


def revisions_file(workspace: Workspace, date: Date) -> Path:
    """Name the file of a date's accepted revisions."""
    return workspace.root / "revisions" / f"{date.isoformat()}.jsonl"


def excluded_outputs(tables: Sequence[Path]) -> list[tuple[str, str, int]]:
    """List the outputs that a filter took out and that no later table pays.

    Args:
        tables: from `tables_of`.

    Returns:
        event_id, reason and value in units, by event.
    """
    rows = pl.scan_parquet(list(tables)).select(
        "event_id", "exclusion_reason", "value_units", "payable"
    )
    out = rows.filter(~pl.col("payable")).select("event_id", "exclusion_reason", "value_units")
    paid = rows.filter("payable").select("event_id")
    return list(out.join(paid, on="event_id", how="anti").sort("event_id").collect().iter_rows())


def quarantine_file(night: Night) -> Path:
    """Name the file of a date's rejects."""
    return night.workspace.root / "quarantine" / f"{night.date.isoformat()}.jsonl"


def _all_read(night: Night) -> bool:
    """Say whether every log is in the tables of the date already, judged as the settings say.

    Once the night is sampled only appeals and accepted revisions count: they alone can change what
    is payable then.
    """
    if not is_complete(night.outputs, OUTPUTS_FORMAT) or _lacks_quarantine(night):
        return False
    known: dict[str, Any] = {}
    heard: set[str] = set()
    taken: set[tuple[str, str]] = set()
    for table in tables_of(night):
        manifest = read_manifest(manifest_path(table), OUTPUTS_FORMAT)
        known |= manifest["inputs"]
        heard |= set(manifest["filters"]["appeals"])
        taken |= {(event, raw) for event, raw in manifest.get("revisions", [])}
    filters = filter_settings(night.workspace, night.date)
    own = read_manifest(night.manifest("outputs"), OUTPUTS_FORMAT)
    same = own["filters"] == plain_filters(filters) and own["currency"] == (
        night.workspace.settings.pool.currency
    )
    accepted = read_revisions(revisions_file(night.workspace, night.date))
    decided = filters.appeals <= heard and {(r.event_id, r.raw_sha256) for r in accepted} <= taken
    if not (decided if is_complete(night.sample, SAMPLE_FORMAT) else same):
        return False
    for log in find_logs(list(night.logs)):
        reader = reader_of(log)
        if any(False for _ in reader.pieces()) or known.get(log.label) != reader.sha256:
            return False
    return True


def _lacks_quarantine(night: Night) -> bool:
    """Say whether lines were rejected and their file is gone, so that logs are to be read again."""
    rejected = read_manifest(night.manifest("outputs"), OUTPUTS_FORMAT)["counts"]["rejected"]
    return bool(rejected) and not quarantine_file(night).exists()


def _now_us(workspace: Workspace) -> int | None:
    return time.time_ns() // 1000 if workspace.settings.ingest.clock_skew_s else None


def _said(night: Night, *, worked: bool) -> StepOutcome:
    manifest = read_manifest(night.manifest("outputs"), OUTPUTS_FORMAT)
    logged = manifest["counts"]["outputs"]
    quarantined = sum(1 for _ in read_quarantine(quarantine_file(night)))
    return StepOutcome(
        f"{logged} outputs logged, {quarantined} lines quarantined",
        worked,
        {"logged": logged, "quarantined": quarantined, "batch_root": manifest["batch_root"]},
    )
