"""Take a calculation of `contracts.earnings` over into a statement: its working and its movements.

The fifteen lines are shown in their fixed order, each with its formula and the
balance after it; a line the agreement does not provide for is named in one line
at the end, so that its absence is said. The movements are the named sums, signed
as they change what the payee is owed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from contracts.earning_lines import ADJUSTMENTS, CONVERSION, EarningLine
from contracts.earnings import Earnings
from contracts.money import format_units
from reports.statement_inputs import (
    ADJUSTMENT_TYPES,
    AdjustmentLine,
    Movement,
    ReserveLine,
    WorkingLine,
)


def working_of(lines: Iterable[EarningLine]) -> tuple[WorkingLine, ...]:
    """Turn the lines of a calculation into the working of a statement.

    Args:
        lines: the fifteen lines, in order.

    Returns:
        One line a step that the agreement provides for, followed by its parts
        where there are several; last, the steps it does not provide for.
    """
    working: list[WorkingLine] = []
    absent: list[str] = []
    for line in lines:
        if not line.present:
            absent.append(f"{line.step} {line.label.lower()}")
            continue
        label = f"{line.step} {line.label}"
        working.append(WorkingLine(label, line.formula, line.amount_units, line.balance_units))
        if len(line.details) > 1:
            working.extend(
                WorkingLine(detail.label, detail.formula, detail.amount_units, None, detail=True)
                for detail in line.details
            )
    if absent:
        working.append(
            WorkingLine("Not in this agreement", ", ".join(absent), None, None, detail=True)
        )
    return tuple(working)


def movements_of(earnings: Earnings) -> tuple[Movement, ...]:
    """Name what a calculation changes in the payee's account; zero movements are left out.

    Deductions, caps and splits are inside `earned` (lines 2 to 6) and are shown
    by the working.
    """
    agreement = f"{earnings.agreement_id} v{earnings.version}"
    collateral = ", ".join(sorted(earnings.collateral_units))
    movements = (
        Movement("earned", earnings.royalty_units, agreement),
        Movement("minimum_guarantee", earnings.guarantee_units, agreement),
        Movement("adjustment", earnings.adjustment_units, agreement),
        Movement("reserve_taken", -earnings.reserve_taken_units, agreement),
        Movement("reserve_released", earnings.reserve_released_units, agreement),
        Movement("recoupment", -earnings.recouped_units, agreement),
        Movement("cross_collateral", -sum(earnings.collateral_units.values()), collateral),
        Movement("held", -earnings.held_units, agreement),
        Movement("indirect_tax", earnings.indirect_tax_units, agreement),
        Movement("withholding_tax", -earnings.withheld_units, agreement),
        *_converted(earnings),
    )
    return tuple(movement for movement in movements if movement.amount_units)


def _converted(earnings: Earnings) -> Iterator[Movement]:
    """Say what of the net was turned into the currency of payment, at which rate."""
    if earnings.payment_currency != earnings.currency and earnings.converted_units:
        line = next(line for line in earnings.lines if line.step == CONVERSION)
        units = earnings.converted_units
        amount = format_units(units, earnings.payment_currency)
        code = earnings.payment_currency.partition("/")[0]
        yield Movement(
            "currency_conversion",
            -earnings.converted_from_units,
            f"{line.formula} = {code} {amount}",
        )


def adjustments_of(earnings: Earnings) -> Iterator[AdjustmentLine]:
    """Type what line 11 of a calculation corrects; the lines add up to its adjustment movement.

    A debit balance brought or carried forward is listed as what it is: the rest of a reversal.
    """
    step = next(line for line in earnings.lines if line.step == ADJUSTMENTS)
    period = earnings.period.text
    for detail in step.details:
        kind, _, activity = detail.label.partition(" ")
        if kind in ADJUSTMENT_TYPES:
            yield AdjustmentLine(kind, activity, period, detail.amount_units, detail.formula)
        elif detail.label.startswith("debit balance"):
            text = f"{detail.label}: {detail.formula}"
            yield AdjustmentLine("reversal", period, period, detail.amount_units, text)


def reserves_of(earnings: Iterable[Earnings]) -> tuple[ReserveLine, ...]:
    """List what is still held in reserve by the day it is due to be released."""
    held: Counter[str] = Counter()
    for result in earnings:
        for tranche in result.closing.reserves:
            held[tranche.release_in.end.isoformat()] += tranche.units
    return tuple(ReserveLine(day, units) for day, units in sorted(held.items()) if units)
