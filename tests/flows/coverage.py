"""How often the 95 % interval contains the census value, over many draws of one census.

A census is a whole night attributed: value and influence of every output. Each draw samples it as
production does (stratified Poisson, permanent random numbers under a new seed), estimates, and
asks for every creator whether the census share lies in the interval. `expected` is how many
sampled outputs a creator's share rests on: n (sum |c|)^2 / sum c^2 / N for contributions c.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

import polars as pl

from flows.allocation import design
from flows.estimation_moments import accumulate, explain
from flows.estimation_shares import creator_rows, work_rows
from flows.publish_works import creator_shares
from flows.sampling import PPT, drawn_rows, night_seed
from tests.flows.nights import DAY


@dataclass
class Census:
    """A night of which everything is known: values in units, influence in nanonats."""

    population: pl.DataFrame
    influence: pl.DataFrame
    gains: pl.DataFrame
    splits: dict[str, list[tuple[str, Fraction]]]

    def estimate(self, drawn: pl.DataFrame) -> pl.DataFrame:
        """Estimate the creators' shares from drawn outputs."""
        inside = drawn.select(pl.col("event_id").alias("output_id"))
        rows = self.influence.join(inside, on="output_id", how="semi", maintain_order="left")
        gains = self.gains.join(inside, on="output_id", how="semi")
        sample = drawn.select("event_id", "stratum", "pi_ppt", "weighted_value_units")
        outputs = explain(sample, gains, rows.lazy(), gain_min=0, total_ppm=1000)
        moments = accumulate(rows.lazy(), outputs, self.splits)
        works, _ = work_rows(moments, 10**9)
        return creator_rows(moments, works, {})

    def truth(self) -> dict[str, int]:
        """Give the shares of the census, in ppt."""
        certain = pl.lit(PPT).alias("pi_ppt"), pl.col("value_units").alias("weighted_value_units")
        whole = self.estimate(self.population.with_columns(certain))
        return dict(whole.select("creator_id", "share_ppt").iter_rows())

    def expected_counts(self, size: int) -> dict[str, float]:
        """Give on how many sampled outputs each creator's share rests."""
        value = self.population.rename({"event_id": "output_id"})
        total = pl.col("influence_nanonats").sum().over("output_id")
        part = (pl.col("influence_nanonats") / total * pl.col("value_units")).abs()
        table = self.influence.join(value, on="output_id").with_columns(part.alias("c"))
        owner = {work: parts[0][0] for work, parts in self.splits.items()}
        by = table.with_columns(pl.col("group_id").replace_strict(owner).alias("creator"))
        each = by.group_by("creator", "output_id").agg(pl.col("c").sum())
        effective = pl.col("c").sum() ** 2 / (pl.col("c") ** 2).sum()
        sums = each.group_by("creator").agg(effective.alias("effective"))
        scale = size / self.population.height
        return {name: effective * scale for name, effective in sums.iter_rows()}


def synthetic_census(outputs: int, creators: int, seed: int) -> Census:
    """Make a skewed night: values log-normal, large and small creators, noise of both signs."""
    rng = random.Random(seed)
    events = [f"e:{i:05}" for i in range(outputs)]
    values = [max(1, int(1000 * rng.lognormvariate(0, 1))) for _ in events]
    rows, gains = [], []
    for event in events:
        nanonats = []
        for c in range(creators):
            present = rng.random() < 1.5 / (1 + c) ** 0.7
            size = rng.lognormvariate(0, 1) if present else 0.0
            nanonats.append(int(10**9 * (size + rng.gauss(0, 0.02))))
        nanonats[0] += max(0, 10**9 - sum(nanonats))
        rows += [(event, f"w{c:03}", "trained", v) for c, v in enumerate(nanonats)]
        gains.append((event, sum(nanonats), sum(nanonats), 30, 1.0))
    return census_of(events, values, rows, gains, {f"w{c:03}": f"c{c:03}" for c in range(creators)})


def census_of(events, values, rows, gains, owners) -> Census:
    """Put a census together from plain lists."""
    schema = ["output_id", "group_id", "kind", "influence_nanonats"]
    facts = ["output_id", "gain_nanonats", "total_nanonats", "tokens_scored", "completeness"]
    population = pl.DataFrame({"event_id": events, "value_units": values})
    return Census(
        population.with_columns(pl.lit("all").alias("stratum")),
        pl.DataFrame(rows, schema=schema, orient="row").sort("output_id", "group_id"),
        pl.DataFrame(gains, schema=facts, orient="row"),
        {work: [(owner, Fraction(1))] for work, owner in owners.items()},
    )


def coverage(census: Census, size: int, draws: int, seed: int = 0, nights: int = 1) -> pl.DataFrame:
    """Draw and estimate many times.

    Args:
        census: the night.
        size: outputs sampled a night.
        draws: how often.
        seed: of the draws.
        nights: how many draws of equal pools are added up to a period each time.

    Returns:
        creator_id, expected (count), covered (part of the draws), width and bias in ppt.
    """
    truth = census.truth()
    designs = design(census.population.lazy(), size, allocation="proportional", spreads_ppm={})
    found = []
    for k in range(draws):
        drawn = []
        for n in range(nights):
            name = f"{seed}:{k}:{n}" if n else f"{seed}:{k}"
            night = bytes.fromhex(night_seed("", name, DAY))
            drawn.append(census.estimate(drawn_rows(census.population.lazy(), designs, night)))
        found.append(drawn[0] if nights == 1 else _period(drawn))
    exact = pl.DataFrame({"creator_id": list(truth), "truth": list(truth.values())})
    table = pl.concat(found).join(exact, on="creator_id")
    inside = (pl.col("low_ppt") <= pl.col("truth")) & (pl.col("truth") <= pl.col("high_ppt"))
    expected = census.expected_counts(size * nights)
    return (
        table.group_by("creator_id")
        .agg(
            inside.mean().alias("covered"),
            (pl.col("high_ppt") - pl.col("low_ppt")).mean().alias("width"),
            (pl.col("share_ppt") - pl.col("truth")).mean().alias("bias"),
            pl.col("truth").first(),
        )
        .with_columns(pl.col("creator_id").replace_strict(expected).alias("expected"))
        .sort("expected")
    )


def _period(nights: list[pl.DataFrame]) -> pl.DataFrame:
    """Add nights of equal pools up as a statement does."""
    plain = [SimpleNamespace(creators=night, pool_units=10**6) for night in nights]
    period = SimpleNamespace(nights=plain, pool_units=10**6 * len(nights))
    rows = [
        (name, share.share_ppt, share.low_ppt, share.high_ppt)
        for name, share in creator_shares(period).items()
    ]
    schema = ["creator_id", "share_ppt", "low_ppt", "high_ppt"]
    return pl.DataFrame(rows, schema=schema, orient="row")
