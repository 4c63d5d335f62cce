"""The steps of the calculation after the terms: each writes its lines and returns its sums.

Called in order by `earnings.compute_earnings`; see there for what holds for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from contracts import earning_lines as steps
from contracts.agreement import Agreement
from contracts.balances import RELEASES, Adjustment, Balances, Hold, ReserveTranche
from contracts.earning_lines import Sheet
from contracts.fx import FxTable, convert
from contracts.money import round_half_even, show_units
from contracts.period import Period
from contracts.rate import show_rate
from contracts.recoupment import Recoupment, recoup, set_off
from contracts.split import split
from contracts.term_royalty import TermRoyalty, WorkingLine

_MONTHS = 12


@dataclass(frozen=True, slots=True)
class Reserved:
    """What line 7 came to, and the tranches held afterwards."""

    tranches: tuple[ReserveTranche, ...]
    taken_units: int
    released_units: int


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What line 11 came to."""

    adjustment_units: int
    held_units: int
    held_after_units: int
    debit_units: int


@dataclass(frozen=True, slots=True)
class Taxes:
    """What lines 12 and 13 came to."""

    indirect_units: int
    withheld_units: int


@dataclass(frozen=True, slots=True)
class Paid:
    """What lines 14 and 15 came to: the first two in the payment currency."""

    payable_units: int
    carried_forward_units: int
    converted_units: int = 0
    converted_from_units: int = 0
    unconverted_units: int = 0


def add_terms(sheet: Sheet, terms: Sequence[TermRoyalty]) -> None:
    """Write lines 1 to 6 from the working of the terms."""
    if not terms:
        sheet.absent(steps.USAGE, "no term in force in this period")
        for step in range(steps.GROSS, steps.RESERVE):
            sheet.absent(step, "no term in force in this period")
        return
    groups: list[tuple[int, tuple[WorkingLine, ...]]] = [
        (steps.USAGE, tuple(item.usage for item in terms)),
        (steps.GROSS, tuple(item.gross for item in terms)),
        (steps.TIERS, tuple(item.tiers for item in terms if item.tiers)),
        (steps.DEDUCTIONS, tuple(line for item in terms for line in item.deductions)),
        (steps.LIMITS, tuple(line for item in terms for line in item.limits)),
        (steps.SPLIT, tuple(item.split for item in terms if item.split)),
    ]
    for step, details in groups:
        if details:
            sheet.add(step, "; ".join(detail.formula for detail in details), details)
        elif step == steps.SPLIT:
            sheet.absent(step, "shares were applied before the pool was divided, or none are due")
        else:
            sheet.absent(step)


def add_reserve(
    sheet: Sheet,
    terms: Sequence[TermRoyalty],
    held: Sequence[ReserveTranche],
    period: Period,
) -> Reserved:
    """Write line 7: release what is due, take this period's reserve."""
    due = [tranche for tranche in held if tranche.release_in <= period]
    kept = [tranche for tranche in held if tranche.release_in > period]
    lines = [
        WorkingLine(f"{tranche.term_id}: released", f"taken in {tranche.taken_in}", tranche.units)
        for tranche in sorted(due)
    ]
    taken_units = 0
    for item in terms:
        reserve = item.term.reserve
        if reserve is None or item.royalty_units <= 0:
            continue
        units = round_half_even(item.royalty_units * reserve.rate)
        taken_units += units
        term_id = item.term.term_id
        formula = f"{sheet.money(item.royalty_units)} x {show_rate(reserve.rate)}"
        lines.append(WorkingLine(f"{term_id}: taken", formula, -units))
        for later, part in enumerate(split(units, reserve.release), start=1):
            if part:
                kept.append(ReserveTranche(period.plus(later), period, term_id, part))
    has_clause = any(item.term.reserve for item in terms)
    released_units = sum(tranche.units for tranche in due)
    if lines or has_clause:
        text = f"{sheet.money(released_units)} released, {sheet.money(taken_units)} taken"
        amount_units = sheet.add(steps.RESERVE, text, tuple(lines))
        assert amount_units == released_units - taken_units, (amount_units, text)
    else:
        sheet.absent(steps.RESERVE)
    after_units = sum(tranche.units for tranche in kept)
    before_units = sum(tranche.units for tranche in held)
    assert after_units == before_units + taken_units - released_units, (after_units, before_units)
    return Reserved(tuple(sorted(kept)), taken_units, released_units)


