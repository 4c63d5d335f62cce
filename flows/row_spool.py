"""Rows on their way to a night's table: more of them than memory holds, unique and in order.

Rows are spilled in sorted runs and merged by ranges of ids; of several rows with one id the last
revision wins (then the later file, then the later line). Memory holds one run and one range.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from flows.ingest_schema import OUTPUTS_SCHEMA

RUN_ROWS = 100_000
_EPOCH = {"ts_utc": pl.Int64, "date": pl.Int32}
_RAW_SCHEMA = {**OUTPUTS_SCHEMA, **_EPOCH, "revised_us": pl.Int64}


class RowSpool:
    """Collects rows and gives them back unique and sorted by `event_id`.

    Args:
        folder: an empty folder for the runs.
        run_rows: rows held in memory before a run is written.
    """

    def __init__(self, folder: Path, *, run_rows: int = RUN_ROWS) -> None:
        self.folder = folder
        self.run_rows = run_rows
        self.rows: list[tuple[Any, ...]] = []
        self.total = 0
        self.runs: list[Path] = []
        self.replayed = 0
        self.superseded = 0

    def add(self, row: tuple[Any, ...]) -> None:
        """Take one row, in the order of OUTPUTS_SCHEMA with `revised_us` appended."""
        self.rows.append(row)
        self.total += 1
        if len(self.rows) >= self.run_rows:
            self._spill()

    def _spill(self) -> None:
        """Write the rows held as one sorted run."""
        columns = dict(zip(_RAW_SCHEMA, zip(*self.rows, strict=True), strict=True))
        frame = pl.DataFrame(columns, schema=_RAW_SCHEMA).sort("event_id")
        path = self.folder / f"run-{len(self.runs):06d}.parquet"
        frame.write_parquet(path, compression="lz4", statistics=True, row_group_size=8_192)
        self.runs.append(path)
        self.rows = []

    def merged(self) -> list[Path]:
        """Merge the runs; call once, after the last row.

        Returns:
            Files that hold the rows, unique and sorted, one after the other.
        """
        if self.rows or not self.runs:
            self.rows = self.rows or []
            self._spill() if self.rows else self._spill_nothing()
        parts = []
        for number, (low, high) in enumerate(self._ranges()):
            part = self.folder / f"part-{number:06d}.parquet"
            self._unique(low, high).write_parquet(part, compression="lz4", statistics=False)
            parts.append(part)
        for run in self.runs:
            run.unlink()
        return parts

    def _spill_nothing(self) -> None:
        """Write one empty run, so that an empty night is a table without rows."""
        path = self.folder / "run-000000.parquet"
        pl.DataFrame(schema=_RAW_SCHEMA).write_parquet(path)
        self.runs.append(path)

    def _ranges(self) -> Iterator[tuple[str | None, str | None]]:
        """Cut the ids into ranges of about one run each; None is an open end."""
        if len(self.runs) == 1:
            yield None, None
            return
        step = max(1, len(self.runs))
        sample = pl.concat(
            [
                pl.read_parquet(run, columns=["event_id"])["event_id"].gather_every(step)
                for run in self.runs
            ]
        ).sort()
        size = max(1, self.run_rows // step)
        cuts = sample.gather_every(size, offset=size).unique(maintain_order=True).to_list()
        bounds = [None, *cuts, None]
        yield from pairwise(bounds)

    def _unique(self, low: str | None, high: str | None) -> pl.DataFrame:
        """Read one range of ids from all runs, keeping the last version of each."""
        frame = pl.scan_parquet(self.runs)
        if low is not None:
            frame = frame.filter(pl.col("event_id") >= low)
        if high is not None:
            frame = frame.filter(pl.col("event_id") < high)
        rows = frame.collect().sort("event_id", "revised_us", "source_file", "source_line")
        last = rows.unique("event_id", keep="last", maintain_order=True)
        versions = rows.select(pl.struct("event_id", "raw_sha256").n_unique()).item()
        self.replayed += rows.height - versions
        self.superseded += versions - last.height
        return last.drop("revised_us").with_columns(
            pl.col("ts_utc").cast(OUTPUTS_SCHEMA["ts_utc"]),
            pl.col("date").cast(pl.Date),
        )
