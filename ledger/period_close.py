"""Opening and closing settlement periods: final, in order, and never by one person alone.

1. Periods open in calendar order and close in the order in which they were opened.
2. A closed period is closed for ever; a correction is booked in a period that is open.
3. Who prepares a close does not approve it.
4. Opening and closing are leaves of the book like any entry, so they cannot be redated.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from ledger.errors import ApprovalError, PeriodError
from ledger.posting_rules import check_times, check_words


class PeriodStatus(StrEnum):
    """What a period is, at the moment of asking."""

    UNKNOWN = "unknown"
    OPEN = "open"
    CLOSED = "closed"


def check_may_open(period: str, statuses: Mapping[str, PeriodStatus]) -> None:
    """Check that a period may be opened.

    Args:
        period: YYYY-MM.
        statuses: every known period and what it is.

    Raises:
        PeriodError: it is open or closed already, or a later one was opened before.
    """
    status = statuses.get(period, PeriodStatus.UNKNOWN)
    if status is not PeriodStatus.UNKNOWN:
        raise PeriodError(f"period {period} is {status} already; nothing was opened")
    later = [known for known in sorted(statuses) if known > period]
    if later:
        raise PeriodError(
            f"period {period} cannot be opened after {later[-1]}: periods open in calendar "
            f"order; book what belongs to {period} as an adjustment in an open period"
        )


def check_may_close(period: str, statuses: Mapping[str, PeriodStatus]) -> None:
    """Check that a period may be closed.

    Args:
        period: YYYY-MM.
        statuses: every known period and what it is.

    Raises:
        PeriodError: it is not open, or an earlier one still is.
    """
    status = statuses.get(period, PeriodStatus.UNKNOWN)
    if status is not PeriodStatus.OPEN:
        reason = "is closed already" if status is PeriodStatus.CLOSED else "was never opened"
        raise PeriodError(f"period {period} {reason}; nothing was closed")
    earlier = [
        known
        for known in sorted(statuses)
        if known < period and statuses[known] is PeriodStatus.OPEN
    ]
    if earlier:
        raise PeriodError(
            f"period {period} cannot be closed while {earlier[0]} is open: periods close in "
            f"order; close {earlier[0]} first"
        )


def check_close_approval(period: str, prepared_by: str, approved_by: str | None) -> None:
    """Check that somebody other than the preparer approves the close.

    Raises:
        ApprovalError: nobody did, or the preparer himself.
        EntryError: the period or an id is malformed.
    """
    what = f"close of period {period}"
    check_times(period, f"{period}-01", what)
    check_words({"prepared_by": prepared_by, "approved_by": approved_by}, what)
    if approved_by is None or approved_by == prepared_by:
        raise ApprovalError(what, prepared_by, approved_by)


def refusal(period: str, status: PeriodStatus) -> PeriodError:
    """Build the error for an entry that names a period which does not take entries."""
    if status is PeriodStatus.CLOSED:
        return PeriodError(
            f"period {period} is closed; nothing was posted. Post the correction in an open "
            f"period, as an adjustment or with reverses=<the entry>"
        )
    return PeriodError(
        f"period {period} was never opened; nothing was posted. Open it with open_period first"
    )
