"""Which outputs of a night are attributed: a draw that anyone can check, one record at a time.

Stratified Poisson sampling with permanent random numbers:

    seed    =  SHA256("byline-night-seed/1" LF previous_root LF batch_root LF date LF)
    u(e)    =  HMAC-SHA256(seed, event_id) / 2^256
    e is in the sample   iff   u(e) < pi(e)

    pi(e)   =  1                              if value(e) >= certainty_min_units of its stratum
               rest_size * value(e) / rest_units         otherwise, rounded down to 1e-12
               0                              if the output has no value (it carries no money)

1. The seed is fixed by the previous checkpoint and by the batch, before anyone can know a score.
2. Whether a record is in depends on the record, the seed and four numbers of its stratum, all in
   the manifest; not on the other records drawn, the order of rows or the number of machines.
3. Inside a stratum pi is proportional to value and capped at 1. What a cap takes away is given
   to the others, so the expected size stays the size asked for.
4. All of it is whole numbers: pi in parts per 10^12, u as a 256-bit number.
5. When the size asked for is the whole stratum, every pi is 1: a census, with no variance.
6. A night without money has a sample without rows: a nil report, not an error.

Sources: Särndal, Swensson and Wretman, Model Assisted Survey Sampling (1992), 3.5 (Poisson
sampling), 3.6.1 and 3.7 (size-proportional and stratified designs); Ohlsson, Coordination of
Samples Using Permanent Random Numbers (1995).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flows.allocation import Stratum, design
from flows.artefacts import (
    manifest_path,
    recorded_sha256,
    verify_data,
    write_manifest,
    write_parquet,
)
from flows.data_errors import SampleError
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.keyed_digests import keyed_digests

SAMPLE_FORMAT = "byline-sample/1"
TENANT_CLASS = "tenant_class"
OTHER_CLASS = "other"
PPT = 10**12
_DRAW_MAX = 1 << 256
_BATCH_ROWS = 500_000
_TEXT_ROWS = 50_000

SAMPLE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "event_id": pl.String,
    "stratum": pl.String,
    "value_units": pl.Int64,
    "pi_ppt": pl.Int64,
    "draw_hex": pl.String,
    "weighted_value_units": pl.Int64,
    "prompt_text": pl.String,
    "output_text": pl.String,
}


@dataclass(frozen=True)
class Draw:
    """The draw of one record, with everything needed to repeat it by hand.

    Args:
        event_id: the record.
        seed_hex: the night's seed, 64 hex digits.
        pi_ppt: inclusion probability in parts per 10^12.
        draw_hex: HMAC-SHA256(seed, event_id), 64 hex digits.
        included: whether draw / 2^256 < pi / 10^12.
    """

    event_id: str
    seed_hex: str
    pi_ppt: int
    draw_hex: str
    included: bool


def night_seed(previous_root: str, batch_root: str, date: Date) -> str:
    """Fix a night's seed from what was public or sealed before anything was scored.

    Args:
        previous_root: root of the last checkpoint as hex, or "" before the first one.
        batch_root: `batch_root` of the outputs manifest, as hex.
        date: the night's date.

    Returns:
        The seed as 64 hex digits.
    """
    text = f"byline-night-seed/1\n{previous_root}\n{batch_root}\n{date.isoformat()}\n"
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def check_draw(event_id: str, *, seed_hex: str, pi_ppt: int) -> Draw:
    """Repeat the draw of one record.

    Args:
        event_id: the record.
        seed_hex: the night's seed, 64 hex digits.
        pi_ppt: its inclusion probability in parts per 10^12, 0 to 10^12.

    Returns:
        The draw and whether it puts the record in the sample.

    Raises:
        SampleError: the probability is out of range, or the seed is not 32 bytes of hex.
    """
    if not 0 <= pi_ppt <= PPT:
        raise SampleError(f"event {event_id}: pi must be 0..{PPT} parts per 10^12, got {pi_ppt}")
    try:
        seed = bytes.fromhex(seed_hex)
    except ValueError as error:
        raise SampleError(f"the seed must be 64 hex digits, got {seed_hex!r}") from error
    if len(seed) != 32:
        raise SampleError(f"the seed must be 64 hex digits, got {len(seed_hex)} characters")
    draw = hmac.digest(seed, event_id.encode("utf-8"), "sha256")
    included = int.from_bytes(draw) * PPT < pi_ppt * _DRAW_MAX
    return Draw(event_id, seed_hex, pi_ppt, draw.hex(), included)


def inclusion_ppt(value_units: int, stratum: Stratum) -> int:
    """Give the inclusion probability of one record from its stratum's four numbers.

    Returns:
        pi in parts per 10^12: 0 for no value, 10^12 for a certain record, else at least 1.
    """
    if value_units <= 0:
        return 0
    if stratum.certainty_min_units and value_units >= stratum.certainty_min_units:
        return PPT
    if stratum.rest_units == 0:
        return PPT
    return min(PPT, max(1, value_units * stratum.rest_size * PPT // stratum.rest_units))


def weighted_value(value_units: int, pi_ppt: int) -> int:
    """Give value / pi in units, rounded half to even (the Horvitz-Thompson expansion)."""
    quotient, rest = divmod(value_units * PPT, pi_ppt)
    if 2 * rest > pi_ppt or (2 * rest == pi_ppt and quotient % 2):
        quotient += 1
    return quotient


def draw_sample(  # noqa: PLR0913 - the whole design of a night's draw
    outputs: Path,
    out: Path,
    *,
    seed_hex: str,
    target_size: int,
    strata: Sequence[str] = ("model_version",),
    allocation: str = "proportional",
    spreads_ppm: Mapping[str, int] | None = None,
    classes: Mapping[str, str] | None = None,
    previous_root: str = "",
) -> dict[str, Any]:
    """Draw a night's sample and write it with its manifest.

    Args:
        outputs: `outputs/DATE.parquet`, verified against its manifest.
        out: `sample/DATE.parquet`; its manifest is written beside it, last.
        seed_hex: from `night_seed`.
        target_size: expected number of outputs in the sample.
        strata: columns of the outputs whose values make the strata, or "tenant_class".
        allocation: "proportional" (to value) or "neyman" (to value times spread).
        spreads_ppm: for "neyman", each stratum's spread from an earlier night; 10^6 if unknown.
        classes: for "tenant_class", the class of each tenant's pseudonym; others are "other".
        previous_root: the checkpoint root the seed was made from, kept as evidence.

    Returns:
        The manifest (`byline-sample/1`).

    Raises:
        SampleError: the size or a stratum column is not usable.
        ArtefactError: the outputs were altered since they were written.
    """
    manifest = verify_data(outputs, OUTPUTS_FORMAT, step="`byline ingest`")
    _check_request(outputs, target_size, strata)
    population = _population(outputs, strata, classes or {})
    designs = design(population, target_size, allocation=allocation, spreads_ppm=spreads_ppm or {})
    rows = drawn_rows(population, designs, bytes.fromhex(seed_hex))
    frame = _with_texts(rows, outputs)
    digest = write_parquet(out, frame)
    return write_manifest(
        manifest_path(out),
        SAMPLE_FORMAT,
        inputs={
            "outputs": recorded_sha256(manifest, outputs.name),
            "batch_root": str(manifest["batch_root"]),
        },
        files={out.name: digest},
        body={
            **{key: manifest[key] for key in ("batch_root", "date", "currency")},
            **_optional(spreads_ppm=spreads_ppm, tenant_classes=classes),
            "seed": seed_hex,
            "previous_root": previous_root,
            "target_size": target_size,
            "allocation": allocation,
            "strata_columns": list(strata),
            "strata": [stratum.as_json() for stratum in designs.values()],
            "population": _population_facts(population, designs),
            "sampled": frame.height,
        },
    )


def _optional(**chosen: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Give what stands in a manifest only where the design used it."""
    return {key: dict(sorted(value.items())) for key, value in chosen.items() if value}


