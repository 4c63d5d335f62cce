"""Rows on their way to a night's table: more of them than memory holds, unique and in order.

Rows are spilled in sorted runs, each cut into small blocks, and merged by ranges of ids, every
block read once; of several rows with one id the last revision wins (then the later file, then the
later line). Memory holds one run, then one range (50,000 rows) and what is left of the block that
each run has begun (at most 256 rows a run), whatever the number of rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from flows.blocks import Block, BlockFile, read_block
from flows.ingest_schema import OUTPUTS_SCHEMA

RUN_ROWS = 25_000
RANGE_ROWS = 50_000
BLOCK_ROWS = 256
_EPOCH = {"ts_utc": pl.Int64, "date": pl.Int32}
_RAW_SCHEMA = {**OUTPUTS_SCHEMA, **_EPOCH, "revised_us": pl.Int64}
_ORDER = ("event_id", "revised_us", "source_file", "source_line")

Derive = Callable[[pl.DataFrame], pl.DataFrame]


class SortedBlock(NamedTuple):
    """A block of rows in the order of ids, and the first of them."""

    first: str
    block: Block


class RowSpool:
    """Collects rows in sorted runs.

    Args:
        folder: a folder for the runs.
        name: how this spool's files begin, so that several may share the folder.
        derive: adds columns to the rows of a run; none by default.
        run_rows: rows held in memory before a run is written.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "run",
        *,
        derive: Derive | None = None,
        run_rows: int = RUN_ROWS,
    ) -> None:
        self.folder = folder
        self.name = name
        self.derive = derive
        self.run_rows = run_rows
        self.rows: list[tuple[Any, ...]] = []
        self.blocks: list[SortedBlock] = []
        self.runs = 0

    def add(self, row: tuple[Any, ...]) -> None:
        """Take one row, in the order of OUTPUTS_SCHEMA with `revised_us` appended."""
        self.rows.append(row)
        if len(self.rows) >= self.run_rows:
            self._spill()

    def taken(self) -> list[SortedBlock]:
        """Write what is held and hand over the blocks of every run since the last time."""
        if self.rows:
            self._spill()
        blocks, self.blocks = self.blocks, []
        return blocks

    def _spill(self) -> None:
        """Write the rows held as one sorted run."""
        columns = dict(zip(_RAW_SCHEMA, zip(*self.rows, strict=True), strict=True))
        self.rows = []
        frame = pl.DataFrame(columns, schema=_RAW_SCHEMA).with_columns(
            pl.col("ts_utc").cast(OUTPUTS_SCHEMA["ts_utc"]), pl.col("date").cast(pl.Date)
        )
        del columns
        frame = (self.derive(frame) if self.derive else frame).sort("event_id")
        path = self.folder / f"{self.name}-{self.runs:06d}.blocks"
        self.runs += 1
        with contextlib.closing(BlockFile(path)) as file:
            for piece in frame.iter_slices(BLOCK_ROWS):
                self.blocks.append(SortedBlock(piece["event_id"][0], file.add(piece)))


class Merge:
    """Merges blocks of sorted rows.

    Args:
        blocks: from any number of spools.
        range_rows: about how many rows are merged at once.
    """

    def __init__(self, blocks: Sequence[SortedBlock], *, range_rows: int = RANGE_ROWS) -> None:
        self.blocks = sorted(blocks)
        self.range_rows = range_rows
        self.replayed = 0
        self.superseded = 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Walk over the rows, unique and in the order of ids, in pieces; call once."""
        held: list[pl.DataFrame] = []
        count = 0
        for place, (_, block) in enumerate(self.blocks):
            held.append(read_block(block))
            count += block.rows
            last = place + 1 == len(self.blocks)
            if count < self.range_rows and not last:
                continue
            # What the next block begins with may have more versions there.
            cuts = [h.height if last else _below(h, self.blocks[place + 1].first) for h in held]
            ready = [h[:cut] for h, cut in zip(held, cuts, strict=True) if cut]
            held = [h[cut:] for h, cut in zip(held, cuts, strict=True) if cut < h.height]
            count = 0
            if ready:
                yield self._unique(pl.concat(ready))

    def _unique(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Put rows in order and keep the last version of each id."""
        rows = rows.sort(_ORDER)
        last = rows.unique("event_id", keep="last", maintain_order=True)
        versions = last.height
        if last.height < rows.height:
            versions = rows.select(pl.struct("event_id", "raw_sha256").n_unique()).item()
        self.replayed += rows.height - versions
        self.superseded += versions - last.height
        return last.drop("revised_us")


def _below(frame: pl.DataFrame, high: str) -> int:
    """Count the rows below an id, in a frame in the order of ids."""
    return int(frame["event_id"].search_sorted(high, side="left"))
