"""How many outputs each stratum gives to the sample, and which of them are certain.

1. The sizes add up to the size asked for, unless there are fewer outputs with a value.
2. No stratum is asked for more outputs than it has; what it cannot give goes to the others.
3. A stratum with money is never left without a chance: it gets at least one output, or two when
   the size allows it, so that its spread can be seen.
4. Within a stratum the largest outputs become certain until no remaining one would be drawn with
   a probability of 1 or more; the certain records are always the largest, ties included.

Proportional allocation divides by value; Neyman allocation by value times the spread of the
quantity estimated (Neyman 1934; Särndal et al. 1992, 3.7.3-3.7.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import polars as pl

from contracts.split import split_by_weights
from flows.data_errors import SampleError


@dataclass(frozen=True)
class Stratum:
    """A stratum's design: with a record's value it gives the record's probability.

    Args:
        name: the values of the columns that make it.
        outputs: payable outputs in it.
        value_units: their value.
        size: expected number of sampled outputs.
        certain: outputs with probability 1.
        certainty_min_units: value from which an output is certain; 0 when none is.
        rest_size: expected number sampled among the others.
        rest_units: value of the others.
    """

    name: str
    outputs: int
    value_units: int
    size: int
    certain: int
    certainty_min_units: int
    rest_size: int
    rest_units: int

    def as_json(self) -> dict[str, Any]:
        """Give the form that stands in a sample manifest."""
        fields = {key: value for key, value in vars(self).items() if key != "name"}
        return {"stratum": self.name, **fields}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Stratum:
        """Read what `as_json` wrote."""
        fields = {key: int(value) for key, value in entry.items() if key != "stratum"}
        return cls(name=str(entry["stratum"]), **fields)


def allocate(
    target_size: int,
    *,
    units: Sequence[int],
    valued: Sequence[int],
    spreads_ppm: Sequence[int],
) -> list[int]:
    """Divide the sample's size among the strata.

    Args:
        target_size: expected size of the whole sample.
        units: value of each stratum.
        valued: outputs with a value in each stratum.
        spreads_ppm: spread of each stratum; the same for all means proportional to value.

    Returns:
        The expected size of each stratum, in their order.
    """
    floor = 2 if target_size >= 2 * len(units) else 1
    floors = [min(floor, count) for count in valued]
    weights = [value * spread for value, spread in zip(units, spreads_ppm, strict=True)]
    full: set[int] = {i for i, count in enumerate(valued) if not count}
    while True:
        rest = [i for i in range(len(units)) if i not in full]
        left = max(0, target_size - sum(valued[i] for i in full))
        sizes = _with_floors(left, rest, weights, floors)
        over = {i for i in rest if sizes[i] > valued[i]}
        if not over:
            return [sizes.get(i, valued[i]) for i in range(len(units))]
        full |= over


def _with_floors(
    size: int, rest: Sequence[int], weights: Sequence[int], floors: Sequence[int]
) -> dict[int, int]:
    """Divide a size by weight among some strata, none of them below its floor."""
    low: set[int] = set()
    while True:
        free = [i for i in rest if i not in low]
        left = max(0, size - sum(floors[i] for i in low))
        parts = split_by_weights(left, [weights[i] for i in free]) if free else []
        sizes = dict(zip(free, parts, strict=True)) | {i: floors[i] for i in low}
        below = {i for i in free if sizes[i] < floors[i]}
        if not below:
            return sizes
        low |= below


def design_stratum(
    name: str,
    size: int,
    *,
    outputs: int,
    valued: int,
    units: int,
    top_values: Sequence[int],
) -> Stratum:
    """Find the certain outputs of a stratum and the numbers of the others.

    Args:
        name: the stratum.
        size: its expected sample size.
        outputs: payable outputs in it.
        valued: those with a value.
        units: value of the stratum.
        top_values: at least its `size` largest values, or all of them.

    Returns:
        The design.
    """
    if size >= valued:
        least = 1 if valued else 0
        return Stratum(name, outputs, units, valued, valued, least, 0, 0)
    values = sorted(top_values, reverse=True)
    rest, certain = units, 0
    while certain < size and values[certain] * (size - certain) >= rest:
        rest -= values[certain]
        certain += 1
    least = values[certain - 1] if certain else 0
    # The last certain value could only be the whole rest if no other output had a value.
    assert certain < size, (name, certain, size)
    assert not certain or values[certain] < least, (name, values[certain], least)
    return Stratum(name, outputs, units, size, certain, least, size - certain, rest)


def design(
    population: pl.LazyFrame,
    target_size: int,
    *,
    allocation: str,
    spreads_ppm: Mapping[str, int],
) -> dict[str, Stratum]:
    """Give every stratum its size, its certain records and the numbers of the others.

    Args:
        population: event_id, stratum, value_units of the payable outputs.
        target_size: expected size of the whole sample.
        allocation: "proportional" or "neyman".
        spreads_ppm: spread per stratum for "neyman".

    Returns:
        The strata in the order of their names; none when no payable output has a value.

    Raises:
        SampleError: the allocation's name is unknown.
    """
    valued = pl.col("value_units") > 0
    facts = (
        population.group_by("stratum")
        .agg(
            pl.len().alias("outputs"),
            valued.sum().alias("valued"),
            pl.col("value_units").cast(pl.Int128).sum().alias("units"),
            pl.col("value_units").top_k(target_size + 1).alias("top"),
        )
        .sort("stratum")
        .collect(engine="streaming")
    )
    if not any(facts["units"].to_list()):
        return {}
    names = facts["stratum"].to_list()
    sizes = allocate(
        target_size,
        units=facts["units"].to_list(),
        valued=facts["valued"].to_list(),
        spreads_ppm=_spreads(names, allocation, spreads_ppm),
    )
    return {
        name: design_stratum(
            name, size, outputs=outputs, valued=valued_count, units=units, top_values=top
        )
        for name, size, outputs, valued_count, units, top in zip(
            names,
            sizes,
            facts["outputs"].to_list(),
            facts["valued"].to_list(),
            facts["units"].to_list(),
            facts["top"].to_list(),
            strict=True,
        )
    }


def _spreads(names: Sequence[str], allocation: str, given: Mapping[str, int]) -> list[int]:
    """Give the factor beside value in the allocation, in ppm, for every stratum."""
    if allocation == "proportional":
        return [10**6] * len(names)
    if allocation == "neyman":
        return [max(1, given.get(name, 10**6)) for name in names]
    raise SampleError(f"unknown allocation {allocation!r}; use 'proportional' or 'neyman'")


def spread_ppm(masses: pl.DataFrame, whole: int, unclear: int) -> int:
    """Give how much shares vary among a stratum's outputs, in parts per million.

    The square is the value-weighted mean over outputs of sum_c (a[q,c] - mean_c)^2, the unexplained
    part counted as one more creator: the factor of Neyman's allocation.

    Args:
        masses: for each creator 10^15 sum (W / X) a and 10^15 sum (W / X) a^2 in the stratum.
        whole: 10^15 sum W / X of the stratum.
        unclear: the same of its unexplained outputs.
    """
    squares = sum(masses["mass_square"].to_list()) + unclear
    means = sum(mass * mass for mass in masses["mass"].to_list()) + unclear * unclear
    return isqrt(max(0, squares * whole - means) * 10**12 // (whole * whole)) if whole else 0
