"""Prove the draw of one output from a night's files."""

from __future__ import annotations

from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from typing import Any

import polars as pl

from flows.artefacts import read_manifest
from flows.errors import NightError
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.intake import late_nights
from flows.night import Night
from flows.sampling import (
    SAMPLE_FORMAT,
    TENANT_CLASS,
    Draw,
    check_draw,
    class_of,
    inclusion_ppt,
    night_seed,
    stratum_name,
    stratum_of,
)
from flows.workspace import Workspace


def find_draw(workspace: Workspace, date: Date, event_id: str) -> Draw:
    """Repeat the draw of one output and check the night's seed on the way.

    Args:
        workspace: whose files.
        date: the night.
        event_id: the output.

    Returns:
        The draw, with everything needed to repeat it by hand.

    Raises:
        NightError: the night has no such output, or it was not payable, or the seed is not the
            one that the checkpoint and the batch give.
    """
    night, row = _row_of(Night(workspace, date, ()), event_id)
    outputs = read_manifest(night.manifest("outputs"), OUTPUTS_FORMAT, step="`byline ingest`")
    manifest = read_manifest(night.manifest("sample"), SAMPLE_FORMAT, step="`byline nightly`")
    seed = night_seed(manifest["previous_root"], outputs["batch_root"], date)
    if seed != manifest["seed"]:
        raise NightError(
            f"the sample of {night.name} was drawn with seed {manifest['seed']}, but its "
            f"checkpoint {manifest['previous_root']} and batch {outputs['batch_root']} give "
            f"{seed}; do not trust this sample"
        )
    if not row["payable"]:
        raise NightError(
            f"output {event_id} was not payable ({row['exclusion_reason']}), so it was not drawn"
        )
    columns = manifest["strata_columns"]
    row[TENANT_CLASS] = class_of(manifest.get("tenant_classes", {}), row["tenant_hmac"])
    stratum = stratum_of(manifest, stratum_name(columns, [row[name] for name in columns]))
    return check_draw(event_id, seed_hex=seed, pi_ppt=inclusion_ppt(row["value_units"], stratum))


def _row_of(night: Night, event_id: str) -> tuple[Night, dict[str, Any]]:
    """Find an output in a night or in one of its late batches; the one that pays it goes first.

    Raises:
        NightError: none of them has it.
    """
    found = []
    for one in (night, *late_nights(night)):
        if one.outputs.exists():
            rows = pl.scan_parquet(one.outputs).filter(pl.col("event_id") == event_id).collect()
            found += [(one, row) for row in rows.iter_rows(named=True)]
    if not found:
        raise NightError(
            f"the night of {night.date} has no output {event_id!r}; look in its quarantine"
        )
    return max(found, key=lambda pair: pair[1]["payable"])
