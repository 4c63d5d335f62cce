"""From what a log tells to the canonical row: ids, pseudonyms, digests, money.

1. `event_id` is format, ":" and the source's id, with "/n" for choice n > 0; an id that is too long
   or has other characters is replaced by its digest, an absent one by the raw record's digest.
2. Tenant and user become HMAC-SHA256 under the installation's key; their names are not kept.
3. Value comes from the record, or from the settings per output or per output token. An amount with
   more digits than the currency holds is rounded half to even, once, here.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any, Literal

from flows.filter_keys import FilterSettings
from flows.ingest_schema import EVENT_ID
from flows.logs.record import LoggedOutput, RejectedError
from flows.revisions import Revision

DAY_US = 86_400_000_000
EPOCH_ORDINAL = Date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class IngestSettings:
    """How records become rows.

    Args:
        currency: currency and scale of all values, such as USD/6.
        value_from: "record" (the log says it), "per_output" or "per_output_token".
        value_units_each: units per output or token, when the log does not say it.
        territory: for records that name none ("ZZ" = unknown).
        clock_skew_s: how far in the future of `now` a record may be.
        log_format: the format of all files; detected when None.
        field_map: for plain JSONL, canonical field to the record's field.
        filters: which outputs are not paid for.
        revisions: records that changed after their date was sampled and were accepted.
    """

    currency: str = "USD/6"
    value_from: Literal["record", "per_output", "per_output_token"] = "record"
    value_units_each: int = 0
    territory: str = "ZZ"
    clock_skew_s: int = 300
    log_format: str | None = None
    field_map: Mapping[str, str] | None = None
    filters: FilterSettings = field(default_factory=FilterSettings)
    revisions: tuple[Revision, ...] = ()


def pseudonym(key: bytes, kind: str, name: str) -> str:
    """Give the keyed pseudonym of a tenant or user, as 64 hex digits.

    Args:
        key: the installation's HMAC key.
        kind: "tenant" or "user"; the same name has different pseudonyms as the two.
        name: the name in the log.
    """
    return hmac.digest(key, f"{kind}\0{name}".encode(), "sha256").hex()


def event_id_of(log_format: str, source_id: str, choice_index: int, raw_sha256: str) -> str:
    """Name an output after its source, the same every time the source is read."""
    suffix = f"/{choice_index}" if choice_index else ""
    plain = f"{log_format}:{source_id or 'raw-' + raw_sha256}{suffix}"
    if EVENT_ID.fullmatch(plain):
        return plain
    digest = hashlib.sha256(source_id.encode("utf-8", errors="surrogatepass")).hexdigest()
    return f"{log_format}:sha256-{digest}{suffix}"


class RowMaker:
    """Makes canonical rows for one night.

    Args:
        settings: how.
        hmac_key: at least 16 bytes.
        now_us: the time of the run, for the clock skew rule; None switches it off.
    """

    def __init__(self, settings: IngestSettings, hmac_key: bytes, now_us: int | None) -> None:
        assert len(hmac_key) >= 16, (
            f"the HMAC key has {len(hmac_key)} bytes, at least 16 are needed"
        )
        self.settings = settings
        self.scale = int(settings.currency.rpartition("/")[2])
        self.latest_us = None if now_us is None else now_us + settings.clock_skew_s * 1_000_000
        self.tenant = lru_cache(65_536)(lambda name: pseudonym(hmac_key, "tenant", name))
        self.user = lru_cache(65_536)(lambda name: pseudonym(hmac_key, "user", name))

    def row(
        self, output: LoggedOutput, log_format: str, file: str, line: int, raw_sha256: str
    ) -> tuple[Any, ...]:
        """Make a row in the order of OUTPUTS_SCHEMA, with `revised_us` appended.

        Raises:
            RejectedError: "clock_skew", "currency", "missing_value" or "negative_value".
        """
        if self.latest_us is not None and output.time_us > self.latest_us:
            ahead = (output.time_us - self.latest_us) // 1_000_000 + self.settings.clock_skew_s
            raise RejectedError("clock_skew", f"the record is {ahead} s in the future")
        units = self._units(output)
        prompt, text = output.prompt_text, output.output_text
        return (
            event_id_of(log_format, output.source_id, output.choice_index, raw_sha256),
            log_format,
            file,
            line,
            raw_sha256,
            self.tenant(output.tenant),
            None if output.user is None else self.user(output.user),
            output.time_us,
            output.time_us // DAY_US,
            output.model_id,
            output.model_version,
            output.operation,
            output.choice_index,
            output.finish_reason,
            output.status,
            prompt,
            text,
            None if prompt is None else _digest(prompt),
            None if text is None else _digest(text),
            output.prompt_tokens,
            output.output_tokens,
            output.cache_hit,
            output.is_test,
            output.territory or self.settings.territory,
            units,
            self.settings.currency,
            output.exclusion is None,
            output.exclusion,
            output.revised_us,
        )

    def _units(self, output: LoggedOutput) -> int:
        """Find the output's value in units."""
        if output.currency is not None and not self._same_currency(output.currency):
            raise RejectedError(
                "currency",
                f"the record is in {output.currency}, the pool in {self.settings.currency}",
            )
        if self.settings.value_from == "per_output":
            return self.settings.value_units_each
        if self.settings.value_from == "per_output_token":
            return self.settings.value_units_each * (output.output_tokens or 0)
        if output.value_units is not None:
            units = output.value_units
        elif output.value is not None:
            exact = output.value.scaleb(self.scale)
            units = int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
        elif output.status == "error":
            units = 0
        else:
            raise RejectedError("missing_value", "the record says no value; set value_from")
        if units < 0:
            raise RejectedError("negative_value", f"the value is {units} units")
        return units

    def _same_currency(self, currency: str) -> bool:
        """Compare with the pool's currency; a record may leave the scale out."""
        return currency in (self.settings.currency, self.settings.currency.rpartition("/")[0])


def _digest(text: str) -> str:
    """Give the sha256 of a text in UTF-8; lone surrogates are kept apart, not refused."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
