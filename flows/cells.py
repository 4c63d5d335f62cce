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
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import floor
from pathlib import Path

import polars as pl

from flows.artefacts import read_manifest, sha256_file, write_manifest, write_parquet
from flows.errors import CloseError
from flows.estimation import ESTIMATES_FORMAT
from flows.estimation_moments import Moments, Outputs, explain
from flows.estimation_shares import stderr_ppt
from flows.night import Night

CELLS_FORMAT = "byline-cells/1"
UNKNOWN = "*"
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
        return dict(zip(cells, fitted(units, targets), strict=True))

    def error_ppt(self, work_id: str, cells: Iterable[Cell]) -> int:
        """Give the standard error of a work's share in some cells, in parts per 10^12."""
        known = self.sums.get(work_id, {})
        found = [known[cell] for cell in cells if cell in known]
        numerator, square, cross = (sum(s[i] for s in found) for i in range(len(_SUMS)))
        return stderr_ppt(numerator, self.moments, square=square, cross=cross)


def fitted(units: int, targets: Sequence[Fraction]) -> list[int]:
    """Round exact values to whole numbers that add up to an amount within a unit of their sum.

    Args:
        units: what the parts add up to.
        targets: the exact values, of either sign.

    Returns:
        Each value rounded down, and one unit more for the largest fractions.

    >>> fitted(3, [Fraction(5, 2), Fraction(-3, 4), Fraction(5, 4)])
    [3, -1, 1]
    """
    parts = [floor(target) for target in targets]
    rest = units - sum(parts)
    assert 0 <= rest <= len(parts), (units, targets)
    by_fraction = sorted(range(len(parts)), key=lambda i: parts[i] - targets[i])
    for i in by_fraction[:rest]:
        parts[i] += 1
    return parts


def night_cells(night: Night) -> NightCells:
    """Give a night's accruals by cell, making the table where there is none yet.

    Raises:
        CloseError: the table was altered, or the files to make it from are not there.
    """
    cited = sha256_file(night.manifest("estimates"))
    path = night.manifest("cells")
    if not path.exists() or read_manifest(path, CELLS_FORMAT)["inputs"]["estimates"] != cited:
        _make(night, cited)
    return _read(night, path, sha256_file(path))


@lru_cache(maxsize=64)
def _read(night: Night, path: Path, _digest: str) -> NightCells:
    """Read the table; kept while its manifest stays the same."""
    manifest = read_manifest(path, CELLS_FORMAT)
    found = sha256_file(night.cells) if night.cells.exists() else "no such file"
    if found != manifest["sha256"][night.cells.name]:
        raise CloseError(
            f"{night.cells}: its manifest says {manifest['sha256'][night.cells.name]}, found "
            f"{found}; what accrued in which territory cannot be told and nothing was divided. "
            f"Remove {path.name} beside it, and the table is made again"
        )
    units: dict[str, dict[Cell, int]] = defaultdict(dict)
    sums: dict[str, dict[Cell, tuple[int, int, int]]] = defaultdict(dict)
    for work, model, territory, accrued, *texts in pl.read_parquet(night.cells).iter_rows():
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


def _make(night: Night, cited: str) -> None:
    """Make the table from the files that the estimates cite, and write it with its manifest."""
    source = _Source(night)
    outputs, denominator = source.outputs, source.denominator
    accrued = dict(pl.read_parquet(night.works).select("work_id", "accrual_units").iter_rows())
    pool_units = int(source.manifest["pool_units"])
    by_work: dict[str, list[tuple[str, str, int, int, int]]] = defaultdict(list)
    for work, *row in source.sums().iter_rows():
        by_work[work].append(tuple(row))
    rows = []
    for work, cells in sorted(by_work.items()):
        targets = [Fraction(pool_units * y, denominator) for _, _, y, _, _ in cells]
        parts = fitted(accrued[work], targets)
        for (model, territory, *numbers), units in zip(cells, parts, strict=True):
            rows.append((work, model, territory, units, *map(str, numbers)))
    digest = write_parquet(night.cells, pl.DataFrame(rows, schema=_SCHEMA, orient="row"))
    body = {
        "pool_units": pool_units,
        "denominator": str(denominator),
        "noise_square": str(outputs.noise_square),
        "random": outputs.random,
    }
    files = {night.cells.name: digest}
    path = night.manifest("cells")
    write_manifest(path, CELLS_FORMAT, inputs={"estimates": cited}, files=files, body=body)


class _Source:
    """The files behind a night's estimates, held against what the estimates cite.

    Args:
        night: the night.

    Raises:
        CloseError: a file is gone or was altered.
    """

    def __init__(self, night: Night) -> None:
        self.night = night
        self.manifest = read_manifest(night.manifest("estimates"), ESTIMATES_FORMAT)
        for name, path in (
            ("influence", night.influence),
            ("gains", night.gains),
            ("sample", night.sample),
        ):
            cited = self.manifest["inputs"][name]
            found = sha256_file(path) if path.exists() else "no such file"
            if found != cited:
                raise CloseError(
                    f"{path}: the estimates of {night.name} cite {cited}, found {found}; a term "
                    f"for some territories or model versions needs it, and nothing was divided. "
                    f"Restore the file, or run `byline nightly --date {night.date}` again"
                )
        if not night.outputs.exists():
            raise CloseError(
                f"{night.outputs} is gone, so nothing says where the outputs of {night.name} were "
                f"delivered; a term for some territories or model versions needs it, and nothing "
                f"was divided. Restore the file"
            )

    @cached_property
    def outputs(self) -> Outputs:
        """The sampled outputs with their factors, as the estimates had them."""
        rule = self.manifest["rule"]
        columns = ["event_id", "stratum", "pi_ppt", "weighted_value_units"]
        return explain(
            pl.read_parquet(self.night.sample, columns=columns),
            pl.read_parquet(self.night.gains),
            pl.scan_parquet(self.night.influence),
            gain_min=rule["gain_per_token_min_nanonats"],
            total_ppm=rule["total_to_gross_min_ppm"],
        )

    @property
    def denominator(self) -> int:
        """What numerators are divided by."""
        return self.outputs.explained_total + self.outputs.unexplained

    def sums(self) -> pl.DataFrame:
        """Add up numerators and noise of every work and cell, in whole numbers.

        Returns:
            Rows in the order of work, model version and territory; y, square, cross as Int128.
        """
        cell = pl.col("model_version", "territory").fill_null(UNKNOWN)
        where = (
            pl.scan_parquet(self.night.outputs)
            .select(pl.col("event_id").alias("output_id"), cell)
            .join(self.outputs.table.lazy(), on="output_id")
        )
        nats, t = pl.col("influence_nanonats"), pl.col("t").cast(pl.Int128)
        return (
            pl.scan_parquet(self.night.influence)
            .filter(pl.col("kind") == "trained")
            .join(where, on="output_id")
            .with_columns((nats * pl.col("h_over_t")).round().cast(pl.Int64).alias("t"))
            .group_by(pl.col("group_id").alias("work_id"), "model_version", "territory")
            .agg(
                (pl.col("f") * nats.cast(pl.Int128)).sum().alias("y"),
                (t * t).sum().alias("square"),
                (t * pl.col("t0").cast(pl.Int128)).sum().alias("cross"),
            )
            .sort("work_id", "model_version", "territory")
            .collect(engine="streaming")
        )
