"""Make one creator's statement for one period, and refuse one that does not foot.

A statement is the only paper most creators ever see, so its sums are not typed
but checked, and each check is a test:

1. Opening balance + royalty movements + taxes = payable; payable + payments =
   closing balance. Nothing else changes the balance.
2. The opening balance is the closing balance of the statement before.
3. The closing balance is the ledger's, and the cited journal entries add up to
   closing less opening.
4. The work lines add up to the royalties earned, in the detail layout and in
   the work summary alike; the typed adjustments add up to their line.
5. Every pool shown adds up over its destinations, and the creator's parts of
   the pools add up to no more than what the pools paid.
6. The same inputs give the same statement, byte for byte, under one SHA-256.

Steps 1-5 raise; step 6 is `Statement.sha256`, over the canonical JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from math import isqrt
from typing import Any, Final

from contracts.money import Currency, format_units
from contracts.split import split_signed
from reports.errors import StatementDoesNotFootError, StatementInputError
from reports.statement_inputs import (
    ADJUSTMENT_TYPES,
    PAYMENT_MOVEMENTS,
    POOL_DESTINATIONS,
    ROYALTY_MOVEMENTS,
    STATUSES,
    TAX_MOVEMENTS,
    Movement,
    StatementInputs,
    WorkLine,
)

FORMAT: Final = "byline-statement/1"
PPT: Final = 10**12


@dataclass(frozen=True)
class SummaryLine:
    """One printed line of the account summary; totals repeat no movement."""

    kind: str
    label: str
    amount_units: int
    note: str = ""
    is_total: bool = False


@dataclass(frozen=True)
class Statement:
    """A statement that foots: inputs, account summary, both work layouts, and a digest.

    `summary` is in printing order. `work_summary` has one line a work and pool,
    `inputs.works` one line a work, pool, activity period and model version;
    both add up to `earned_units`.
    """

    inputs: StatementInputs
    summary: tuple[SummaryLine, ...]
    work_summary: tuple[WorkLine, ...]
    earned_units: int
    net_units: int
    payable_units: int
    closing_units: int
    difference_units: int | None
    sha256: str

    @property
    def number(self) -> str:
        """The statement number, without its version."""
        return self.inputs.header.statement_number

    @property
    def is_nil(self) -> bool:
        """Whether nothing was earned and nothing moved; a nil statement is still issued."""
        return not any(movement.amount_units for movement in self.inputs.movements)

    def money(self, amount_units: int) -> str:
        """Write an amount of this statement's currency as an exact decimal text."""
        return format_units(amount_units, self.inputs.header.currency)


def build_statement(inputs: StatementInputs) -> Statement:
    """Check the inputs against each other and make the statement.

    Args:
        inputs: see StatementInputs.

    Returns:
        An immutable statement, ready for every renderer.

    Raises:
        StatementInputError: a kind, status, type or currency that no statement has.
        StatementDoesNotFootError: two sums that must be equal are not.
    """
    _check_words(inputs)
    number = inputs.header.statement_number
    opening = inputs.opening_units
    royalty = _of_kinds(inputs.movements, ROYALTY_MOVEMENTS)
    tax = _of_kinds(inputs.movements, TAX_MOVEMENTS)
    payment = _of_kinds(inputs.movements, PAYMENT_MOVEMENTS)
    net = sum(line.amount_units for line in royalty)
    payable = opening + net + sum(line.amount_units for line in tax)
    closing = payable + sum(line.amount_units for line in payment)
    earned = sum(m.amount_units for m in inputs.movements if m.kind == "earned")

    _check_roll_forward(inputs, closing)
    _check_works(inputs, earned)
    _check_pools(inputs)

    summary = (
        SummaryLine("opening", "Opening balance", opening),
        *royalty,
        SummaryLine("net", "Net royalty of the period", net, is_total=True),
        *tax,
        SummaryLine("payable", "Payable", payable, _payable_note(inputs), is_total=True),
        *payment,
        SummaryLine("closing", "Closing balance", closing, _closing_note(inputs), is_total=True),
    )
    work_summary = summarise_works(inputs.works)
    assert sum(line.amount_units for line in work_summary) == sum(
        line.amount_units for line in inputs.works
    ), f"the layouts of statement {number} differ"
    replaced = inputs.replaces
    return Statement(
        inputs=inputs,
        summary=summary,
        work_summary=work_summary,
        earned_units=earned,
        net_units=net,
        payable_units=payable,
        closing_units=closing,
        difference_units=None if replaced is None else payable - replaced.payable_units,
        sha256=hashlib.sha256(canonical_inputs(inputs)).hexdigest(),
    )


