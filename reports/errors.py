"""Every error the reports raise on purpose. Bugs are assertions and are not listed here.

A report is either right or not written: each error below is raised before any
file takes its final name, and says which two numbers or names disagree.
"""

from __future__ import annotations


class ReportError(Exception):
    """A report was asked for that the books do not support, or that cannot be written."""


class StatementDoesNotFootError(ReportError):
    """Two parts of one statement that must be equal are not."""

    def __init__(
        self, statement_number: str, check: str, left_units: int, right_units: int
    ) -> None:
        self.statement_number = statement_number
        self.check = check
        self.left_units = left_units
        self.right_units = right_units
        super().__init__(
            f"statement {statement_number} does not foot: {check}: "
            f"{left_units} != {right_units} (off by {left_units - right_units} units); "
            f"no statement was made. Compare the period's journal entries with the inputs given"
        )


class StatementInputError(ReportError):
    """A statement was given a value that it cannot show."""

    def __init__(self, statement_number: str, field: str, value: object, expected: str) -> None:
        self.statement_number = statement_number
        self.field = field
        self.value = value
        super().__init__(
            f"statement {statement_number}: {field} is {value!r}, expected {expected}; "
            f"no statement was made"
        )


class StatementFileError(ReportError):
    """A statement file is not what Byline wrote, or was changed afterwards."""

    def __init__(self, name: str, place: str, found: str, expected: str) -> None:
        self.name = name
        self.place = place
        self.found = found
        self.expected = expected
        super().__init__(
            f"{name}: {place} is {found}, expected {expected}; the file was changed or is of "
            f"another version. Ask the payer for the statement again, and keep this file"
        )


class StatementChangedError(ReportError):
    """A statement that was issued would now read differently."""

    def __init__(
        self, statement_number: str, period: str, version: int, place: str, before: str, now: str
    ) -> None:
        self.statement_number = statement_number
        self.version = version
        self.place = place
        super().__init__(
            f"statement {statement_number} was issued as version {version} and would now read "
            f"differently: {place} was {before!r} and is {now!r}; nothing was written. Issue "
            f"version {version + 1}, which names version {version} and the difference, with "
            f"`byline statements --period {period} --restate REASON`; then give this command again"
        )


class UnknownPayeeError(ReportError):
    """A statement or answer was asked for somebody who is not in the period."""

    def __init__(self, what: str, name: str, period: str, closest: str) -> None:
        self.name = name
        self.period = period
        hint = f"; the closest is {closest}" if closest else ""
        super().__init__(
            f"{what} {name!r} is not in {period}{hint}; nothing was written. Ids are those of the "
            f"catalogue and the agreements"
        )


class TrialBalanceError(ReportError):
    """The books handed over for a trial balance do not add up to zero in one currency."""

    def __init__(self, currency: str, debit_units: int, credit_units: int) -> None:
        self.currency = currency
        self.debit_units = debit_units
        self.credit_units = credit_units
        super().__init__(
            f"trial balance does not balance in {currency}: debits {debit_units} != credits "
            f"{credit_units} (off by {debit_units - credit_units} units); the books were changed "
            f"outside Byline or read half-way. Run `byline db check`"
        )


class AuditPackError(ReportError):
    """The parts of an audit pack do not make a pack."""

    def __init__(self, period: str, reason: str) -> None:
        self.period = period
        self.reason = reason
        super().__init__(
            f"audit pack of {period}: {reason}; no pack was written. "
            f"Gather the parts again with `byline audit pack --period {period}`"
        )


class AuditSamplingError(ReportError):
    """A sample was asked for that cannot be drawn or evaluated."""

    def __init__(self, found: str, expected: str) -> None:
        self.found = found
        self.expected = expected
        super().__init__(f"audit sample: {found}; expected {expected}; nothing was drawn")


class RenderError(ReportError):
    """A report could not be laid out in the format asked for."""

    def __init__(self, what: str, output_format: str, reason: str) -> None:
        self.what = what
        self.output_format = output_format
        self.reason = reason
        super().__init__(
            f"{what} could not be rendered as {output_format}: {reason}; no file was written"
        )


class FontMissingError(RenderError):
    """A font file that ships with Byline is absent or is not the one that was shipped."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(
            f"font {path}",
            "pdf",
            f"{reason}. Byline sets documents only with the fonts it ships, so that the bytes "
            f"are the same everywhere; reinstall the package",
        )


class UnwritableReportError(ReportError):
    """A report could not be put in its folder."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"report {path} could not be written: {reason}; "
            f"nothing was left under that name. Free the folder and run the same command again"
        )
