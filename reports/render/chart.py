"""Draw a share with its 95 % interval over the periods, as SVG text.

One drawing serves the PDF and the HTML. Everything is whole tenths of a point,
so the text is the same on every machine; the zero line is always in view, since
an interval that contains zero means that nothing was shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from reports.render.text import percent_number
from reports.statement_inputs import PeriodShare

WIDTH, HEIGHT = 4800, 1150  # tenths of a point
LEFT, RIGHT, TOP, BOTTOM = 420, 60, 60, 210
ACCENT, SOFT, RULE = "#0b5563", "#5c6670", "#c9d0d6"
PERIODS_MAX = 24


def share_chart(history: Sequence[PeriodShare]) -> str:
    """Draw the last PERIODS_MAX periods: a dot a period, a bar for its interval.

    Args:
        history: one share a period, oldest first; at least one.

    Returns:
        An SVG document, self-contained.
    """
    assert history, "a chart needs at least one period"
    shown = list(history)[-PERIODS_MAX:]
    step, low, high = _scale(shown)
    box = f"0 0 {WIDTH // 10} {HEIGHT // 10}"
    face = 'font-family="Source Sans 3, sans-serif" font-size="7.6"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" {face}>']
    for tick in range(low, high + 1, step):
        y = _y(tick, low, high)
        colour = SOFT if tick == 0 else RULE
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, colour, 6 if tick == 0 else 4))
        parts.append(_label(LEFT - 50, y + 26, _tick(tick), "end"))
    slot = (WIDTH - LEFT - RIGHT) // len(shown)
    for place, point in enumerate(shown):
        x = LEFT + slot * place + slot // 2
        top, bottom = _y(point.high_ppt, low, high), _y(point.low_ppt, low, high)
        y = _y(point.share_ppt, low, high)
        parts.append(_line(x, top, x, bottom, ACCENT, 14))
        parts.extend(_line(x - 28, end, x + 28, end, ACCENT, 10) for end in (top, bottom))
        parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="2.7" fill="{ACCENT}"/>')
        if place % max(1, len(shown) // 12) == 0:
            parts.append(_label(x, HEIGHT - 60, point.period, "middle"))
    return "".join(parts) + "</svg>"


def _scale(points: Sequence[PeriodShare]) -> tuple[int, int, int]:
    """Choose a round step (1, 2, 5 x 10^n) with at most five ticks, zero among them."""
    low = min(0, *(min(p.low_ppt, p.share_ppt) for p in points))
    high = max(0, *(max(p.high_ppt, p.share_ppt) for p in points))
    span = max(high - low, 1)
    step = 1
    factors = (2, Fraction(5, 2), 2)
    turn = 0
    while span > 4 * step:
        step = int(step * factors[turn % 3])
        turn += 1
    bottom = step * (low // step)
    top = step * -(-high // step)
    return step, bottom, max(top, bottom + step)


def _tick(share_ppt: int) -> str:
    return percent_number(share_ppt).rstrip("0").rstrip(".") + " %"


def _y(value: int, low: int, high: int) -> int:
    inner = HEIGHT - TOP - BOTTOM
    return TOP + inner - (value - low) * inner // (high - low)


def _n(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}"


def _line(x1: int, y1: int, x2: int, y2: int, colour: str, width: int) -> str:
    return (
        f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" '
        f'stroke="{colour}" stroke-width="{_n(width)}"/>'
    )


def _label(x: int, y: int, text: str, anchor: str) -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" fill="{SOFT}">{text}</text>'
