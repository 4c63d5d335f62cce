"""Files an accountant writes for the close: other pools, exchange rates, reported usage.

    pools.json          {"format": "byline-pools/1", "pools": [{"pool_id", "amount",
                        "first_period", "periods", "division", "source"}]}
    rates.json          {"format": "byline-rates/1", "rates": [{"from", "to", "on", "rate",
                        "source"}]}
    usage/PERIOD.json   {"format": "byline-usage/1", "usage": [{"work_id", "use", "outputs",
                        "tokens", "right", "territory", "model_version", "source"}]}

1. Each file may be missing; then there is no such pool, rate or usage.
2. Amounts, rates and counts are texts, read exactly. Every fault of a file is named at once, with
   its record and what was expected, and nothing of it is used.
3. A pool's amount is earned in equal parts over its periods; all parts add up to the amount.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is a field elsewhere
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from contracts.apportionment import RULES
from contracts.errors import BadFilesError, ContractsError, Fault
from contracts.fx import FxRate
from contracts.identifier import check_id
from contracts.money import parse_units
from contracts.period import Period
from contracts.terms import FlatFee
from contracts.usage import Usage, Use
from flows.workspace import Workspace

POOLS_FORMAT = "byline-pools/1"
RATES_FORMAT = "byline-rates/1"
USAGE_FORMAT = "byline-usage/1"
EQUAL_PER_WORK = "equal_per_work"

_Built = TypeVar("_Built")


@dataclass(frozen=True)
class FundedPool:
    """A pool that a fee pays into, beside the one that revenue pays into every night.

    Args:
        pool_id: its name in the agreements.
        fee: the amount, amortised over its periods.
        division: equal_per_work, or an apportionment rule by influence.
        source: the clause or invoice it rests on.
    """

    pool_id: str
    fee: FlatFee
    division: str
    source: str


def period_files(workspace: Workspace, period: str) -> dict[str, Path]:
    """Name the files of pools, rates and reported usage that a period's close reads."""
    return {
        "pools": workspace.root / "pools.json",
        "rates": workspace.root / "rates.json",
        "usage": workspace.root / "usage" / f"{period}.json",
    }


def kept_copy(workspace: Workspace, name: str, digest: str) -> Path:
    """Name the copy of such a file as a close read it."""
    return workspace.root / "evidence" / f"{name}-{digest[:16]}.json"


def read_pools(path: Path, *, main_pool: str, currency: str) -> tuple[FundedPool, ...]:
    """Read the pools that fees pay into, in the order of the file.

    Args:
        path: the file, which may be missing.
        main_pool: the pool that revenue pays into; no fee may.
        currency: of all pools, CODE/SCALE.

    Raises:
        BadFilesError: every fault found.
    """

    def build(row: Mapping[str, Any]) -> FundedPool:
        division = str(row.get("division", EQUAL_PER_WORK))
        if division != EQUAL_PER_WORK and division not in RULES:
            raise ValueError(f"division {EQUAL_PER_WORK} or one of {', '.join(sorted(RULES))}")
        if row["pool_id"] == main_pool:
            raise ValueError(f"another pool than {main_pool}, which revenue pays into every night")
        if not str(row["source"]).strip():
            raise ValueError("a source: the clause or invoice the amount rests on")
        units = parse_units(str(row["amount"]), currency)
        fee = FlatFee(units, Period(row["first_period"]), int(row.get("periods", "1")))
        return FundedPool(check_id("pool_id", row["pool_id"]), fee, division, str(row["source"]))

    return tuple(_records(path, POOLS_FORMAT, "pools", build))


def read_rates(path: Path) -> tuple[FxRate, ...]:
    """Read the exchange rates, each with its source.

    Raises:
        BadFilesError: every fault found.
    """

    def build(row: Mapping[str, Any]) -> FxRate:
        rate = Fraction(_text(row, "rate"))
        day = Date.fromisoformat(row["on"])
        return FxRate(str(row["from"]), str(row["to"]), day, rate, str(row["source"]))

    return tuple(_records(path, RATES_FORMAT, "rates", build))


def read_usage(path: Path) -> tuple[Usage, ...]:
    """Read the usage that others reported for a period: retrieval, search, training runs.

    Raises:
        BadFilesError: every fault found.
    """

    def build(row: Mapping[str, Any]) -> Usage:
        return Usage(
            str(row["work_id"]),
            Use(row["use"]),
            Fraction(_text(row, "outputs", "0")),
            Fraction(_text(row, "tokens", "0")),
            str(row.get("right", "*")),
            str(row.get("territory", "*")),
            str(row.get("model_version", "*")),
        )

    return tuple(_records(path, USAGE_FORMAT, "usage", build))


def _text(row: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """Give a number that is written as a text, so that no float ever held it."""
    value = row[name] if default is None else row.get(name, default)
    if not isinstance(value, str):
        raise TypeError(f"{name} written as a text such as '0.93', got the number {value}")
    return value


def _records(
    path: Path, form: str, name: str, build: Callable[[Mapping[str, Any]], _Built]
) -> Iterator[_Built]:
    """Build every record of a file, or refuse the file with every fault."""
    if not path.exists():
        return
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", 1)
        raise BadFilesError([Fault(str(path), line, "(file)", str(error), "JSON")]) from error
    rows = data.get(name) if isinstance(data, dict) and data.get("format") == form else None
    if not isinstance(rows, list):
        expected = f"an object of format {form} with a list {name}"
        raise BadFilesError([Fault(str(path), 1, "format", repr(data)[:60], expected)])
    built, faults = [], []
    for number, row in enumerate(rows):
        try:
            built.append(build(row))
        except KeyError as error:
            faults.append(Fault(str(path), 1, f"{name}[{number}]", "nothing", f"the field {error}"))
        except (ContractsError, ValueError, TypeError, ZeroDivisionError) as error:
            where = f"{name}[{number}]"
            faults.append(Fault(str(path), 1, where, repr(row)[:60], str(error)))
    if faults:
        raise BadFilesError(faults)
    yield from built
