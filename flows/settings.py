"""The settings of one installation: `byline.toml`, overridden by environment variables.

1. Every key is listed here with its default; a key nobody reads is an error that names the
   key, the file and line, and the closest known key.
2. `BYLINE_<SECTION>__<KEY>` in the environment wins over the file, the file over the default.
3. No secret belongs in the file: keys lie in their own files under `keys/` with mode 0600,
   and a database password belongs in the environment or in `~/.pgpass`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from flows.errors import SettingsError, SettingValueError, UnknownSettingError

FILE_NAME = "byline.toml"
ENV_PREFIX = "BYLINE_"


class _Section(BaseModel):
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


class LedgerSettings(_Section):
    """Where the books are. An empty url means `byline.db` (SQLite) in the workspace."""

    url: str = ""


class StoreSettings(_Section):
    """Where artefacts are. `.` is the workspace folder itself."""

    root: str = "."


class IngestSection(_Section):
    """How log records become outputs: their value, and what is assumed where they are silent.

    `clock_skew_s` is how far in the future a record may be; 0 accepts any time. `field_map` reads
    plain JSONL: FIELD=PATH, for example output=reply.text. `gateway_tolerance_ppm` is the gap to a
    gateway's total that is no finding.
    """

    log_format: str = ""
    field_map: Annotated[tuple[str, ...], _written("FIELD=PATH")] = ()
    value_from: Literal["record", "per_output", "per_output_token"] = "record"
    value_units_each: int = Field(default=0, ge=0)
    territory: str = "ZZ"
    clock_skew_s: int = Field(default=300, ge=0)
    gateway_tolerance_ppm: int = Field(default=0, ge=0, le=1_000_000)


class FilterSection(_Section):
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


class NightSettings(_Section):
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


class RetentionSettings(_Section):
    """Days that texts are kept after their night, once it is settled; -1 keeps them for ever."""

    texts_days: int = Field(default=90, ge=-1)


class AttributionSettings(_Section):
    """How influence is measured. `shard_outputs` is the size of one worker's task.

    `bytes_per_document` bounds what the index stores of one document; 0 stores full rank.
    `token_budget` 0 finds the fastest batch; last digits then depend on the machine.
    `passage_characters` is how much of a source `byline trace --passages` may show.
    """

    projection: Literal["eigen", "random"] = "eigen"
    bytes_per_document: int = Field(default=65_536, ge=0)
    dtype: Literal["float32", "float16", "int8", "int4", "int2", "int1"] = "int8"
    damping: float = Field(default=0.01, gt=0, le=1)
    fit_share: float = Field(default=0.15, gt=0, le=1)
    fit_documents_min: int = Field(default=256, ge=1)
    token_budget: int = Field(default=4096, ge=0)
    shard_outputs: int = Field(default=64, ge=1)
    passage_characters: int = Field(default=300, ge=0)


class PoolSettings(_Section):
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


class AgreementsSection(_Section):
    """Which agreement texts are paid under: all in `agreements/`, or only approved ones.

    With `approved_only` a text that a second person has not approved stops nights and closes.
    """

    approved_only: bool = False


class BrokerSettings(_Section):
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


class EngineSettings(_Section):
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


class StatementSettings(_Section):
    """What statements say beside numbers: days until payment is due and disputes end; contact."""

    due_days: int = Field(default=45, ge=0)
    dispute_days: int = Field(default=365, ge=0)
    contact: str = ""
    payer_name: str = ""


class PayoutSettings(_Section):
    """The account that payouts leave from: IBAN for pain.001, company and routing ids for NACHA."""

    name: str = ""
    iban: str = ""
    bic: str = ""
    company_id: str = ""
    destination: str = ""
    destination_name: str = ""
    odfi: str = ""


class SignSettings(_Section):
    """Who signs checkpoints: the log's origin line and the private key's file."""

    origin: str = "byline.example/ledger"
    key: str = "keys/log.key"


class Settings(BaseSettings):
    """Every setting of one installation, checked, with its source order fixed."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    ledger: LedgerSettings = LedgerSettings()
    store: StoreSettings = StoreSettings()
    ingest: IngestSection = IngestSection()
    filter: FilterSection = FilterSection()
    night: NightSettings = NightSettings()
    retention: RetentionSettings = RetentionSettings()
    attribution: AttributionSettings = AttributionSettings()
    pool: PoolSettings = PoolSettings()
    agreements: AgreementsSection = AgreementsSection()
    broker: BrokerSettings = BrokerSettings()
    engine: EngineSettings = EngineSettings()
    statement: StatementSettings = StatementSettings()
    payout: PayoutSettings = PayoutSettings()
    sign: SignSettings = SignSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment before the file (the file arrives as init arguments)."""
        return env_settings, init_settings


def known_keys() -> list[str]:
    """List every settings key as `section.key`, in the order of this file."""
    return [
        f"{section}.{key}" for section, model in _sections().items() for key in model.model_fields
    ]


def load_settings(folder: Path, *, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of a workspace.

    Args:
        folder: the workspace; its `byline.toml` is read if it is there.
        environ: environment to check for unknown names; `os.environ` when None.

    Returns:
        The settings, environment first, then file, then default.

    Raises:
        UnknownSettingError: a key that nobody reads, in the file or in the environment.
        SettingValueError: a value outside its range or of the wrong type.
        SettingsError: the file is not TOML.
    """
    path = folder / FILE_NAME
    values = _read_toml(path) if path.exists() else {}
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for key in _leaves(values):
        _check_known(key, f"{path}, line {_line_of(text, key)}")
    for name in sorted(os.environ if environ is None else environ):
        if name.startswith(ENV_PREFIX) and "__" in name:
            key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".", 1)
            _check_known(key, f"environment variable {name}")
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        where = f"{path}, line {_line_of(text, key)}" if _line_of(text, key) else "environment"
        raise SettingValueError(key, where, first["input"], first["msg"]) from error


