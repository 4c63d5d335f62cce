"""A night's accruals by model version and territory, for terms that hold for some of them only.

A cell is a model version and a territory of the night's outputs. The numerator of a work's share is
a sum over outputs (`flows.estimation`), so its part in a cell is the same sum over the cell's:

    y[w,c] = sum_{q in c} f_q S[q,w]        so that sum_c y[w,c] = y_w, to the last digit

1. The table is made when a term asks for it, from the files that the estimates cite, and kept in
   `cells/` under their digest: a term signed after the night has it made then. Estimates are not
   changed by it, nor what any work accrued.
2. A work's units go to its cells by exact value, rounded down, what is left over to the largest
   fractions; likewise an owner's units. Each part is within a unit of its exact value.
3. The noise of several cells is the noise of their outputs together; sums of it are kept too.
4. An output without a model version or territory stands under *, which no narrower term covers.
5. A rule that is not `signed_linear/1` has a table of its own, beside the one of that rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import polars as pl

from contracts.apportionment import PER_OUTPUT_POSITIVE, SIGNED_LINEAR
from contracts.split import split_by_targets
from flows import positive
from flows.artefacts import read_manifest, sha256_file, write_manifest, write_parquet
from flows.errors import CloseError
from flows.estimation_moments import Moments
from flows.estimation_shares import stderr_ppt
from flows.night import Night
from flows.night_source import UNKNOWN, NightSource

__all__ = ["UNKNOWN", "Cell", "NightCells", "cells_kind", "night_cells"]

CELLS_FORMAT = "byline-cells/1"
WHY = "a term for some territories or model versions"
KINDS = {SIGNED_LINEAR.name: "cells", PER_OUTPUT_POSITIVE.name: "positive-cells"}
_SUMS = ("y", "square", "cross")
_SCHEMA: dict[str, type[pl.DataType]] = {
    "work_id": pl.String,
    "model_version": pl.String,
    "territory": pl.String,
    "accrual_units": pl.Int64,
    # Whole numbers of up to 38 digits, as text.
    **dict.fromkeys(_SUMS, pl.String),
}

Cell = tuple[str, str]


@dataclass(frozen=True)
class NightCells:
    """What the works of one night accrued in each cell.

    Args:
        units: signed units by cell (model version, territory), by work id.
        sums: numerator, square and cross of the noise by cell, by work id.
        moments: the night's common sums.
    """

    units: Mapping[str, Mapping[Cell, int]]
    sums: Mapping[str, Mapping[Cell, tuple[int, int, int]]]
    moments: Moments

    def of_owner(self, work_id: str, share: Fraction, units: int) -> dict[Cell, int]:
        """Cut an owner's units of a work into cells.

        Args:
            work_id: the work.
            share: his share of it.
            units: his part of what it accrued.

        Returns:
            Signed units by cell, adding up to `units`.
        """
        cells = self.units.get(work_id) or {(UNKNOWN, UNKNOWN): units}
        targets = [share * whole for whole in cells.values()]
        if work_id not in self.units:
            targets = [Fraction(units)]
        return dict(zip(cells, split_by_targets(units, targets), strict=True))

    def error_ppt(self, work_id: str, cells: Iterable[Cell]) -> int:
        """Give the standard error of a work's share in some cells, in parts per 10^12."""
        known = self.sums.get(work_id, {})
        found = [known[cell] for cell in cells if cell in known]
        numerator, square, cross = (sum(s[i] for s in found) for i in range(len(_SUMS)))
        return stderr_ppt(numerator, self.moments, square=square, cross=cross)


def cells_kind(rule: str) -> str:
    """Name the folder of the accruals by cell under a rule."""
    return KINDS[rule]


def night_cells(night: Night, rule: str = SIGNED_LINEAR.name) -> NightCells:
    """Give a night's accruals by cell, making the table where there is none yet.

    Args:
        night: whose estimates.
        rule: by which rule; the night's accruals by it must have been made.

    Raises:
        CloseError: the table was altered, or the files to make it from are not there.
    """
    kind = KINDS[rule]
    wanted = {"estimates": sha256_file(night.manifest("estimates"))}
    if rule == PER_OUTPUT_POSITIVE.name:
        wanted["positive"] = positive.positive_digest(night)
    path = night.manifest(kind)
    if not path.exists() or read_manifest(path, CELLS_FORMAT)["inputs"] != wanted:
        _make(night, rule, wanted)
    return _read(night.table(kind), path, sha256_file(path))


@lru_cache(maxsize=64)
def _read(table: Path, path: Path, _digest: str) -> NightCells:
    """Read the table; kept while its manifest stays the same."""
    manifest = read_manifest(path, CELLS_FORMAT)
    found = sha256_file(table) if table.exists() else "no such file"
    if found != manifest["sha256"][table.name]:
        raise CloseError(
            f"{table}: its manifest says {manifest['sha256'][table.name]}, found "
            f"{found}; what accrued in which territory cannot be told and nothing was divided. "
            f"Remove {path.name} beside it, and the table is made again"
        )
    units: dict[str, dict[Cell, int]] = defaultdict(dict)
    sums: dict[str, dict[Cell, tuple[int, int, int]]] = defaultdict(dict)
    for work, model, territory, accrued, *texts in pl.read_parquet(table).iter_rows():
        units[work][model, territory] = accrued
        y, square, cross = (int(text) for text in texts)
        sums[work][model, territory] = y, square, cross
    moments = Moments(
        denominator=int(manifest["denominator"]),
        unexplained=0,
        unexplained_square=0,
        noise_square=int(manifest["noise_square"]),
        random=int(manifest["random"]),
        splits={},
    )
    return NightCells(units, sums, moments)


def _make(night: Night, rule: str, inputs: Mapping[str, str]) -> None:
    """Make the table from the files that the estimates cite, and write it with its manifest."""
    is_positive = rule == PER_OUTPUT_POSITIVE.name
    source = NightSource(night, WHY, positive=is_positive)
    outputs, denominator = source.outputs, source.denominator
    works = night.table(positive.KIND, "works") if is_positive else night.works
    accrued = dict(pl.read_parquet(works).select("work_id", "accrual_units").iter_rows())
    pool_units = int(source.manifest["pool_units"])
    divided, over = pool_units, denominator
    if is_positive:
        divided -= int(source.manifest["unexplained_units"])
        over = outputs.explained_total
    by_work: dict[str, list[tuple[str, str, int, int, int]]] = defaultdict(list)
    for work, *row in source.sums_by_cell().iter_rows():
        by_work[work].append(tuple(row))
    rows = []
    for work, cells in sorted(by_work.items()):
        targets = [Fraction(divided * y, over) for _, _, y, _, _ in cells]
        parts = split_by_targets(accrued[work], targets)
        for (model, territory, *numbers), units in zip(cells, parts, strict=True):
            rows.append((work, model, territory, units, *map(str, numbers)))
    table = night.table(KINDS[rule])
    digest = write_parquet(table, pl.DataFrame(rows, schema=_SCHEMA, orient="row"))
    body = {
        "pool_units": pool_units,
        "denominator": str(denominator),
        "noise_square": str(outputs.noise_square),
        "random": outputs.random,
    }
    path = night.manifest(KINDS[rule])
    write_manifest(path, CELLS_FORMAT, inputs=inputs, files={table.name: digest}, body=body)