def summarise_works(works: Sequence[WorkLine]) -> tuple[WorkLine, ...]:
    """Add the detail lines up to one line a work and pool: the Work Summary layout.

    Shares are averaged over the pools they are shares of; standard errors and the
    reach of intervals to either side add in squares, because every night is drawn
    with its own seed.

    Returns:
        Lines in the order of amount, largest first, then by work id and pool.
    """
    groups: dict[tuple[str, str, str, Fraction], list[WorkLine]] = {}
    for line in works:
        key = (line.work_id, line.pool_id, line.adjustment_type, line.split)
        groups.setdefault(key, []).append(line)
    merged = [_merge(lines) if len(lines) > 1 else lines[0] for lines in groups.values()]
    return tuple(sorted(merged, key=lambda line: (-line.amount_units, line.work_id, line.pool_id)))


def allot_to_works(gross_units: int, accruals_units: Sequence[int]) -> list[int]:
    """Divide what a creator earned among the works it was earned with.

    The floors apply to the creator's total, so the works share it in proportion
    to their signed accruals; a work that accrued below zero shows as negative.

    Args:
        gross_units: the creator's earned amount after apportionment.
        accruals_units: the creator's signed accrual of each work.

    Returns:
        One amount a work, adding up to `gross_units`.

    Raises:
        ValueError: there is money to divide but the accruals add up to zero or less.
    """
    total = sum(accruals_units)
    if gross_units == 0:
        return [0] * len(accruals_units)
    if total <= 0:
        raise ValueError(
            f"{gross_units} units were earned with works whose accruals add up to {total} units; "
            f"add a line for money that is not tied to a work"
        )
    return split_signed(gross_units, [Fraction(units, total) for units in accruals_units])


def canonical_inputs(inputs: StatementInputs) -> bytes:
    """Return the canonical JSON bytes that a statement's digest is taken over."""
    payload = {"format": FORMAT, "inputs": plain(inputs)}
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def plain(value: Any) -> Any:
    """Turn dataclasses, fractions and tuples into JSON values; integers become text.

    Integers are written as text so that no reader turns money into a float.
    """
    if is_dataclass(value) and not isinstance(value, type):
        pairs = [(item, getattr(value, item.name)) for item in fields(value)]
        return {
            item.name: plain(found)
            for item, found in pairs
            if found or not item.metadata.get("left_out_when_empty")
        }
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value)}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    assert value is None or isinstance(value, str | bool), f"no JSON form for {value!r}"
    return value


def _of_kinds(movements: Sequence[Movement], kinds: Mapping[str, str]) -> list[SummaryLine]:
    return [
        SummaryLine(kind, label, movement.amount_units, movement.note)
        for kind, label in kinds.items()
        for movement in movements
        if movement.kind == kind
    ]


def _payable_note(inputs: StatementInputs) -> str:
    return f"held, nothing is sent: {inputs.held}" if inputs.held else ""


def _closing_note(inputs: StatementInputs) -> str:
    return f"carried forward since {inputs.carried_since}" if inputs.carried_since else ""


def _merge(lines: Sequence[WorkLine]) -> WorkLine:
    first = lines[0]
    pool = sum(line.pool_units for line in lines)
    weighted = sum(line.share_ppt * line.pool_units for line in lines)
    share = round(Fraction(weighted, pool)) if pool else 0
    spread = isqrt(sum((line.stderr_ppt * line.pool_units) ** 2 for line in lines))
    stderr = round(Fraction(spread, pool)) if pool else 0
    low = _reach([line.low_ppt for line in lines], lines)
    high = _reach([line.high_ppt for line in lines], lines)
    sampled = sum(line.sampled_outputs for line in lines)
    weights = sum(line.weight_ppm * line.sampled_outputs for line in lines)
    known = [line.influence_nanonats for line in lines if line.influence_nanonats is not None]
    return WorkLine(
        work_id=first.work_id,
        pool_id=first.pool_id,
        activity_period=_span([line.activity_period for line in lines]),
        amount_units=sum(line.amount_units for line in lines),
        pool_units=pool,
        share_ppt=share,
        title=first.title,
        external_ids=first.external_ids,
        role=first.role,
        use=_common([line.use for line in lines]),
        model_version=_common([line.model_version for line in lines]),
        territory=_common([line.territory for line in lines]),
        population_outputs=sum(line.population_outputs for line in lines),
        sampled_outputs=sampled,
        weight_ppm=round(Fraction(weights, sampled)) if sampled else first.weight_ppm,
        influence_nanonats=sum(known) if len(known) == len(lines) else None,
        stderr_ppt=stderr,
        low_ppt=None if low is None or high is None else share - low,
        high_ppt=None if low is None or high is None else share + high,
        rate=_common([line.rate for line in lines]),
        accrual_units=sum(line.accrual_units for line in lines),
        split=first.split,
        adjustment_type=first.adjustment_type,
        reliability=_common([line.reliability for line in lines]),
    )


