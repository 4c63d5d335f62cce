"""What each work and each creator earned in a night, with how sure we are.

Sampled output q has value v_q, inclusion probability pi_q and weighted value W_q = v_q / pi_q.
The influence table has S[q,w], the signed influence in nanonats of work w on output q. Then

    T_q      = sum_w S[q,w]                       over every trained work, licensed or not
    a[q,w]   = S[q,w] / T_q                       normalised influence; 0 if q is unexplained
    R_w      = sum_q W_q a[q,w] / sum_q W_q       Hajek share of the night's value
    R_0      = sum_{q unexplained} W_q / sum_q W_q          so that sum_w R_w + R_0 = 1
    accrual  = pool_units * R_w                   by largest remainder, adds up to the pool

    V(R_w)   = n/(n-1) sum_q (1 - pi_q) (W_q / X)^2 (a[q,w] - R_w)^2,    X = sum_q W_q
    interval   by the outputs that carry the noise and by its skewness (estimation_shares, 3)

R_w is the ratio estimator of Hajek (1971); V its Taylor-linearised variance under Poisson
sampling, where draws are independent so that no joint probabilities are needed (Särndal, Swensson
and Wretman 1992, 3.5 and 5.6-5.8). The factor 1 - pi is the finite-population correction: a census
has no variance. n counts the outputs with pi < 1.

1. Shares are exact. With an integer f_q = round(10^30 W_q / (X T_q)) a work's numerator is
   sum_q f_q S[q,w] in whole numbers, linear in S: filing one work under two names, or cutting it
   in pieces, changes nothing in the total, to the last digit. Nothing is summed as a float.
2. An output is unexplained when what training gained on it is not clearly above zero (nats per
   scored token) or its total is not (below a part of the gross movement sum_w |S[q,w]|). The
   second bound also keeps any single output from dominating: |a[q,w]| <= 1 / that part.
3. A creator's influence on an output is the split-weighted sum of his works' before it is squared;
   co-creators share by the catalogue's split; what no split covers belongs to "unmatched".
4. A creator's accrual is the sum of his parts of his works' accruals: statements foot.
5. Decoys were never trained on and never paid. Their influence per unit of size times a creator's
   size is the generic part of his share; the rest is specific. The two add up to the share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl

import contracts.catalogue
from contracts.dispute import UNMATCHED_OWNER, holdings
from flows.artefacts import (
    canonical_json,
    read_manifest,
    recorded_sha256,
    sha256_bytes,
    sha256_file,
    verify_data,
    verify_file,
    write_manifest,
    write_parquet,
)
from flows.data_errors import EstimationError
from flows.estimation_moments import Moments, Outputs, accumulate, explain
from flows.estimation_shares import PPT, creator_rows, ratio_ppt, stderr_ppt, work_rows
from flows.sampling import SAMPLE_FORMAT

ESTIMATES_FORMAT = "byline-estimates/1"
INFLUENCE_FORMAT = "byline-influence/1"

Splits = Mapping[str, Sequence[tuple[str, Fraction]]]


@dataclass(frozen=True)
class Pool:
    """The money a night's outputs earn for those whose work they rest on.

    Args:
        pool_id: its name in the agreements.
        units: its size, in units of the sample's currency; not negative.
        taken_back: whether the outputs are differences to lowered values, so that their pool, then
            not above zero, is taken back from those it was paid to.
        rate_ppm: the part of the outputs' value that it is, in parts per million, where it is one;
            written down, so that an auditor multiplies too.
    """

    pool_id: str
    units: int
    taken_back: bool = False
    rate_ppm: int | None = None

    def __post_init__(self) -> None:
        """Refuse a pool that would be taken from people without a lowered value behind it."""
        if (self.units > 0) if self.taken_back else (self.units < 0):
            sign = "positive, though taken back" if self.taken_back else "negative"
            raise EstimationError(f"pool {self.pool_id} is {sign}: {self.units} units")

    def rate(self) -> dict[str, int]:
        """Give the rate as a manifest has it; nothing where there is none."""
        return {} if self.rate_ppm is None else {"pool_rate_ppm": self.rate_ppm}


@dataclass(frozen=True)
class UnexplainedRule:
    """When an output's value is not divided by influence.

    Args:
        gain_per_token_min_nanonats: least gain of training per scored token, in 1e-9 nat.
        total_to_gross_min_ppm: least |total| / gross movement, in parts per million.
    """

    gain_per_token_min_nanonats: int = 10_000_000
    total_to_gross_min_ppm: int = 50_000

    def __post_init__(self) -> None:
        """Refuse a rule under which a single output could dominate everything."""
        if not 1_000 <= self.total_to_gross_min_ppm <= 1_000_000:
            raise EstimationError(
                f"total_to_gross_min_ppm must be 1000..1000000, got {self.total_to_gross_min_ppm}"
            )


@dataclass(frozen=True)
class Ownership:
    """Who owns what on the night's date, and how large it is.

    Args:
        splits: for each work its creators and their shares, each in (0, 1], adding up to at
            most 1. What is missing to 1 belongs to "unmatched"; what is claimed twice is
            listed under "disputed".
        sizes: size of each work and decoy (documents or tokens, one unit for all), for the
            generic part; a decoy that is not listed counts as one document.
    """

    splits: Splits
    sizes: Mapping[str, int]

    def digest(self) -> str:
        """Give the sha256 of the content that was used."""
        plain = {
            "splits": {w: [[c, str(s)] for c, s in parts] for w, parts in self.splits.items()},
            "sizes": dict(self.sizes),
        }
        return sha256_bytes(canonical_json(plain))


def ownership_on(
    catalogue: contracts.catalogue.Catalogue, date: Date, sizes: Mapping[str, int] | None = None
) -> Ownership:
    """Read from the catalogue who owned what on a date.

    Args:
        catalogue: works, parties and documents.
        date: the night's date.
        sizes: tokens of each work and decoy; the catalogue's count of documents when None.

    Returns:
        The owners of every work, what is contested of it, and the works' sizes.
    """
    splits = {
        name: tuple(
            pair
            for pair in holdings(work.shares_on(date)).as_owners()
            if pair[0] != UNMATCHED_OWNER
        )
        for name, work in catalogue.works.items()
    }
    return Ownership(splits, sizes or Counter(catalogue.work_of.values()))


@dataclass(frozen=True)
class EstimateResult:
    """Where a night's estimates lie, and their manifest as written."""

    works: Path
    creators: Path
    manifest_path: Path
    manifest: dict[str, Any]


