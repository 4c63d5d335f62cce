"""Intake: from log files to the night's table, with what is payable marked in it.

1. Logs whose bytes were all read before are not read again.
2. Once a night is sampled its table never changes; what arrives later is a late batch of its own,
   with an entry of its own.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from flows.artefacts import is_complete, read_manifest
from flows.canonical_rows import IngestSettings, pseudonym
from flows.filter import FilterSettings
from flows.ingest import ingest, late_batches
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.logs.reading import LineReader, find_logs
from flows.night import Night, StepOutcome
from flows.progress import Step
from flows.quarantine import read_quarantine
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
        settings=ingest_settings(night.workspace),
        filters=filter_settings(night.workspace),
        settled=is_complete(night.sample, SAMPLE_FORMAT),
        now_us=_now_us(night.workspace),
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
        Payable outputs, and the excluded ones by reason.
    """
    counts = read_manifest(night.manifest("outputs"), OUTPUTS_FORMAT)["counts"]
    excluded = {reason: entry["outputs"] for reason, entry in counts["excluded"].items()}
    payable = counts["payable"]["outputs"]
    whole = payable + sum(excluded.values())
    assert whole == counts["outputs"], (whole, counts)
    named = ", ".join(f"{count} {reason}" for reason, count in excluded.items())
    return StepOutcome(
        f"{payable} payable" + (f"; out: {named}" if named else ""),
        worked=True,
        values={"payable": payable, "excluded": excluded},
    )


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
    )


def filter_settings(workspace: Workspace) -> FilterSettings:
    """Give the filters, with tenants' names replaced by their pseudonyms."""
    section = workspace.settings.filter
    key = read_hmac_key(workspace)
    dealing = dict(pair.split("=", 1) for pair in section.self_dealing)
    return FilterSettings(
        test_tenants=frozenset(pseudonym(key, "tenant", name) for name in section.test_tenants),
        self_dealing={pseudonym(key, "tenant", t): party for t, party in dealing.items()},
        pay_cache_hits=section.pay_cache_hits,
        user_per_minute_max=section.user_per_minute_max,
        tenant_per_minute_max=section.tenant_per_minute_max,
        drop_duplicates=section.drop_duplicates,
    )


def read_hmac_key(workspace: Workspace) -> bytes:
    """Read the key of the pseudonyms.

    Raises:
        WorkspaceError: there is none, or it is too short.
    """
    path = workspace.require(workspace.hmac_key, "`byline init`")
    key = path.read_bytes().strip()
    assert len(key) >= HMAC_KEY_BYTES_MIN, f"{path} holds {len(key)} bytes"
    return key


def quarantine_file(night: Night) -> Path:
    """Name the file of a date's rejects."""
    return night.workspace.root / "quarantine" / f"{night.date.isoformat()}.jsonl"


def _all_read(night: Night) -> bool:
    """Say whether the bytes of every log are in the tables of the date already."""
    if not is_complete(night.outputs, OUTPUTS_FORMAT):
        return False
    tables = [night.outputs, *late_batches(night.outputs)]
    known: dict[str, Any] = {}
    for table in tables:
        manifest = table.with_name(table.name.removesuffix(".parquet") + ".manifest.json")
        known |= read_manifest(manifest, OUTPUTS_FORMAT)["inputs"]
    for log in find_logs(list(night.logs)):
        reader = LineReader(log)
        if any(False for _ in reader) or known.get(log.label) != reader.sha256:
            return False
    return True


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
