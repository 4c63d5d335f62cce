"""Settlement periods: calendar months, written 2026-11.

1. A period contains the days from its first to its last, both included.
2. Every day belongs to exactly one period, and periods follow one another without a gap.
3. Periods sort by time, as their text does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from contracts.errors import PeriodError

_PERIOD = re.compile(r"(\d{4})-(\d{2})")
_MONTHS = 12


@dataclass(frozen=True, order=True, slots=True)
class Period:
    """One calendar month, the time that is settled and closed as a whole.

    Args:
        text: the month as YYYY-MM.

    >>> Period("2026-11").next().text
    '2026-12'
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse a text that is not a month.

        Raises:
            PeriodError: the text is not YYYY-MM, or the month is not 01 to 12.
        """
        match = _PERIOD.fullmatch(self.text)
        if match is None or not 1 <= int(match[2]) <= _MONTHS or int(match[1]) < 1:
            raise PeriodError(self.text)

    @classmethod
    def of(cls, day: date) -> Period:
        """Return the period that contains a day."""
        return cls(f"{day.year:04d}-{day.month:02d}")

    @property
    def year(self) -> int:
        """The calendar year of the period."""
        return int(self.text[:4])

    @property
    def month(self) -> int:
        """The month within the year, 1 to 12."""
        return int(self.text[5:])

    @property
    def start(self) -> date:
        """The first day of the period."""
        return date(self.year, self.month, 1)

    @property
    def end(self) -> date:
        """The last day of the period, included in it."""
        return self.next().start - timedelta(days=1)

    @property
    def days(self) -> int:
        """How many days the period has."""
        return (self.end - self.start).days + 1

    def contains(self, day: date) -> bool:
        """Say whether a day lies in the period, its first and last day included."""
        return self.start <= day <= self.end

    def next(self) -> Period:
        """Return the month after this one."""
        return self.plus(1)

    def previous(self) -> Period:
        """Return the month before this one."""
        return self.plus(-1)

    def plus(self, months: int) -> Period:
        """Return the period a number of months later, or earlier if negative."""
        index = self.year * _MONTHS + self.month - 1 + months
        return Period(f"{index // _MONTHS:04d}-{index % _MONTHS + 1:02d}")

    def months_since(self, earlier: Period) -> int:
        """Return how many months lie between an earlier period and this one (0 for the same)."""
        return (self.year - earlier.year) * _MONTHS + self.month - earlier.month

    def __str__(self) -> str:
        return self.text
