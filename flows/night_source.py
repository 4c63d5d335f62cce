"""The files behind a night's estimates, read again for what the estimates do not keep.

Estimates hold what every work and creator accrued by `signed_linear/1`. What terms ask for besides
(accruals by model version and territory, accruals by another rule) is made from the same sample,
gains and influence when a term asks for it, however long after the night.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import polars as pl

from flows.artefacts import is_as_recorded, read_manifest, sha256_file
from flows.errors import CloseError
from flows.estimation import ESTIMATES_FORMAT
from flows.estimation_moments import Outputs, explain
from flows.night import Night

UNKNOWN = "*"


class NightSource:
    """The files behind a night's estimates, held against what the estimates cite.

    Args:
        night: the night.
        why: what needs them, for the error text.
        positive: whether influence below zero counts as none, output by output.

    Raises:
        CloseError: a file is gone or was altered.
    """

    def __init__(self, night: Night, why: str, *, positive: bool = False) -> None:
        self.night, self.why, self.positive = night, why, positive
        self.manifest = read_manifest(night.manifest("estimates"), ESTIMATES_FORMAT)
        for name, path in (
            ("influence", night.influence),
            ("gains", night.gains),
            ("sample", night.sample),
        ):
            cited = self.manifest["inputs"][name]
            if not is_as_recorded(path, cited):
                found = sha256_file(path) if path.exists() else "no such file"
                raise CloseError(
                    f"{path}: the estimates of {night.name} cite {cited}, found {found}; {why} "
                    f"needs it, and nothing was divided. Restore the file, or run "
                    f"`byline nightly --date {night.date}` again"
                )

    @property
    def influence(self) -> pl.LazyFrame:
        """The influence table, sorted by output and group."""
        table = pl.scan_parquet(self.night.influence)
        if not self.positive:
            return table
        return table.with_columns(pl.col("influence_nanonats").clip(lower_bound=0))

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
            positive=self.positive,
        )

    @property
    def denominator(self) -> int:
        """What numerators are divided by."""
        return self.outputs.explained_total + self.outputs.unexplained

    @property
    def places(self) -> Path:
        """The table that says where each output was delivered, and by which model.

        Raises:
            CloseError: it is gone.
        """
        path = self.night.outputs
        if not path.exists():
            raise CloseError(
                f"{path} is gone, so nothing says where the outputs of {self.night.name} were "
                f"delivered; {self.why} needs it, and nothing was divided. Restore the file"
            )
        return path

    def sums_by_cell(self) -> pl.DataFrame:
        """Add up numerators and noise of every work and cell, in whole numbers.

        Returns:
            Rows in the order of work, model version and territory; y, square, cross as Int128.
        """
        cell = pl.col("model_version", "territory").fill_null(UNKNOWN)
        where = (
            pl.scan_parquet(self.places)
            .select(pl.col("event_id").alias("output_id"), cell)
            .join(self.outputs.table.lazy(), on="output_id")
        )
        nats, t = pl.col("influence_nanonats"), pl.col("t").cast(pl.Int128)
        return (
            self.influence.filter(pl.col("kind") == "trained")
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
