"""The drawings of the methods' table: every method once, inside the frame, nothing injected."""

import re
from xml.etree import ElementTree as ET

import pytest

from reports.evaluation_chart import WIDTH, Bar, Spot, cost_chart, coverage_chart, interval_chart

SPOTS = [
    Spot(f"method{n}", 10.0 ** (n - 2), 10.0 * n + 5, 10.0 * n, 10.0 * n + 9) for n in range(5)
]
BARS = [Bar(f"method{n}", n / 10, n / 10 - 0.05, n / 10 + 0.05, n / 20) for n in range(6)]


@pytest.mark.parametrize("svg", [cost_chart(SPOTS, [("size", 20.0)]), interval_chart(BARS, (0, 1))])
def test_every_method_is_drawn_inside_the_frame(svg):
    """Well-formed, each name once, and every dot within the picture."""
    root = ET.fromstring(svg)
    height = float(root.attrib["viewBox"].split()[3])
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert all(texts.count(f"method{n}") == 1 for n in range(5))
    for node in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(node.attrib["cx"]) <= WIDTH / 10
        assert 0 <= float(node.attrib["cy"]) <= height


def test_more_money_misplaced_stands_higher_and_more_cost_further_right():
    """The axes run the usual way."""
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', cost_chart(SPOTS))
    across, up = ([float(value) for value in column] for column in zip(*dots, strict=True))
    assert across == sorted(across)
    assert up == sorted(up, reverse=True)


def test_names_cover_neither_one_another_nor_a_dot():
    """Where dots crowd, names move away and a thin line leads to each that moved."""
    crowd = [Spot(f"method {n} of many", 10 + n % 2 / 10, 20 + n, 18 + n, 22 + n) for n in range(8)]
    svg = cost_chart([*crowd, Spot("far", 0.01, 60, 50, 70)])
    names = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)"[^>]*>([mf][^<]+)', svg)
    boxes = []
    for at, foot, anchor, name in names:
        left = float(at) - (6.2 * len(name) if anchor == "end" else 0)
        boxes.append((left, left + 6.2 * len(name), float(foot)))
    boxes += [
        (float(across) - 5, float(across) + 5, float(up) + 3.8)
        for across, up in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)
    ]
    assert len(boxes) == 18
    crowded = [
        (one, other)
        for n, one in enumerate(boxes[:9])
        for other in boxes[n + 1 :]
        if abs(one[2] - other[2]) < 11.9 and one[0] < other[1] and other[0] < one[1]
    ]
    assert not crowded
    assert svg.count('stroke-width="0.5"') >= 4


def test_what_intervals_hold_stands_against_what_they_claim():
    """One dot a level, at the middle method; on the dashed line where the word is kept."""
    svg = coverage_chart([50, 90], [[50.0, 90.0], [48.0, 70.0], [55.0, 95.0]])
    dots = [
        tuple(map(float, dot)) for dot in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)
    ]
    dashed = re.search(
        r'x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"[^>]*dasharray', svg
    )
    x1, y1, x2, y2 = map(float, dashed.groups())
    assert len(dots) == 2
    for across, up in dots:
        assert up == pytest.approx(y1 + (y2 - y1) * (across - x1) / (x2 - x1), abs=0.3)


def test_names_are_escaped():
    """A method's name is text, never markup."""
    assert "<script>" not in cost_chart([Spot("<script>", 1, 5, 4, 6)])
    assert "<script>" not in interval_chart([Bar("<script>", 0.5, 0.4, 0.6)], (0, 1))