def estimate(
    *,
    influence: Path,
    gains: Path,
    sample: Path,
    ownership: Ownership,
    out_dir: Path,
    name: str,
    pool: Pool,
    rule: UnexplainedRule | None = None,
) -> EstimateResult:
    """Estimate a night's shares and accruals and write them with their manifest.

    Args:
        influence: `influence/NAME.parquet`, sorted by output and group.
        gains: `influence/NAME.gains.parquet`.
        sample: `sample/NAME.parquet`.
        ownership: owners and sizes of the works.
        out_dir: `estimates/`; NAME.works.parquet and NAME.creators.parquet are written there.
        name: the night's name, normally its date.
        pool: what is divided.
        rule: when an output is unexplained.

    Returns:
        The paths and the manifest (`byline-estimates/1`).

    Raises:
        EstimationError: sample, influence and gains do not cover the same outputs.
        ArtefactError: an input was altered since it was written.
    """
    rule = rule or UnexplainedRule()
    sample_manifest = verify_data(sample, SAMPLE_FORMAT, step="the sampling step")
    run = _verify_influence(influence, gains)
    table = pl.scan_parquet(influence)
    outputs = explain(
        pl.read_parquet(sample, columns=["event_id", "stratum", "pi_ppt", "weighted_value_units"]),
        pl.read_parquet(gains),
        table,
        gain_min=rule.gain_per_token_min_nanonats,
        total_ppm=rule.total_to_gross_min_ppm,
    )
    moments = accumulate(table, outputs, full_splits(table, ownership))
    works, unexplained_units = work_rows(moments, pool.units)
    documents = int(run.get("decoy_documents", len(moments.decoys)))
    creators = creator_rows(moments, works, with_decoys(ownership.sizes, moments, documents))
    body = _summary(sample_manifest, outputs, moments, documents) | {
        "name": name,
        "pool_id": pool.pool_id,
        "pool_units": pool.units,
        "unexplained_units": unexplained_units,
        "rule": vars(rule),
        **pool.rate(),
    }
    inputs = {
        "influence": sha256_file(influence),
        "gains": sha256_file(gains),
        "sample": recorded_sha256(sample_manifest, sample.name),
        "ownership": ownership.digest(),
    }
    return _write(out_dir, name, (works, creators), inputs, body)