def add_guarantee(sheet: Sheet, agreement: Agreement, period: Period, earned_units: int) -> int:
    """Write line 8: in the last period of an agreement year, top up to the minimum.

    Args:
        sheet: the sheet.
        agreement: the version in force.
        period: the period.
        earned_units: royalties of the agreement year so far, this period included.

    Returns:
        The top-up.
    """
    guarantee = agreement.guarantee
    if guarantee is None:
        sheet.absent(steps.GUARANTEE)
        return 0
    if not agreement.is_last_of_year(period):
        text = (
            f"trued up at the end of the agreement year; earned so far {sheet.money(earned_units)}"
        )
        return sheet.add(steps.GUARANTEE, text, ())
    due_units = guarantee.amount_units
    months = agreement.months_of_year(period)
    note = ""
    if guarantee.prorated and months < _MONTHS:
        due_units = round_half_even(due_units * Fraction(months, _MONTHS))
        note = f" ({sheet.money(guarantee.amount_units)} x {months}/{_MONTHS})"
    top_up_units = max(due_units - earned_units, 0)
    due, earned = sheet.money(due_units), sheet.money(earned_units)
    text = f"greater of {due}{note} and {earned} earned in the agreement year"
    return sheet.add(steps.GUARANTEE, text, (WorkingLine("top-up", text, top_up_units),))


def add_recoupment(
    sheet: Sheet, agreement: Agreement, opening: Balances, collateral: Mapping[str, int]
) -> tuple[Recoupment, dict[str, int]]:
    """Write lines 9 and 10: the agreement's own advances, then those of its collateral group."""
    own = recoup(sheet.balance_units, opening.unrecouped_units, agreement.recoupment_rate)
    if agreement.advances or opening.unrecouped_units:
        rate = agreement.recoupment_rate
        part = "" if rate == 1 else f" x {show_rate(rate)}"
        royalty = sheet.money(max(sheet.balance_units, 0))
        text = f"lesser of {royalty}{part} and {sheet.money(opening.unrecouped_units)} unrecouped"
        line = WorkingLine("recouped", text, -own.recouped_units)
        sheet.add(steps.RECOUPMENT, text, (line,))
    else:
        sheet.absent(steps.RECOUPMENT)
    if not agreement.collateral_group:
        sheet.absent(steps.COLLATERAL)
        return own, {}
    taken = set_off(sheet.balance_units, collateral)
    lines = tuple(
        WorkingLine(f"for {key}", f"{sheet.money(collateral[key])} unrecouped", -units)
        for key, units in taken.items()
    )
    elsewhere = sheet.money(sum(collateral.values()))
    text = f"group {agreement.collateral_group}: {elsewhere} unrecouped elsewhere"
    sheet.add(steps.COLLATERAL, text, lines)
    return own, taken


def add_disputes_and_adjustments(
    sheet: Sheet, opening: Balances, adjustments: Sequence[Adjustment], holds: Sequence[Hold]
) -> Adjusted:
    """Write line 11: hold what is contested, correct earlier periods, pay off a debit balance.

    A negative result becomes a debit balance, so the balance after the line is never negative.
    """
    in_order = sorted(
        adjustments, key=lambda a: (a.activity_period, a.adjustment_type, a.reason, a.amount_units)
    )
    lines = [
        WorkingLine(f"held, dispute {hold.dispute_id}", hold.reason, -hold.amount_units)
        for hold in sorted(holds, key=lambda h: (h.dispute_id, h.reason, h.amount_units))
    ]
    lines += [
        WorkingLine(
            f"{item.adjustment_type} {item.activity_period}", item.reason, item.amount_units
        )
        for item in in_order
    ]
    if opening.debit_units:
        text = "owed from earlier periods"
        lines.append(WorkingLine("debit balance brought forward", text, -opening.debit_units))
    after_units = sheet.balance_units + sum(line.amount_units for line in lines)
    debit_units = max(-after_units, 0)
    if debit_units:
        text = "no payee pays in; later royalties pay it off"
        lines.append(WorkingLine("debit balance carried forward", text, debit_units))
    held_units = sum(hold.amount_units for hold in holds)
    released_units = sum(
        item.amount_units for item in adjustments if item.adjustment_type in RELEASES
    )
    if lines:
        text = f"{len(holds)} holds, {len(adjustments)} adjustments"
        sheet.add(steps.ADJUSTMENTS, text, tuple(lines))
    else:
        sheet.absent(steps.ADJUSTMENTS, "none in this period")
    return Adjusted(
        sum(item.amount_units for item in adjustments) - opening.debit_units + debit_units,
        held_units,
        max(opening.held_units + held_units - released_units, 0),
        debit_units,
    )


