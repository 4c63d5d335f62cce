"""A night's accruals by `per_output_positive/1`, for terms that name that rule.

For every explained output q the positive part of its influence divides its value:

    P_q      = sum_w max(S[q,w], 0)
    a+[q,w]  = max(S[q,w], 0) / P_q               0 if q is unexplained
    R+_w     = sum_q W_q a+[q,w] / sum_q W_q      with intervals as in `flows.estimation`

1. The floor holds for every work on every output. Owners share a work's positive accrual as they
   share its signed one, so who owns a work changes nobody else's; a work cut in two may accrue
   more.
2. Sample, weights, gains, the outputs that are explained and the unexplained units are those of the
   night's estimates; only the division of what is explained is another.
3. The tables are made when a night is settled whose agreements name the rule, and later on demand
   from the files that the estimates cite, with the owners that the night's entry cites: the same
   bytes, whenever they are made. Estimates and entries by `signed_linear/1` are not changed by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from contracts.apportionment import PER_OUTPUT_POSITIVE
from flows.artefacts import read_manifest, sha256_file, write_manifest, write_parquet
from flows.errors import CloseError
from flows.estimation import full_splits, ownership_on, with_decoys
from flows.estimation_moments import accumulate
from flows.estimation_shares import creator_rows, work_rows
from flows.knowledge import Knowledge
from flows.night import Night
from flows.night_source import NightSource

POSITIVE_FORMAT = "byline-positive/1"
KIND = "positive"


@dataclass(frozen=True)
class RuleTables:
    """What works and creators accrued by a rule, in the columns of the estimates."""

    works: pl.DataFrame
    creators: pl.DataFrame


def positive_tables(night: Night, then: Knowledge) -> RuleTables:
    """Give a night's accruals by the rule, making the tables where there are none yet.

    Args:
        night: whose estimates.
        then: what the night's entry cites, or is about to; says who owned what on its date.

    Raises:
        CloseError: a table was altered, or the files to make them from are not there.
    """
    wanted = {
        "estimates": sha256_file(night.manifest("estimates")),
        "catalogue": then.catalogue_sha256,
    }
    path = night.manifest(KIND)
    if not path.exists() or read_manifest(path, POSITIVE_FORMAT)["inputs"] != wanted:
        _make(night, then, wanted)
    return _read(night, path, sha256_file(path))


def positive_digest(night: Night) -> str:
    """Give the digest that cites a night's accruals by the rule."""
    return sha256_file(night.manifest(KIND))


@lru_cache(maxsize=64)
def _read(night: Night, path: Path, _digest: str) -> RuleTables:
    """Read the tables; kept while their manifest stays the same."""
    manifest = read_manifest(path, POSITIVE_FORMAT)
    tables = []
    for table in (night.table(KIND, "works"), night.table(KIND, "creators")):
        cited = manifest["sha256"][table.name]
        found = sha256_file(table) if table.exists() else "no such file"
        if found != cited:
            raise CloseError(
                f"{table}: its manifest says {cited}, found {found}; what accrued by "
                f"{PER_OUTPUT_POSITIVE.name} cannot be told and nothing was divided. Remove "
                f"{path.name} beside it, and the tables are made again"
            )
        tables.append(pl.read_parquet(table))
    return RuleTables(*tables)


def _make(night: Night, then: Knowledge, inputs: dict[str, str]) -> None:
    """Make the tables from the files that the estimates cite, and write them."""
    source = NightSource(night, f"a term by {PER_OUTPUT_POSITIVE.name}", positive=True)
    ownership = ownership_on(then.catalogue, night.date)
    splits = full_splits(source.influence, ownership)
    moments = accumulate(source.influence, source.outputs, splits)
    pool_units = int(source.manifest["pool_units"])
    unexplained_units = int(source.manifest["unexplained_units"])
    works, _ = work_rows(moments, pool_units, unexplained_units)
    sizes = with_decoys(ownership.sizes, moments, int(source.manifest["decoy"]["documents"]))
    creators = creator_rows(moments, works, sizes)
    files = {}
    for name, frame in (("works", works), ("creators", creators)):
        table = night.table(KIND, name)
        files[table.name] = write_parquet(table, frame)
    body = {
        "apportionment": PER_OUTPUT_POSITIVE.name,
        "pool_units": pool_units,
        "unexplained_units": unexplained_units,
    }
    path = night.manifest(KIND)
    write_manifest(path, POSITIVE_FORMAT, inputs=inputs, files=files, body=body)
