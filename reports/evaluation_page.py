"""The table of attribution methods, judged by retraining, as a page.

Input is the plain result of `byline evaluate run`. Rules:

1. Rows stand in the order of the money they misallocate by the first rule and truth;
   a method that could not run stands last with the reason.
2. A figure that was not measured is a dash, never a zero.
3. What the truth itself is worth (ceilings, fit of the coalition truth) stands
   above the methods, so that no row is read without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reports.evaluation_chart import Bar, Spot, cost_chart, coverage_chart, interval_chart
from reports.render.document import (
    Block,
    Cell,
    Column,
    Document,
    Facts,
    Heading,
    Picture,
    Row,
    Table,
    Text,
)

MONEY = "linear/removal"
HEADS = (
    "method",
    "LDS documents",
    "LDS creators",
    "removal",
    "% linear, removal",
    "% normalised, removal",
    "% positive, removal",
    "% linear, coalition",
    "% normalised, coalition",
    "LDS documents, end",
    "% linear, end",
    "passes",
    "KB a document",
)
MORE = (
    "method",
    "LDS documents, sum",
    "removal, sum",
    "LDS small drops",
    "same, other orders",
    "tail-patch, nats",
    "top-k, nats",
    "same creators",
    "decoys: generic",
    "decoys: told apart",
    "copy",
    "cut",
    "pad",
    "rename",
)


def ordered(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rows in the order of rule 1."""
    rows = list(result["rows"])
    return sorted(
        rows, key=lambda row: ("skipped" in row, row.get("misallocated", {}).get(MONEY, 999))
    )


def main_cells(row: Mapping[str, Any], documents: int) -> list[str]:
    """Return the texts of a row of the main table, in the order of HEADS."""
    end = row.get("end")
    return [
        row["name"],
        _interval(row["lds_documents"]),
        _interval(row["lds_creators"]),
        _interval(row["removal_rank"]),
        *(
            _money(row, name)
            for name in (
                MONEY,
                "normalised/removal",
                "positive/removal",
                "linear/coalition",
                "normalised/coalition",
            )
        ),
        _mean(end and end["lds_documents"]),
        _percent(end and end["misallocated"].get(MONEY)),
        f"{row['passes']:.2f}",
        f"{row['stored_bytes'] / 1000 / documents:.1f}" if row["stored_bytes"] else "-",
    ]


def more_cells(row: Mapping[str, Any]) -> list[str]:
    """Return the texts of a row of the second table, in the order of MORE."""
    decoys = row.get("decoys") or {}
    gains = (row.get("gains") or {}).get("linear", {})
    share = decoys.get("generic_share")
    return [
        row["name"],
        _number(row["summed"].get("documents")),
        _number(row["summed"].get("removal")),
        _interval(row.get("lds_drops")),
        _interval(row.get("lds_drops_reordered")),
        _interval(row.get("tail_patch"), 3),
        *(_interval((row.get("top_removal") or {}).get(left), 3) for left in ("top", "same")),
        "-" if share is None else f"{100 * share:.0f} %",
        _interval(decoys.get("separation")),
        *(_number(gains.get(trick)) for trick in ("copy", "cut", "pad", "rename")),
    ]


