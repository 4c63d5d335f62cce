"""Settlement periods are months that follow one another without a gap."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import PeriodError
from contracts.period import Period

DAYS = st.dates(min_value=date(1900, 1, 1), max_value=date(2200, 12, 31))


@given(DAYS)
def test_every_day_lies_in_exactly_one_period(day):
    """A day is in its own period and in neither neighbour."""
    period = Period.of(day)
    assert period.contains(day)
    assert not period.next().contains(day)
    assert not period.previous().contains(day)


@given(DAYS, st.integers(-500, 500))
def test_moving_by_months_and_back_changes_nothing(day, months):
    """Periods are counted, not guessed from days."""
    period = Period.of(day)
    assert period.plus(months).plus(-months) == period
    assert period.plus(months).months_since(period) == months
    assert (period.plus(months) > period) == (months > 0)


@given(DAYS)
def test_the_next_period_begins_the_day_after_this_one_ends(day):
    """No day falls between two periods."""
    period = Period.of(day)
    assert (period.next().start - period.end).days == 1
    assert period.days == (period.next().start - period.start).days


@pytest.mark.parametrize("text", ["2026-13", "2026-00", "2026-1", "2026Q3", "", "2026-11-01"])
def test_what_is_not_a_month_is_refused(text):
    """A period that cannot be closed is never opened."""
    with pytest.raises(PeriodError, match="must be a month written YYYY-MM"):
        Period(text)


def test_period_ends_are_calendar_ends():
    """February and leap years included."""
    assert Period("2026-02").end == date(2026, 2, 28)
    assert Period("2028-02").end == date(2028, 2, 29)
    assert Period("2026-12").next() == Period("2027-01")
    assert Period("2026-01").previous() == Period("2025-12")
    assert str(Period("2026-11")) == "2026-11"
