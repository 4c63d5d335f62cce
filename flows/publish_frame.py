"""Write the frames of a period's nights for an audit pack: all logged outputs, without their texts.

1. A frame is what a night's sample was drawn from, one line an output, as
   `ledger.audit_population` reads it. At some 200 bytes a line it is as large as the night, so a
   pack brings it where it is asked for.
2. Frames are written beside the pack a piece at a time, and are gone when the pack is there.
3. A night whose table is no longer as it was recorded has none, and `byline audit verify` says so.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from flows.artefacts import canonical_json, is_as_recorded, manifest_path, read_manifest
from flows.close_plan import ClosePlan
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.night import Night
from flows.sampling import SAMPLE_FORMAT, with_strata
from ledger.audit_population import FRAME_COLUMNS, FRAME_FORMAT

_ROWS = 1 << 16


def night_frames(plan: ClosePlan, folder: Path) -> dict[str, Path]:
    """Write the frames of a period's nights.

    Args:
        plan: the close of the period.
        folder: where the files go.

    Returns:
        The files, by the name of the member below frame/.
    """
    nights = (*plan.accruals.nights, *plan.accruals.reversed_nights)
    made = {f"{a.night.name}.jsonl": write_frame(a.night, folder) for a in nights}
    return {name: path for name, path in made.items() if path is not None}


def write_frame(night: Night, folder: Path) -> Path | None:
    """Write one night's frame; None where its outputs are no longer as they were recorded."""
    files = read_manifest(manifest_path(night.outputs), OUTPUTS_FORMAT)["sha256"]
    name = night.outputs.name
    if name not in files or not is_as_recorded(night.outputs, files[name]):
        return None
    sample = read_manifest(night.manifest("sample"), SAMPLE_FORMAT)
    rows = with_strata(
        pl.scan_parquet(night.outputs), sample["strata_columns"], sample.get("tenant_classes", {})
    )
    paid = pl.col("payable")
    lines = rows.select(
        "event_id",
        "raw_sha256",
        pl.when(~paid).then("exclusion_reason").alias("exclusion_reason"),
        pl.when(paid).then("stratum").alias("stratum"),
        "model_version",
        "territory",
        pl.col("value_units").fill_null(0),
        pl.col("output_tokens").fill_null(0),
    ).select(FRAME_COLUMNS)
    header = {"columns": list(FRAME_COLUMNS), "format": FRAME_FORMAT, "night": night.name}
    path = folder / f"{night.name}.jsonl"
    with path.open("wb") as file:
        file.write(canonical_json(header))
        for piece in lines.collect_batches(chunk_size=_ROWS, maintain_order=True):
            file.writelines(canonical_json(list(row)) for row in piece.iter_rows())
    return path
