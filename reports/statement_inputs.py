"""What a statement is made from: plain values, filled in by whoever has the books at hand.

Nothing here touches a database or a file. The rules:

1. Money is a whole number of units of one currency ("USD/6": millionths); a
   statement has exactly one currency.
2. A share is a whole number of trillionths of a pool (`_ppt`, 10^12 = 100 %),
   signed, as the estimates table has it. A share is never called a score.
3. A creator, payee or payer is an opaque id; a name is optional and only shown.
4. Amounts are signed as they change what the payee is owed: an earning is
   positive, a recoupment, a reserve taken, a tax withheld and a payout negative.

The field list follows royalty practice (header, account summary, work lines,
pool reconciliation, explanations); `reports.dictionary` describes every field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

STATUSES: Final = ("provisional", "final", "restated")

# kind -> label, in the order an account summary prints them.
ROYALTY_MOVEMENTS: Final[Mapping[str, str]] = {
    "earned": "Royalties earned (gross)",
    "fee": "Fees and other deductions",
    "minimum_guarantee": "Minimum guarantee top-up",
    "adjustment": "Adjustments to prior periods",
    "reserve_taken": "Reserve taken",
    "reserve_released": "Reserve released",
    "recoupment": "Advance recouped",
    "cross_collateral": "Cross-collateral transfer",
    "held": "Disputed amounts held",
    "released": "Disputed amounts released",
}
TAX_MOVEMENTS: Final[Mapping[str, str]] = {
    "indirect_tax": "VAT/GST on self-billed royalties",
    "withholding_tax": "Withholding tax",
    "currency_conversion": "Currency conversion",
}
PAYMENT_MOVEMENTS: Final[Mapping[str, str]] = {
    "payout": "Paid this period",
    "payout_returned": "Payout returned by the bank",
}

# Destinations of a pool, in the order a reconciliation prints them.
POOL_DESTINATIONS: Final[Mapping[str, str]] = {
    "paid": "Apportioned to creators under agreement",
    "unlicensed": "Works without an agreement",
    "unmatched": "Works without a known owner",
    "below_noise": "Below the noise floor",
    "unexplained": "Not explained by the training data",
    "disputed": "Held in dispute",
    "fees": "Fees",
    "rounding": "Rounding",
}

ADJUSTMENT_TYPES: Final = (
    "none",
    "backpay_match",
    "ownership_conflict_release",
    "dispute_release",
    "rate_correction",
    "method_restatement",
    "usage_correction",
    "fraud_clawback",
    "fx_correction",
    "reversal",
)


@dataclass(frozen=True)
class StatementHeader:
    """Who owes whom, for when, under what, and until when it may be disputed.

    Dates are ISO `YYYY-MM-DD`; `period` is `YYYY-MM`. `agreements` are
    "id vN" texts. `party_id` is the creator; `payee_id` is who is paid.
    """

    statement_number: str
    period: str
    period_start: str
    period_end: str
    statement_date: str
    party_id: str
    payee_id: str
    payer_id: str
    currency: str
    version: int = 1
    status: str = "final"
    payee_name: str = ""
    payer_name: str = ""
    agreements: tuple[str, ...] = ()
    method: str = "signed_linear/1"
    attribution_method: str = ""
    model_versions: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    due_date: str = ""
    dispute_deadline: str = ""
    contact: str = ""


@dataclass(frozen=True)
class Movement:
    """One line of the account summary, signed as it changes what the payee is owed.

    `kind` is a key of ROYALTY_, TAX_ or PAYMENT_MOVEMENTS. Several movements of
    one kind are allowed and printed one by one with their notes.
    """

    kind: str
    amount_units: int
    note: str = ""
    entry_id: str = ""


@dataclass(frozen=True)
class WorkLine:
    """What one work earned for this creator in one activity period from one pool.

    `accrual_units` is the whole work's signed accrual before any floor (100 %
    of the work); `amount_units` what this creator is credited for it after
    apportionment and split. Sampling weight: `weight_ppm` is the mean weight of
    the sampled outputs, in millionths (1_000_000 = every output was looked at).
    """

    work_id: str
    pool_id: str
    activity_period: str
    amount_units: int
    pool_units: int
    share_ppt: int
    title: str = ""
    external_ids: str = ""
    role: str = "creator"
    use: str = "output"
    model_version: str = ""
    territory: str = "world"
    population_outputs: int = 0
    sampled_outputs: int = 0
    weight_ppm: int = 1_000_000
    influence_nanonats: int | None = None
    stderr_ppt: int = 0
    low_ppt: int | None = None
    high_ppt: int | None = None
    rate: str = ""
    accrual_units: int = 0
    split: Fraction = Fraction(1)
    adjustment_type: str = "none"
    reliability: str = ""


@dataclass(frozen=True)
class AdjustmentLine:
    """One correction of an earlier period, with the type that royalty files use for it."""

    adjustment_type: str
    activity_period: str
    statement_period: str
    amount_units: int
    reason: str
    entry_id: str = ""


@dataclass(frozen=True)
class WorkingLine:
    """One step of the calculation: label, the formula with its numbers, and the result.

    `balance_units` is the running balance after the step, where one is kept; a
    line with `detail` is a part of the step above it and is not added again; a
    line without an amount is a remark.
    """

    label: str
    working: str
    amount_units: int | None
    balance_units: int | None = None
    detail: bool = False


@dataclass(frozen=True)
class PoolReconciliation:
    """Where one pool went, to the unit.

    `destinations` maps keys of POOL_DESTINATIONS to units and adds up to
    `pool_units`; `mine_units` is this creator's part of `paid`.
    """

    pool_id: str
    period: str
    pool_units: int
    destinations: Mapping[str, int]
    mine_units: int = 0
    basis: str = ""


@dataclass(frozen=True)
class ExcludedTraffic:
    """Logged outputs that earned nothing, by reason."""

    reason: str
    outputs: int


@dataclass(frozen=True)
class DecoyLevel:
    """How much of this creator's share any text of that kind would have earned.

    `generic_ppt` + `specific_ppt` is the creator's share; `documents` is the
    number of decoys (texts of the same kinds that were never trained on).
    """

    documents: int
    generic_ppt: int
    specific_ppt: int


@dataclass(frozen=True)
class Change:
    """One thing that differs from the statement before, as shown to the creator."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class ReserveLine:
    """Money held back and the date it is due to be released."""

    release_on: str
    amount_units: int


