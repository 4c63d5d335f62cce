"""Near-duplicate outputs: found by three min-hashes each, decided by the words themselves.

1. Outputs of one tenant whose sketches agree in one of three hashes are candidates
   (`flows.sketches`).
2. An output is compared with the earliest one of its tenant that agrees with it, for each function:
   at most three comparisons an output, however many are alike.
3. Never the sketch, but the similarity of the texts decides: the Jaccard similarity of their runs
   of five words, 0.8 or more, as `attribution.duplicates` has it, run by run as 64-bit hashes. An
   output similar to one that is itself not paid for is no repetition of it.
4. Texts are read once, in the order of the table, and put down in groups of so many pairs: memory
   holds one group, and eight bytes a pair.
A text that was dropped after its night is compared with nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from flows.blocks import Block, BlockFile, read_block
from flows.filter_keys import KeyTable
from flows.sketches import HASHES, run_hashes

JACCARD_MIN = (4, 5)
_PAIRS_AT_ONCE = 20_000


def shared(column: pl.Series, beyond: int = 1) -> pl.Series:
    """Give the values that stand in a column more often than so many times, each once."""
    ordered = column.drop_nulls().sort()
    return ordered.filter(ordered == ordered.shift(-beyond)).unique()


def in_order(frame: pl.DataFrame, settled: int) -> pl.DataFrame:
    """Sort outputs by who came first: settled ones, then by time, then by place."""
    late = (pl.col("place") >= settled).alias("late")
    return frame.with_columns(late).sort("late", "ts_utc", "place").drop("late")


def repetitions(table: KeyTable, still: pl.Series, folder: Path) -> pl.Series:
    """Find the outputs that repeat an earlier one of their tenant almost word by word.

    Args:
        table: all outputs.
        still: of each whether it is payable so far.
        folder: where texts are put down.

    Returns:
        Their places.
    """
    pairs = _candidates(table, still)
    if not pairs.height:
        return pl.Series("place", [], dtype=pl.UInt32)
    groups = -(-pairs.height // _PAIRS_AT_ONCE)
    pairs = pairs.with_columns((pl.col("place") % groups).alias("group"))
    alike = []
    path = folder / "texts.blocks"
    for group, texts in _texts_by_group(table, pairs, groups, path):
        own = pairs.filter(pl.col("group") == group)
        alike.append(own.filter(_alike(own, texts)).drop("group"))
    path.unlink()
    gone = np.zeros(len(still), dtype=bool)
    ordered = in_order(pl.concat(alike), table.settled).select("place", "first")
    for place, first in ordered.iter_rows():
        gone[place] |= not gone[first]
    return pl.Series("place", np.flatnonzero(gone), dtype=pl.UInt32)


def _candidates(table: KeyTable, still: pl.Series) -> pl.DataFrame:
    """Pair each output with the earliest one that shares a hash: place, first and ts_utc."""
    times = table.column("ts_utc")
    found = [pl.DataFrame(schema={"place": pl.UInt32, "first": pl.UInt32, "ts_utc": times.dtype})]
    for name in HASHES:
        column = table.column(name)
        # Sorting is for the few that share a hash, not for all.
        twice = shared(column.filter(still)).implode()
        places = (still & column.is_in(twice)).fill_null(value=False).arg_true()
        few = pl.DataFrame(
            {"place": places, "ts_utc": times.gather(places), "near": column.gather(places)}
        ).cast({"place": pl.UInt32})
        first = pl.col("place").first().over("near").alias("first")
        pairs = in_order(few, table.settled).with_columns(first)
        found.append(pairs.filter(pl.col("place") != pl.col("first")).select(found[0].columns))
    return pl.concat(found).unique(["place", "first"])


def _texts_by_group(
    table: KeyTable, pairs: pl.DataFrame, groups: int, path: Path
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Read the texts of all pairs once; give the groups with the texts of each."""
    needs = pl.concat(
        [pairs.select(pl.col(name).alias("place"), "group") for name in ("place", "first")]
    ).unique()
    places = needs["place"].unique().sort()
    parts: list[list[Block]] = [[] for _ in range(groups)]
    with contextlib.closing(BlockFile(path)) as file:
        for texts in table.texts(places):
            of_group = texts.join(needs, on="place").sort("group", "place")
            for own in of_group.partition_by("group", maintain_order=True):
                parts[own["group"][0]].append(file.add(own))
    del needs, places
    for group, blocks in enumerate(parts):
        if blocks:
            yield group, pl.concat([read_block(block) for block in blocks])


def _alike(pairs: pl.DataFrame, texts: pl.DataFrame) -> pl.Series:
    """Say of each pair whether its texts have so many runs in common; False without a text."""
    runs = texts.select("place", run_hashes(texts["output_text"]).alias("runs"))
    both = pairs.select("place", "first")
    both = both.join(runs, on="place", how="left", maintain_order="left")
    both = both.join(
        runs.rename({"place": "first", "runs": "other"}),
        on="first",
        how="left",
        maintain_order="left",
    )
    common = pl.col("runs").list.set_intersection("other").list.len().cast(pl.Int64)
    union = pl.col("runs").list.len().cast(pl.Int64) + pl.col("other").list.len() - common
    least, whole = JACCARD_MIN
    said = (common * whole >= union * least) & (union > 0)
    return both.select(said.fill_null(value=False).alias("alike"))["alike"]
