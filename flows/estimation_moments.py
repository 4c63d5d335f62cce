"""The sums behind the estimates: one pass over the influence table, in whole numbers.

With X = sum_q W_q, for every sampled output q (0 <= q < n, in the order of its id):

    f_q = round(10^30 W_q / (X T_q))                  integer; 0 when q is unexplained
    h_q = 10^15 sqrt(1 - pi_q) W_q / X                noise weight, rounded to an integer

and for work w (creators alike, after the split-weighted sum over their works on each output):

    y_w      = sum_q f_q S[q,w]                       numerator of the share
    square_w = sum_q t[q,w]^2,   t[q,w] = round(h_q S[q,w] / T_q)
    cross_w  = sum_q t[q,w] h_q
    fourth_w = sum_q round(10^-28 t[q,w]^4)           says on how many outputs the noise rests
    third_w  = sum_q l_q t[q,w]^3, and the same with t^2 h and t h^2 in the place of t^3, in 10^-32;
               l_q = (1 - 2 pi_q) / sqrt(1 - pi_q)    says how skewed the noise is

1. Everything summed is an Int128 made per row before any grouping, so the order of rows, threads
   and machines cannot change a digit. The bound on |S/T| keeps every sum below 10^38.
2. The table is read in pieces that never cut an output in two, so memory does not grow with it.
3. By `per_output_positive/1` the same sums run over max(S, 0), divided by P_q, the positive part of
   the output's influence, in the place of T_q.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import isqrt, sqrt

import polars as pl

from flows.allocation import spread_ppm
from flows.data_errors import EstimationError

SCALE = 10**30
NOISE_SCALE = 10**15
_PPT = 10**12
_BATCH_ROWS = 1_000_000
_SUMS = ("y", "square", "cross", "fourth", "third", "third_h", "third_hh", "outputs")
FINE_SCALE = 10**32
_FACTORS = {
    "output_id": pl.String,
    "stratum": pl.String,
    "f": pl.Int128,
    "t0": pl.Int64,
    "lean": pl.Float64,
    "h_over_t": pl.Float64,
    "ppt_over_t": pl.Float64,
    "mass": pl.Float64,
}


@dataclass(frozen=True)
class Outputs:
    """The sampled outputs with their factors.

    Args:
        table: output_id, stratum, f (Int128), t0 (Int64), lean, h_over_t, ppt_over_t and mass
            (Float64: l, h / T, 10^12 / T and 10^3 W / X) of the explained outputs.
        sampled: how many outputs are in the sample.
        explained: how many of them are explained.
        random: how many were drawn with a probability below 1.
        unexplained: sum of 10^30 W_q / X over the unexplained.
        explained_total: sum of f_q T_q over the explained.
        noise_square: sum of h_q^2 over the whole sample.
        noise_cube: sum of l_q h_q^3 over the whole sample, in 10^-32.
        unexplained_square: the same over the unexplained.
        strata: for each stratum 10^15 W / X over all its outputs and over the unexplained.
    """

    table: pl.DataFrame
    sampled: int
    explained: int
    random: int
    unexplained: int
    explained_total: int
    noise_square: int
    noise_cube: int
    unexplained_square: int
    strata: dict[str, tuple[int, int]]


@dataclass
class Moments:
    """The sums for works, creators and decoys; see the module's header.

    Args:
        denominator: what numerators are divided by, about 10^30.
        unexplained: numerator of the unexplained part.
        unexplained_square: its noise, for its variance.
        noise_square: sum of h_q^2.
        noise_cube: sum of l_q h_q^3, in 10^-32.
        random: outputs drawn with a probability below 1.
        splits: owners of each work, adding up to 1.
        works: name to its sums, as `_SUMS` has them: the numerator, the noise, outputs touched.
        creators: the same without numerators, which follow from works and splits.
        decoys: name to y.
        spreads_ppm: how much creators' shares vary among a stratum's outputs; see `spread_ppm`.
    """

    denominator: int
    unexplained: int
    unexplained_square: int
    noise_square: int
    random: int
    splits: Mapping[str, Sequence[tuple[str, Fraction]]]
    noise_cube: int = 0
    works: dict[str, tuple[int, ...]] = field(default_factory=dict)
    creators: dict[str, tuple[int, ...]] = field(default_factory=dict)
    decoys: dict[str, int] = field(default_factory=dict)
    spreads_ppm: dict[str, int] = field(default_factory=dict)


def explain(
    sample: pl.DataFrame,
    gains: pl.DataFrame,
    influence: pl.LazyFrame,
    *,
    gain_min: int,
    total_ppm: int,
    positive: bool = False,
) -> Outputs:
    """Decide which outputs are explained and give each its factors.

    Args:
        sample: event_id, stratum, pi_ppt, weighted_value_units of every sampled output.
        gains: output_id, gain_nanonats, total_nanonats, tokens_scored.
        influence: the influence table.
        gain_min: least gain per scored token, in nanonats.
        total_ppm: least total over gross movement, in ppm.
        positive: whether an output's value is divided by its positive influence instead of its
            total; which outputs are explained stays as it is.

    Returns:
        The outputs.

    Raises:
        EstimationError: a sampled output was not attributed, one attributed was not sampled, or
            the table's rows do not add up to the total that attribution measured.
    """
    trained = pl.col("kind") == "trained"
    nats = pl.col("influence_nanonats").cast(pl.Int128)
    totals = (
        influence.filter(trained)
        .group_by("output_id")
        .agg(nats.sum().alias("total"), nats.abs().sum().alias("gross"), pl.len().alias("rows"))
        .collect(engine="streaming")
    )
    rows = (
        sample.sort("event_id")
        .rename({"event_id": "output_id"})
        .join(gains.rename({"total_nanonats": "stated"}), on="output_id", how="left")
        .join(totals, on="output_id", how="left", maintain_order="left")
    )
    _check_cover(rows, gains)
    x = sum(rows["weighted_value_units"].to_list())
    if not rows.height:
        # A night without a sample: whatever its pool, nobody's influence explains it.
        return Outputs(pl.DataFrame(schema=_FACTORS), 0, 0, 0, SCALE, 0, 0, 0, 0, {})
    return _factors(rows, x, gain_min, total_ppm, positive=positive)


def _check_cover(rows: pl.DataFrame, gains: pl.DataFrame) -> None:
    """Check that sample, gains and influence speak of the same outputs and totals."""
    lacking = rows.filter(pl.col("gain_nanonats").is_null())["output_id"].to_list()
    if lacking:
        raise EstimationError(
            f"{len(lacking)} of {rows.height} sampled outputs were not attributed, the first is "
            f"{lacking[0]}; run the attribution step again"
        )
    if gains.height != rows.height:
        stray = gains.join(rows, on="output_id", how="anti")["output_id"].sort().to_list()
        raise EstimationError(
            f"the gains table has {gains.height} outputs, the sample {rows.height}; "
            f"{stray[:1]} was never sampled or stands twice. Run the attribution step again"
        )
    # Each row is rounded to a nanonat, so the sum may be off by half of one per row, and the
    # total itself by the rounding of a float; anything beyond means that rows are missing.
    stated = pl.col("stated").cast(pl.Int128)
    slack = pl.col("rows").cast(pl.Int128) + stated.abs() // 1_000_000 + 1_000
    off = rows.filter((pl.col("total").fill_null(0) - stated).abs() > slack.fill_null(1_000))
    if off.height:
        first = off.row(0, named=True)
        raise EstimationError(
            f"output {first['output_id']}: its influence rows add up to {first['total']} nanonats, "
            f"attribution measured {first['stated']}; the influence table is incomplete. "
            f"Run the attribution step again"
        )


def _factors(
    rows: pl.DataFrame, x: int, gain_min: int, total_ppm: int, *, positive: bool
) -> Outputs:
    """Compute f_q and h_q of every output, in whole numbers."""
    table: dict[str, list[object]] = {name: [] for name in _FACTORS}
    sums = dict.fromkeys(("unexplained", "total", "noise", "cube", "unexplained_noise"), 0)
    strata: dict[str, tuple[int, int]] = {}
    columns = ["output_id", "stratum", "pi_ppt", "weighted_value_units", "gain_nanonats"]
    random = 0
    for name, stratum, pi, weight, gain, tokens, total, gross in rows.select(
        [*columns, "tokens_scored", "total", "gross"]
    ).iter_rows():
        noise = isqrt(NOISE_SCALE**2 * (_PPT - pi) * weight * weight // (_PPT * x * x))
        random += pi < _PPT
        sums["noise"] += noise * noise
        lean = _PPT - 2 * pi
        sums["cube"] += FINE_SCALE * (_PPT - pi) * lean * weight**3 // (_PPT**2 * x**3)
        clear_gain = gain > 0 and gain >= gain_min * tokens
        clear = clear_gain and total and total > 0 and total * 10**6 >= total_ppm * gross
        mass = _round(NOISE_SCALE * weight, x)
        whole, unclear = strata.get(stratum, (0, 0))
        strata[stratum] = (whole + mass, unclear + (0 if clear else mass))
        if not clear:
            sums["unexplained"] += _round(SCALE * weight, x)
            sums["unexplained_noise"] += noise * noise
            continue
        over = (total + gross) // 2 if positive else total
        factor = _round(SCALE * weight, x * over)
        sums["total"] += factor * over
        tilt = lean / sqrt((_PPT - pi) * _PPT) if pi < _PPT else 0.0
        over_total = (noise / over, _PPT / over, 1000 * weight / x)
        row = (name, stratum, factor, noise, tilt, *over_total)
        for key, value in zip(table, row, strict=True):
            table[key].append(value)
    return Outputs(
        table=pl.DataFrame(table, schema=_FACTORS),
        sampled=rows.height,
        explained=len(table["output_id"]),
        random=random,
        unexplained=sums["unexplained"],
        explained_total=sums["total"],
        noise_square=sums["noise"],
        noise_cube=sums["cube"],
        unexplained_square=sums["unexplained_noise"],
        strata=strata,
    )


def accumulate(
    influence: pl.LazyFrame, outputs: Outputs, splits: Mapping[str, Sequence[tuple[str, Fraction]]]
) -> Moments:
    """Add up the sums of every work, creator and decoy.

    Args:
        influence: output_id, group_id, kind, influence_nanonats, sorted by output and group.
        outputs: from `explain`.
        splits: owners of every trained work, adding up to 1.

    Returns:
        The moments.

    Raises:
        EstimationError: the table is not sorted by output.
    """
    owners = _owners(splits)
    parts: dict[str, list[pl.DataFrame]] = {"work": [], "creator": [], "decoy": [], "mass": []}
    for piece in _pieces(influence):
        # piece: [rows] of whole outputs; unexplained outputs fall out of the inner join.
        known = piece.join(outputs.table, on="output_id")
        trained = known.filter(pl.col("kind") == "trained")
        decoys = known.filter(pl.col("kind") == "decoy")
        noise = (pl.col("influence_nanonats") * pl.col("h_over_t")).round().cast(pl.Int64)
        numerator = (pl.col("f") * pl.col("influence_nanonats").cast(pl.Int128)).sum().alias("y")
        by_work = trained.with_columns(noise.alias("t")).group_by("group_id")
        parts["work"].append(by_work.agg(numerator, *_noise()))
        parts["decoy"].append(decoys.group_by("group_id").agg(numerator))
        owned = _creator_parts(trained, owners, outputs.table)
        parts["creator"].append(owned.group_by("creator").agg(_noise()))
        masses = pl.col("mass", "mass_square").sum()
        parts["mass"].append(owned.group_by("stratum", "creator").agg(masses))
    moments = _gathered(parts, outputs, splits)
    numerators = sum(y for y, *_ in moments.works.values())
    assert numerators == outputs.explained_total, (numerators, outputs.explained_total)
    return moments


def _owners(splits: Mapping[str, Sequence[tuple[str, Fraction]]]) -> pl.DataFrame:
    """Make the table of owners: group_id, creator, part."""
    rows = [(work, name, float(share)) for work, owns in splits.items() for name, share in owns]
    schema = {"group_id": pl.String, "creator": pl.String, "part": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _gathered(
    parts: Mapping[str, Sequence[pl.DataFrame]],
    outputs: Outputs,
    splits: Mapping[str, Sequence[tuple[str, Fraction]]],
) -> Moments:
    """Add up the pieces' sums."""
    named = _total(parts["work"], "group_id", _SUMS)
    masses = pl.concat(parts["mass"]).group_by("stratum", "creator").agg(pl.all().sum())
    return Moments(
        denominator=outputs.explained_total + outputs.unexplained,
        unexplained=outputs.unexplained,
        unexplained_square=outputs.unexplained_square,
        noise_square=outputs.noise_square,
        noise_cube=outputs.noise_cube,
        random=outputs.random,
        splits=splits,
        works=dict.fromkeys(splits, (0,) * len(_SUMS)) | dict(named),
        creators=dict(_total(parts["creator"], "creator", _SUMS[1:])),
        decoys={n: y for n, (y,) in _total(parts["decoy"], "group_id", _SUMS[:1])},
        spreads_ppm={
            name: spread_ppm(masses.filter(pl.col("stratum") == name), *whole)
            for name, whole in sorted(outputs.strata.items())
        },
    )


