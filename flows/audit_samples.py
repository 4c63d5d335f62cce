"""Draw an auditor's samples from a closed period, and evaluate what was found.

1. The population of the monetary-unit sample is what the period credited to payees, one item a
   payee and entry; it is read from the book, and its digest is in the result.
2. The reciprocal samples come from the usage logs (any output, payable or not, to be traced
   forward to the book) and from the payees to whom nothing was credited. The seed is the
   auditor's; the same seed draws the same items.
3. Four files: JSON for machines, two tables to fill in, and a working paper to be filed.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
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
from reports.audit_working_paper import Logged, items_csv, logged_csv, working_paper
from reports.errors import AuditSamplingError
from reports.statement import plain


@dataclass(frozen=True)
class AuditSample:
    """A drawn sample: of what was paid, and of what was logged."""

    period: str
    currency: str
    paid: MusSample
    logged: tuple[str, ...]
    logged_population: int
    traced: tuple[Logged, ...]
    unpaid: tuple[str, ...]
    unpaid_population: int
    evaluation: MusEvaluation | None = None

    def as_json(self) -> dict[str, Any]:
        """Give the sample as plain values; integers are texts."""
        found = plain(
            {
                "format": FORMAT,
                "period": self.period,
                "paid": self.paid,
                "logged": self.logged,
                "traced": self.traced,
                "unpaid": self.unpaid,
                "unpaid_population": self.unpaid_population,
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
    ids = {
        event
        for night in closed.plan.accruals.nights
        for event in pl.read_parquet(night.night.outputs, columns=["event_id"])["event_id"]
    }
    evaluation = evaluate_mus(paid, read_audited(audited)) if audited is not None else None
    chosen = reciprocal_sample(ids, logged, seed)
    credited = {item.item_id.partition("/")[2] for item in items}
    unpaid = set(closed.gathering.payees) - credited
    return AuditSample(
        closed.period,
        currency,
        paid,
        chosen,
        len(ids),
        tuple(_traced(closed, chosen)),
        reciprocal_sample(unpaid, logged, seed),
        len(unpaid),
        evaluation,
    )


def _traced(closed: ClosedPeriod, chosen: Sequence[str]) -> Iterator[Logged]:
    """Say of each logged output where it went: a line for every night or batch that has it."""
    columns = ["event_id", "payable", "exclusion_reason", "value_units"]
    for accrual in closed.plan.accruals.nights:
        night = accrual.night
        drawn = set(pl.read_parquet(night.sample, columns=["event_id"])["event_id"])
        rows = pl.scan_parquet(night.outputs).filter(pl.col("event_id").is_in(chosen))
        for event, payable, reason, units in rows.select(columns).collect().iter_rows():
            yield Logged(
                event, night.name, payable, reason or "", units, event in drawn, accrual.entry_id
            )


def read_audited(path: Path) -> Mapping[str, int]:
    """Read audited amounts from CSV; a line without one was not audited.

    Raises:
        AuditSamplingError: a column is missing, or an amount is not whole units.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return {row["item_id"]: int(row["units"]) for row in rows if row["units"].strip()}
    except (KeyError, ValueError) as problem:
        raise AuditSamplingError(
            f"{path.name}: {problem}", "the columns item_id and units, whole units"
        ) from problem


def sample_files(sample: AuditSample) -> dict[str, bytes]:
    """Give the files of a sample: for machines, to fill in, and to be filed."""
    paper = working_paper(
        sample.period,
        sample.currency,
        sample.paid,
        (sample.traced, sample.logged_population),
        (sample.unpaid, sample.unpaid_population),
        sample.evaluation,
    )
    return {
        "audit-sample.json": sample_json(sample),
        "audit-sample.csv": items_csv(sample.paid),
        "audit-sample-logged.csv": logged_csv(sample.traced),
        "audit-sample.txt": paper,
    }


def sample_json(sample: AuditSample) -> bytes:
    """Write a sample as canonical JSON."""
    text = json.dumps(sample.as_json(), sort_keys=True, ensure_ascii=False, indent=1)
    return text.encode() + b"\n"


def share_of(part: int, whole: int) -> str:
    """Write a part of a whole in per cent, for a person."""
    return f"{float(Fraction(100 * part, whole)):.1f} %" if whole else "0 %"
