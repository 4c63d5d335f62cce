"""Build parties, works and agreements from native files whose shape is already checked.

1. Each part is built by itself, so that one wrong part does not hide the faults of the next. A
   part whose shape was wrong has been cut away before, and what needs it is passed over.
2. An amount is in whole currency in the file and in units from here on; a price per output or
   token may be finer than a unit and stays an exact fraction.
"""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from functools import partial

from contracts.accrual import NOISE_Z, Fallback, Reliability
from contracts.agreement import Agreement
from contracts.identifier import external_ids
from contracts.importers.native_terms import Builder, Row, build_term
from contracts.importers.yaml_text import Path
from contracts.money import Currency, parse_units
from contracts.party import Party
from contracts.rate import parse_rate
from contracts.terms import (
    Advance,
    Guarantee,
    IndirectTax,
    Payment,
    Withholding,
)
from contracts.work import Work, WorkSplit, check_splits

DEFAULT_CURRENCY = "USD/6"


def build_party(builder: Builder, path: Path, row: Row) -> Party | None:
    """Build a party, or note why not."""
    return builder.build(
        path,
        row.get("party_id"),
        lambda: Party(
            row["party_id"],
            row.get("kind", "creator"),
            row.get("payee", ""),
            external_ids(row.get("identifiers", {})),
        ),
    )


def build_work(builder: Builder, path: Path, row: Row) -> Work | None:
    """Build a work with shares that add up to 1, or note why not."""
    splits = []
    for i, part in enumerate(row.get("splits", [])):
        here = (*path, "splits", i)
        starts = builder.day(part, here, "effective_from")
        ends = builder.day(part, here, "effective_to")
        splits.append(builder.build(here, part.get("share"), partial(_split, part, starts, ends)))
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

    return builder.build(path, row.get("work_id"), make)


def _split(row: Row, starts: date | None, ends: date | None) -> WorkSplit:
    """Build one share."""
    return WorkSplit(row["party_id"], parse_rate(row["share"]), starts, ends, row.get("right", "*"))


def build_agreement(builder: Builder, payload: str, digest: str) -> Agreement | None:
    """Build an agreement, or note everything that keeps it from being one.

    Args:
        builder: the builder of the document.
        payload: the text of the file.
        digest: its SHA-256, hexadecimal.
    """
    row: Row = builder.document.value
    currency = row.get("currency", DEFAULT_CURRENCY)
    if builder.build(("currency",), currency, lambda: Currency.parse(currency)) is None:
        return None
    terms = [
        build_term(builder, ("terms", i), term, currency)
        for i, term in enumerate(row.get("terms", []))
    ]
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
    if builder.document.faults or starts is None:
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


def _advances(builder: Builder, row: Row, currency: str) -> tuple[Advance, ...]:
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


def _guarantee(builder: Builder, row: Row, currency: str) -> Guarantee | None:
    """Build the guarantee, if there is one."""
    part = row.get("guarantee")
    if part is None:
        return None
    units = builder.units(part, ("guarantee",), "amount", currency)
    if units is None:
        return None
    prorated = part.get("prorated", "false") == "true"
    return builder.build(("guarantee",), part["amount"], lambda: Guarantee(units, prorated))


def _noise_z(row: Row) -> Fraction | None:
    """Read the noise floor."""
    text = row.get("noise_floor")
    if text is None:
        return NOISE_Z
    return None if text == "off" else Fraction(text)


def _reliability(builder: Builder, row: Row) -> Reliability | None:
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


def _withholding(builder: Builder, row: Row) -> Withholding | None:
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


def _indirect_tax(builder: Builder, row: Row) -> IndirectTax | None:
    """Build the indirect tax, if there is one."""
    part = row.get("indirect_tax")
    if part is None:
        return None
    here: Path = ("indirect_tax",)
    return builder.build(here, part, lambda: IndirectTax(part["name"], parse_rate(part["rate"])))


def _payment(builder: Builder, row: Row, currency: str) -> Payment | None:
    """Build the payment clause, if there is one; its threshold is in the payment currency."""
    part = row.get("payment")
    if part is None:
        return None
    here: Path = ("payment",)
    target = part.get("currency", currency)
    return builder.build(
        here, part, lambda: Payment(target, parse_units(part.get("threshold", "0"), target))
    )
