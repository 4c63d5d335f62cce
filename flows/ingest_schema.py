"""The canonical record of one logged model output, as columns of `outputs/DATE.parquet`.

One row is one choice of one call. Rows are sorted by `event_id`, which is unique and depends on
the source's own id only, so that the same log read twice gives the same rows. Tenants and users
stand there as keyed HMACs. `payable` and `exclusion_reason` are set by `flows.filter`.
"""

from __future__ import annotations

import re

import polars as pl

OUTPUTS_FORMAT = "byline-outputs/1"

OUTPUTS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "event_id": pl.String,
    "source_format": pl.String,
    "source_file": pl.String,
    "source_line": pl.Int64,
    "raw_sha256": pl.String,
    "tenant_hmac": pl.String,
    "user_hmac": pl.String,
    "ts_utc": pl.Datetime("us", "UTC"),
    "date": pl.Date,
    "model_id": pl.String,
    "model_version": pl.String,
    "operation": pl.String,
    "choice_index": pl.Int32,
    "finish_reason": pl.String,
    "status": pl.String,
    "prompt_text": pl.String,
    "output_text": pl.String,
    "prompt_sha256": pl.String,
    "output_sha256": pl.String,
    "prompt_tokens": pl.Int64,
    "output_tokens": pl.Int64,
    "cache_hit": pl.Boolean,
    "is_test": pl.Boolean,
    "territory": pl.String,
    "value_units": pl.Int64,
    "currency": pl.String,
    "payable": pl.Boolean,
    "exclusion_reason": pl.String,
}

EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
