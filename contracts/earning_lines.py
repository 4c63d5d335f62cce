"""The fifteen lines of a calculation, and the sheet they are written on.

1. Lines are written in order, once each. A line not written is there as absent.
2. The balance after a line is the balance before it plus its amount; line 14 changes the currency
   and starts from the converted amount.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.money import show_units
from contracts.term_royalty import WorkingLine

USAGE, GROSS, TIERS, DEDUCTIONS, LIMITS, SPLIT, RESERVE, GUARANTEE = range(1, 9)
RECOUPMENT, COLLATERAL, ADJUSTMENTS, INDIRECT_TAX, WITHHOLDING, CONVERSION, THRESHOLD = range(9, 16)

STEPS: dict[int, tuple[str, str]] = {
    USAGE: ("usage", "Payable usage"),
    GROSS: ("gross", "Royalty from pools, rates and fees"),
    TIERS: ("tiers", "Tiers and escalators"),
    DEDUCTIONS: ("deductions", "Deductions"),
    LIMITS: ("limits", "Caps and floors"),
    SPLIT: ("split", "Shares of co-creators"),
    RESERVE: ("reserve", "Reserve taken and released"),
    GUARANTEE: ("guarantee", "Minimum guarantee"),
    RECOUPMENT: ("recoupment", "Advance recouped"),
    COLLATERAL: ("collateral", "Recouped for other agreements"),
    ADJUSTMENTS: ("adjustments", "Disputes and adjustments"),
    INDIRECT_TAX: ("indirect_tax", "Indirect tax"),
    WITHHOLDING: ("withholding", "Withholding tax"),
    CONVERSION: ("conversion", "Currency conversion"),
    THRESHOLD: ("threshold", "Threshold: payable or carried forward"),
}
NOT_IN_AGREEMENT = "not in this agreement"


@dataclass(frozen=True, slots=True)
class EarningLine:
    """One of the fifteen lines.

    Args:
        step: 1 to 15.
        code: a short name for machines.
        label: a name for people.
        formula: how the amount came about, with its numbers.
        amount_units: what the line adds or takes.
        balance_units: the balance after the line.
        currency: the currency of both.
        present: whether the agreement provides for the line.
        details: the parts of the amount, where there are several.
    """

    step: int
    code: str
    label: str
    formula: str
    amount_units: int
    balance_units: int
    currency: str
    present: bool = True
    details: tuple[WorkingLine, ...] = ()


class Sheet:
    """Collects the lines of one calculation in their order.

    Args:
        currency: the agreement's currency.
    """

    def __init__(self, currency: str) -> None:
        self.currency = currency
        self.balance_units = 0
        self._lines: list[EarningLine] = []

    def money(self, units: int) -> str:
        """Write units in whole currency, for formulas."""
        return show_units(units, self.currency)

    def add(self, step: int, formula: str, details: tuple[WorkingLine, ...]) -> int:
        """Write a line made of details, and return its amount."""
        amount_units = sum(detail.amount_units for detail in details)
        self._write(step, formula, amount_units, details)
        return amount_units

    def absent(self, step: int, formula: str = NOT_IN_AGREEMENT) -> None:
        """Write a line that the agreement does not provide for."""
        self._write(step, formula, 0, (), present=False)

    def convert(self, formula: str, balance_units: int, currency: str) -> None:
        """Write line 14: the balance goes on in another currency."""
        self.currency = currency
        self.balance_units = balance_units
        self._write(CONVERSION, formula, 0, ())

    def _write(
        self,
        step: int,
        formula: str,
        amount_units: int,
        details: tuple[WorkingLine, ...],
        *,
        present: bool = True,
    ) -> None:
        """Append the next line; a line out of order is a bug."""
        assert step == len(self._lines) + 1, (step, len(self._lines))
        self.balance_units += amount_units
        code, label = STEPS[step]
        self._lines.append(
            EarningLine(
                step,
                code,
                label,
                formula,
                amount_units,
                self.balance_units,
                self.currency,
                present,
                details,
            )
        )

    def finished(self) -> tuple[EarningLine, ...]:
        """Return all fifteen lines."""
        assert len(self._lines) == len(STEPS), [line.code for line in self._lines]
        return tuple(self._lines)
