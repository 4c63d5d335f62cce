"""How many outputs an interval of a wanted width costs, from a night already estimated.

Under size-proportional Poisson sampling the variance of a share R falls with the sample's size n as

    V(n) = S^2 (1/n - 1/N),      N = (sum v)^2 / sum v^2        (outputs of equal worth)

(Särndal, Swensson and Wretman 1992, 3.6.1, for ratios linearised as in `flows.estimation`). One
night gives V at its own n, hence S^2; the formula is then solved for the n of the wanted width.

1. The plan is for the widest interval among the creators asked for, so all of them keep the width.
2. Nothing more is asked for than N outputs; at n = N the interval has no width.
3. A night is noisy itself: the plan is an expectation, not a promise, and says from which night.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from fractions import Fraction
from math import isqrt

import polars as pl

from flows.artefacts import read_manifest
from flows.data_errors import SampleError
from flows.estimation import ESTIMATES_FORMAT
from flows.night import Night
from flows.workspace import Workspace

_PPT = 10**12
_Z95_PPM = 1_959_964
_PPM = 10**6


def plan_for_night(
    workspace: Workspace, date: Date, target_width: float, creators: Sequence[str] = ()
) -> SamplePlan:
    """Plan from a night that was sampled and estimated.

    Args:
        workspace: whose night.
        date: the night.
        target_width: wanted full width of the 95 % interval, as a part of the night's value.
        creators: whose intervals must keep it; every licensed or known creator when empty.

    Returns:
        The plan.

    Raises:
        SampleError: the night was taken whole, or has no such creator, or the width is not above 0.
        ArtefactError: the night is not estimated yet.
    """
    night = Night(workspace, date, ())
    manifest = read_manifest(night.manifest("estimates"), ESTIMATES_FORMAT, step="`byline nightly`")
    table = pl.read_parquet(night.creators, columns=["creator_id", "stderr_ppt"])
    stderrs = {name: int(stderr) for name, stderr in table.iter_rows()}
    unknown = sorted(set(creators) - set(stderrs))
    if unknown:
        raise SampleError(f"the night of {date} has no creator {unknown[0]!r}; nothing was planned")
    return plan_sample(
        {name: stderrs[name] for name in creators or stderrs},
        pilot_size=int(manifest["sampled"]),
        population=int(manifest["population"]["effective_outputs"]),
        target_half_width_ppt=int(Fraction(str(target_width)) * _PPT / 2),
    )


@dataclass(frozen=True)
class SamplePlan:
    """What a width costs.

    Args:
        target_size: outputs to sample a night.
        expected_half_width_ppt: half width of the 95 % interval at that size, in ppt of a share.
        population: outputs of equal worth in a night.
        pilot_size: sampled outputs of the night the plan rests on.
        pilot_half_width_ppt: half width there.
        creator_id: whose interval decides.
    """

    target_size: int
    expected_half_width_ppt: int
    population: int
    pilot_size: int
    pilot_half_width_ppt: int
    creator_id: str


def plan_sample(
    stderrs_ppt: dict[str, int],
    *,
    pilot_size: int,
    population: int,
    target_half_width_ppt: int,
) -> SamplePlan:
    """Find the sample size that gives every creator an interval of the wanted half width.

    Args:
        stderrs_ppt: standard error of each creator's share in the pilot night, in ppt.
        pilot_size: sampled outputs of that night, below `population`.
        population: outputs of equal worth, `effective_outputs` of the sample manifest.
        target_half_width_ppt: wanted half width of the 95 % interval, in ppt of a share.

    Returns:
        The plan.

    Raises:
        SampleError: the pilot was a census or has no creators, or the width is not above zero.
    """
    if target_half_width_ppt <= 0:
        raise SampleError(f"the target width must be above 0, got {target_half_width_ppt} ppt")
    if not stderrs_ppt or pilot_size >= population:
        raise SampleError(
            f"the pilot night sampled {pilot_size} of {population} outputs for "
            f"{len(stderrs_ppt)} creators; a plan needs a night that was sampled, not taken whole"
        )
    creator = max(stderrs_ppt, key=lambda name: (stderrs_ppt[name], name))
    stderr = stderrs_ppt[creator]
    # V(n) = s2 (N - n) / (n N), with s2 times N kept whole: spread = s2 (N - n0) at the pilot.
    square = stderr**2 * pilot_size * population // (population - pilot_size)
    wanted = (target_half_width_ppt * _PPM // _Z95_PPM) ** 2
    size = -(-square * population // (wanted * population + square)) if square else 1
    size = max(1, min(population, size))
    variance = square * (population - size) // (size * population)
    return SamplePlan(
        target_size=size,
        expected_half_width_ppt=_half_width(isqrt(variance)),
        population=population,
        pilot_size=pilot_size,
        pilot_half_width_ppt=_half_width(stderr),
        creator_id=creator,
    )


def _half_width(stderr_ppt: int) -> int:
    """Give the half width of the 95 % interval of a standard error."""
    return stderr_ppt * _Z95_PPM // _PPM
