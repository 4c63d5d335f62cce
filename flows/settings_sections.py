"""The sections of an installation's settings: every key with its default, bounds and meaning.

A section's docstring is the remark that stands over it in `byline.toml`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_url(name: str) -> bool:
    """Say whether a name is a URL where a folder is wanted, also one that lost a slash on the way.

    >>> is_url("s3://bucket/byline"), is_url("s3:/bucket"), is_url("/var/lib/byline")
    (True, True, False)
    """
    return _URL.match(name) is not None


class Section(BaseModel):
    """A section refuses unknown keys and never changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _written(form: str) -> AfterValidator:
    """Check that every item of a list is written LEFT=RIGHT, as `form` names it."""

    def check(value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [pair for pair in value if not all(pair.partition("="))]
        if wrong:
            raise ValueError(f"write {form}, got {wrong[0]!r}")
        return value

    return AfterValidator(check)


class LedgerSettings(Section):
    """Where the books are. An empty url means `byline.db` (SQLite) in the workspace."""

    url: str = ""


class StoreSettings(Section):
    """Where artefacts are. `.` is the workspace folder itself."""

    root: str = "."

    @field_validator("root")
    @classmethod
    def _is_a_folder(cls, value: str) -> str:
        if is_url(value):
            raise ValueError(
                "artefacts are replaced whole and locked, which needs a folder; name a mounted one "
                "instead of a URL (logs may be read from URLs: --log)"
            )
        return value


class IngestSection(Section):
    """How log records become outputs: their value, and what is assumed where they are silent.

    `clock_skew_s` is how far in the future a record may be; 0 accepts any time. `field_map` reads
    plain JSONL: FIELD=PATH, for example output=reply.text. `gateway_tolerance_ppm` is the gap to a
    gateway's total that is no finding. `processes` is how many decode a long log; 0 = one a
    processor, at most eight.
    """

    log_format: str = ""
    field_map: Annotated[tuple[str, ...], _written("FIELD=PATH")] = ()
    value_from: Literal["record", "per_output", "per_output_token"] = "record"
    value_units_each: int = Field(default=0, ge=0)
    territory: str = "ZZ"
    clock_skew_s: int = Field(default=300, ge=0)
    gateway_tolerance_ppm: int = Field(default=0, ge=0, le=1_000_000)
    processes: int = Field(default=0, ge=0)


class FilterSection(Section):
    """What is not paid for. Tenants and users are named as in the logs.

    `self_dealing` is TENANT=PARTY: a tenant that is a payee or acts for one.
    `names` is NAME=CREATOR: names and titles that one user may put in `name_prompts_max` prompts of
    a day. The caps of a day count outputs; 0 means any number. `near_duplicate_letters_min` is the
    length in letters from which nearly the same words are a repetition; 0 never asks.
    """

    test_tenants: tuple[str, ...] = ()
    self_dealing: Annotated[tuple[str, ...], _written("TENANT=PARTY")] = ()
    pay_cache_hits: bool = False
    user_per_minute_max: int = Field(default=120, ge=1)
    tenant_per_minute_max: int = Field(default=1200, ge=1)
    drop_duplicates: bool = True
    near_duplicate_letters_min: int = Field(default=60, ge=0)
    names: Annotated[tuple[str, ...], _written("NAME=CREATOR")] = ()
    name_prompts_max: int = Field(default=20, ge=1)
    user_per_day_max: int = Field(default=0, ge=0)
    tenant_per_day_max: int = Field(default=0, ge=0)
    bot_users: tuple[str, ...] = ()


class NightSettings(Section):
    """How a night samples: outputs wanted, and the columns whose values are strata.

    Strata are columns of the outputs, such as model_version, operation or territory, or
    tenant_class, which `tenant_classes` defines as TENANT=CLASS (others are "other"). "neyman"
    gives a stratum outputs by value times the spread that the last night before showed.
    """

    sample_size: int = Field(default=200, ge=1)
    strata: tuple[str, ...] = ("model_version",)
    tenant_classes: Annotated[tuple[str, ...], _written("TENANT=CLASS")] = ()
    allocation: Literal["proportional", "neyman"] = "proportional"
    seed: Literal["checkpoint"] = "checkpoint"


class RetentionSettings(Section):
    """Days that texts are kept after their night, once it is settled; -1 keeps them for ever."""

    texts_days: int = Field(default=90, ge=-1)


class AttributionSettings(Section):
    """How influence is measured. `shard_outputs` is the size of one worker's task.

    `bytes_per_document` bounds what the index stores of one document; 0 stores full rank.
    `layers` are shell patterns of names, or "last:N"; all linear ones: ["*"] and `head` false.
    `dtype` lowrankN stores factors of rank N; `compute` bfloat16 is refused where it is noise.
    `token_budget` 0 finds the fastest batch; last digits then depend on the machine.
    `passage_characters` is how much of a source `byline trace --passages` may show.
    `device` runs the models: "auto" is the first card torch sees, else the processor ("cpu");
    a card is "cuda" or "cuda:1". It changes last digits and is no part of an index's plan.
    """

    projection: Literal["eigen", "random"] = "eigen"
    bytes_per_document: int = Field(default=65_536, ge=0)
    dtype: Literal[
        "float32", "float16", "int8", "int4", "int2", "int1",
        "lowrank1", "lowrank2", "lowrank4", "lowrank8",
    ] = "int8"  # fmt: skip
    compute: Literal["float32", "bfloat16"] = "float32"
    layers: tuple[str, ...] = Field(default=("last:1",), min_length=1)
    head: bool = True
    damping: float = Field(default=0.01, gt=0, le=1)
    fit_share: float = Field(default=0.15, gt=0, le=1)
    fit_documents_min: int = Field(default=256, ge=1)
    token_budget: int = Field(default=4096, ge=0)
    shard_outputs: int = Field(default=64, ge=1)
    passage_characters: int = Field(default=300, ge=0)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$")


class PoolSettings(Section):
    """The money that is divided: a pool, its part of revenue in ppm, its currency, who pays it."""

    id: str = "main"
    rate_ppm: int = Field(default=200_000, ge=0, le=1_000_000)
    currency: str = "USD/6"
    payer: str = "operator"

    @field_validator("currency")
    @classmethod
    def _has_a_scale(cls, value: str) -> str:
        code, slash, scale = value.partition("/")
        if not (slash and len(code) == 3 and code.isupper() and scale.isdigit()):
            raise ValueError("a currency is written CODE/SCALE, for example USD/6")
        return value


class AgreementsSection(Section):
    """Which agreement texts are paid under: all in `agreements/`, or only approved ones.

    With `approved_only` a text that a second person has not approved stops nights and closes.
    """

    approved_only: bool = False


class BrokerSettings(Section):
    """Where tasks go. An empty url runs the same task functions in this process.

    A worker stops itself when one shard takes longer than shard_limit_s, which must be less than
    visibility_timeout_s (Redis) and than the consumer_timeout of RabbitMQ (1800 s).
    """

    url: str = ""
    queue: str = "attribution"
    shard_limit_s: int = Field(default=1500, ge=1)
    visibility_timeout_s: int = Field(default=3600, ge=5)
    restore_interval_s: int = Field(default=5, ge=1)
    attempts: int = Field(default=3, ge=1)
    stall_s: int = Field(default=120, ge=1)

    @model_validator(mode="after")
    def _outlasts_a_shard(self) -> BrokerSettings:
        if self.visibility_timeout_s <= self.shard_limit_s:
            raise ValueError(
                f"visibility_timeout_s = {self.visibility_timeout_s} must be more than "
                f"shard_limit_s = {self.shard_limit_s}, or a shard that is being worked on is "
                f"given to a second worker"
            )
        return self


class EngineSettings(Section):
    """What runs the steps: plain Python, or Prefect with its ephemeral or a given server.

    Prefect repeats a step `step_retries` times for trouble that can pass, and stops one that takes
    longer than `step_timeout_s`.
    """

    name: Literal["inline", "prefect"] = "inline"
    prefect_api_url: str = ""
    startup_timeout_s: int = Field(default=120, ge=1)
    step_retries: int = Field(default=2, ge=0)
    step_retry_delay_s: int = Field(default=5, ge=0)
    step_timeout_s: int = Field(default=21_600, ge=1)


class StatementSettings(Section):
    """What statements say beside numbers: days until payment is due and disputes end; contact."""

    due_days: int = Field(default=45, ge=0)
    dispute_days: int = Field(default=365, ge=0)
    contact: str = ""
    payer_name: str = ""


class PayoutSettings(Section):
    """The account that payouts leave from: IBAN for pain.001, company and routing ids for NACHA."""

    name: str = ""
    iban: str = ""
    bic: str = ""
    company_id: str = ""
    destination: str = ""
    destination_name: str = ""
    odfi: str = ""


class SignSettings(Section):
    """Who signs checkpoints: the log's origin line and the private key's file."""

    origin: str = "byline.example/ledger"
    key: str = "keys/log.key"