def add_taxes(sheet: Sheet, agreement: Agreement, payment_on: date) -> Taxes:
    """Write lines 12 and 13; both are calculated on the net before any tax."""
    net_units = max(sheet.balance_units, 0)
    indirect_units = 0
    if agreement.indirect_tax is None:
        sheet.absent(steps.INDIRECT_TAX)
    else:
        tax = agreement.indirect_tax
        indirect_units = round_half_even(net_units * tax.rate)
        text = f"{sheet.money(net_units)} x {show_rate(tax.rate)}"
        sheet.add(steps.INDIRECT_TAX, text, (WorkingLine(tax.name, text, indirect_units),))
    withheld_units = 0
    if agreement.withholding is None:
        sheet.absent(steps.WITHHOLDING)
    else:
        rate, reason = agreement.withholding.rate_on(payment_on)
        withheld_units = round_half_even(net_units * rate)
        text = f"{sheet.money(net_units)} x {show_rate(rate)} ({reason})"
        label = f"withholding tax {agreement.withholding.country}"
        sheet.add(steps.WITHHOLDING, text, (WorkingLine(label, text, -withheld_units),))
    return Taxes(indirect_units, withheld_units)


def add_payment(
    sheet: Sheet,
    agreement: Agreement,
    opening: Balances,
    fx: FxTable | None,
    payment_on: date,
) -> Paid:
    """Write lines 14 and 15: convert, add what was carried forward, pay or carry on.

    A net that comes to less than half a unit of the payment currency stays in the agreement's, and
    is converted together with the next one.
    """
    own, target = sheet.currency, agreement.payment_currency
    carried_in = opening.carried_currency or target
    brought_forward_units = opening.carried_forward_units if carried_in == target else 0
    # What was carried in the agreement's own currency waits like a net that was too small.
    waiting_units = opening.unconverted_units
    waiting_units += opening.carried_forward_units if carried_in == own != target else 0
    converted_units = from_units = left_units = 0
    if target == own:
        sheet.absent(steps.CONVERSION, f"paid in {target}")
        brought_forward_units += waiting_units
    else:
        from_units, left_units = _convert(sheet, target, waiting_units, fx, payment_on)
        converted_units = sheet.balance_units
    due_units = sheet.balance_units + brought_forward_units
    threshold_units = agreement.threshold_units
    is_paid = due_units > 0 and due_units >= threshold_units
    earlier = sheet.money(brought_forward_units)
    text = f"{sheet.money(sheet.balance_units)} + {earlier} brought forward"
    text += f" = {sheet.money(due_units)}"
    if threshold_units:
        verdict = "at or above" if due_units >= threshold_units else "below"
        text += f", {verdict} the threshold of {sheet.money(threshold_units)}"
    text += ": payable" if is_paid else ": carried forward"
    if carried_in not in {own, target}:
        kept = show_units(opening.carried_forward_units, carried_in)
        text += f"; {kept} carried before in {carried_in} stay owed in that currency"
    forward = WorkingLine("brought forward", "from earlier periods", brought_forward_units)
    sheet.add(steps.THRESHOLD, text, (forward,))
    parts = (due_units, 0) if is_paid else (0, due_units)
    return Paid(*parts, converted_units, from_units, left_units)


def _convert(
    sheet: Sheet, target: str, brought_units: int, fx: FxTable | None, payment_on: date
) -> tuple[int, int]:
    """Write line 14, and return what was converted and what stays as it is."""
    from_code, to_code = sheet.currency.partition("/")[0], target.partition("/")[0]
    rate = (fx or FxTable()).rate_on(from_code, to_code, payment_on)
    whole_units = sheet.balance_units + brought_units
    converted_units = convert(whole_units, sheet.currency, target, rate.rate)
    shown = f"{show_rate(rate.rate)} {to_code} per {from_code} on {rate.rate_on}, {rate.source}"
    before = f"{sheet.money(sheet.balance_units)} {from_code}"
    if brought_units:
        before += f" and {sheet.money(brought_units)} {from_code} not converted before"
    left_units = 0 if converted_units else whole_units
    after = ", less than half a unit: kept for the next period" if left_units else ""
    sheet.convert(f"{before} at {shown}{after}", converted_units, target)
    return whole_units - left_units, left_units
