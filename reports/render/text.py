"""Numbers as people read them, exactly: no renderer rounds money on its own.

1. An amount keeps every digit of its scale; digits beyond cents are given apart
   so that they can be set lighter, never dropped.
2. A share shows three decimals of a per cent, rounded half to even, with its sign.
3. A negative number is written with a true minus, U+2212, in papers for people
   and with a hyphen in files for machines.
"""

from __future__ import annotations

from fractions import Fraction

from contracts.money import Currency
from reports.render.document import Cell

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
DASH = "\N{EN DASH}"


def amount(amount_units: int, currency: str, *, tone: str = "", sub: str = "") -> Cell:
    """Write an amount with thousands separators; digits beyond cents go to `minor`.

    >>> amount(-1234567890, "USD/6")
    Cell(text='−1,234.56', minor='7890', sub='', tone='')
    """
    scale = Currency.parse(currency).scale
    whole, fraction = divmod(abs(amount_units), 10**scale)
    digits = f"{fraction:0{scale}d}" if scale else ""
    sign = MINUS if amount_units < 0 else ""
    point = "." if digits else ""
    return Cell(f"{sign}{whole:,}{point}{digits[:2]}", digits[2:], sub, tone)


def amount_text(amount_units: int, currency: str) -> str:
    """Write an amount as one text with its currency code in front.

    >>> amount_text(1250000, "USD/6")
    'USD 1.250000'
    """
    cell = amount(amount_units, currency)
    return f"{Currency.parse(currency).code} {cell.text}{cell.minor}"


def percent(share_ppt: int) -> str:
    """Write a share in trillionths as per cent with three decimals.

    >>> percent(12_345_678_901), percent(-5_000_000_000)
    ('1.235 %', '−0.500 %')
    """
    return f"{percent_number(share_ppt)} %"


def percent_number(share_ppt: int) -> str:
    """Write a share as a per cent number without its sign "%"."""
    thousandths = round(Fraction(share_ppt, 10**7))
    whole, part = divmod(abs(thousandths), 1000)
    return f"{MINUS if thousandths < 0 else ''}{whole}.{part:03d}"


def interval(low_ppt: int | None, high_ppt: int | None) -> str:
    """Write a 95 % interval of a share, or "" where none is known."""
    if low_ppt is None or high_ppt is None:
        return ""
    return f"{percent_number(low_ppt)} to {percent_number(high_ppt)}"


def count(number: int) -> str:
    """Write a count with thousands separators."""
    return f"{MINUS if number < 0 else ''}{abs(number):,}"


def plural(number: int, what: str) -> str:
    """Write a count with the word for what is counted.

    >>> plural(1, "night"), plural(2000, "night")
    ('1 night', '2,000 nights')
    """
    return f"{count(number)} {what}" if number == 1 else f"{count(number)} {what}s"


def millionths(value_ppm: int, decimals: int = 2) -> str:
    """Write a value held in millionths with a few decimals, rounded half to even.

    >>> millionths(1_250_000)
    '1.25'
    """
    scaled = round(Fraction(value_ppm * 10**decimals, 10**6))
    whole, part = divmod(abs(scaled), 10**decimals)
    sign = MINUS if scaled < 0 else ""
    return f"{sign}{whole:,}.{part:0{decimals}d}" if decimals else f"{sign}{whole:,}"
