"""Every error the ledger raises on purpose. Bugs are assertions and are not listed here.

The tree (the audit half of it hangs below `AuditError` in `audit_errors.py`):

    LedgerError
      EntryError                the entry itself is wrong; no database was asked
        UnbalancedEntryError    its postings do not add up to zero in one currency
        ApprovalError           nobody, or the preparer himself, approved it
      BookError                 the entry is right, but the book does not take it
        IdempotencyConflictError  the key was used before for something else
        UnknownEntryError       no such entry
        AlreadyReversedError    it was taken back before
        PeriodError             the settlement period does not allow it
        CheckpointError         a checkpoint does not fit the book
        DatabaseRefusedError    a rule of the database, said in its own words
      DatabaseError             the database is not as it must be
        DatabaseUnreachableError  it does not answer
        DatabaseBusyError       another writer holds it; the same call again may succeed
        SchemaError             a table, trigger or setting is missing or was changed
        SnapshotError           a stored balance differs from the sum of the postings

What heals by itself is `DatabaseBusyError` and `DatabaseUnreachableError`; nothing else is
worth a retry with the same input.
"""

from __future__ import annotations


class LedgerError(Exception):
    """A caller asked for something the books do not allow."""


class EntryError(LedgerError):
    """A journal entry is wrong in itself; nothing was posted."""


class UnbalancedEntryError(EntryError):
    """The postings of a journal entry do not add up to zero in one currency."""

    def __init__(self, entry_id: str, currency: str, debit_units: int, credit_units: int) -> None:
        self.entry_id = entry_id
        self.currency = currency
        self.debit_units = debit_units
        self.credit_units = credit_units
        super().__init__(
            f"journal entry {entry_id} does not balance in {currency}: "
            f"debits {debit_units} != credits {credit_units} "
            f"(off by {abs(debit_units - credit_units)} units); nothing was posted"
        )


class ApprovalError(EntryError):
    """An entry or a close lacks an approver, or the preparer approved his own work."""

    def __init__(self, what: str, prepared_by: str, approved_by: str | None) -> None:
        self.prepared_by = prepared_by
        self.approved_by = approved_by
        found = "nobody approved it" if approved_by is None else f"approved by {approved_by!r}"
        super().__init__(
            f"{what} needs an approver other than its preparer: prepared by {prepared_by!r}, "
            f"{found}; nothing was posted. Let somebody else approve it"
        )


class BookError(LedgerError):
    """The book does not take a well-formed request; nothing was posted."""


class IdempotencyConflictError(BookError):
    """The same (scope, key) was posted before with other content."""

    def __init__(self, entry_id: str, field: str, booked: object, given: object) -> None:
        self.entry_id = entry_id
        self.field = field
        self.booked = booked
        self.given = given
        super().__init__(
            f"journal entry {entry_id} is in the book already with a different {field}: "
            f"booked {booked!r} != given {given!r}; nothing was posted. "
            f"Post a correction under a key of its own"
        )


class UnknownEntryError(BookError):
    """No entry has this id."""

    def __init__(self, entry_id: str) -> None:
        self.entry_id = entry_id
        super().__init__(f"journal entry {entry_id} is not in the book; check the id")


class AlreadyReversedError(BookError):
    """An entry is reversed or released at most once."""

    def __init__(self, entry_id: str, reversed_by: str) -> None:
        self.entry_id = entry_id
        self.reversed_by = reversed_by
        super().__init__(
            f"journal entry {entry_id} was taken back before, by {reversed_by}; nothing was "
            f"posted. Post a new entry if the first one was right after all"
        )


class PeriodError(BookError):
    """A settlement period is closed, was never opened, or would open or close out of order."""


class CheckpointError(BookError):
    """A checkpoint does not fit the book or an earlier checkpoint."""


class DatabaseRefusedError(BookError):
    """A constraint or trigger of the database said no, in its own words."""

    def __init__(self, message: str) -> None:
        super().__init__(
            f"the database refused: {message}; nothing was posted. The rule is kept by the "
            f"database itself and no code path of Byline should reach it: report this as a bug"
        )


class DatabaseError(LedgerError):
    """The database is not as the ledger needs it."""


class DatabaseUnreachableError(DatabaseError):
    """The database does not answer, or its file cannot be opened."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        super().__init__(
            f"ledger database {url} cannot be reached: {reason}; nothing was read or written. "
            f"Check that the server runs and that [ledger] url is right, then run again"
        )


class DatabaseFullError(DatabaseError):
    """The disk under the database takes no more."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        super().__init__(
            f"ledger database {url} cannot write to its disk: {reason}; nothing was posted and "
            f"what was posted before is whole. Make room, or look at the disk, then run again"
        )


class DatabaseBusyError(DatabaseError):
    """Another writer holds the database longer than the wait that was allowed."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        super().__init__(
            f"ledger database {url} is held by another writer: {reason}; nothing was posted. "
            f"Run again when it has finished: what was posted before is not posted twice"
        )


class SchemaError(DatabaseError):
    """A table, trigger, constraint or connection setting is missing or was changed."""

    def __init__(self, url: str, faults: list[str]) -> None:
        self.faults = faults
        listed = "; ".join(faults)
        super().__init__(
            f"ledger database {url} does not keep its promises: {listed}; nothing was read or "
            f"written. If the schema is only older or empty, run `byline db upgrade`; otherwise "
            f"somebody changed it: verify the book against a checkpoint held elsewhere first"
        )


class SnapshotError(DatabaseError):
    """A stored balance differs from the sum of the postings it stands for."""

    def __init__(
        self, account_id: str, currency: str, ledger_seq: int, stored_units: int, summed_units: int
    ) -> None:
        self.account_id = account_id
        super().__init__(
            f"balance snapshot of {account_id} in {currency} at ledger_seq {ledger_seq} says "
            f"{stored_units} units but the postings add up to {summed_units} "
            f"(off by {abs(stored_units - summed_units)}); balances after it are wrong. "
            f"Verify the book against a checkpoint, then rebuild the snapshots"
        )
