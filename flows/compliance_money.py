"""The money of the compliance report: from usage to bank, by currency, with what is not paid.

Every number is read from the book's entries, the close worked out again, or the payout batches;
unlike currencies are never added up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from fractions import Fraction

from contracts.earning_lines import STEPS
from contracts.money import parse_units
from flows.artefacts import read_manifest
from flows.close_entries import SCOPE as CLOSE_SCOPE
from flows.compliance_given import Given
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.payout_files import read_export
from flows.payout_holds import holds_of, owed_by_currency
from flows.payouts import batch_names, load, position
from flows.publish import ClosedPeriod
from ledger import chart
from ledger.entry import JournalEntry
from reports.compliance_inputs import FactTable, Figure, PayoutFact, Stage
from reports.compliance_sections import LEAVES
from reports.render.document import Cell
from reports.render.text import DASH, amount, amount_text, count, percent
from reports.statement_inputs import AdjustmentLine

PPT = 10**12
REASONS = (
    ("held: in batch", "in a batch that is not exported yet"),
    ("held", "on the register of holds"),
    ("negative", "negative: the payee owes it"),
    ("below the threshold", "below the agreement's threshold, carried forward"),
    ("below the smallest coin", "below the smallest coin"),
    ("no bank details", "no bank details"),
    ("bank details", "bank details that no bank would take"),
)


def revenue_figures(closed: ClosedPeriod, given: Given) -> tuple[Figure, ...] | None:
    """Set the certified revenue beside that of the logs; None when nobody certified it."""
    certificate = given.revenue
    if certificate is None:
        return None
    logged, currency = _logged(closed), closed.plan.accruals.currency
    certified = parse_units(certificate.amount, currency)
    gap = certified - logged
    part = percent(round(Fraction(gap * PPT, logged))) if logged else DASH
    by = f"{certificate.certified_by}, {certificate.certified_on}"
    return (
        Figure("Revenue certified", amount_text(certified, currency), given.source),
        Figure("Certified by", f"{by}: {certificate.what}", given.source),
        Figure(
            "Certified less logged", f"{amount_text(gap, currency)}, {part} of the logs",
            "the two figures above and below",
        ),
    )  # fmt: skip


def logged_revenue(closed: ClosedPeriod) -> Figure:
    """Give the revenue of the payable outputs, from which the pools are taken."""
    currency = closed.plan.accruals.currency
    text = amount_text(_logged(closed), currency)
    return Figure("Revenue of payable outputs in the logs", text, "outputs/*.manifest.json")


def _logged(closed: ClosedPeriod) -> int:
    return sum(
        read_manifest(night.night.manifest("outputs"), OUTPUTS_FORMAT)["counts"]["payable"][
            "value_units"
        ]
        for night in closed.plan.accruals.nights
    )


def stages(closed: ClosedPeriod) -> Iterator[Stage]:
    """Follow the money from the logs to the bank, one chain a currency."""
    plan, main = closed.plan, closed.plan.accruals.currency
    booked = _booked(closed)
    yield Stage("Pools of the nights' estimates", plan.accruals.pool_units, "estimates/*.json")
    yield Stage("Accrued in the ledger", booked["accrued", main], f"{LEAVES}, scope nightly")
    yield Stage(
        "Apportioned to creators", sum(plan.apportionment.payable.values()),
        f"{LEAVES}, kind apportionment",
        "the rest stands in suspense accounts, see section 12",
    )  # fmt: skip
    for currency in sorted({c for _, c in booked} | {main}, key=lambda c: (c != main, c)):
        own, into = booked["payable", currency], booked["conversion", currency]
        first = "Owed to payees for the period"
        why = "advances recouped, reserves, guarantees, fees, taxes, adjustments; see section 9"
        if currency == main:
            yield Stage(first, own, f"{LEAVES}, {chart.PAYABLE_PREFIX}*", why)
            if into:
                told = "paid in other currencies, see there"
                yield Stage("After conversion", own + into, f"{LEAVES}, kind conversion", told)
        else:
            source = f"{LEAVES}, {chart.PAYABLE_PREFIX}*, kind conversion among them"
            yield Stage(first, own + into, source, "", currency)
        yield Stage(
            "Told to the bank", booked["export", currency],
            f"{LEAVES}, scope payout, event export",
            "carried from or into other periods, held, without bank details, or not exported yet; "
            "see section 13",
            currency,
        )  # fmt: skip
        yield Stage(
            "Settled by the bank", booked["settle", currency] - booked["return", currency],
            f"{LEAVES}, scope payout, events settle and return",
            "rejected, returned, or no bank statement read yet; see section 13",
            currency,
        )  # fmt: skip


def _booked(closed: ClosedPeriod) -> Counter[tuple[str, str]]:
    """Add the period's postings up by what they are and in which currency."""
    booked: Counter[tuple[str, str]] = Counter()
    for sealed in closed.books.entries():
        entry = sealed.entry
        if entry.kind == "payout":
            _, event, numbered = _payout_of(entry)
            if numbered == closed.period:
                for posting in entry.postings:
                    booked[event, posting.currency] += max(posting.units, 0)
        elif entry.period == closed.period:
            what = "conversion" if entry.kind == "conversion" else "payable"
            for posting in entry.postings:
                if posting.account_id.startswith(chart.PAYABLE_PREFIX):
                    booked[what, posting.currency] -= posting.units
                elif posting.account_id == chart.ROYALTY_EXPENSE and entry.scope == "nightly":
                    booked["accrued", posting.currency] += posting.units
    return booked