def _noise() -> list[pl.Expr]:
    """Give the aggregations of t: the sums of `_SUMS` after the numerator."""
    t, h = pl.col("t").cast(pl.Int128), pl.col("t0").cast(pl.Int128)
    # |t| / 10^15 is at most 20, so a fourth power stays below 2 * 10^37.
    small, own = pl.col("t") / NOISE_SCALE, pl.col("t0") / NOISE_SCALE
    fine = {
        "fourth": small * small * (small * small),
        "third": pl.col("lean") * small * (small * small),
        "third_h": pl.col("lean") * own * (small * small),
        "third_hh": pl.col("lean") * own * (small * own),
    }
    return [
        (t * t).sum().alias("square"),
        (t * h).sum().alias("cross"),
        *((e * FINE_SCALE).round().cast(pl.Int128).sum().alias(name) for name, e in fine.items()),
        pl.len().cast(pl.Int64).alias("outputs"),
    ]


def _creator_parts(
    trained: pl.DataFrame, owners: pl.DataFrame, table: pl.DataFrame
) -> pl.DataFrame:
    """Sum each creator's works on each output, before anything is squared.

    Returns:
        A row for each output and creator: creator, stratum, t, t0, lean, and mass and mass_square,
        10^15 (W / X) a and 10^15 (W / X) a^2.
    """
    a = pl.col("a")
    exact = pl.col("influence_nanonats") * pl.col("ppt_over_t") * pl.col("part")
    return (
        trained.select("output_id", "group_id", "influence_nanonats", "ppt_over_t")
        .join(owners, on="group_id")
        .select("output_id", "creator", exact.round().cast(pl.Int64).alias("a"))
        .group_by("output_id", "creator")
        .agg(a.sum())
        .join(table.select("output_id", "stratum", "t0", "lean", "mass"), on="output_id")
        .select(
            "creator",
            "stratum",
            (a * (pl.col("t0") / _PPT)).round().cast(pl.Int64).alias("t"),
            "t0",
            "lean",
            (a * pl.col("mass")).round().cast(pl.Int128).alias("mass"),
            (a * (a * pl.col("mass") / _PPT)).round().cast(pl.Int128).alias("mass_square"),
        )
    )


def _total(
    parts: Sequence[pl.DataFrame], key: str, columns: Sequence[str]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Add up the pieces' sums by name, in the order of the names."""
    whole = pl.concat(parts).group_by(key).agg([pl.col(c).sum() for c in columns]).sort(key)
    for name, *sums in whole.select(key, *columns).iter_rows():
        yield name, tuple(sums)


def _pieces(influence: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Read the table in pieces of bounded size that end where an output ends."""
    frame = influence.select("output_id", "group_id", "kind", "influence_nanonats")
    held = frame.head(0).collect()
    for batch in frame.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True):
        held = pl.concat([held, batch])
        if not held["output_id"].is_sorted():
            raise EstimationError(
                "the influence table is not sorted by output_id; run the attribution step again"
            )
        last = held["output_id"][-1] if held.height else None
        yield held.filter(pl.col("output_id") != last)
        held = held.filter(pl.col("output_id") == last)
    yield held


def _round(numerator: int, denominator: int) -> int:
    """Round a quotient of positive whole numbers half to even."""
    quotient, rest = divmod(numerator, denominator)
    return quotient + (2 * rest > denominator or (2 * rest == denominator and quotient % 2 == 1))
