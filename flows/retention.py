"""Texts are dropped when they are no longer needed; what proves the numbers stays.

1. Prompt and output texts of a date go from its outputs, late batches and sample, and the raw lines
   from its quarantine. Digests, weights, draws, values and influence stay.
2. The manifests then carry the new file's sha256 and, under `retention`, the date and the sha256
   of the file that later artefacts cite as their input, so that the chain of digests still reads.
3. Dropping twice is dropping once. A file that was altered is not touched.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from pathlib import Path
from typing import Any

import polars as pl

from flows.artefacts import canonical_json, manifest_path, sink_parquet, verify_data, write_bytes
from flows.quarantine import read_quarantine, write_quarantine

_TEXTS = ("prompt_text", "output_text")


def drop_texts(path: Path, form: str, on: Date) -> bool:
    """Drop the texts of an outputs or sample table.

    Args:
        path: the table.
        form: its format.
        on: the date of the dropping, for the manifest.

    Returns:
        Whether there was anything to drop.

    Raises:
        ArtefactError: the table was altered since it was written.
    """
    manifest = verify_data(path, form)
    if "retention" in manifest:
        return False
    empty = [pl.lit(None, dtype=pl.String).alias(name) for name in _TEXTS]
    copy = path.with_name(f".{path.name}.kept")
    copy.unlink(missing_ok=True)
    copy.hardlink_to(path)
    try:
        digest = sink_parquet(path, pl.scan_parquet(copy).with_columns(empty))
    finally:
        copy.unlink()
    changed: dict[str, Any] = {
        **manifest,
        "retention": {"texts_dropped_on": on.isoformat(), "sha256": manifest["sha256"]},
        "sha256": {path.name: digest},
    }
    write_bytes(manifest_path(path), canonical_json(changed))
    return True


def drop_raw(path: Path) -> int:
    """Drop the raw lines of a date's quarantine; digests and reasons stay.

    Returns:
        How many lines were dropped.
    """
    rejects = list(read_quarantine(path))
    dropped = sum(bool(reject.raw) for reject in rejects)
    if dropped:
        write_quarantine(path, [replace(reject, raw="") for reject in rejects])
    return dropped
