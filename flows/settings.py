"""The settings of one installation: `byline.toml`, overridden by environment variables.

1. Every key is listed in `flows.settings_sections` with its default; a key nobody reads is an
   error that names the key, the file and line, and the closest known key.
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
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from flows.errors import SettingsError, SettingValueError, UnknownSettingError
from flows.settings_sections import (
    AgreementsSection,
    AttributionSettings,
    BrokerSettings,
    EngineSettings,
    FilterSection,
    IngestSection,
    LedgerSettings,
    NightSettings,
    PayoutSettings,
    PoolSettings,
    RetentionSettings,
    Section,
    SignSettings,
    StatementSettings,
    StoreSettings,
)

__all__ = [
    "FILE_NAME",
    "AgreementsSection",
    "AttributionSettings",
    "BrokerSettings",
    "EngineSettings",
    "FilterSection",
    "IngestSection",
    "LedgerSettings",
    "NightSettings",
    "PayoutSettings",
    "PoolSettings",
    "RetentionSettings",
    "Settings",
    "SignSettings",
    "StatementSettings",
    "StoreSettings",
    "known_keys",
    "load_settings",
    "render_settings",
]

FILE_NAME = "byline.toml"
ENV_PREFIX = "BYLINE_"


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


def _sections() -> dict[str, type[Section]]:
    sections: dict[str, type[Section]] = {}
    for name, field in Settings.model_fields.items():
        annotation = field.annotation
        assert isinstance(annotation, type), (name, annotation)
        assert issubclass(annotation, Section), (name, annotation)
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
