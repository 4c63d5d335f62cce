"""Three drawings of the table of methods, as SVG text: money against cost, LDS, and its intervals.

Whole tenths of a unit throughout, so that equal figures give equal text. Drawings
are the only markup of a page; names in them are escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 7200
LETTER = 62  # of a name, wide enough for any
LINE, MIDDLE, DOT = 125, 38, 50  # from name to name; from a name's foot to its middle; half a dot
ACCENT, SOFT, RULE, FAINT = "#0b5563", "#5c6670", "#c9d0d6", "#9fb6bd"
FACE = 'font-family="Source Sans 3, sans-serif" font-size="11"'


@dataclass(frozen=True)
class Bar:
    """One value with its interval, and a second value drawn lighter where there is one."""

    name: str
    value: float
    low: float
    high: float
    other: float | None = None


@dataclass(frozen=True)
class Spot:
    """One method in the plane of cost and misallocated money, with the money's interval."""

    name: str
    cost: float
    percent: float
    low: float
    high: float


def interval_chart(bars: Sequence[Bar], ticks: Sequence[float]) -> str:
    """Draw one line a method: dot, interval, and a ring for the second value.

    Args:
        bars: top to bottom; at least one.
        ticks: places of the rules, ascending; the axis ends at the outermost.
    """
    assert bars, "a chart needs at least one method"
    left, right, line = 200 + LETTER * max(len(bar.name) for bar in bars), 250, 230
    height = line * len(bars) + 480
    low, high = ticks[0], ticks[-1]

    def x(value: float) -> int:
        inner = WIDTH - left - right
        place = (min(max(value, low), high) - low) / (high - low)
        return left + round(inner * place)

    parts = [_open(height)]
    for tick in ticks:
        parts.append(_line(x(tick), 120, x(tick), height - 340, SOFT if tick == 0 else RULE, 6))
        parts.append(_label(x(tick), height - 180, f"{tick:g}", "middle"))
    for place, bar in enumerate(bars):
        y = 120 + line * place + line // 2
        parts.append(_label(left - 120, y + 38, bar.name, "end", ink=True))
        parts.append(_line(x(bar.low), y, x(bar.high), y, ACCENT, 22))
        parts.append(f'<circle cx="{_n(x(bar.value))}" cy="{_n(y)}" r="4.2" fill="{ACCENT}"/>')
        if bar.other is not None:
            parts.append(
                f'<circle cx="{_n(x(bar.other))}" cy="{_n(y)}" r="3.6" fill="white" '
                f'stroke="{SOFT}" stroke-width="1.6"/>'
            )
    return "".join(parts) + "</svg>"


def cost_chart(spots: Sequence[Spot], floors: Sequence[tuple[str, float]] = ()) -> str:
    """Draw misallocated money against cost, the cost on a logarithmic axis.

    Args:
        spots: costs above zero; at least one.
        floors: name and percent of what to compare with, drawn as rules across.
    """
    assert spots, "a chart needs at least one method"
    left, right, top, bottom, height = 620, 250, 160, 560, 4300
    first = math.floor(math.log10(min(spot.cost for spot in spots)))
    last = max(first + 1, math.ceil(math.log10(max(spot.cost for spot in spots))))
    most = 10 * math.ceil(max(spot.high for spot in spots) / 10)

    def x(cost: float) -> int:
        place = (math.log10(cost) - first) / (last - first)
        return left + round((WIDTH - left - right) * place)

    def y(percent: float) -> int:
        return height - bottom - round((height - top - bottom) * percent / most)

    parts = [_open(height)]
    for rule in range(0, most + 1, 10):
        parts.append(_line(left, y(rule), WIDTH - right, y(rule), RULE, 6))
        parts.append(_label(left - 80, y(rule) + 38, f"{rule} %", "end"))
    for power in range(first, last + 1):
        parts.append(_line(x(10.0**power), top, x(10.0**power), height - bottom, RULE, 4))
        parts.append(_label(x(10.0**power), height - bottom + 170, f"{10.0**power:g}", "middle"))
    parts.append(_label(WIDTH - right, height - 120, "passes over the corpus", "end"))
    placed: list[tuple[int, int, int]] = []
    for name, percent in floors:
        placed.append((WIDTH - right - LETTER * len(name), WIDTH - right, y(percent) - 40))
        parts.append(_line(left, y(percent), WIDTH - right, y(percent), FAINT, 14, dashed=True))
        parts.append(_label(WIDTH - right, y(percent) - 40, name, "end"))
    ordered = sorted(spots, key=lambda spot: spot.percent)
    for spot in ordered:
        across, up = x(spot.cost), y(spot.percent)
        placed.append((across - DOT, across + DOT, up + MIDDLE))
        parts.append(_line(across, y(spot.low), across, y(spot.high), FAINT, 14))
    frame = (left, WIDTH - right, top, height - bottom)
    parts += [_name(x(spot.cost), y(spot.percent), spot.name, placed, frame) for spot in ordered]
    for spot in ordered:
        across, up = x(spot.cost), y(spot.percent)
        parts.append(f'<circle cx="{_n(across)}" cy="{_n(up)}" r="4.2" fill="{ACCENT}"/>')
    return "".join(parts) + "</svg>"