def _payout_of(entry: JournalEntry) -> tuple[str, str, str]:
    """Give batch, event and the period of the statement that a payout entry pays."""
    batch, _, event = entry.key.rsplit("/", 2)
    return batch, event, entry.description.rpartition("statement ")[2].partition("/")[0]


def calculation_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """Add every agreement's fifteen lines up: caps, floors, guarantees and tiers that were hit."""
    sums: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for result in closed.plan.earnings:
        for line in result.lines:
            row = sums[line.step, line.currency]
            row[0] += line.present
            row[1] += bool(line.present and line.amount_units)
            row[2] += line.amount_units
    rows = tuple(
        (
            f"{step}. {STEPS[step][1]}",
            currency.partition("/")[0],
            count(present),
            count(hit),
            amount(units, currency),
        )
        for (step, currency), (present, hit, units) in sorted(sums.items())
        if present
    )
    heads = ("=Line of the calculation", "In", ">Agreements", ">With an amount", ">Amount")
    yield FactTable("The calculation, all agreements", heads, rows, f"closes/{closed.period}.json")
    counters = sum(1 for result in closed.plan.earnings if result.closing.counters)
    text = (("Agreements with a running tier counter", count(counters)),)
    yield FactTable("Counters", ("=What", ">Number"), text, f"closes/{closed.period}.json")


def payout_facts(closed: ClosedPeriod) -> Iterator[PayoutFact]:
    """List the batches that pay the period's statements, one line a currency."""
    for name in batch_names(closed.workspace):
        stored = load(closed.workspace, closed.books, name)
        numbers = {item.statement_number.partition("/")[0] for item in stored.batch.payouts}
        if numbers and closed.period not in numbers:
            continue
        about = read_export(closed.workspace, name)
        currencies = {item.currency for item in stored.batch.payouts}
        currencies |= {line.currency for line in stored.batch.left_out}
        for currency in sorted(currencies):
            own = [item for item in stored.batch.payouts if item.currency == currency]
            left = [line for line in stored.batch.left_out if line.currency == currency]
            yield PayoutFact(
                name,
                about["sha256"] if about else "not exported",
                len(own),
                sum(item.amount_units for item in own),
                dict(sorted(Counter(item.state for item in own).items())),
                sum(line.amount_units for line in left if line.amount_units > 0),
                currency,
            )


