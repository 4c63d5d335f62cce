"""Near-duplicate outputs: found by three min-hashes each, decided by the words themselves.

1. A sketch of a text is, for each of three hash functions, the least hash of its runs of five words
   (Broder 1997). Two texts whose sets of runs have Jaccard similarity J agree in one of the three
   with probability 1 - (1 - J)^3: 99.2 % at 0.8, 24 bytes an output.
2. An output is compared with the earliest one of its tenant that agrees with it, for each function:
   at most three comparisons an output, however many are alike.
3. Never the sketch, but the similarity of the texts decides (`attribution.duplicates`, 0.8). An
   output similar to one that is itself not paid for is no repetition of it.
4. Sketches are made of one batch at a time, and texts are read again for so many pairs at a time:
   memory grows with the outputs by their hashes only.
A text of fewer than five words has no sketch; nor has one that was dropped after its night.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

JACCARD_MIN = 0.8
RUN = 5
HASHES = ("near0", "near1", "near2")
_PAIRS_AT_ONCE = 20_000
_ORDER = ("rank", "ts_utc", "event_id")


def sketch(text: pl.Expr) -> pl.Expr:
    """Give the sketch of texts.

    Args:
        text: a column of strings; null gives no sketch.

    Returns:
        A column of structs `near0`, `near1`, `near2`, UInt64 or null.
    """
    kind = pl.Struct(dict.fromkeys(HASHES, pl.UInt64))
    return text.map_batches(_sketches, return_dtype=kind, is_elementwise=True)


def repetitions(marked: pl.DataFrame, texts: pl.LazyFrame) -> pl.DataFrame:
    """Find the outputs that repeat an earlier one of their tenant almost word by word.

    Args:
        marked: event_id, rank, ts_utc, tenant, reason (null = still payable) and the hashes.
        texts: event_id and output_text of the same outputs.

    Returns:
        Their event_id.
    """
    gone: set[str] = set()
    for piece in _candidates(marked).iter_slices(_PAIRS_AT_ONCE):
        pairs = list(piece.select("event_id", "first").iter_rows())
        words = _texts_of(texts, pairs)
        gone.update(_repeated(pairs, words, gone))
    return pl.DataFrame({"event_id": sorted(gone)}, schema={"event_id": pl.String})


def _candidates(marked: pl.DataFrame) -> pl.DataFrame:
    """Pair each output with the earliest one that shares a hash, in the order of time."""
    still = marked.lazy().filter(pl.col("reason").is_null())
    pairs = []
    for name in HASHES:
        shared = (
            still.filter(pl.col(name).is_not_null())
            .select(*_ORDER, "tenant", name)
            # Sorting is for the few that share a hash, not for all.
            .filter(pl.struct("tenant", name).hash().is_duplicated())
            .sort(_ORDER)
        )
        first = pl.col("event_id").first().over("tenant", name).alias("first")
        pairs.append(shared.select(*_ORDER, first).filter(pl.col("event_id") != pl.col("first")))
    return pl.concat(pairs).unique(["event_id", "first"]).sort(*_ORDER, "first").collect()


def _texts_of(texts: pl.LazyFrame, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Read the texts of some pairs; what was dropped is left out."""
    wanted = pl.Series(sorted({event for pair in pairs for event in pair}), dtype=pl.String)
    found = (
        texts.filter(pl.col("event_id").is_in(wanted.implode()))
        .filter(pl.col("output_text").is_not_null())
        .select("event_id", "output_text")
        .collect(engine="streaming")
    )
    return dict(found.iter_rows())


def _repeated(
    pairs: Sequence[tuple[str, str]], words: dict[str, str], gone: set[str]
) -> Iterator[str]:
    """Name the outputs that are similar to a first one that is not gone itself."""
    # datasketch takes half a second to import, and a night without candidates needs none of it.
    from attribution.corpus import Document  # noqa: PLC0415
    from attribution.duplicates import similarity  # noqa: PLC0415

    now = set(gone)
    for event, first in pairs:
        if event in now or first in now or event not in words or first not in words:
            continue
        if similarity(*(Document(e, e, text=words[e]) for e in (event, first))) >= JACCARD_MIN:
            now.add(event)
            yield event


def _sketches(texts: pl.Series) -> pl.Series:
    """Make the sketches of one batch of texts."""
    row, run = pl.col("row"), pl.col("run")
    words = (
        pl.LazyFrame({"text": texts})
        .select(
            pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
            pl.col("text").str.to_lowercase().str.extract_all(r"\S+").alias("word"),
        )
        .explode("word", empty_as_null=True)
        .select("row", pl.col("word").hash().alias("word"))
    )
    following = [pl.col("word").shift(-step).alias(f"word{step}") for step in range(RUN)]
    least = (
        words.with_columns(
            pl.struct(following).hash().alias("run"), (row.shift(1 - RUN) == row).alias("whole")
        )
        .filter("whole")
        .group_by("row")
        .agg(run.hash(seed=seed + 1).min().alias(name) for seed, name in enumerate(HASHES))
    )
    rows = pl.LazyFrame({"row": pl.int_range(len(texts), dtype=pl.UInt32, eager=True)})
    found = rows.join(least, on="row", how="left", maintain_order="left").select(HASHES).collect()
    return found.to_struct(texts.name)