def coverage_chart(levels: Sequence[int], covered: Sequence[Sequence[float]]) -> str:
    """Draw how often intervals hold the mean, against what they claim.

    Args:
        levels: claimed, in percent, ascending.
        covered: for each method, in percent, one number a level.
    """
    assert covered, "a chart needs at least one method"
    left, right, top, bottom, height = 620, 250, 160, 560, 4300
    low = 10 * math.floor(min(*levels, *(min(row) for row in covered)) / 10)

    def x(percent: float) -> int:
        return left + round((WIDTH - left - right) * (percent - low) / (100 - low))

    def y(percent: float) -> int:
        return height - bottom - round((height - top - bottom) * (percent - low) / (100 - low))

    parts = [_open(height)]
    for rule in range(low, 101, 10):
        parts.append(_line(left, y(rule), WIDTH - right, y(rule), RULE, 6))
        parts.append(_label(left - 80, y(rule) + 38, f"{rule} %", "end"))
        parts.append(_label(x(rule), height - bottom + 170, f"{rule} %", "middle"))
    parts.append(_line(x(low), y(low), x(100), y(100), FAINT, 14, dashed=True))
    parts.append(_label(WIDTH - right, height - 120, "what the interval claims", "end"))
    for place, level in enumerate(levels):
        found = sorted(row[place] for row in covered)
        middle = found[len(found) // 2]
        parts.append(_line(x(level), y(found[0]), x(level), y(found[-1]), FAINT, 14))
        parts.append(f'<circle cx="{_n(x(level))}" cy="{_n(y(middle))}" r="4.2" fill="{ACCENT}"/>')
    return "".join(parts) + "</svg>"


def _name(
    across: int,
    up: int,
    name: str,
    placed: list[tuple[int, int, int]],
    frame: tuple[int, int, int, int],
) -> str:
    """Write a name beside its dot, moved until it covers no other name and no dot.

    Args:
        across: place of the dot.
        up: place of the dot.
        name: what is written; a thin line leads to it where it was moved.
        placed: (left, right, height) of what stands already; gets this name.
        frame: left, right, top and bottom of where names may stand.
    """
    long = LETTER * len(name)
    sides = (-1, 1) if across > WIDTH * 3 // 5 else (1, -1)
    moves = sorted(range(-1500, 1501, LINE), key=lambda move: (abs(move), move))
    found = [(move, side, away) for away in (80, 400) for move in moves for side in sides]
    for move, side, away in found:
        begin = across + away if side > 0 else across - away - long
        place = up + MIDDLE + move
        inside = frame[0] <= begin and begin + long <= frame[1] and frame[2] <= place <= frame[3]
        if inside and all(
            abs(place - y) >= LINE - 5 or begin + long <= first or last <= begin
            for first, last, y in placed
        ):
            break
    else:
        move, side, away = found[0]
    place, at = up + MIDDLE + move, across + side * away
    placed.append((min(at, at + side * long), max(at, at + side * long), place))
    lead = ""
    if move or away > 80:
        lead = _line(across, up, at - side * 20, place - MIDDLE, SOFT, 5)
    return lead + _label(at, place, name, "start" if side > 0 else "end", ink=True)


def _open(height: int) -> str:
    box = f"0 0 {WIDTH // 10} {height // 10}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" {FACE}>'


def _n(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}"


def _line(
    x1: int, y1: int, x2: int, y2: int, colour: str, width: int, *, dashed: bool = False
) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" '
        f'stroke="{colour}" stroke-width="{_n(width)}"{dash}/>'
    )


def _label(x: int, y: int, text: str, anchor: str, *, ink: bool = False) -> str:
    colour = "#1b1f23" if ink else SOFT
    where = f'x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {where}>{escape(text)}</text>"