def _reach(ends: Sequence[int | None], lines: Sequence[WorkLine]) -> int | None:
    """Give how far the lines' intervals reach together, in ppt: distances add in squares."""
    pool, square = abs(sum(line.pool_units for line in lines)), 0
    for end, line in zip(ends, lines, strict=True):
        if end is None:
            return None
        square += ((end - line.share_ppt) * line.pool_units) ** 2
    return isqrt(square) // pool if pool else 0


def _span(periods: Sequence[str]) -> str:
    low, high = min(periods), max(periods)
    return low if low == high else f"{low}..{high}"


def _common(values: Sequence[str]) -> str:
    return values[0] if len(set(values)) == 1 else "several"


def _check_words(inputs: StatementInputs) -> None:
    header = inputs.header
    number = header.statement_number
    kinds = {**ROYALTY_MOVEMENTS, **TAX_MOVEMENTS, **PAYMENT_MOVEMENTS}
    if header.status not in STATUSES:
        raise StatementInputError(number, "status", header.status, f"one of {STATUSES}")
    if inputs.replaces is not None and inputs.replaces.version >= header.version:
        expected = f"a version above {inputs.replaces.version}, which it replaces"
        raise StatementInputError(number, "version", header.version, expected)
    Currency.parse(header.currency)
    for movement in inputs.movements:
        if movement.kind not in kinds:
            raise StatementInputError(
                number, "movement kind", movement.kind, f"one of {sorted(kinds)}"
            )
    types = {line.adjustment_type for line in inputs.adjustments}
    types |= {line.adjustment_type for line in inputs.works}
    for name in sorted(types - set(ADJUSTMENT_TYPES)):
        expected = f"one of {ADJUSTMENT_TYPES}"
        raise StatementInputError(number, "adjustment type", name, expected)
    for pool in inputs.pools:
        unknown = sorted(set(pool.destinations) - set(POOL_DESTINATIONS))
        if unknown:
            expected = f"destinations among {list(POOL_DESTINATIONS)}"
            raise StatementInputError(number, f"pool {pool.pool_id}", unknown, expected)


def _check_roll_forward(inputs: StatementInputs, closing_units: int) -> None:
    number = inputs.header.statement_number
    previous = inputs.previous_closing_units
    if previous is not None and previous != inputs.opening_units:
        check = "opening balance against the closing balance of the statement before"
        raise StatementDoesNotFootError(number, check, inputs.opening_units, previous)
    ledger = inputs.ledger_closing_units
    if ledger is not None and ledger != closing_units:
        check = "closing balance against the ledger"
        raise StatementDoesNotFootError(number, check, closing_units, ledger)
    if inputs.entries:
        moved = sum(entry.amount_units for entry in inputs.entries)
        change = closing_units - inputs.opening_units
        if moved != change:
            check = "change of the balance against the journal entries cited"
            raise StatementDoesNotFootError(number, check, change, moved)


def _check_works(inputs: StatementInputs, earned_units: int) -> None:
    number = inputs.header.statement_number
    works = sum(line.amount_units for line in inputs.works)
    if works != earned_units:
        check = "work lines against royalties earned"
        raise StatementDoesNotFootError(number, check, works, earned_units)
    if inputs.adjustments:
        typed = sum(line.amount_units for line in inputs.adjustments)
        moved = sum(m.amount_units for m in inputs.movements if m.kind == "adjustment")
        if typed != moved:
            check = "typed adjustments against their line of the account summary"
            raise StatementDoesNotFootError(number, check, typed, moved)


def _check_pools(inputs: StatementInputs) -> None:
    number = inputs.header.statement_number
    for pool in inputs.pools:
        total = sum(pool.destinations.values())
        if total != pool.pool_units:
            check = f"destinations of pool {pool.pool_id} against the pool"
            raise StatementDoesNotFootError(number, check, total, pool.pool_units)
        paid = pool.destinations.get("paid", 0)
        if pool.mine_units > paid:
            check = f"own part of pool {pool.pool_id} above what the pool paid"
            raise StatementDoesNotFootError(number, check, pool.mine_units, paid)