def _check_request(outputs: Path, target_size: int, strata: Sequence[str]) -> None:
    """Refuse a size below one and columns that the outputs do not have."""
    if target_size < 1:
        raise SampleError(f"the sample size must be at least 1, got {target_size}")
    known = {*pl.scan_parquet(outputs).collect_schema(), TENANT_CLASS}
    unknown = [name for name in strata if name not in known]
    if unknown:
        raise SampleError(f"{outputs} has no column {unknown[0]!r} to stratify by; use others")


def carries_money(manifest: Mapping[str, Any]) -> bool:
    """Say from a sample manifest whether its population has any value to attribute."""
    return int(manifest["population"]["value_units"]) > 0


def stratum_of(manifest: Mapping[str, Any], name: str) -> Stratum:
    """Find a stratum's numbers in a sample manifest, to check one record's probability.

    Raises:
        SampleError: the manifest has no such stratum.
    """
    for entry in manifest["strata"]:
        if entry["stratum"] == name:
            return Stratum.from_json(entry)
    raise SampleError(f"the sample of {manifest.get('date')} has no stratum {name!r}")


def stratum_name(columns: Sequence[str], values: Sequence[object]) -> str:
    """Name a stratum after its columns' values; "all" when there are no columns."""
    pairs = zip(columns, values, strict=True)
    return "|".join(f"{c}={'' if v is None else v}" for c, v in pairs) or "all"


