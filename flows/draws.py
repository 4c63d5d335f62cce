"""Prove the draw of one output from a night's files."""

from __future__ import annotations

from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere

import polars as pl

from flows.artefacts import read_manifest
from flows.errors import NightError
from flows.ingest_schema import OUTPUTS_FORMAT
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
    night = Night(workspace, date, ())
    outputs = read_manifest(night.manifest("outputs"), OUTPUTS_FORMAT, step="`byline ingest`")
    manifest = read_manifest(night.manifest("sample"), SAMPLE_FORMAT, step="`byline nightly`")
    seed = night_seed(manifest["previous_root"], outputs["batch_root"], date)
    if seed != manifest["seed"]:
        raise NightError(
            f"the sample of {date} was drawn with seed {manifest['seed']}, but its checkpoint "
            f"{manifest['previous_root']} and batch {outputs['batch_root']} give {seed}; do not "
            f"trust this sample"
        )
    rows = pl.scan_parquet(night.outputs).filter(pl.col("event_id") == event_id).collect()
    if not rows.height:
        raise NightError(f"the night of {date} has no output {event_id!r}; look in its quarantine")
    row = rows.row(0, named=True)
    if not row["payable"]:
        raise NightError(
            f"output {event_id} was not payable ({row['exclusion_reason']}), so it was not drawn"
        )
    columns = manifest["strata_columns"]
    row[TENANT_CLASS] = class_of(manifest.get("tenant_classes", {}), row["tenant_hmac"])
    stratum = stratum_of(manifest, stratum_name(columns, [row[name] for name in columns]))
    return check_draw(event_id, seed_hex=seed, pi_ppt=inclusion_ppt(row["value_units"], stratum))
