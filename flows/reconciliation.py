"""Our counts against the gateway's: a gap is a finding, and a loud one.

A gateway bills calls, not choices. The calls we know of for a date are the outputs with choice
number 0 (payable or not), of the night and its late batches, and the rejects of its quarantine.
A call that a log does not tell us about is money that nobody earns, so a gap beyond the tolerance
is an error, in either direction; the record of it is written either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from pathlib import Path

import polars as pl

from flows.artefacts import canonical_json, read_manifest, sha256_file, write_bytes
from flows.data_errors import ArtefactFormatError, ReconciliationError
from flows.quarantine import read_quarantine
from flows.revisions import REVISED, revision_sign

RECONCILIATION_FORMAT = "byline-reconciliation/1"
GATEWAY_FORMAT = "byline-gateway-total/1"


@dataclass(frozen=True)
class GatewayTotal:
    """What the gateway or the billing system says about a date.

    Args:
        calls: calls answered or failed.
        value_units: what was charged for them; None if it does not say.
        source: where the number comes from.
    """

    calls: int
    value_units: int | None = None
    source: str = "gateway"


@dataclass(frozen=True)
class Reconciliation:
    """Our total beside theirs.

    Args:
        date: the date.
        calls: calls we know of: outputs, and rejects.
        rejected: how many of them are rejects, whose value we do not know.
        value_units: the value of our outputs.
        gateway: the other side's numbers.
        calls_gap: ours less theirs.
        value_gap_units: ours less theirs; None if they do not say.
        within_tolerance: whether both gaps are small enough.
    """

    date: str
    calls: int
    rejected: int
    value_units: int
    gateway: GatewayTotal
    calls_gap: int
    value_gap_units: int | None
    within_tolerance: bool


def reconcile(
    date: Date,
    tables: Sequence[Path],
    quarantine: Path,
    total: GatewayTotal,
    *,
    tolerance_ppm: int = 0,
) -> Reconciliation:
    """Compare a date's outputs and rejects with a gateway's total.

    Args:
        date: the date.
        tables: `outputs/DATE.parquet` and its late batches.
        quarantine: `quarantine/DATE.jsonl`.
        total: what the gateway says.
        tolerance_ppm: gap that is no finding, in parts per million of the gateway's number.

    Returns:
        Both sides and the gaps.
    """
    signs = {table: revision_sign(table) for table in tables}
    facts = (
        pl.scan_parquet([table for table, sign in signs.items() if not sign])
        # An output that was appealed stands in two tables and is one call.
        .select("event_id", "choice_index", "value_units")
        .unique("event_id")
        .select(
            (pl.col("choice_index") == 0).sum().alias("calls"),
            pl.col("value_units").cast(pl.Int128).sum().alias("units"),
        )
        .collect(engine="streaming")
    )
    calls, units = facts.row(0)
    # The call of a revised record is among the outputs already; what was accepted is its value.
    differences = sum(
        sign * pl.scan_parquet(table).select(pl.col("value_units").sum()).collect().item()
        for table, sign in signs.items()
        if sign
    )
    rejected = len(
        {
            (r.source_file, r.source_line)
            for r in read_quarantine(quarantine)
            if r.reason not in REVISED
        }
    )
    calls_gap = calls + rejected - total.calls
    units = (units or 0) + differences
    value_gap = None if total.value_units is None else units - total.value_units
    small = abs(calls_gap) * 10**6 <= tolerance_ppm * total.calls
    if total.value_units is not None and value_gap is not None:
        small = small and abs(value_gap) * 10**6 <= tolerance_ppm * total.value_units
    return Reconciliation(
        date.isoformat(), calls + rejected, rejected, units, total, calls_gap, value_gap, small
    )


def keep_total(path: Path, total: GatewayTotal) -> None:
    """Keep what the gateway says about a date, for every later run of the night.

    Args:
        path: `gateway/DATE.json`.
        total: its numbers.
    """
    write_bytes(path, canonical_json({"format": GATEWAY_FORMAT, **asdict(total)}))


def read_total(path: Path) -> GatewayTotal | None:
    """Read what the gateway says about a date; None if it has said nothing.

    Raises:
        ArtefactFormatError: the file is something else.
    """
    if not path.exists():
        return None
    fields = read_manifest(path, GATEWAY_FORMAT, step="`byline reconcile`")
    try:
        total = GatewayTotal(**{key: fields[key] for key in fields if key != "format"})
        whole = isinstance(total.calls, int) and isinstance(total.value_units, int | None)
    except TypeError as error:
        raise ArtefactFormatError(str(path), GATEWAY_FORMAT, str(error)) from error
    if not whole:
        raise ArtefactFormatError(str(path), "whole numbers", fields)
    return total


def write_reconciliation(path: Path, found: Reconciliation, tables: Sequence[Path]) -> None:
    """Keep a reconciliation, then speak up if it found a gap.

    Args:
        path: `outputs/DATE.reconciliation.json`.
        found: from `reconcile`.
        tables: the tables compared, cited by digest.

    Raises:
        ReconciliationError: the gap is beyond the tolerance.
    """
    inputs = {table.name: sha256_file(table) for table in tables}
    body = {"format": RECONCILIATION_FORMAT, "inputs": inputs, **asdict(found)}
    write_bytes(path, canonical_json(body))
    if not found.within_tolerance:
        value = found.gateway.value_units
        raise ReconciliationError(
            f"{found.date}: {found.gateway.source} counts {found.gateway.calls} calls"
            + (f" worth {value} units" if value is not None else "")
            + f", our logs {found.calls} ({found.rejected} of them rejected) worth "
            f"{found.value_units} units: a gap of {found.calls_gap} calls"
            + (f" and {found.value_gap_units} units" if found.value_gap_units is not None else "")
            + f". Find the missing or repeated log before the night is settled; see {path.name}",
            found,
        )
