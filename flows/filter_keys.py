"""What the filters look at of each output: hashes and times, on the disk, one column at a time.

An output is known by its place: its row in the night's table, after the rows of the tables that are
settled already. `KeyTable.column` reads one column of all rows, 8 bytes each, so that the rules of
`flows.filter` hold some forty bytes an output however long its texts are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from flows.ingest_schema import OUTPUTS_SCHEMA
from flows.sketches import HASHES, letters_of, sketches

_BLANK = r"^\s*$"
_PIECE_ROWS = 50_000
TEXTLESS = ("error", "redacted", "tool_call", "empty")
REASONS = (
    "error", "test", "redacted", "tool_call", "empty", "cache_hit", "self_dealing", "bot",
    "velocity", "duplicate", "near_duplicate", "name_prompting", "cap",
)  # fmt: skip
REASON = pl.Enum(REASONS)


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


KEYS: dict[str, pl.DataType | type[pl.DataType]] = {
    "own_reason": REASON,
    "won": pl.Boolean,
    "has_user": pl.Boolean,
    "user": pl.UInt64,
    "tenant": pl.UInt64,
    "whole": pl.UInt64,
    "letters": pl.UInt64,
    **dict.fromkeys(HASHES, pl.UInt64),
    "named": pl.List(pl.UInt64),
}


def keys_of(outputs: pl.DataFrame, settings: FilterSettings) -> pl.DataFrame:
    """Find what the filters look at.

    Args:
        outputs: rows of the outputs table.
        settings: the rules.

    Returns:
        A row for each output: `own_reason` by the rules that ask one row alone, `won` (appealed
        with success), `has_user`, and 64-bit hashes, each with the tenant in it: `user`, `tenant`
        alone, `whole` (prompt and output), `letters` of the output (null if they are few), `near0`
        to `near2` (its sketch) and `named` (creators the prompt names).
    """
    columns = outputs.select(
        _own_reason(settings).cast(REASON).alias("own_reason"),
        pl.col("event_id").is_in(sorted(settings.appeals)).alias("won"),
        pl.col("user_hmac").is_not_null().alias("has_user"),
        pl.struct("tenant_hmac", "user_hmac").hash().alias("user"),
        pl.col("tenant_hmac").hash().alias("tenant"),
        _hash("output_sha256", "tenant_hmac", "prompt_sha256").alias("whole"),
        _named(settings.names or {}).alias("named"),
    )
    return columns.hstack(_of_texts(outputs, settings, columns["tenant"])).select(list(KEYS))


def _of_texts(
    outputs: pl.DataFrame, settings: FilterSettings, tenant: pl.Series
) -> list[pl.Series]:
    """Find the hashes of letters and the sketches, of texts that are long enough."""
    shortest, texts = settings.near_duplicate_letters_min, outputs["output_text"]
    if not shortest:
        texts = pl.Series("output_text", [None] * len(texts), dtype=pl.String)
    letters = letters_of(texts).alias("letters")
    many = (letters.str.len_chars() >= max(1, shortest)).fill_null(value=False).alias("many")
    frame = sketches(texts).with_columns(letters, tenant, many)
    hashes = (_hash(name, "tenant", only="many").alias(name) for name in ("letters", *HASHES))
    return frame.select(hashes).get_columns()


def _hash(column: str, *others: str, only: str | None = None) -> pl.Expr:
    """Give a 64-bit hash of columns; null where the first is, or where `only` is false."""
    asked = pl.col(column).is_not_null()
    asked = asked if only is None else asked & pl.col(only)
    return pl.when(asked).then(pl.struct(column, *others).hash())


def _named(names: Mapping[str, str]) -> pl.Expr:
    """Give the hashes of the creators that the prompt names, each once."""
    if not names:
        return pl.lit([], dtype=pl.List(pl.UInt64))
    said = pl.col("prompt_text").fill_null("").str.to_lowercase().str.extract_many(sorted(names))
    party = pl.element().replace_strict(dict(names), return_dtype=pl.String)
    return said.list.eval(party.hash()).list.unique()


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


def write_keys(
    frames: Iterable[pl.DataFrame], folder: Path, settings: FilterSettings, absent: pl.Series
) -> list[Path]:
    """Find and write what the filters look at of tables that are settled.

    Args:
        frames: rows of outputs tables, a piece at a time.
        folder: where the files go; made here.
        settings: the rules.
        absent: event ids that are decided about anew, and so play no part as settled ones.

    Returns:
        The files, in the order of the rows.
    """
    folder.mkdir()
    files: list[Path] = []
    for frame in frames:
        away = frame["event_id"].is_in(absent.implode())
        reason = pl.when(away).then(pl.lit(REASONS[0], dtype=REASON)).otherwise("own_reason")
        keys = keys_of(frame, settings).with_columns(reason.alias("own_reason"))
        files.append(folder / f"keys-{len(files):06d}.parquet")
        keys.write_parquet(files[-1], compression="lz4", statistics=False)
    return files


def put_down(
    frames: Iterable[pl.DataFrame], folder: Path, settings: FilterSettings | None
) -> KeyTable:
    """Write rows, and beside them what the filters look at of them.

    Args:
        frames: rows of the outputs table in their final order, a piece at a time, with or without
            the columns of KEYS.
        folder: where the files go; made here.
        settings: the rules; None where nothing is to be decided.

    Returns:
        The table.
    """
    folder.mkdir()
    rows: list[Path] = []
    keys: list[Path] = []
    for frame in itertools.chain(frames, [pl.DataFrame(schema=OUTPUTS_SCHEMA)]):
        if frame.is_empty() and rows:
            continue
        path = folder / f"rows-{len(rows):06d}.parquet"
        plain = frame.select(list(OUTPUTS_SCHEMA))
        plain.write_parquet(path, compression="uncompressed", statistics=False)
        rows.append(path)
        if settings is not None:
            known = set(KEYS) <= set(frame.columns)
            of_rows = frame.select(list(KEYS)) if known else keys_of(plain, settings)
            keys.append(folder / f"keys-{len(keys):06d}.parquet")
            of_rows.write_parquet(keys[-1], compression="lz4", statistics=False)
    return KeyTable(tuple(rows), tuple(keys))


@dataclass(frozen=True)
class KeyTable:
    """The outputs that are decided about, in files: first those settled already, then the new.

    Args:
        rows: parquet files with `ts_utc`, `value_units` and `output_text`, in the order of places.
        keys: files with KEYS for the same rows, one beside each.
        settled: how many of the rows are settled; earlier ones are never unpaid for later ones.
    """

    rows: Sequence[Path]
    keys: Sequence[Path]
    settled: int = 0

    @property
    def height(self) -> int:
        """How many rows there are."""
        return int(pl.scan_parquet(list(self.rows)).select(pl.len()).collect().item())

    def before(self, later: KeyTable) -> KeyTable:
        """Put these rows, as settled ones, before the rows of another table."""
        return KeyTable((*self.rows, *later.rows), (*self.keys, *later.keys), self.height)

    def column(self, name: str) -> pl.Series:
        """Read one column of all rows."""
        files = list(self.keys if name in KEYS else self.rows)
        return pl.read_parquet(files, columns=[name])[name].rechunk()

    def texts(self, places: pl.Series) -> Iterator[pl.DataFrame]:
        """Read the texts of some outputs, a few at a time.

        Args:
            places: of the outputs, in order, each once.

        Yields:
            Frames of `place` and `output_text`; a text that was dropped since is left out.
        """
        begin = 0
        for path in self.rows:
            rows = pl.scan_parquet(path).select("output_text")
            height = rows.select(pl.len()).collect().item()
            low, high = (int(places.search_sorted(begin + edge)) for edge in (0, height))
            wanted, begin = places[low:high] - begin, begin + height
            at = 0
            while len(wanted) and at < height:
                ahead = int(wanted.search_sorted(at + _PIECE_ROWS))
                if ahead:
                    piece = rows.slice(at, _PIECE_ROWS).collect()
                    frame = piece[(wanted[:ahead] - at).cast(pl.UInt32)].with_columns(
                        (wanted[:ahead] + (begin - height)).alias("place")
                    )
                    yield frame.drop_nulls("output_text").select("place", "output_text")
                wanted, at = wanted[ahead:], at + _PIECE_ROWS
