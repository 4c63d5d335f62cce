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
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from flows.near_duplicates import repetitions, sketch

_BLANK = r"^\s*$"
_NOT_LETTERS = r"[^\p{L}]+"
TEXTLESS = ("error", "redacted", "tool_call", "empty")
_REASONS = pl.Enum(
    [
        "error", "test", "redacted", "tool_call", "empty", "cache_hit", "self_dealing", "bot",
        "velocity", "duplicate", "near_duplicate", "name_prompting", "cap",
    ]
)  # fmt: skip
_FIRST = ("rank", "ts_utc", "event_id")


@dataclass(frozen=True)
class FilterSettings:
    """What is not paid for.

    Args:
        test_tenants: pseudonyms (HMAC) of internal tenants.
        self_dealing: pseudonym of a tenant to the party it is or acts for.
        pay_cache_hits: whether answers from a cache are paid.
        user_per_minute_max: outputs a user may cause in one clock minute.
        tenant_per_minute_max: the same for a tenant whose log names no users.
        drop_duplicates: whether exact repetitions are paid once only.
        near_duplicate_letters_min: letters from which a text can repeat another; 0 = never.
        names: names and titles (in lower case) to the creator they stand for.
        name_prompts_max: prompts of one user in a day that may name one creator.
        user_per_day_max: outputs one user may cause in a day; 0 = any number.
        tenant_per_day_max: the same for a tenant.
        bot_users: pseudonyms of users that are robots.
        appeals: event ids of exclusions that were appealed with success.
    """

    test_tenants: frozenset[str] = frozenset()
    self_dealing: Mapping[str, str] | None = None
    pay_cache_hits: bool = False
    user_per_minute_max: int = 120
    tenant_per_minute_max: int = 1200
    drop_duplicates: bool = True
    near_duplicate_letters_min: int = 60
    names: Mapping[str, str] | None = None
    name_prompts_max: int = 20
    user_per_day_max: int = 0
    tenant_per_day_max: int = 0
    bot_users: frozenset[str] = frozenset()
    appeals: frozenset[str] = frozenset()


def keys_of(
    outputs: pl.LazyFrame, settings: FilterSettings | None = None, *, rank: int = 0
) -> pl.LazyFrame:
    """Select what the filters look at, about 150 bytes an output: digests of names and texts.

    Args:
        outputs: rows of the outputs table.
        settings: the rules.
        rank: 0 for records already settled, 1 for later ones; earlier ones are never unpaid.

    Returns:
        event_id, value_units, ts_utc and rank; `reason` by the rules that ask one row alone; `won`
        (appealed with success); 64-bit hashes `tenant`, `user`, `prompt`, `output` and `letters`
        (of the output's letters, null if they are few); `near0` to `near2` (its sketch); `named`
        (creators the prompt names).
    """
    settings = settings or FilterSettings()
    letters = pl.col("output_text").str.to_lowercase().str.replace_all(_NOT_LETTERS, "")
    many = letters.str.len_chars() >= max(1, settings.near_duplicate_letters_min)
    asked = bool(settings.near_duplicate_letters_min)
    near = pl.when(many).then(letters.hash()) if asked else pl.lit(None)
    runs = sketch(pl.when(many & asked).then(pl.col("output_text"))).alias("runs")
    names = settings.names or {}
    said = pl.col("prompt_text").fill_null("").str.to_lowercase().str.extract_many(sorted(names))
    party = pl.element().replace_strict(dict(names), return_dtype=pl.String)
    named = said.list.eval(party).list.unique() if names else pl.lit([], dtype=pl.List(pl.String))
    return outputs.select(
        "event_id",
        "value_units",
        "ts_utc",
        pl.lit(rank, dtype=pl.Int8).alias("rank"),
        _own_reason(settings).cast(_REASONS).alias("reason"),
        pl.col("event_id").is_in(sorted(settings.appeals)).alias("won"),
        _hash("tenant_hmac").alias("tenant"),
        _hash("user_hmac").alias("user"),
        _hash("prompt_sha256").alias("prompt"),
        _hash("output_sha256").alias("output"),
        near.cast(pl.UInt64).alias("letters"),
        runs,
        named.alias("named"),
    ).unnest("runs")


def _hash(column: str) -> pl.Expr:
    """Give a 64-bit hash of a text column; null stays null."""
    return pl.when(pl.col(column).is_not_null()).then(pl.col(column).hash())


def _own_reason(settings: FilterSettings) -> pl.Expr:
    """Give the reason of the rules that need no other output to decide."""
    tests = pl.col("is_test") | pl.col("tenant_hmac").is_in(sorted(settings.test_tenants))
    # A text that was dropped after its night left its digest; one that never was has none.
    blank = (
        pl.when(pl.col("output_text").is_null())
        .then(pl.col("output_sha256").is_null())
        .otherwise(pl.col("output_text").str.contains(_BLANK))
    )
    return (
        pl.when(pl.col("status") == "error")
        .then(pl.lit("error"))
        .when(tests)
        .then(pl.lit("test"))
        .when(pl.col("exclusion_reason").is_not_null())
        .then(pl.col("exclusion_reason"))
        .when(blank)
        .then(pl.lit("empty"))
        .when(pl.col("cache_hit") & (not settings.pay_cache_hits))
        .then(pl.lit("cache_hit"))
        .when(pl.col("tenant_hmac").is_in(sorted(settings.self_dealing or {})))
        .then(pl.lit("self_dealing"))
        .when(pl.col("user_hmac").is_in(sorted(settings.bot_users)))
        .then(pl.lit("bot"))
    )


