"""Every error contracts raises on purpose. Bugs are assertions and are not listed here.

ContractsError
    MoneyError              a currency or an amount that cannot be read exactly
    PeriodError             a settlement period that is not a month
    IdentifierError         an id outside the allowed characters
    SplitSheetError         shares of a work that do not add up to 100 %
    AgreementError          terms that contradict each other, found when an agreement is built
    NoTermError             nothing in an agreement says what a use is worth
    BadFilesError           agreement or catalogue files with faults; carries every one
    ApportionmentError      accruals and pool that cannot be divided as asked
    SignatureError          a signature that does not fit the text
    StoreConflictError      the same version of a record with different content
    UnknownVersionError     an agreement version that is not stored
    ApprovalRefusedError    an agreement version that may not be approved, or is not
    MissingRateError        no exchange rate for a currency and date
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ContractsError(Exception):
    """An agreement, a work or a party was asked for something its terms do not allow."""


class MoneyError(ContractsError, ValueError):
    """A currency or an amount is not written in a way that can be read exactly."""


class PeriodError(ContractsError, ValueError):
    """A settlement period is not a calendar month."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(
            f"settlement period must be a month written YYYY-MM such as 2026-11, got {text!r}"
        )


class IdentifierError(ContractsError, ValueError):
    """An id has characters outside the allowed ones, or is too long."""

    def __init__(self, what: str, text: object) -> None:
        self.what = what
        self.text = text
        super().__init__(
            f"{what} must be 1 to 128 letters, digits or ._:/@+- and start with a letter or "
            f"digit, got {text!r}; ids are opaque, put names in the personal data table"
        )


class SplitSheetError(ContractsError, ValueError):
    """The shares of one work for one right on one date do not add up to 100 %."""


class AgreementError(ContractsError, ValueError):
    """The terms of an agreement contradict each other."""


class NoTermError(ContractsError):
    """No term of an agreement covers a use."""


class ApportionmentError(ContractsError, ValueError):
    """Accruals and a pool cannot be divided as asked."""


class SignatureError(ContractsError):
    """A signature does not belong to the text it stands under."""


class MissingRateError(ContractsError):
    """The exchange-rate table has no rate for a pair of currencies on a date."""

    def __init__(self, from_code: str, to_code: str, rate_on: str, age_days_max: int) -> None:
        self.from_code = from_code
        self.to_code = to_code
        self.rate_on = rate_on
        super().__init__(
            f"no exchange rate from {from_code} to {to_code} on {rate_on} or in the "
            f"{age_days_max} days before; nothing was converted. Import a rate with its source"
        )


class StoreConflictError(ContractsError):
    """The same version of a record was given twice with different content."""

    def __init__(self, what: str, field: str, stored: object, given: object) -> None:
        self.what = what
        self.field = field
        self.stored = stored
        self.given = given
        super().__init__(
            f"{what} is already stored with {field} {stored!r}, but {given!r} was given; stored "
            f"versions never change. Give the new terms a new version"
        )


class UnknownVersionError(ContractsError):
    """An agreement version was asked for that is not in the database."""

    def __init__(self, agreement_id: str, version: int) -> None:
        self.agreement_id = agreement_id
        self.version = version
        super().__init__(
            f"agreement {agreement_id} v{version} is not in the database; nothing was done under "
            f"it. Bring its signed text in with `byline agreements import`"
        )


class ApprovalRefusedError(ContractsError):
    """An agreement version is not approved, or may not be by the person who asks."""

    def __init__(self, name: str, prepared_by: str, approved_by: str, status: str) -> None:
        self.prepared_by = prepared_by
        self.approved_by = approved_by
        super().__init__(
            f"{name} was prepared by {prepared_by or '(nobody)'}, is {status} and {approved_by} "
            f"would answer for it; it counts only when somebody else than its preparer approves "
            f"that very text. Nothing was changed; run `byline agreements approve`"
        )


@dataclass(frozen=True, order=True, slots=True)
class Fault:
    """One thing wrong in one file: where it is, what stands there and what was expected.

    Args:
        file: path of the file as the reader gave it.
        line: line number, from 1.
        field: the path to the field, such as terms[0].then.rate.
        found: what stands there, shortened.
        expected: what should stand there.
    """

    file: str
    line: int
    field: str
    found: str
    expected: str

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.field}: found {self.found}, expected {self.expected}"
        )


class BadFilesError(ContractsError, ValueError):
    """One or more files have faults; all are listed, and nothing was loaded."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        assert faults, "an error about faults needs at least one"
        self.faults = tuple(sorted(faults))
        listing = "\n".join(f"  {fault}" for fault in self.faults)
        count = len(self.faults)
        super().__init__(
            f"{count} fault{'s' if count > 1 else ''} found; nothing was loaded. "
            f"Correct them and load again:\n{listing}"
        )