def ceiling_lines(result: Mapping[str, Any]) -> list[str]:
    """Say in sentences what the truth itself is worth."""
    truth, found = result["truth"], result["ceilings"]
    lines = [
        f"{truth['documents']} documents of {truth['creators']} creators, {truth['queries']} "
        "outputs; retrains: "
        + ", ".join(f"{kind} {count}" for kind, count in truth["retrains"].items())
        + "."
    ]
    lines += [
        f"A second training order ({order}, {found[f'{order}/creators']:.0f} creators) ranks "
        f"{found[f'{order}/rank']:.2f} per output against the first and misallocates "
        f"{found[f'{order}/linear']:.1f} % (normalised {found[f'{order}/normalised']:.1f} %): "
        "no method should be asked for much less than half of it."
        for order in sorted({name.split("/")[0] for name in found if name.startswith("order")})
    ]
    if "halves/linear" in found:
        lines.append(f"Two random halves of the outputs differ by {found['halves/linear']:.1f} %.")
    lines += [
        f"{what} ({truth['retrains'][kind]}) in the recipe's order rank "
        f"{found[f'{name}/rank']:.2f} per output against the same in other orders: the "
        "ceiling of LDS for a method that does not follow the order."
        for what, name, kind in (
            ("Halves of the documents", "documents", "doc"),
            ("Coalitions of creators", "creators", "creator"),
            ("Small removals", "drops", "drop"),
        )
        if f"{name}/rank" in found
    ]
    if truth["coalition_fit"] is not None:
        lines.append(
            f"The coalition truth rests on {truth['retrains']['creator']} retrains; its "
            f"cross-validated fit is {truth['coalition_fit']:.2f} and it differs from the removal "
            f"truth by {found.get('coalition/linear', float('nan')):.1f} %."
        )
    return lines


def note_lines(result: Mapping[str, Any]) -> list[str]:
    """Return what methods noted about themselves, such as the metasmoothness of the run."""
    return [
        f"{row['name']}: " + ", ".join(f"{key} {value:g}" for key, value in row["notes"].items())
        for row in ordered(result)
        if row.get("notes")
    ]


def evaluation_document(result: Mapping[str, Any], name: str, date: str) -> Document:
    """Lay the table out.

    Args:
        result: what `byline evaluate run --json` prints.
        name: of the set-up.
        date: ISO date of the page.
    """
    rows = ordered(result)
    judged = [row for row in rows if "skipped" not in row]
    documents = int(result["truth"]["documents"])
    blocks: list[Block] = [
        Heading("What the truth is worth"),
        *(Text(line) for line in ceiling_lines(result)),
        Heading("Methods"),
        _table(HEADS, [main_cells(row, documents) for row in judged]),
        Text(
            "Means over outputs with 95 % intervals. Misallocated money: half the sum of "
            "|paid - true| shares, in percent of the pool. `end`: the same method at the final "
            "weights alone. A pass is one forward and backward pass over the corpus.",
            "note",
        ),
        *_drawings(judged),
        *_coverage(judged, result.get("levels", ())),
        Heading("Beside the truth"),
        _table(MORE, [more_cells(row) for row in judged]),
        *(Text(line, "note") for line in control_lines(result)),
    ]
    blocks += [Text(line, "note") for line in note_lines(result)]
    blocks += [
        *(
            Text(f"{row['name']} could not run: {row['skipped']}", "warning")
            for row in rows
            if "skipped" in row
        ),
        Heading("Where each must not be trusted"),
        Facts(tuple((row["name"], Cell(row["limits"])) for row in rows), columns=1),
    ]
    return Document(
        title="Attribution methods, judged by retraining",
        subtitle=name,
        running=("byline evaluate run", date),
        footer="Influence is an estimate; these are its errors where they can be measured.",
        date=date,
        author="Byline",
        facts=(("Outputs", str(result["truth"]["queries"])), ("Methods", str(len(judged)))),
        blocks=tuple(blocks),
    )


