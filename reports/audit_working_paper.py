"""An auditor's samples as a working paper: text to file, and tables to fill in.

1. The text says what was drawn, from what, how and with which seed, what was found, and how to draw
   it again; an auditor with no prior connection can repeat every step (PCAOB AS 1215).
2. The table of items has an empty column `units`; filled in with the audited amounts it is what
   `--audited` reads. No cell can be taken for a formula by a spreadsheet.
3. The table of logged outputs says where each one went, to be traced to the book.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from contracts.money import format_units
from reports.audit_sampling import FORMAT, Item, MusEvaluation, MusSample
from reports.render.csv import csv_bytes

ITEM_COLUMNS = ("item_id", "book_units", "hits", "is_top", "units")
LOGGED_COLUMNS = (
    "event_id", "night", "payable", "exclusion_reason", "value_units", "sampled", "entry_id",
)  # fmt: skip
_WIDTH = 26
Money = Callable[[int], str]


@dataclass(frozen=True)
class Logged:
    """An output of the usage logs, and where it went.

    Args:
        event_id: the output.
        night: the night or late batch that has it.
        payable: whether it passed the filters.
        exclusion_reason: why not; empty when payable.
        value_units: what it earned.
        sampled: whether it was drawn for attribution.
        entry_id: the entry that books its night.
    """

    event_id: str
    night: str
    payable: bool
    exclusion_reason: str
    value_units: int
    sampled: bool
    entry_id: str


def items_csv(sample: MusSample) -> bytes:
    """Write the items drawn, and those of zero or less, with an empty column to fill in."""
    rows: list[Sequence[str | int]] = [
        (s.item.item_id, s.item.book_units, s.hits, "yes" if s.is_top else "no", "")
        for s in sample.selected
    ]
    rows += [(i.item_id, i.book_units, 0, "not selectable", "") for i in sample.not_selectable]
    return csv_bytes(ITEM_COLUMNS, rows)


def logged_csv(logged: Iterable[Logged]) -> bytes:
    """Write the logged outputs drawn, with where each one went."""
    rows = (
        (
            one.event_id,
            one.night,
            "yes" if one.payable else "no",
            one.exclusion_reason,
            one.value_units,
            "yes" if one.sampled else "no",
            one.entry_id,
        )
        for one in logged
    )
    return csv_bytes(LOGGED_COLUMNS, rows)


def working_paper(
    period: str,
    currency: str,
    sample: MusSample,
    logged: tuple[Sequence[Logged], int],
    unpaid: tuple[Sequence[str], int],
    evaluation: MusEvaluation | None,
) -> bytes:
    """Write the paper.

    Args:
        period: YYYY-MM.
        currency: of all amounts, CODE/SCALE.
        sample: the monetary-unit sample.
        logged: the sample of outputs, and how many were logged.
        unpaid: the sample of payees to whom nothing was credited, and how many there are.
        evaluation: what was found; None before the items were audited.

    Returns:
        Plain text in UTF-8.
    """

    def money(units: int) -> str:
        return f"{format_units(units, currency)} {currency.partition('/')[0]}"

    lines = [f"WORKING PAPER: samples of {period}", "", *_drawn(sample, money)]
    lines += ["", "ITEMS", ""]
    lines += [f"  {_item(s.item, money)}{'  top' if s.is_top else ''}" for s in sample.selected]
    if sample.not_selectable:
        lines += ["", "OF ZERO OR LESS, not selectable: test on their own", ""]
        lines += [f"  {_item(item, money)}" for item in sample.not_selectable]
    outputs, logged_population = logged
    payable = sum(one.payable for one in outputs)
    lines += ["", "RECIPROCAL SAMPLE, from the usage logs to the book", ""]
    lines += [
        _line("population", f"{logged_population} logged outputs of the period's nights"),
        _line("drawn", f"{len(outputs)}, by HMAC-SHA256(seed, id), lowest first"),
        _line("of them", f"{payable} payable, {len(outputs) - payable} excluded with a reason"),
        _line("test", "record as logged = record as ingested; reason of exclusion; entry"),
    ]
    lines += ["", "NOTHING CREDITED: was nothing due?", ""]
    lines += [_line("population, drawn", f"{unpaid[1]} payees, {len(unpaid[0])}")]
    lines += [f"  {payee}" for payee in unpaid[0]]
    lines += ["", "CONCLUSION", "", *_concluded(sample, evaluation, money)]
    lines += [
        "",
        "prepared by ____________  on __________    reviewed by ____________  on __________",
    ]
    return ("\n".join(lines) + "\n").encode()


def _drawn(sample: MusSample, money: Money) -> list[str]:
    """Say what was drawn, from what and how."""
    plan = sample.plan
    tested = sum(s.item.book_units for s in sample.selected)
    part = 100 * tested / plan.book_units if plan.book_units else 0.0
    return [
        _line("objective", "amounts credited to payees are not overstated by more than tolerable"),
        _line("population", f"{sample.population_items} items, {money(plan.book_units)} credited"),
        _line("", f"sha256 {sample.population_sha256}"),
        _line("sampling unit", f"{money(1)} (monetary-unit sampling, fixed interval)"),
        _line("method", f"{FORMAT}, {plan.method}, confidence {plan.confidence_percent} %"),
        _line(
            "tolerable, expected", f"{money(plan.tolerable_units)}, {money(plan.expected_units)}"
        ),
        _line("reliability factor", f"{float(plan.factor):.2f}"),
        _line("size, interval", f"{plan.sample_size}, {money(plan.interval_units)}"),
        _line("seed", sample.seed_hex),
        _line("random start", money(sample.start_units)),
        _line(
            "drawn", f"{len(sample.selected)} items, {money(tested)} ({part:.1f} % of the money)"
        ),
        _line("again", "the same command with the same seed draws the same items"),
    ]


def _concluded(sample: MusSample, evaluation: MusEvaluation | None, money: Money) -> list[str]:
    """Say what was found."""
    if evaluation is None:
        unit = money(1)
        what = f"open: fill in the column units of audit-sample.csv, in whole units of {unit},"
        return [f"  {what}", "  and give it with --audited"]
    found = evaluation
    verdict = "not above" if found.acceptable else "ABOVE"
    lines = [
        _line("overstated", f"{len(found.misstated)} items, {money(found.known_units)} known"),
        _line("projected", money(found.projected_units)),
        _line("basic precision", money(found.basic_precision_units)),
        _line("incremental allowance", money(found.incremental_units)),
        _line("upper limit", money(found.upper_limit_units)),
        _line("", f"{verdict} the tolerable {money(sample.plan.tolerable_units)}"),
        _line("understated", f"{len(found.understated)} items; the limit does not cover them"),
    ]
    lines += [f"  overstated   {name}" for name in found.misstated]
    return lines + [f"  understated  {name}" for name in found.understated]


def _line(name: str, text: str) -> str:
    return f"  {name:<{_WIDTH}}{text}"


def _item(item: Item, money: Money) -> str:
    return f"{item.item_id:<60} {money(item.book_units):>22}"