def decide(keys: pl.DataFrame, settings: FilterSettings, texts: pl.LazyFrame) -> pl.DataFrame:
    """Find the reason to exclude each output.

    Args:
        keys: from `keys_of` with the same settings.
        settings: the rules.
        texts: event_id and output_text of the same outputs, read again where sketches agree.

    Returns:
        event_id and exclusion_reason (null = payable), in the order of the ids.
    """
    marked = _mark_bursts(keys, settings)
    if settings.drop_duplicates:
        marked = _mark_repetitions(marked, ("tenant", "prompt", "output"), "duplicate")
    if settings.near_duplicate_letters_min:
        marked = _mark_repetitions(marked, ("tenant", "letters"), "near_duplicate")
        marked = _exclude(marked, repetitions(marked, texts).lazy(), "near_duplicate")
    if settings.names:
        marked = _mark_name_prompting(marked, settings.name_prompts_max)
    if settings.user_per_day_max:
        marked = _mark_beyond(marked, settings.user_per_day_max, ("tenant", "user"))
    if settings.tenant_per_day_max:
        marked = _mark_beyond(marked, settings.tenant_per_day_max, ("tenant",))
    lost = pl.col("reason").cast(pl.String)
    reason = pl.when(~pl.col("won") | lost.is_in(TEXTLESS)).then(lost)
    decided = marked.select("event_id", reason.alias("exclusion_reason"))
    return decided if decided["event_id"].is_sorted() else decided.sort("event_id")


def _mark_bursts(marked: pl.DataFrame, settings: FilterSettings) -> pl.DataFrame:
    """Exclude every output of a user's minute that has more of them than allowed."""
    whose = ["tenant", "user", "minute"]
    minute = pl.col("ts_utc").dt.truncate("1m").alias("minute")
    open_ = marked.lazy().filter(pl.col("reason").is_null()).with_columns(minute)
    limit = (
        pl.when(pl.col("user").is_null())
        .then(settings.tenant_per_minute_max)
        .otherwise(settings.user_per_minute_max)
    )
    bursts = open_.group_by(whose).agg(pl.len().alias("count")).filter(pl.col("count") > limit)
    fast = open_.select("event_id", *whose).join(bursts, on=whose, how="semi", nulls_equal=True)
    return _exclude(marked, fast, "velocity")


def _mark_repetitions(marked: pl.DataFrame, columns: tuple[str, ...], reason: str) -> pl.DataFrame:
    """Exclude repetitions of an output that is still payable; the earliest stays."""
    whole = pl.struct(columns)
    later = (
        marked.lazy()
        .filter(pl.col("reason").is_null() & pl.col(columns[-1]).is_not_null())
        .select(*_FIRST, *columns)
        # Sorting is for the few that share a hash, not for all.
        .filter(whole.hash().is_duplicated())
        .sort(_FIRST)
        .filter(~whole.is_first_distinct())
    )
    return _exclude(marked, later, reason)


def _mark_name_prompting(marked: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Exclude the prompts of a user's day that name one creator more often than allowed."""
    named = (
        marked.lazy()
        .filter(pl.col("reason").is_null() & (pl.col("named").list.len() > 0))
        .select(*_FIRST, "tenant", "user", "named")
        .explode("named", empty_as_null=True)
        .drop_nulls("named")
        .sort(_FIRST)
    )
    place = pl.int_range(pl.len()).over("tenant", "user", "named")
    return _exclude(marked, named.filter(place >= limit), "name_prompting")


def _mark_beyond(marked: pl.DataFrame, limit: int, columns: tuple[str, ...]) -> pl.DataFrame:
    """Exclude what lies beyond a day's cap; the earliest stay."""
    open_ = marked.lazy().filter(pl.col("reason").is_null() & pl.col(columns[-1]).is_not_null())
    many = open_.group_by(columns).len().filter(pl.col("len") > limit)
    place = pl.int_range(pl.len()).over(columns)
    beyond = (
        open_.select(*_FIRST, *columns)
        .join(many, on=columns, how="semi", nulls_equal=True)
        .sort(_FIRST)
        .filter(place >= limit)
    )
    return _exclude(marked, beyond, "cap")


def _exclude(marked: pl.DataFrame, found: pl.LazyFrame, reason: str) -> pl.DataFrame:
    """Give the outputs found the reason."""
    ids = found.select("event_id").unique().collect()["event_id"]
    if ids.is_empty():
        return marked
    inside = pl.col("event_id").is_in(ids.implode())
    named = pl.lit(reason, dtype=_REASONS)
    return marked.with_columns(
        pl.when(inside).then(named).otherwise(pl.col("reason")).alias("reason")
    )


def exclusion_counts(keys: pl.DataFrame, decisions: pl.DataFrame) -> dict[str, Any]:
    """Count outputs and value, payable and per reason; they add up.

    Args:
        keys: from `keys_of`.
        decisions: from `decide`, for the same records.

    Returns:
        outputs, value_units, payable and excluded, for the manifest.
    """
    if keys["event_id"].equals(decisions["event_id"]):
        joined = keys.select("value_units").with_columns(decisions["exclusion_reason"])
    else:
        joined = keys.select("event_id", "value_units").join(decisions, on="event_id", how="left")
    rows = (
        joined.group_by("exclusion_reason")
        .agg(pl.len().alias("outputs"), pl.col("value_units").cast(pl.Int128).sum().alias("units"))
        .sort("exclusion_reason")
        .iter_rows()
    )
    table = {reason: {"outputs": count, "value_units": units} for reason, count, units in rows}
    payable = table.pop(None, {"outputs": 0, "value_units": 0})
    whole = {
        key: payable[key] + sum(entry[key] for entry in table.values())
        for key in ("outputs", "value_units")
    }
    assert whole["outputs"] == keys.height, (whole, keys.height)
    return {**whole, "payable": payable, "excluded": table}
