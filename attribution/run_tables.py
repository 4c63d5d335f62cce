"""The tables of a run: rows of outputs and groups, held while they are few, else streamed.

1. Up to `ROWS_HELD` rows are sorted and written at once.
2. More are never in memory together. Parts are written as they come, each sorted; the table is
   then read part by part, output by output, into one file in the same order.
3. The order is (output_id, kind, group_id) either way; bytes of the two ways differ, rows do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from attribution.errors import IndexDamagedError
from attribution.index_read import GradientIndex
from attribution.index_store import documents_parquet
from attribution.influence import Scores, nanonats
from attribution.tokens import Encoded

# About 2 GiB with what sorting and writing take.
ROWS_HELD = 16_000_000
COMPLETENESS_DIGITS = 9


@dataclass(frozen=True)
class Part:
    """Rows of some outputs, in memory or in a file, sorted.

    Attributes:
        gains: one row per output, sorted by output_id.
        rows: how many rows there are.
        path: the file; None where they are held.
        table: the rows where they are held.
    """

    gains: pl.DataFrame
    rows: int
    path: Path | None = None
    table: pl.DataFrame | None = None

    @classmethod
    def of(cls, path: Path, gains: pl.DataFrame) -> Part:
        """Take a file that was written before."""
        count = pl.scan_parquet(path).select(pl.len()).collect().item()
        if gains.height and count % gains.height:
            raise IndexDamagedError(
                f"{path} has {count} rows for {gains.height} outputs, not as many for each; "
                f"delete the shard and attribute its outputs again"
            )
        return cls(gains.sort("output_id"), int(count), path)

    @classmethod
    def held(cls, table: pl.DataFrame, gains: pl.DataFrame, path: Path | None) -> Part:
        """Take rows as they are, or put them into a file where they are not the whole table."""
        if path is None:
            return cls(gains, table.height, None, table)
        documents_parquet(path, table)
        return cls(gains, table.height, path)

    def read(self) -> pl.DataFrame:
        """Return the rows."""
        if self.table is not None:
            return self.table
        assert self.path is not None, "a part is held or in a file"
        return pl.read_parquet(self.path)


def write_parts(path: Path, parts: Sequence[Part]) -> int:
    """Write the rows of all parts as one sorted table.

    Returns:
        Influence of the decoys over all rows, nanonats.
    """
    if sum(part.rows for part in parts) <= ROWS_HELD:
        table = pl.concat([part.read() for part in parts]).sort("output_id", "kind", "group_id")
        documents_parquet(path, table)
    else:
        temporary = path.with_name(f".{path.name}.tmp")
        pl.concat(list(_runs(parts))).sink_parquet(
            temporary, compression="zstd", statistics=False, sync_on_close="all"
        )
        temporary.replace(path)
    decoys = pl.scan_parquet(path).filter(pl.col("kind") == "decoy")
    return int(decoys.select(pl.col("influence_nanonats").sum()).collect(engine="streaming").item())


def _runs(parts: Sequence[Part]) -> Iterator[pl.LazyFrame]:
    """Yield the parts' rows in order of the outputs, as runs that are read when written."""
    owner = np.repeat(np.arange(len(parts)), [part.gains.height for part in parts])
    inside = np.concatenate([np.arange(part.gains.height) for part in parts])
    names = pl.concat([part.gains["output_id"] for part in parts])
    order = names.arg_sort().to_numpy()
    owner, inside = owner[order], inside[order]
    breaks = np.flatnonzero((np.diff(owner) != 0) | (np.diff(inside) != 1)) + 1
    for begin, end in zip([0, *breaks], [*breaks, len(order)], strict=True):
        part = parts[int(owner[begin])]
        each = part.rows // part.gains.height
        assert part.path is not None, "rows of a large table are in files"
        rows = pl.scan_parquet(part.path)
        yield rows.slice(int(inside[begin]) * each, (int(end) - int(begin)) * each)


def influence_table(index: GradientIndex, ids: Sequence[str], scores: Scores) -> pl.DataFrame:
    """Return one row per output and group, sorted by (output_id, kind, group_id).

    Args:
        index: open.
        ids: of the outputs.
        scores: of the outputs on every group.
    """
    groups = index.groups
    count = groups.height
    values = nanonats(scores.influence)  # [Q, G]
    return pl.DataFrame(
        {
            "output_id": pl.Series(ids, dtype=pl.String)[np.repeat(np.arange(len(ids)), count)],
            "group_id": groups["group_id"][np.tile(np.arange(count), len(ids))],
            "kind": groups["kind"][np.tile(np.arange(count), len(ids))],
            "influence_nanonats": values.reshape(-1),
        },
        schema={
            "output_id": pl.String,
            "group_id": pl.String,
            "kind": pl.String,
            "influence_nanonats": pl.Int64,
        },
    ).sort("output_id", "kind", "group_id")


def gains_table(
    index: GradientIndex, ids: Sequence[str], scores: Scores, encoded: Sequence[Encoded]
) -> pl.DataFrame:
    """Return one row per output: measured gain, total over trained groups, completeness."""
    trained = (index.groups["kind"] == "trained").to_numpy()
    totals = nanonats(scores.influence)[:, trained].sum(1)  # of whole numbers: order is no matter
    finite = scores.gains.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    gains = nanonats(finite)
    ratio = [
        round(int(t) / int(g), COMPLETENESS_DIGITS) if g else math.nan
        for t, g in zip(totals, gains, strict=True)
    ]
    return pl.DataFrame(
        {
            "output_id": list(ids),
            "gain_nanonats": gains,
            "total_nanonats": totals,
            "tokens_scored": [row.scored for row in encoded],
            "completeness": ratio,
        },
        schema={
            "output_id": pl.String,
            "gain_nanonats": pl.Int64,
            "total_nanonats": pl.Int64,
            "tokens_scored": pl.Int32,
            "completeness": pl.Float64,
        },
    ).sort("output_id")
