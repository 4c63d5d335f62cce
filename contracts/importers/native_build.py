"""Build parties, works and agreements from native files whose shape is already checked.

1. Each part is built by itself, so that one wrong part does not hide the faults of the next.
2. An amount is in whole currency in the file and in units from here on; a price per output or
   token may be finer than a unit and stays an exact fraction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from fractions import Fraction
from functools import partial
from typing import Any, TypeVar

from contracts.accrual import Fallback, Reliability
from contracts.agreement import Agreement
from contracts.apportionment import NOISE_Z
from contracts.errors import ContractsError
from contracts.identifier import external_ids
from contracts.importers.yaml_text import Path, YamlText
from contracts.money import Currency, parse_units
from contracts.party import Party
from contracts.period import Period
from contracts.rate import Applies, Step, Tiers, Window, parse_rate
from contracts.terms import (
    Advance,
    Basis,
    Deduction,
    FlatFee,
    Guarantee,
    IndirectTax,
    Payment,
    Reserve,
    Term,
    Withholding,
)
from contracts.usage import Condition, Use
from contracts.work import Work, WorkSplit, check_splits

_Row = Mapping[str, Any]
_Built = TypeVar("_Built")
DEFAULT_CURRENCY = "USD/6"


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
        except (ContractsError, ValueError) as error:
            self.document.fault(path, found, str(error))
            return None

    def day(self, row: _Row, path: Path, name: str) -> date | None:
        """Read a date, or None if the field is not there."""
        if name not in row:
            return None
        return self.build((*path, name), row[name], lambda: date.fromisoformat(row[name]))

    def units(self, row: _Row, path: Path, name: str, currency: str) -> int | None:
        """Read an amount in units, or None if the field is not there."""
        if name not in row:
            return None
        return self.build((*path, name), row[name], lambda: parse_units(row[name], currency))


def build_party(builder: Builder, path: Path, row: _Row) -> Party | None:
    """Build a party, or note why not."""
    return builder.build(
        path,
        row["party_id"],
        lambda: Party(
            row["party_id"],
            row.get("kind", "creator"),
            row.get("payee", ""),
            external_ids(row.get("identifiers", {})),
        ),
    )


def build_work(builder: Builder, path: Path, row: _Row) -> Work | None:
    """Build a work with shares that add up to 1, or note why not."""
    splits = []
    for i, part in enumerate(row.get("splits", [])):
        here = (*path, "splits", i)
        starts = builder.day(part, here, "effective_from")
        ends = builder.day(part, here, "effective_to")
        splits.append(builder.build(here, part["share"], partial(_split, part, starts, ends)))
    if any(part is None for part in splits):
        return None

    def make() -> Work:
        work = Work(
            row["work_id"],
            row.get("title", ""),
            row.get("source_id", ""),
            row.get("licence", ""),
            tuple(part for part in splits if part is not None),
            external_ids(row.get("identifiers", {})),
        )
        check_splits(work)
        return work

    return builder.build(path, row["work_id"], make)


def _split(row: _Row, starts: date | None, ends: date | None) -> WorkSplit:
    """Build one share."""
    return WorkSplit(row["party_id"], parse_rate(row["share"]), starts, ends, row.get("right", "*"))


def build_agreement(builder: Builder, payload: str, digest: str) -> Agreement | None:
    """Build an agreement, or note everything that keeps it from being one.

    Args:
        builder: the builder of the document.
        payload: the text of the file.
        digest: its SHA-256, hexadecimal.
    """
    row: _Row = builder.document.value
    before = len(builder.document.faults)
    currency = row.get("currency", DEFAULT_CURRENCY)
    if builder.build(("currency",), currency, lambda: Currency.parse(currency)) is None:
        return None
    terms = [_term(builder, ("terms", i), term, currency) for i, term in enumerate(row["terms"])]
    fields = {
        "effective_to": builder.day(row, (), "effective_to"),
        "year_starts": builder.day(row, (), "year_starts"),
        "works": ("*",) if row.get("works", "*") == "*" else tuple(row["works"]),
        "advances": _advances(builder, row, currency),
        "recoupment_rate": parse_rate(row.get("recoupment_rate", "1")),
        "guarantee": _guarantee(builder, row, currency),
        "noise_z": _noise_z(row),
        "reliability": _reliability(builder, row),
        "fixed_weight": int(row.get("reliability", {}).get("fixed_weight", "0")),
        "collateral_group": row.get("collateral_group", ""),
        "withholding": _withholding(builder, row),
        "indirect_tax": _indirect_tax(builder, row),
        "payment": _payment(builder, row, currency),
        "payload": payload,
        "payload_sha256": digest,
        "signer": row.get("signature", {}).get("signer", ""),
        "signature": row.get("signature", {}).get("value", ""),
    }
    starts = builder.day(row, (), "effective_from")
    if len(builder.document.faults) > before or starts is None:
        return None
    return builder.build(
        (),
        row["agreement_id"],
        lambda: Agreement(
            agreement_id=row["agreement_id"],
            version=int(row["version"]),
            licensor=row["licensor"],
            licensee=row["licensee"],
            payee_id=row.get("payee", ""),
            currency=currency,
            effective_from=starts,
            terms=tuple(term for term in terms if term is not None),
            **fields,
        ),
    )


def _term(builder: Builder, path: Path, row: _Row, currency: str) -> Term | None:
    """Build one term, part by part."""
    then: _Row = row["then"]
    here = (*path, "then")
    before = len(builder.document.faults)
    basis = Basis(then["basis"])
    tiers = builder.build(
        (*here, "tiers"), then.get("tiers"), lambda: _tiers(then.get("tiers"), basis, currency)
    )
    deductions = [
        builder.build((*here, "deductions", i), item["name"], partial(_deduction, item, currency))
        for i, item in enumerate(then.get("deductions", []))
    ]
    rate = builder.build(here, dict(then), lambda: _rate(then, basis, currency))
    cap_units = builder.units(then, here, "cap", currency)
    cap_per_work_units = builder.units(then, here, "cap_per_work", currency)
    floor_units = builder.units(then, here, "floor", currency)
    flat = builder.build(here, dict(then), lambda: _flat(then, currency))
    reserve = builder.build(
        (*here, "reserve"), then.get("reserve"), lambda: _reserve(then.get("reserve"))
    )
    if len(builder.document.faults) > before or rate is None:
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


def _rate(row: _Row, basis: Basis, currency: str) -> Fraction:
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


def _tiers(row: _Row | None, basis: Basis, currency: str) -> Tiers | None:
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


def _deduction(row: _Row, currency: str) -> Deduction:
    """Build a deduction."""
    return Deduction(
        row["name"],
        parse_rate(row.get("rate", "0")),
        parse_units(row.get("amount", "0"), currency),
    )


def _flat(row: _Row, currency: str) -> FlatFee | None:
    """Build a flat fee, if the term has an amount."""
    if "amount" not in row:
        return None
    if "first_period" not in row:
        raise ValueError("a first_period beside the amount")
    units = parse_units(row["amount"], currency)
    return FlatFee(units, Period(row["first_period"]), int(row.get("periods", "1")))


def _reserve(row: _Row | None) -> Reserve | None:
    """Build a reserve, if there is one."""
    if row is None:
        return None
    return Reserve(parse_rate(row["rate"]), tuple(parse_rate(part) for part in row["release"]))


def _condition(row: _Row) -> Condition:
    """Build the IF of a term."""
    return Condition(
        tuple(Use(use) for use in row.get("use", ())),
        tuple(row.get("right", ())),
        tuple(row.get("territory", ())),
        tuple(row.get("model_version", ())),
        tuple(row.get("works", ())),
    )


def _advances(builder: Builder, row: _Row, currency: str) -> tuple[Advance, ...]:
    """Build the advances that can be built."""
    advances = []
    for i, item in enumerate(row.get("advances", [])):
        path: Path = ("advances", i)
        units = builder.units(item, path, "amount", currency)
        paid_on = builder.day(item, path, "paid_on")
        if units is None or paid_on is None:
            continue
        advance = builder.build(
            path,
            item["advance_id"],
            partial(Advance, item["advance_id"], units, paid_on),
        )
        if advance is not None:
            advances.append(advance)
    return tuple(advances)


def _guarantee(builder: Builder, row: _Row, currency: str) -> Guarantee | None:
    """Build the guarantee, if there is one."""
    part = row.get("guarantee")
    if part is None:
        return None
    units = builder.units(part, ("guarantee",), "amount", currency)
    if units is None:
        return None
    prorated = part.get("prorated", "false") == "true"
    return builder.build(("guarantee",), part["amount"], lambda: Guarantee(units, prorated))


def _noise_z(row: _Row) -> Fraction | None:
    """Read the noise floor."""
    text = row.get("noise_floor")
    if text is None:
        return NOISE_Z
    return None if text == "off" else Fraction(text)


def _reliability(builder: Builder, row: _Row) -> Reliability | None:
    """Build the reliability clause, if there is one."""
    part = row.get("reliability")
    if part is None:
        return None
    return builder.build(
        ("reliability",),
        part,
        lambda: Reliability(
            parse_rate(part["limit"]),
            Fallback(part["fallback"]),
            parse_rate(part.get("weight", "1")),
        ),
    )


def _withholding(builder: Builder, row: _Row) -> Withholding | None:
    """Build the withholding tax, if there is one."""
    part = row.get("withholding")
    if part is None:
        return None
    here: Path = ("withholding",)
    starts = builder.day(part, here, "certificate_from")
    ends = builder.day(part, here, "certificate_to")
    treaty = parse_rate(part["treaty_rate"]) if "treaty_rate" in part else None
    return builder.build(
        here,
        part,
        lambda: Withholding(
            part["country"],
            parse_rate(part["rate"]),
            treaty,
            part.get("article", ""),
            part.get("certificate", ""),
            starts,
            ends,
        ),
    )


def _indirect_tax(builder: Builder, row: _Row) -> IndirectTax | None:
    """Build the indirect tax, if there is one."""
    part = row.get("indirect_tax")
    if part is None:
        return None
    here: Path = ("indirect_tax",)
    return builder.build(here, part, lambda: IndirectTax(part["name"], parse_rate(part["rate"])))


def _payment(builder: Builder, row: _Row, currency: str) -> Payment | None:
    """Build the payment clause, if there is one; its threshold is in the payment currency."""
    part = row.get("payment")
    if part is None:
        return None
    here: Path = ("payment",)
    target = part.get("currency", currency)
    return builder.build(
        here, part, lambda: Payment(target, parse_units(part.get("threshold", "0"), target))
    )
