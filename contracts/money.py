"""Money as whole units of a currency with a scale: USD/6 is US dollars in millionths.

1. An amount is an int. No float and no Decimal ever holds one.
2. Text to units and back loses nothing; more digits than the scale holds is an error, never
   a rounding.
3. Where an exact fraction must become units outside a division among people (which is the
   business of `split`), it is rounded half to even, once, at a place the working names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from contracts.errors import MoneyError

_CURRENCY = re.compile(r"([A-Z][A-Z0-9]{2,7})/(\d{1,2})")
_AMOUNT = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?")
SCALE_MAX = 12


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency code and how many decimal digits its unit stands for.

    Args:
        code: three to eight capital letters or digits, ISO 4217 where one exists.
        scale: decimal digits of the unit, 0 to 12.

    >>> Currency.parse("USD/6")
    Currency(code='USD', scale=6)
    """

    code: str
    scale: int

    @classmethod
    def parse(cls, text: str) -> Currency:
        """Read a currency from its text form, such as USD/6.

        Raises:
            MoneyError: the text is not CODE/SCALE, or the scale is above 12.
        """
        return _parse_currency(text)

    @property
    def text(self) -> str:
        """The currency as it is written everywhere: CODE/SCALE."""
        return f"{self.code}/{self.scale}"

    @property
    def units_per_whole(self) -> int:
        """How many units one whole dollar, euro and so on has."""
        return int(10**self.scale)

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=256)
def _parse_currency(text: str) -> Currency:
    """Read a currency; the same few are read for every amount, so they are remembered."""
    match = _CURRENCY.fullmatch(text)
    if match is None or int(match[2]) > SCALE_MAX:
        raise MoneyError(
            f"currency must be written CODE/SCALE such as USD/6 with a scale from 0 to "
            f"{SCALE_MAX}, got {text!r}; nothing was calculated"
        )
    return Currency(match[1], int(match[2]))


def format_units(amount_units: int, currency: str) -> str:
    """Write units as a decimal text with all digits of the scale.

    Args:
        amount_units: whole units, of either sign.
        currency: CODE/SCALE.

    Returns:
        The amount without a currency sign, a point and exactly `scale` digits.

    >>> format_units(1234567890, "USD/6")
    '1234.567890'
    """
    scale = Currency.parse(currency).scale
    sign = "-" if amount_units < 0 else ""
    whole, fraction = divmod(abs(amount_units), 10**scale)
    return f"{sign}{whole}.{fraction:0{scale}d}" if scale else f"{sign}{whole}"


def show_units(amount_units: int, currency: str) -> str:
    """Write units for reading: as `format_units`, without zeros after the second digit.

    >>> show_units(1234500000, "USD/6"), show_units(-25, "USD/6")
    ('1234.50', '-0.000025')
    """
    text = format_units(amount_units, currency)
    whole, point, digits = text.partition(".")
    return f"{whole}{point}{digits[:2]}{digits[2:].rstrip('0')}"


def show_money(amount_units: int, currency: str) -> str:
    """Write units for reading with the currency's code behind them.

    >>> show_money(3030440, "USD/6")
    '3.03044 USD'
    """
    return f"{show_units(amount_units, currency)} {Currency.parse(currency).code}"


def parse_units(text: str, currency: str) -> int:
    """Read a decimal text as whole units.

    Args:
        text: digits with an optional sign and point; no thousands separators, no exponent.
        currency: CODE/SCALE.

    Returns:
        The amount in units of the currency.

    Raises:
        MoneyError: not a decimal number, or more digits after the point than the scale holds.

    >>> parse_units("500.00", "USD/6")
    500000000
    """
    scale = Currency.parse(currency).scale
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise MoneyError(
            f"amount must be a plain decimal number such as 500.00, got {text!r}; nothing was read"
        )
    digits = match[3] or ""
    if len(digits.rstrip("0")) > scale:
        raise MoneyError(
            f"amount {text} has {len(digits.rstrip('0'))} digits after the point but {currency} "
            f"holds {scale}; it would have to be rounded. Write at most {scale} digits"
        )
    units: int = int(match[2]) * 10**scale + int(digits.rstrip("0").ljust(scale, "0") or "0")
    return -units if match[1] == "-" else units


def round_half_even(value: Fraction) -> int:
    """Round an exact value to a whole number, halves to the even neighbour.

    >>> round_half_even(Fraction(5, 2)), round_half_even(Fraction(-7, 2))
    (2, -4)
    """
    whole: int = round(value)
    return whole
