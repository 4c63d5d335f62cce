"""What the compliance report is filled from: plain facts, each with where it can be checked.

1. A figure carries its source: the file, query or command that gives it. A figure
   without a source cannot be made.
2. What is not known is None, never zero; the section then says plainly that it
   cannot be filled, why, and what would fill it.
3. Ids only; no personal data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reports.render.document import Cell
from reports.statement_inputs import AdjustmentLine, CheckpointRef, PoolReconciliation


@dataclass(frozen=True)
class Figure:
    """One number or statement with its source.

    Args:
        label: what it is.
        value: final text, formatted.
        source: file, query or command that gives it; never empty.
    """

    label: str
    value: str
    source: str

    def __post_init__(self) -> None:
        """Refuse a figure nobody could check."""
        assert self.source, f"figure {self.label!r} has no source"


@dataclass(frozen=True)
class Gap:
    """What a section lacks, why, and what would fill it."""

    what: str
    why: str
    remedy: str = ""


@dataclass(frozen=True)
class FactTable:
    """Lines of a section with the file, query or command that gives them.

    Args:
        label: what it shows.
        heads: names of the columns; ">" sets one to the right, "=" makes it the wide one.
        rows: final texts.
        source: file, query or command; never empty.
    """

    label: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    source: str

    def __post_init__(self) -> None:
        """Refuse lines nobody could check."""
        assert self.source, f"table {self.label!r} has no source"


@dataclass(frozen=True)
class Assertion:
    """What the management asserts, by whom (an id) and when."""

    text: str
    signed_by: str
    signed_on: str


@dataclass(frozen=True)
class AgreementFact:
    """One agreement version in force in the period; `change` is "", "new", "changed" or "ended"."""

    agreement_id: str
    version: int
    licensor: str
    effective_from: str
    effective_to: str = ""
    works: int = 0
    change: str = ""


@dataclass(frozen=True)
class CoverageFact:
    """A part of the training corpus by legal standing: licensed, open, public_domain ..."""

    standing: str
    documents: int
    tokens: int
    payable: bool = False
    licence: str = ""


@dataclass(frozen=True)
class ReservationFact:
    """A rights reservation seen at a source, and whether it was honoured."""

    source_id: str
    kind: str
    observed_on: str
    snapshot_sha256: str
    honoured: str


@dataclass(frozen=True)
class UsageDay:
    """One day of logs.

    `gateway` is the gateway's or billing's own count of calls, where there is one, and
    `gateway_gap` our calls, rejects and late ones among them, less that count.
    """

    date: str
    logged: int
    payable: int
    sampled: int
    quarantined: int
    source: str
    gateway: int | None = None
    excluded: Mapping[str, int] = field(default_factory=dict)
    gateway_gap: int | None = None


@dataclass(frozen=True)
class SamplingFact:
    """One night's draw: seed, strata, sizes, and the widest and median relative error."""

    date: str
    seed_hex: str
    strata: int
    population: int
    sampled: int
    source: str
    error_bands: tuple[tuple[str, str], ...] = ()
    creators_without_hit: int | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of the reconciliation from usage to bank, in units, with its source.

    Stages of one currency follow one another; "" is the report's. A stage of another currency
    begins a chain of its own, since unlike currencies are never compared.
    """

    name: str
    units: int
    source: str
    why_different: str = ""
    currency: str = ""


@dataclass(frozen=True)
class SuspenseFact:
    """A suspense balance: account, units owed, since when the oldest part, what is done.

    `by_age` gives the units by days of age: "to 30", "to 90", "to 365", "older".
    """

    account_id: str
    units: int
    oldest_on: str
    action: str
    currency: str = ""
    by_age: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PayoutFact:
    """One payout file in one currency: id, digest, payments, units, and counts by state."""

    batch_id: str
    file_sha256: str
    payments: int
    units: int
    states: Mapping[str, int]
    left_out_units: int = 0
    currency: str = ""


@dataclass(frozen=True)
class LedgerFact:
    """The state of the books; `refused` counts attempts that the database refused, if logged."""

    entries: int
    postings: int
    trial_balance_units: int
    reversals: int
    approved_entries: int
    source: str
    entries_by_kind: Mapping[str, int] = field(default_factory=dict)
    refused: int | None = None


@dataclass(frozen=True)
class ControlFact:
    """One control: objective, what is done, the query that shows it, the result.

    `exceptions` is None where the control was not tested for the report.
    """

    objective: str
    control: str
    evidence: str
    result: str
    exceptions: int | None = 0


@dataclass(frozen=True)
class Finding:
    """An open finding and the management's response."""

    finding: str
    severity: str
    response: str
    due_on: str = ""


@dataclass(frozen=True)
class ComplianceInputs:
    """All facts of one period's compliance report.

    None, or an empty tuple where the module says so, means not known: the section
    says it. Amounts are units of `currency`. `figures`, `tables` and `gaps` give further
    ones by section number, each with its source. `appeals` counts what people took back of
    the filters' decisions. `links` gives the place of a source, relative to the report's
    folder, where it is a file.
    """

    report_id: str
    period: str
    period_start: str
    period_end: str
    report_date: str
    payer_id: str
    currency: str
    status: str = "draft"
    distribution: tuple[str, ...] = ()
    versions: tuple[Figure, ...] = ()
    assertion: Assertion | None = None
    assertion_source: str = ""
    agreements: tuple[AgreementFact, ...] | None = None
    coverage: tuple[CoverageFact, ...] | None = None
    reservations: tuple[ReservationFact, ...] | None = None
    usage: tuple[UsageDay, ...] | None = None
    sampling: tuple[SamplingFact, ...] | None = None
    method: tuple[Figure, ...] | None = None
    pools: tuple[PoolReconciliation, ...] | None = None
    revenue: tuple[Figure, ...] | None = None
    ledger: LedgerFact | None = None
    checkpoint: CheckpointRef | None = None
    stages: tuple[Stage, ...] | None = None
    suspense: tuple[SuspenseFact, ...] | None = None
    payouts: tuple[PayoutFact, ...] | None = None
    adjustments: tuple[AdjustmentLine, ...] | None = None
    controls: tuple[ControlFact, ...] | None = None
    privacy: tuple[Figure, ...] | None = None
    annexes: tuple[Figure, ...] | None = None
    reperformance: tuple[Figure, ...] | None = None
    findings: tuple[Finding, ...] | None = None
    appeals: int | None = None
    figures: Mapping[int, tuple[Figure, ...]] = field(default_factory=dict)
    tables: Mapping[int, tuple[FactTable, ...]] = field(default_factory=dict)
    gaps: Mapping[int, tuple[Gap, ...]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