def _drawings(judged: Sequence[Mapping[str, Any]]) -> list[Block]:
    blocks: list[Block] = []
    spots = [
        Spot(
            row["name"],
            max(float(row["passes"]), 1e-3),
            row["misallocated"][MONEY],
            *row["misallocated_interval"][MONEY],
        )
        for row in judged
        if MONEY in row["misallocated"]
    ]
    if spots:
        size = [(spot.name, spot.percent) for spot in spots if spot.name == "by_size"]
        floors = [("pay by size", percent) for _, percent in size]
        drawn = cost_chart(spots, floors)
        blocks += [
            Heading("Misallocated money against cost", 2),
            Picture(
                drawn,
                "Misallocated money of each method against its cost in passes over the corpus",
            ),
        ]
    bars = [
        Bar(
            row["name"],
            row["lds_documents"]["mean"],
            row["lds_documents"]["low"],
            row["lds_documents"]["high"],
            row["lds_creators"]["mean"] if row["lds_creators"] else None,
        )
        for row in judged
        if row["lds_documents"]
    ]
    if bars:
        ends = [end for bar in bars for end in (bar.low, bar.high, bar.other or 0.0)]
        first, last = math.floor(5 * min(0.0, *ends)), max(1, math.ceil(5 * max(ends)))
        ticks = [place / 5 for place in range(first, last + 1)]
        ranked = sorted(bars, key=lambda bar: -bar.value)
        blocks += [
            Heading("LDS over documents (dot, 95 % interval) and over creators (ring)", 2),
            Picture(interval_chart(ranked, ticks), "LDS of each method with its interval"),
        ]
    return blocks


def _coverage(judged: Sequence[Mapping[str, Any]], levels: Sequence[int]) -> list[Block]:
    covered = [row["covered_percent"] for row in judged if row.get("covered_percent")]
    if not covered or not levels:
        return []
    return [
        Heading("How often the intervals of LDS over documents hold the mean", 2),
        Picture(coverage_chart(levels, covered), "Part of the intervals that hold the mean"),
        Text(
            "By samples of as many outputs, drawn from these with replacement. Dot: the middle "
            "method; line: the lowest to the highest. On the dashed line an interval keeps its "
            "word; the noise of the truth itself is not in it.",
            "note",
        ),
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    columns = tuple(Column(head, "left" if n == 0 else "right") for n, head in enumerate(heads))
    # An interval breaks before its bracket, never inside.
    whole = [[text.replace(", ", ",\u00a0") for text in row] for row in rows]
    return Table(columns, tuple(Row(tuple(map(Cell, row))) for row in whole), small=True)


def control_lines(result: Mapping[str, Any]) -> list[str]:
    """Say what the second table's columns are, what chance gives, and what all of it took."""
    random = result["controls"].get("tail_patch_random")
    lines = [
        "Sum: rank correlation for the sum of all outputs, which is what a period pays. "
        "Tail-patch: gain of an output, in nats, by one step on the method's best documents"
        + (f"; random documents: {_interval(random, 3)}." if random else ".")
        + " Copy, cut, pad, rename: one creator's share after the trick over the share before.",
    ]
    tops = [row["top_removal"] for row in result["rows"] if row.get("top_removal")]
    if tops:
        lines.append(
            "Top-k: rise of an output's loss after training without the method's best documents; "
            "same creators: without as many others of the same creators; without random ones: "
            f"{_interval(tops[0]['random'], 3)}."
        )
    if "seconds" in result and "cpu_seconds" in result:
        lines.append(
            f"Made in {result['seconds']:.0f} s, retrains of the truth not counted; the scores "
            f"took {result['cpu_seconds']:.0f} processor seconds, a pass over the corpus "
            f"{result['pass_cpu_seconds']:.1f}."
        )
    return lines


def _interval(found: Mapping[str, float] | None, digits: int = 2) -> str:
    if not found:
        return "-"
    low, high = f"{found['low']:.{digits}f}", f"{found['high']:.{digits}f}"
    return f"{found['mean']:.{digits}f} [{low}, {high}]"


def _mean(found: Mapping[str, float] | None) -> str:
    return f"{found['mean']:.2f}" if found else "-"


def _percent(found: float | None) -> str:
    return "-" if found is None else f"{found:.1f}"


def _money(row: Mapping[str, Any], name: str) -> str:
    if name not in row["misallocated"]:
        return "-"
    low, high = row["misallocated_interval"][name]
    return f"{row['misallocated'][name]:.1f} [{low:.0f}, {high:.0f}]"


def _number(found: float | None) -> str:
    return "-" if found is None else f"{found:.2f}"
