"""What a closed period leaves for later statements: shares, counts and names, in one small file.

1. The file is a function of the period's close, kept at `reports/PERIOD/facts.json`; one that is
   missing is worked out again from the close.
2. The chart of a statement and its "what changed" are read from these files alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.artefacts import canonical_json, write_bytes
from flows.errors import CloseError
from flows.workspace import Workspace
from reports.render.text import amount_text, count, percent
from reports.settlement import UsageCounts
from reports.statement_inputs import Change, PeriodShare

FACTS_FORMAT = "byline-period-facts/1"
PERIODS_MAX = 24


@dataclass(frozen=True)
class PayeeFacts:
    """One payee's share of a period in parts per 10^12, what was earned, and under what."""

    share_ppt: int
    low_ppt: int
    high_ppt: int
    earned_units: int
    agreements: tuple[str, ...]


@dataclass(frozen=True)
class PeriodFacts:
    """A closed period in a few numbers, and each payee's line."""

    period: str
    pool_units: int
    rate_ppm: int
    rule: str
    payable_outputs: int
    sampled_outputs: int
    model_versions: tuple[str, ...]
    payees: dict[str, PayeeFacts]


def facts_file(workspace: Workspace, period: str) -> Path:
    """Name the file of a period's facts."""
    return workspace.reports(period) / "facts.json"


def write_facts(workspace: Workspace, facts: PeriodFacts) -> None:
    """Write a period's facts, unless they are there."""
    path = facts_file(workspace, facts.period)
    data = canonical_json({"format": FACTS_FORMAT, **asdict(facts)})
    if not path.exists() or path.read_bytes() != data:
        write_bytes(path, data)


def read_facts(workspace: Workspace, period: str) -> PeriodFacts | None:
    """Read a period's facts, or None while nobody has written them.

    Raises:
        CloseError: the file is not what Byline wrote.
    """
    path = facts_file(workspace, period)
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        if content.pop("format") != FACTS_FORMAT:
            raise ValueError("another format")  # noqa: TRY301
        payees = {
            name: PayeeFacts(**{**values, "agreements": tuple(values["agreements"])})
            for name, values in content.pop("payees").items()
        }
        versions = tuple(content.pop("model_versions"))
        return PeriodFacts(**content, model_versions=versions, payees=payees)
    except (ValueError, TypeError, KeyError) as problem:
        raise CloseError(
            f"{workspace.relative(path)} is not a file of facts ({problem}); no statement was "
            f"made. Remove it, and it is worked out again from the close of {period}"
        ) from problem


def closed_before(workspace: Workspace, period: str) -> list[str]:
    """List the closed periods before one, oldest first, as far back as charts reach."""
    names = sorted(
        path.name.removesuffix(".json") for path in (workspace.root / "closes").glob("????-??.json")
    )
    return [name for name in names if name < period][-PERIODS_MAX + 1 :]


def history_of(
    earlier: Sequence[PeriodFacts], payee_id: str, own: PeriodShare
) -> tuple[PeriodShare, ...]:
    """Give a payee's share over the periods, this one last; a period without him is left out."""
    past = [
        PeriodShare(f.period, p.share_ppt, p.low_ppt, p.high_ppt, p.earned_units)
        for f in earlier
        if (p := f.payees.get(payee_id)) is not None
    ]
    return (*past, own)


def changes_since(
    before: PeriodFacts | None, now: PeriodFacts, payee_id: str, usage: UsageCounts, currency: str
) -> tuple[Change, ...]:
    """Say what differs from the period before, for one payee.

    Args:
        before: the facts of the closed period before, or None for the first one.
        now: this period's facts.
        payee_id: whose statement.
        usage: this period's outputs.
        currency: of the pool.
    """
    if before is None:
        return ()
    pairs = [*_common(before, now, usage, currency), *_own(before, now, payee_id)]
    return tuple(Change(what, old, new) for what, old, new in pairs if old != new)


def _common(
    before: PeriodFacts, now: PeriodFacts, usage: UsageCounts, currency: str
) -> Iterator[tuple[str, str, str]]:
    yield "Period", before.period, now.period
    yield "Payable outputs", count(before.payable_outputs), count(usage.payable)
    yield "Outputs sampled", count(before.sampled_outputs), count(usage.sampled)
    yield "Model versions", ", ".join(before.model_versions), ", ".join(now.model_versions)
    yield "Rule", before.rule, now.rule
    yield "Rate of revenue", _rate(before.rate_ppm), _rate(now.rate_ppm)
    yield "Pool", amount_text(before.pool_units, currency), amount_text(now.pool_units, currency)


def _own(before: PeriodFacts, now: PeriodFacts, payee_id: str) -> Iterator[tuple[str, str, str]]:
    old, new = before.payees.get(payee_id), now.payees.get(payee_id)
    if old is None or new is None:
        return
    yield "Agreements", ", ".join(old.agreements) or "none", ", ".join(new.agreements) or "none"
    yield "Share", percent(old.share_ppt), percent(new.share_ppt)


def _rate(ppm: int) -> str:
    return f"{ppm / 10_000:g} %"
