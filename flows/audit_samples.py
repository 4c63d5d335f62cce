"""Draw an auditor's samples from a closed period, and evaluate what was found.

1. The population of the monetary-unit sample is what the period credited to payees, one item a
   payee and entry; it is read from the book, and its digest is in the result.
2. The reciprocal sample comes from the usage logs: any output, payable or not, to be traced
   forward to the book. The seed is the auditor's; the same seed draws the same items.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl

from contracts.money import parse_units
from flows.publish import ClosedPeriod
from ledger import chart
from reports.audit_sampling import (
    FORMAT,
    Item,
    MusEvaluation,
    MusSample,
    evaluate_mus,
    plan_mus,
    reciprocal_sample,
    select_mus,
)
from reports.errors import AuditSamplingError
from reports.statement import plain


@dataclass(frozen=True)
class AuditSample:
    """A drawn sample: of what was paid, and of what was logged."""

    period: str
    paid: MusSample
    logged: tuple[str, ...]
    logged_population: int
    evaluation: MusEvaluation | None = None

    def as_json(self) -> dict[str, Any]:
        """Give the sample as plain values; integers are texts."""
        found = plain(
            {
                "format": FORMAT,
                "period": self.period,
                "paid": self.paid,
                "logged": self.logged,
                "logged_population": self.logged_population,
            }
        )
        if self.evaluation is not None:
            found["evaluation"] = plain(self.evaluation)
        return dict(found)


def population(closed: ClosedPeriod) -> list[Item]:
    """List what a period credited to payees: one item a payee and entry, `ENTRY/PAYEE`."""
    items = []
    for sealed in closed.view.entries:
        entry = sealed.entry
        if entry.period == closed.period and entry.kind != "payout":
            for posting in entry.postings:
                if posting.account_id.startswith(chart.PAYABLE_PREFIX):
                    payee = posting.account_id.removeprefix(chart.PAYABLE_PREFIX)
                    items.append(Item(f"{sealed.entry_id}/{payee}", -posting.units))
    return items


def draw(
    closed: ClosedPeriod,
    *,
    seed: bytes,
    tolerable: str,
    expected: str = "0",
    confidence_percent: int = 95,
    method: str = "factors/1",
    logged: int = 25,
    audited: Path | None = None,
) -> AuditSample:
    """Draw both samples, and evaluate them where the audited amounts are given.

    Args:
        closed: the period.
        seed: the auditor's, at least 16 bytes.
        tolerable: the misstatement that would be tolerated, as a decimal amount.
        expected: the misstatement expected.
        confidence_percent: 95, 90, ...
        method: factors/1, binomial/1 or poisson/1.
        logged: how many outputs of the usage logs.
        audited: CSV with the columns item_id and units: the right amount of every item drawn.

    Raises:
        AuditSamplingError: amounts no sample can answer to, or an item without audited amount.
    """
    items = population(closed)
    currency = closed.plan.accruals.currency
    book = sum(item.book_units for item in items if item.book_units > 0)
    plan = plan_mus(
        book,
        parse_units(tolerable, currency),
        parse_units(expected, currency),
        confidence_percent=confidence_percent,
        method=method,
    )
    paid = select_mus(plan, items, seed)
    ids = [
        event
        for night in closed.plan.accruals.nights
        for event in pl.read_parquet(night.night.outputs, columns=["event_id"])["event_id"]
    ]
    evaluation = evaluate_mus(paid, read_audited(audited)) if audited is not None else None
    chosen = reciprocal_sample(ids, logged, seed)
    return AuditSample(closed.period, paid, chosen, len(set(ids)), evaluation)


def read_audited(path: Path) -> Mapping[str, int]:
    """Read audited amounts from CSV.

    Raises:
        AuditSamplingError: a column is missing, or an amount is not whole units.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return {row["item_id"]: int(row["units"]) for row in rows}
    except (KeyError, ValueError) as problem:
        raise AuditSamplingError(
            f"{path.name}: {problem}", "the columns item_id and units, whole units"
        ) from problem


def sample_json(sample: AuditSample) -> bytes:
    """Write a sample as canonical JSON."""
    text = json.dumps(sample.as_json(), sort_keys=True, ensure_ascii=False, indent=1)
    return text.encode() + b"\n"


def share_of(part: int, whole: int) -> str:
    """Write a part of a whole in per cent, for a person."""
    return f"{float(Fraction(100 * part, whole)):.1f} %" if whole else "0 %"