@dataclass(frozen=True)
class YearToDate:
    """Totals since 1 January of the statement's year, this statement included."""

    earned_units: int = 0
    recouped_units: int = 0
    withheld_units: int = 0
    paid_units: int = 0


@dataclass(frozen=True)
class PeriodShare:
    """The creator's share of one period's pools, with its 95 % interval, for the chart."""

    period: str
    share_ppt: int
    low_ppt: int
    high_ppt: int
    amount_units: int = 0


@dataclass(frozen=True)
class EntryRef:
    """A journal entry this statement rests on.

    `amount_units` is what the entry adds to the payee's payable account:
    credits positive. `ledger_seq` is its place in the log (1-based).
    """

    entry_id: str
    ledger_seq: int
    kind: str
    effective_on: str
    amount_units: int
    description: str = ""


@dataclass(frozen=True)
class CheckpointRef:
    """The signed checkpoint the statement is provable against.

    `note` is the whole C2SP note text; `proof_files` name the inclusion proofs
    that travel with the statement.
    """

    origin: str
    size: int
    root_hex: str
    note: str = ""
    proof_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReplacedVersion:
    """The version of the same statement that this one replaces."""

    version: int
    sha256: str
    payable_units: int
    reason: str


@dataclass(frozen=True)
class StatementInputs:
    """Everything one statement says. See the module docstring for units and signs.

    Args:
        header: who, when, under what.
        opening_units: balance owed to the payee at the start of the period.
        movements: what changed the balance; see Movement.
        works: the work lines. Their amounts add up to the `earned` movements.
        working: the calculation in its fixed order, from `contracts.earnings`.
        pools: one reconciliation a pool.
        entries: the journal entries on the payee's payable account. When given,
            they must add up to closing less opening balance.
        ledger_closing_units: the ledger's own closing balance, when known; the
            statement is refused if it ends elsewhere.
        previous_closing_units: closing balance of the statement before.
        held: why nothing is sent to the payee for now, or "". A statement without a hold has
            the digest it had before there was a register of them.
        inputs: name -> sha256 of every artefact the numbers came from.
    """

    header: StatementHeader
    opening_units: int = 0
    movements: tuple[Movement, ...] = ()
    works: tuple[WorkLine, ...] = ()
    working: tuple[WorkingLine, ...] = ()
    adjustments: tuple[AdjustmentLine, ...] = ()
    pools: tuple[PoolReconciliation, ...] = ()
    excluded: tuple[ExcludedTraffic, ...] = ()
    decoys: DecoyLevel | None = None
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    unrecouped_opening_units: int = 0
    unrecouped_closing_units: int = 0
    reserves: tuple[ReserveLine, ...] = ()
    carried_since: str = ""
    year_to_date: YearToDate | None = None
    history: tuple[PeriodShare, ...] = ()
    entries: tuple[EntryRef, ...] = ()
    checkpoint: CheckpointRef | None = None
    replaces: ReplacedVersion | None = None
    ledger_closing_units: int | None = None
    previous_closing_units: int | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    held: str = field(default="", metadata={"left_out_when_empty": True})