def position_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """Show what is owed and not on its way, by reason; who is held; what was withheld as tax."""
    held = holds_of(closed.books.accesses())
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for line, reason in position(closed.workspace, closed.books):
        told = next((text for start, text in REASONS if reason.startswith(start)), reason)
        row = sums[line.currency, told or "can be paid by the next batch"]
        row[0] += 1
        row[1] += line.amount_units
    rows = tuple(
        (reason, currency.partition("/")[0], count(number), amount(units, currency))
        for (currency, reason), (number, units) in sorted(sums.items())
    )
    heads = ("=What stands in the way", "In", ">Payees", ">Owed")
    query = "`byline payout prepare`, drafted and not kept"
    yield FactTable("What is owed and not on its way to the bank", heads, rows, query)
    owed = owed_by_currency(closed.workspace, closed.books, held)
    lines = tuple(
        (
            Cell(one.payee_id, sub=one.reason),
            one.placed_by,
            one.placed_at[:10],
            ", ".join(amount_text(u, c) for c, u in owed[one.payee_id].items()) or DASH,
        )
        for one in held.values()
    )
    label = f"Register of holds: {count(len(held))} payees"
    heads = ("=Payee and reason", "By", "Since", ">Owed")
    yield FactTable(label, heads, lines, "`byline payout holds`")
    yield _taxes(closed)


def _taxes(closed: ClosedPeriod) -> FactTable:
    kept: Counter[tuple[str, str]] = Counter()
    accounts = {
        chart.WITHHOLDING_PAYABLE: "Withheld from payees",
        chart.INDIRECT_TAX_RECOVERABLE: "VAT or GST added to payables",
    }
    for sealed in closed.view.entries:
        if sealed.entry.period == closed.period:
            for posting in sealed.entry.postings:
                if posting.account_id in accounts:
                    kept[accounts[posting.account_id], posting.currency] += abs(posting.units)
    rows = tuple(
        (what, currency.partition("/")[0], amount(units, currency))
        for (what, currency), units in sorted(kept.items())
    )
    return FactTable("Taxes of the period", ("=Tax", "In", ">Amount"), rows, f"{LEAVES}, kind tax")


def adjustment_lines(closed: ClosedPeriod) -> Iterator[AdjustmentLine]:
    """List adjustments and reversals; payees' parts of one are on their statements."""
    known = {s.entry.key for s in closed.view.entries if s.entry.scope == CLOSE_SCOPE}
    for sealed in closed.view.entries:
        entry = sealed.entry
        whole, _, payee = entry.key.partition("#")
        if entry.scope == CLOSE_SCOPE and payee and whole in known:
            continue
        if entry.period == closed.period and entry.kind in {"adjustment", "reversal"}:
            units = sum(p.units for p in entry.postings if p.units > 0)
            kind, used = _type_of(closed, entry)
            yield AdjustmentLine(kind, used, entry.period, units, entry.description, entry.entry_id)


def _type_of(closed: ClosedPeriod, entry: JournalEntry) -> tuple[str, str]:
    """Say of which type an adjustment is, and of which period's use."""
    _, marked, rest = entry.key.partition("/adjustment/")
    if entry.scope == CLOSE_SCOPE and marked:
        used = rest[:7]
        types = {
            a.adjustment_type.value
            for mine in closed.plan.restatement.adjustments.values()
            for a in mine
            if a.activity_period.text == used
        }
        return " and ".join(sorted(types)) or "ownership_conflict_release", used
    kind = "reversal" if entry.kind == "reversal" else "usage_correction"
    return kind, entry.key[:7] if entry.scope == "nightly" else entry.effective_on[:7]


def restatement_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """Add the restatements up by type and period: payees affected, and what they got or gave."""
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    payees: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    named = {result.agreement_id: result for result in closed.plan.earnings}
    for agreement_id, mine in closed.plan.restatement.adjustments.items():
        for a in mine:
            result = named[agreement_id]
            key = (a.adjustment_type.value, a.activity_period.text, result.currency)
            sums[key][0 if a.amount_units > 0 else 1] += a.amount_units
            payees[key].add(result.payee_id)
    rows = tuple(
        (
            kind.replace("_", " "),
            used,
            count(len(payees[kind, used, currency])),
            currency.partition("/")[0],
            amount(paid, currency),
            amount(back, currency),
        )
        for (kind, used, currency), (paid, back, _) in sorted(sums.items())
    )
    heads = ("=Type", "Used in", ">Payees", "In", ">Paid in addition", ">Taken back")
    yield FactTable(
        "Restatements by type, and whom they touch", heads, rows, "`byline settle --what-if`"
    )
