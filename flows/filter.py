"""Which outputs are paid for: each exclusion has a name, a rule and a count, and can be appealed.

The rules are asked in this order and the first that applies names the reason:

    error           the call failed
    test            marked as a test, or from a tenant listed as internal
    redacted, tool_call, bot   decided by the log format: no text to attribute, or a marked robot
    empty           the output has no text but white space
    cache_hit       answered from a cache, unless the settings pay for those
    self_dealing    the tenant is a payee, or acts for one
    bot             the user is listed as a robot
    velocity        more outputs in one minute by one user (or tenant without users) than allowed
    duplicate       same tenant, prompt and output as an earlier output that is still payable
    near_duplicate  same tenant, and the same letters as an earlier output, if they are many, or
                    four fifths of its runs of five words (`flows.near_duplicates`)
    name_prompting  one user names one creator in more prompts of the date than allowed
    cap             beyond what one user or tenant may cause in a day; the earliest stay

1. Nothing is deleted: an excluded output stays in its row with its reason and its value.
2. payable + excluded = outputs, in count and in value; the manifest says both per reason.
3. Decisions depend on the set of records only, not on their order or on how they were split.
4. A granted appeal makes an output payable again, unless there is no text to attribute.
5. A rule holds the columns it asks, 8 bytes an output each, and sorts only what can break it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from flows.filter_keys import REASON, REASONS, TEXTLESS, FilterSettings, KeyTable
from flows.near_duplicates import in_order, repetitions, shared


def decide(table: KeyTable, settings: FilterSettings, folder: Path) -> pl.Series:
    """Find the reason to exclude each output.

    Args:
        table: all outputs, the settled ones first.
        settings: the rules, as the table's keys were made with.
        folder: for temporary files.

    Returns:
        `exclusion_reason` (null = payable) of every output, in the order of places.
    """
    reason = table.column("own_reason").to_physical()
    reason = _mark_bursts(table, reason, settings)
    if settings.drop_duplicates:
        reason = _mark_repetitions(table, reason, "whole", "duplicate")
    if settings.near_duplicate_letters_min:
        reason = _mark_repetitions(table, reason, "letters", "near_duplicate")
        near = repetitions(table, reason.is_null(), folder)
        reason = _exclude(reason, near, "near_duplicate")
    if settings.names:
        reason = _mark_name_prompting(table, reason, settings.name_prompts_max)
    if settings.user_per_day_max:
        known = table.column("has_user")
        reason = _mark_beyond(table, reason, "user", settings.user_per_day_max, known)
    if settings.tenant_per_day_max:
        reason = _mark_beyond(table, reason, "tenant", settings.tenant_per_day_max)
    textless = pl.Series([REASONS.index(name) for name in TEXTLESS], dtype=reason.dtype)
    won = table.column("won") & ~reason.is_in(textless.implode())
    kept = reason.set(won.fill_null(value=False), None)
    return kept.cat.to(REASON).alias("exclusion_reason")


def _mark_bursts(table: KeyTable, reason: pl.Series, settings: FilterSettings) -> pl.Series:
    """Exclude every output of a user's minute that has more of them than allowed."""
    minute = table.column("ts_utc").dt.truncate("1m")
    whose = pl.DataFrame([table.column("user"), minute]).hash_rows()
    del minute
    known, open_ = table.column("has_user"), reason.is_null()
    limits = ((known, settings.user_per_minute_max), (~known, settings.tenant_per_minute_max))
    for kind, limit in limits:
        fast = shared(whose.filter(open_ & kind), limit)
        found = (open_ & kind & whose.is_in(fast.implode())).arg_true()
        reason = _exclude(reason, found, "velocity")
    return reason


def _mark_repetitions(table: KeyTable, reason: pl.Series, name: str, said: str) -> pl.Series:
    """Exclude repetitions of an output that is still payable; the earliest stays."""
    column = table.column(name)
    open_ = reason.is_null() & column.is_not_null()
    # Sorting is for the few that share a hash, not for all.
    places = (open_ & column.is_in(shared(column.filter(open_)).implode())).arg_true()
    few = _ordered(table, places, column)
    return _exclude(reason, few.filter(~pl.col(name).is_first_distinct())["place"], said)


def _mark_name_prompting(table: KeyTable, reason: pl.Series, limit: int) -> pl.Series:
    """Exclude the prompts of a user's day that name one creator more often than allowed."""
    named = table.column("named")
    places = (reason.is_null() & (named.list.len() > 0)).arg_true()
    whose = table.column("user").gather(places)
    few = _ordered(table, places, named).join(
        pl.DataFrame([places.alias("place").cast(pl.UInt32), whose]), on="place", how="left",
        maintain_order="left",
    )  # fmt: skip
    few = few.explode("named", empty_as_null=False, keep_nulls=False)
    beyond = few.filter(pl.int_range(pl.len()).over("user", "named") >= limit)
    return _exclude(reason, beyond["place"], "name_prompting")


def _mark_beyond(
    table: KeyTable, reason: pl.Series, name: str, limit: int, known: pl.Series | None = None
) -> pl.Series:
    """Exclude what lies beyond a day's cap; the earliest stay."""
    column, open_ = table.column(name), reason.is_null()
    open_ = open_ if known is None else open_ & known
    many = shared(column.filter(open_), limit)
    few = _ordered(table, (open_ & column.is_in(many.implode())).arg_true(), column)
    beyond = few.filter(pl.int_range(pl.len()).over(name) >= limit)
    return _exclude(reason, beyond["place"], "cap")


def _ordered(table: KeyTable, places: pl.Series, column: pl.Series) -> pl.DataFrame:
    """Give some outputs' place, time and a column, the earliest first."""
    places = places.cast(pl.UInt32).alias("place")
    times = table.column("ts_utc").gather(places)
    return in_order(pl.DataFrame([places, times, column.gather(places)]), table.settled)


def _exclude(reason: pl.Series, places: pl.Series, said: str) -> pl.Series:
    """Give the outputs at some places the reason."""
    if places.is_empty():
        return reason
    return reason.scatter(places, REASONS.index(said))


def exclusion_counts(values: pl.Series, reasons: pl.Series) -> dict[str, Any]:
    """Count outputs and value, payable and per reason; they add up.

    Args:
        values: value in units of each output.
        reasons: from `decide`, for the same outputs.

    Returns:
        outputs, value_units, payable and excluded, for the manifest.
    """
    rows = (
        pl.DataFrame([values.alias("units"), reasons.cast(pl.String).alias("reason")])
        .group_by("reason")
        .agg(pl.len().alias("outputs"), pl.col("units").cast(pl.Int128).sum())
        .sort("reason")
        .select("reason", "outputs", "units")
        .iter_rows()
    )
    table = {reason: {"outputs": count, "value_units": units} for reason, count, units in rows}
    payable = table.pop(None, {"outputs": 0, "value_units": 0})
    whole = {
        key: payable[key] + sum(entry[key] for entry in table.values())
        for key in ("outputs", "value_units")
    }
    assert whole["outputs"] == len(reasons), (whole, len(reasons))
    return {**whole, "payable": payable, "excluded": table}