def render_settings(values: Mapping[str, Mapping[str, object]] | None = None) -> str:
    """Write a settings file with every key, its default and one remark per section.

    Args:
        values: values that differ from the defaults, by section and key.

    Returns:
        TOML text that `load_settings` reads back to the same settings.
    """
    values = values or {}
    lines = [
        "# Settings of this Byline installation. Every key is listed with its value;",
        "# BYLINE_<SECTION>__<KEY> in the environment wins over this file.",
    ]
    for section, model in _sections().items():
        doc = " ".join((model.__doc__ or "").split())
        lines += ["", f"# {doc}", f"[{section}]"]
        for key, field in model.model_fields.items():
            value = values.get(section, {}).get(key, field.default)
            lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _sections() -> dict[str, type[_Section]]:
    sections: dict[str, type[_Section]] = {}
    for name, field in Settings.model_fields.items():
        annotation = field.annotation
        assert isinstance(annotation, type), (name, annotation)
        assert issubclass(annotation, _Section), (name, annotation)
        sections[name] = annotation
    return sections


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not a TOML file: {error}; nothing was run") from error


def _leaves(values: Mapping[str, Any]) -> Iterator[str]:
    for section, content in values.items():
        if isinstance(content, Mapping):
            yield from (f"{section}.{key}" for key in content) if content else ()
            if not content:
                yield section
        else:
            yield section


def _check_known(key: str, where: str) -> None:
    known = known_keys()
    if key in known or key in _sections():
        return
    closest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    raise UnknownSettingError(key, where, closest[0] if closest else None)


def _line_of(text: str, key: str) -> int:
    """Give the 1-based line where `section.key` stands, or 0."""
    section, _, name = key.partition(".")
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            current = stripped.strip("[] ")
            if current == section and not name:
                return number
        left = stripped.split("=", 1)[0].strip().strip('"')
        if (current, left) == (section, name) or (not current and left in (section, key)):
            return number
    return 0


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
