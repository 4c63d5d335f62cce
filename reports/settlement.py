"""The settlement report: one page that says what a period cost, who got it, and how to check.

For the accountant who signs it and the auditor who starts from it. The sums on
the page are checked before it is made:

1. Every pool adds up over its destinations.
2. The creators' payables add up to what the pools paid.
3. What agreements in other currencies were given of the pools is shown by currency, with
   its rate and source; unlike currencies are never added up.
4. The page cites the checkpoint, the audit pack and the counts that the nightly
   manifests give: logged, payable, excluded by reason, quarantined, sampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from contracts.money import Currency
from reports.errors import StatementDoesNotFootError
from reports.render.document import (
    Beside,
    Block,
    Cell,
    Column,
    Document,
    Facts,
    Figures,
    Heading,
    Row,
    Table,
    Text,
)
from reports.render.text import amount, count, interval, percent
from reports.statement_inputs import POOL_DESTINATIONS, CheckpointRef, PoolReconciliation

FORMAT: Final = "byline-settlement-report/1"
TOP_CREATORS: Final = 12
PPT: Final = 10**12


@dataclass(frozen=True)
class CreatorLine:
    """One creator of the period: share with interval, earned, recouped, payable units."""

    creator_id: str
    share_ppt: int
    low_ppt: int | None
    high_ppt: int | None
    earned_units: int
    recouped_units: int = 0
    payable_units: int = 0


@dataclass(frozen=True)
class UsageCounts:
    """How many outputs were logged, and what became of them."""

    logged: int
    payable: int
    sampled: int
    quarantined: int
    excluded: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ForeignLine:
    """What agreements in one other currency came to.

    Args:
        currency: theirs, CODE/SCALE.
        pool_units: given to them of all pools, in the pools' currency.
        converted_units: the same in theirs.
        rate: at what rate, of which day, and who published it; empty where nothing was given.
        net_units: what they are owed for the period, before conversion into a payment currency.
    """

    currency: str
    pool_units: int
    converted_units: int
    rate: str
    net_units: int


@dataclass(frozen=True)
class SettlementInputs:
    """What the page says. Amounts are units of `currency`; see the module docstring.

    `prepared_by` and `approved_by` are the two people (ids) behind the close;
    `checks` are the controls run, each with its result ("trial balance is zero",
    "yes").
    """

    period: str
    period_start: str
    period_end: str
    report_date: str
    payer_id: str
    currency: str
    pools: tuple[PoolReconciliation, ...]
    creators: tuple[CreatorLine, ...]
    usage: UsageCounts
    prepared_by: str
    approved_by: str
    entries: int
    postings: int
    trial_balance_units: int
    checkpoint: CheckpointRef | None = None
    status: str = "final"
    method: str = "signed_linear/1"
    attribution_method: str = ""
    model_versions: tuple[str, ...] = ()
    decoy_documents: int = 0
    generic_ppt: int | None = None
    completeness: str = ""
    audit_pack: str = ""
    checks: tuple[tuple[str, str], ...] = ()
    foreign: tuple[ForeignLine, ...] = ()


def settlement_document(inputs: SettlementInputs) -> Document:
    """Lay the settlement report out on one page.

    Raises:
        StatementDoesNotFootError: a pool does not add up, or the creators do not
            add up to what the pools paid.
    """
    _check(inputs)
    return Document(
        title="Settlement report",
        subtitle=f"{inputs.period_start} to {inputs.period_end}",
        running=(inputs.payer_id, inputs.period, f"settlement report, {inputs.status}"),
        footer=f"{FORMAT} · {inputs.method}",
        date=inputs.report_date,
        author=inputs.payer_id,
        facts=(
            ("Period", f"{inputs.period}, {inputs.status}"),
            ("Date", inputs.report_date),
            ("Currency", Currency.parse(inputs.currency).code),
            ("Prepared by", inputs.prepared_by),
            ("Approved by", inputs.approved_by),
        ),
        blocks=tuple(_blocks(inputs)),
    )


def _blocks(inputs: SettlementInputs) -> Iterator[Block]:
    currency = inputs.currency
    code = Currency.parse(currency).code
    pool = sum(item.pool_units for item in inputs.pools)
    earned = sum(line.earned_units for line in inputs.creators)
    recouped = sum(line.recouped_units for line in inputs.creators)
    payable = sum(line.payable_units for line in inputs.creators)
    creators = f"{count(len(inputs.creators))} creators"
    yield Figures(
        (
            ("Pools", amount(pool, currency), code),
            ("Earned by creators", amount(earned, currency), creators),
            ("Advances recouped", amount(recouped, currency), code),
            ("Payable", amount(payable, currency), code),
        )
    )
    yield Beside(
        (Heading("Where the money went", 2), _pools(inputs)),
        (Heading("Outputs", 2), _usage(inputs)),
        (3, 2),
    )
    yield Heading("Creators" if len(inputs.creators) <= TOP_CREATORS else "Largest creators", 2)
    yield _creators(inputs)
    if inputs.foreign:
        yield Heading("Agreements in other currencies", 2)
        yield _foreign(inputs)
    yield Beside(
        (Heading("Method", 2), _method(inputs)), (Heading("Checks", 2), _checks(inputs)), (1, 1)
    )
    checkpoint = inputs.checkpoint
    if checkpoint is not None:
        facts = [
            ("Checkpoint", Cell(f"{checkpoint.origin}, {count(checkpoint.size)} entries")),
            ("Root", Cell(checkpoint.root_hex, tone="code")),
        ]
        if inputs.audit_pack:
            facts.append(("Audit pack", Cell(inputs.audit_pack)))
        yield Facts(tuple(facts), columns=1)
    yield Text(
        "Shares are estimates of influence from a random sample, not proof of copying. The "
        "interval is the sampling error at 95 %; it does not contain the error of the method.",
        "note",
    )


def _pools(inputs: SettlementInputs) -> Table:
    pool = sum(item.pool_units for item in inputs.pools)
    rows = []
    for name, label in POOL_DESTINATIONS.items():
        units = sum(item.destinations.get(name, 0) for item in inputs.pools)
        if any(name in item.destinations for item in inputs.pools):
            rows.append(_part(label, units, pool, inputs.currency, "line"))
    rows.append(_part("Pools", pool, pool, inputs.currency, "total"))
    columns = (
        Column("Destination", "left", "1fr"),
        Column("Part", "right"),
        Column("Amount", "right"),
    )
    return Table(columns, tuple(rows), small=True)


def _part(label: str, units: int, pool: int, currency: str, kind: str) -> Row:
    part = percent(round(Fraction(units * PPT, pool))) if pool else ""
    return Row((Cell(label), Cell(part), amount(units, currency)), kind)


def _usage(inputs: SettlementInputs) -> Table:
    usage = inputs.usage
    rows = [
        Row((Cell("Logged"), Cell(count(usage.logged)))),
        *(
            Row((Cell(f"less {reason.replace('_', ' ')}", tone="muted"), Cell(count(-number))))
            for reason, number in sorted(usage.excluded.items())
        ),
        Row((Cell("Payable"), Cell(count(usage.payable))), "total"),
        Row((Cell("Sampled"), Cell(count(usage.sampled)))),
        Row((Cell("Quarantined lines"), Cell(count(usage.quarantined)))),
    ]
    return Table((Column("", "left", "1fr"), Column("", "right")), tuple(rows), small=True)


def _creators(inputs: SettlementInputs) -> Table:
    currency = inputs.currency
    ordered = sorted(inputs.creators, key=lambda line: (-line.earned_units, line.creator_id))
    rows = [_creator(line, currency) for line in ordered[:TOP_CREATORS]]
    rest = ordered[TOP_CREATORS:]
    if rest:
        others = _sum(f"{count(len(rest))} others", rest)
        rows.append(_creator(others, currency))
    total = _creator(_sum("Total", ordered), currency)
    rows.append(Row(total.cells, "total"))
    columns = (
        Column("Creator", "left", "1fr"),
        Column("Share", "right"),
        Column("95 % interval", "right"),
        Column("Earned", "right"),
        Column("Recouped", "right"),
        Column("Payable", "right"),
    )
    return Table(columns, tuple(rows), small=True)


def _sum(label: str, lines: list[CreatorLine]) -> CreatorLine:
    return CreatorLine(
        label,
        sum(line.share_ppt for line in lines),
        None,
        None,
        sum(line.earned_units for line in lines),
        sum(line.recouped_units for line in lines),
        sum(line.payable_units for line in lines),
    )


def _creator(line: CreatorLine, currency: str) -> Row:
    return Row(
        (
            Cell(line.creator_id),
            Cell(percent(line.share_ppt)),
            Cell(interval(line.low_ppt, line.high_ppt), tone="muted"),
            amount(line.earned_units, currency),
            amount(line.recouped_units, currency),
            amount(line.payable_units, currency),
        )
    )


def _foreign(inputs: SettlementInputs) -> Table:
    rows = [
        Row(
            (
                Cell(Currency.parse(line.currency).code),
                amount(line.pool_units, inputs.currency),
                Cell(line.rate or "nothing to convert", tone="muted"),
                amount(line.converted_units, line.currency),
                amount(line.net_units, line.currency),
            )
        )
        for line in sorted(inputs.foreign, key=lambda line: line.currency)
    ]
    columns = (
        Column("Currency", "left"),
        Column(f"Of all pools, {Currency.parse(inputs.currency).code}", "right"),
        Column("Rate", "left", "1fr"),
        Column("Converted", "right"),
        Column("Owed", "right"),
    )
    return Table(columns, tuple(rows), small=True)


def _method(inputs: SettlementInputs) -> Facts:
    pairs = [
        ("Rule", Cell(inputs.method)),
        ("Attribution", Cell(inputs.attribution_method or "see the run manifests")),
        ("Models", Cell(", ".join(inputs.model_versions) or "see the run manifests")),
    ]
    if inputs.completeness:
        pairs.append(("Completeness", Cell(inputs.completeness)))
    if inputs.generic_ppt is not None:
        level = f"{percent(inputs.generic_ppt)}, {count(inputs.decoy_documents)} decoys"
        pairs.append(("Generic part", Cell(level)))
    return Facts(tuple(pairs), columns=1)


def _checks(inputs: SettlementInputs) -> Facts:
    pairs = [
        ("Entries, postings", Cell(f"{count(inputs.entries)}, {count(inputs.postings)}")),
        ("Trial balance", amount(inputs.trial_balance_units, inputs.currency)),
        *((name, Cell(result)) for name, result in inputs.checks),
    ]
    return Facts(tuple(pairs), columns=1)


def _check(inputs: SettlementInputs) -> None:
    name = f"settlement report {inputs.period}"
    for pool in inputs.pools:
        total = sum(pool.destinations.values())
        if total != pool.pool_units:
            check = f"destinations of pool {pool.pool_id} against the pool"
            raise StatementDoesNotFootError(name, check, total, pool.pool_units)
    paid = sum(pool.destinations.get("paid", 0) for pool in inputs.pools)
    earned = sum(line.earned_units for line in inputs.creators)
    if inputs.pools and paid != earned:
        check = "creators' earnings against what the pools paid"
        raise StatementDoesNotFootError(name, check, earned, paid)
    if inputs.trial_balance_units != 0:
        check = "trial balance against zero"
        raise StatementDoesNotFootError(name, check, inputs.trial_balance_units, 0)
