"""Build the terms of an agreement from a native file whose shape is already checked.

1. Each part is built by itself, so that one wrong part does not hide the faults of the next. A
   part whose shape was wrong has been cut away before, and what needs it is passed over.
2. An amount is in whole currency in the file and in units from here on; a price per output or
   token may be finer than a unit and stays an exact fraction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from fractions import Fraction
from functools import partial
from typing import Any, TypeVar

from contracts.errors import ContractsError
from contracts.importers.yaml_text import Path, YamlText
from contracts.money import Currency, parse_units
from contracts.period import Period
from contracts.rate import Applies, Step, Tiers, Window, parse_rate
from contracts.terms import Basis, Deduction, FlatFee, Reserve, Term
from contracts.usage import Condition, Use

Row = Mapping[str, Any]
_Built = TypeVar("_Built")


class Builder:
    """Builds the parts of one document and notes what cannot be built.

    Args:
        document: the document, its shape already checked.
    """

    def __init__(self, document: YamlText) -> None:
        self.document = document

    def build(self, path: Path, found: object, make: Callable[[], _Built]) -> _Built | None:
        """Make a part, or note at its path why it cannot be made."""
        try:
            return make()
        except KeyError:
            # A missing field is a fault of shape, noted with its line when the shape was checked.
            assert self.document.faults, path
            return None
        except (ContractsError, ValueError) as error:
            self.document.fault(path, found, str(error))
            return None

    def day(self, row: Row, path: Path, name: str) -> date | None:
        """Read a date, or None if the field is not there."""
        if name not in row:
            return None
        return self.build((*path, name), row[name], partial(_day, row[name]))

    def units(self, row: Row, path: Path, name: str, currency: str) -> int | None:
        """Read an amount in units, or None if the field is not there."""
        if name not in row:
            return None
        return self.build((*path, name), row[name], lambda: parse_units(row[name], currency))


def _day(text: str) -> date:
    """Read a date."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError("a day of the calendar, YYYY-MM-DD") from error


def build_term(builder: Builder, path: Path, row: Row, currency: str) -> Term | None:
    """Build one term, or note everything that keeps it from being one."""
    then: Row = row.get("then", {})
    here = (*path, "then")
    deductions = [
        builder.build(
            (*here, "deductions", i), item.get("name"), partial(_deduction, item, currency)
        )
        for i, item in enumerate(then.get("deductions", []))
    ]
    cap_units = builder.units(then, here, "cap", currency)
    cap_per_work_units = builder.units(then, here, "cap_per_work", currency)
    floor_units = builder.units(then, here, "floor", currency)
    flat = builder.build(here, dict(then), partial(_flat, then, currency))
    reserve_row = then.get("reserve")
    reserve = builder.build((*here, "reserve"), reserve_row, partial(_reserve, reserve_row))
    if "basis" not in then:
        return None
    basis = Basis(then["basis"])
    tiers_row = then.get("tiers")
    tiers = builder.build((*here, "tiers"), tiers_row, partial(_tiers, tiers_row, basis, currency))
    rate = builder.build(here, dict(then), partial(_rate, then, basis, currency))
    if builder.document.faults or rate is None:
        return None
    return builder.build(
        path,
        row["term_id"],
        lambda: Term(
            term_id=row["term_id"],
            basis=basis,
            rate=rate,
            condition=_condition(row.get("if", {})),
            pool_id=then.get("pool", ""),
            method=then.get("method", "signed_linear/1"),
            tiers=tiers,
            deductions=tuple(item for item in deductions if item is not None),
            cap_units=cap_units,
            cap_per_work_units=cap_per_work_units,
            floor_units=floor_units or 0,
            flat=flat,
            reserve=reserve,
        ),
    )


def _rate(row: Row, basis: Basis, currency: str) -> Fraction:
    """Return a rate for pools, or a price in units for fees per output and per token."""
    if basis in (Basis.PER_OUTPUT, Basis.PER_TOKEN):
        if "rate" in row:
            raise ValueError("a price for a fee per output or per token, not a rate")
        if "price" not in row and "tiers" not in row:
            raise ValueError("a price or tiers")
        return Fraction(row.get("price", "0")) * Currency.parse(currency).units_per_whole
    if "price" in row:
        raise ValueError("a rate for this basis, not a price")
    return parse_rate(row.get("rate", "1"))


def _tiers(row: Row | None, basis: Basis, currency: str) -> Tiers | None:
    """Build tiers: by money for pools, by count with prices for fees per use."""
    if row is None:
        return None
    scale = Currency.parse(currency).units_per_whole
    per_use = basis in (Basis.PER_OUTPUT, Basis.PER_TOKEN)
    wanted = "price" if per_use else "rate"
    steps = []
    for item in row["steps"]:
        if wanted not in item or len(item) != len(("above", wanted)):
            raise ValueError(f"steps of above and {wanted} for basis {basis}")
        above = Fraction(item["above"])
        if per_use:
            steps.append(Step(above, Fraction(item["price"]) * scale))
        else:
            steps.append(Step(above * scale, parse_rate(item["rate"])))
    return Tiers(
        tuple(steps),
        Window(row.get("counted", "agreement")),
        Applies(row.get("applies", "marginal")),
    )


def _deduction(row: Row, currency: str) -> Deduction:
    """Build a deduction."""
    return Deduction(
        row["name"],
        parse_rate(row.get("rate", "0")),
        parse_units(row.get("amount", "0"), currency),
    )


def _flat(row: Row, currency: str) -> FlatFee | None:
    """Build a flat fee, if the term has an amount."""
    if "amount" not in row:
        return None
    if "first_period" not in row:
        raise ValueError("a first_period beside the amount")
    units = parse_units(row["amount"], currency)
    return FlatFee(units, Period(row["first_period"]), int(row.get("periods", "1")))


def _reserve(row: Row | None) -> Reserve | None:
    """Build a reserve, if there is one."""
    if row is None:
        return None
    return Reserve(parse_rate(row["rate"]), tuple(parse_rate(part) for part in row["release"]))


def _condition(row: Row) -> Condition:
    """Build the IF of a term."""
    return Condition(
        tuple(Use(use) for use in row.get("use", ())),
        tuple(row.get("right", ())),
        tuple(row.get("territory", ())),
        tuple(row.get("model_version", ())),
        tuple(row.get("works", ())),
    )