def _write(
    out_dir: Path,
    name: str,
    frames: tuple[pl.DataFrame, pl.DataFrame],
    inputs: Mapping[str, str],
    body: Mapping[str, Any],
) -> EstimateResult:
    """Write both tables, then their manifest."""
    paths = (out_dir / f"{name}.works.parquet", out_dir / f"{name}.creators.parquet")
    digests = {
        path.name: write_parquet(path, frame) for path, frame in zip(paths, frames, strict=True)
    }
    path = out_dir / f"{name}.manifest.json"
    manifest = write_manifest(path, ESTIMATES_FORMAT, inputs=inputs, files=digests, body=body)
    return EstimateResult(*paths, path, manifest)


def _summary(
    sample_manifest: Mapping[str, Any], outputs: Outputs, moments: Moments, documents: int
) -> dict[str, Any]:
    """Say what the estimates rest on, for the manifest."""
    decoys = moments.decoys
    return {
        "date": sample_manifest["date"],
        "seed": sample_manifest["seed"],
        "currency": sample_manifest["currency"],
        "population": sample_manifest["population"],
        "sampled": outputs.sampled,
        "strata": sample_manifest["strata"],
        "spreads_ppm": moments.spreads_ppm,
        "explained_outputs": outputs.explained,
        "unexplained_outputs": outputs.sampled - outputs.explained,
        "unexplained_ppt": ratio_ppt(moments.unexplained, moments.denominator),
        "unexplained_stderr_ppt": stderr_ppt(
            moments.unexplained,
            moments,
            square=moments.unexplained_square,
            cross=moments.unexplained_square,
        ),
        "decoy": {
            "documents": documents,
            "share_ppt": ratio_ppt(sum(decoys.values()), moments.denominator),
        },
        "confidence": "95% interval, Taylor-linearised, t and Hall's skewness, Poisson design",
        "share_scale": PPT,
        "apportionment": "signed_linear/1",
    }


def with_decoys(sizes: Mapping[str, int], moments: Moments, documents: int) -> dict[str, int]:
    """Give sizes in which the decoys have as many documents as were scored, all of them together.

    A decoy is a group of documents, as a work is; what is divided by them is the decoys' total,
    so which of them has how many makes no difference.

    Args:
        sizes: documents of each work.
        moments: the night's sums.
        documents: of all decoys together.
    """
    first, *others = sorted(moments.decoys) or [""]
    return {**sizes, **dict.fromkeys(others, 0), first: documents}


def _verify_influence(influence: Path, gains: Path) -> dict[str, Any]:
    """Check both influence files against their common manifest, and return it."""
    manifest_file = influence.with_name(influence.name.removesuffix(".parquet") + ".manifest.json")
    manifest = read_manifest(manifest_file, INFLUENCE_FORMAT, step="the attribution step")
    for name, path in (("influence", influence), ("gains", gains)):
        # A merged run names its files by what they are, other artefacts by their file names.
        named = path.name if path.name in manifest["sha256"] else name
        verify_file(path, recorded_sha256(manifest, named), step="the attribution step")
    return manifest


def full_splits(
    influence: pl.LazyFrame, ownership: Ownership
) -> dict[str, list[tuple[str, Fraction]]]:
    """Give every trained work of the influence table owners whose shares add up to 1."""
    names = (
        influence.filter(pl.col("kind") == "trained")
        .select(pl.col("group_id").unique())
        .collect(engine="streaming")["group_id"]
        .sort()
        .to_list()
    )
    full: dict[str, list[tuple[str, Fraction]]] = {}
    for work in names:
        parts = [(creator, share) for creator, share in ownership.splits.get(work, ()) if share]
        missing = 1 - sum((share for _, share in parts), Fraction())
        if missing < 0 or any(share < 0 for _, share in parts):
            raise EstimationError(
                f"work {work}: the splits add up to {1 - missing}, more than 1; "
                f"what is claimed twice is listed once, under 'disputed' (see contracts.dispute)"
            )
        full[work] = parts + ([(UNMATCHED_OWNER, missing)] if missing else [])
    return full
