"""What can be wrong with a payout, said before any file reaches a bank."""

from __future__ import annotations

from reports.errors import ReportError


class PayoutError(ReportError):
    """A payout or batch is not what a bank or the books would accept."""

    def __init__(self, what: str, reason: str, next_step: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"{what}: {reason}; nothing was exported or booked. {next_step}")


class TransitionError(PayoutError):
    """A payout was asked to go from a state to one that does not follow it."""

    def __init__(self, what: str, state: str, event: str, allowed: str) -> None:
        self.state = state
        self.event = event
        super().__init__(
            what, f"is {state}, so it cannot be {event}", f"From {state} it can be: {allowed}"
        )


class BankFileError(ReportError):
    """A bank's answer could not be read or does not fit the batch."""

    def __init__(self, name: str, place: str, found: str, expected: str) -> None:
        self.name = name
        self.place = place
        super().__init__(
            f"{name}: {place} is {found}, expected {expected}; nothing was booked. "
            f"Ask the bank for the file again, or book the difference by hand with an approval"
        )