def _population_facts(population: pl.LazyFrame, designs: Mapping[str, Stratum]) -> dict[str, int]:
    """Give the population's size, value, and (sum v)^2 / sum v^2: its outputs of equal worth."""
    value = pl.col("value_units").cast(pl.Int128)
    sums = population.select(value.sum().alias("v"), (value * value).sum().alias("v2"))
    total, squares = sums.collect(engine="streaming").row(0)
    return {
        "outputs": sum(stratum.outputs for stratum in designs.values()),
        "value_units": int(total),
        "effective_outputs": int(total * total // squares) if squares else 0,
    }


def class_of(classes: Mapping[str, str], tenant_hmac: str) -> str:
    """Give a tenant's class."""
    return classes.get(tenant_hmac, OTHER_CLASS)


def _population(outputs: Path, strata: Sequence[str], classes: Mapping[str, str]) -> pl.LazyFrame:
    """Select the payable outputs with their stratum's name."""
    rows = pl.scan_parquet(outputs).filter(pl.col("payable"))
    return with_strata(rows, strata, classes).select("event_id", "stratum", "value_units")


def with_strata(
    rows: pl.LazyFrame, strata: Sequence[str], classes: Mapping[str, str]
) -> pl.LazyFrame:
    """Add the name of its stratum to every output."""
    name = pl.concat_str(
        [pl.lit(f"{c}=") + pl.col(c).cast(pl.String).fill_null("") for c in strata] or ["event_id"],
        separator="|",
    )
    if TENANT_CLASS in strata:
        tenant = pl.col("tenant_hmac").replace_strict(
            dict(classes), default=OTHER_CLASS, return_dtype=pl.String
        )
        rows = rows.with_columns(tenant.alias(TENANT_CLASS))
    return rows.with_columns((name if strata else pl.lit("all")).alias("stratum"))


def drawn_rows(
    population: pl.LazyFrame, designs: Mapping[str, Stratum], seed: bytes
) -> pl.DataFrame:
    """Draw every record of the population; keep those that are in.

    Args:
        population: event_id, stratum, value_units of the payable outputs.
        designs: from `design`.
        seed: the night's seed, 32 bytes.

    Returns:
        event_id, stratum, value_units, pi_ppt, draw_hex, weighted_value_units, by event_id.
    """
    names = pl.DataFrame({"stratum": list(designs)}, schema={"stratum": pl.String})
    numbers = names.with_columns(
        pl.Series("cut", [s.certainty_min_units for s in designs.values()], dtype=pl.Int64),
        pl.Series("size", [s.rest_size for s in designs.values()], dtype=pl.Int128),
        pl.Series("rest", [s.rest_units for s in designs.values()], dtype=pl.Int128),
    )
    kept = []
    for batch in _batches(population):
        # numbers: four per stratum; the same arithmetic as inclusion_ppt, on columns.
        value = pl.col("value_units")
        certain = ((pl.col("cut") > 0) & (value >= pl.col("cut"))) | (pl.col("rest") == 0)
        share = value.cast(pl.Int128) * pl.col("size") * PPT // pl.col("rest")
        frame = batch.filter(value > 0).join(numbers, on="stratum", maintain_order="left")
        frame = frame.with_columns(
            pl.when(certain).then(PPT).otherwise(share.clip(1, PPT)).cast(pl.Int64).alias("pi_ppt")
        )
        kept.append(_draw_batch(frame.select("event_id", "stratum", "value_units", "pi_ppt"), seed))
    return pl.concat(kept).sort("event_id")


def _draw_batch(frame: pl.DataFrame, seed: bytes) -> pl.DataFrame:
    """Keep the rows of a batch whose draw is below their probability."""
    ids = frame["event_id"].to_list()
    digests = keyed_digests(seed, ids)
    head = np.frombuffer(digests, dtype=">u8").reshape(-1, 4)[:, 0].astype(np.float64)
    # Floats only sieve, with a margin far above their error; whole numbers decide.
    likely = np.flatnonzero(head * 2.0**-64 <= frame["pi_ppt"].to_numpy() * 1e-12 * (1 + 1e-9))
    chosen = frame[likely]
    draws = [digests[32 * i : 32 * i + 32] for i in likely.tolist()]
    pis = chosen["pi_ppt"].to_list()
    inside = [
        int.from_bytes(draw) * PPT < pi * _DRAW_MAX for draw, pi in zip(draws, pis, strict=True)
    ]
    weighted = [
        weighted_value(value, pi)
        for value, pi in zip(chosen["value_units"].to_list(), pis, strict=True)
    ]
    return chosen.with_columns(
        pl.Series("draw_hex", [draw.hex() for draw in draws], dtype=pl.String),
        pl.Series("weighted_value_units", weighted, dtype=pl.Int64),
    ).filter(pl.Series(inside, dtype=pl.Boolean))


def _batches(frame: pl.LazyFrame, size: int = _BATCH_ROWS) -> Iterator[pl.DataFrame]:
    """Read a lazy table in pieces of bounded size, in the order of its rows."""
    empty = True
    for batch in frame.collect_batches(chunk_size=size, maintain_order=True):
        empty = False
        yield batch
    if empty:
        yield frame.head(0).collect()


def _with_texts(rows: pl.DataFrame, outputs: Path) -> pl.DataFrame:
    """Add prompt and output text to the sampled rows, reading no other record's text."""
    named = ("event_id", "prompt_text", "output_text")
    ids = rows.select("event_id")
    # As rows of Python: strings cut out of a piece would keep all of its texts alive.
    found = [
        row
        for piece in _batches(pl.scan_parquet(outputs).select(named), _TEXT_ROWS)
        for row in piece.join(ids, on="event_id", how="semi").iter_rows()
    ]
    texts = pl.DataFrame(found, schema=dict.fromkeys(named, pl.String), orient="row")
    joined = rows.join(texts, on="event_id", how="left").sort("event_id")
    return joined.select(list(SAMPLE_SCHEMA)).cast(SAMPLE_SCHEMA)  # type: ignore[arg-type]
