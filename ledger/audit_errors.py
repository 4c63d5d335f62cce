"""What a verifier, a witness or a key file says no to; each error names both values.

The tree of these errors:

    LedgerError
      AuditError            everything below
        KeyFormatError      a key is not in its C2SP text form, or its file may be read by others
        NoteError           a signed note is malformed, or nobody we trust signed it
        ProofError          a Merkle proof does not lead to the root it should
        PackError           an audit pack cannot be written or is no audit pack at all
        VerificationError   a pack was read and differs from what it must be
        WitnessRefusal      a witness will not cosign: rollback, fork, stale or unknown log
"""

from __future__ import annotations

from ledger.errors import LedgerError


class AuditError(LedgerError):
    """Something that should prove the book does not."""


class KeyFormatError(AuditError):
    """A key is not in its text form, or its file is open to others."""


class NoteError(AuditError):
    """A signed note is malformed, or is not signed by a key named beforehand."""


class ProofError(AuditError):
    """A Merkle proof does not lead to the root it should."""


class PackError(AuditError):
    """A file is no audit pack, or a pack cannot be written from what was given."""


class VerificationError(AuditError):
    """The first difference found between a pack and what it must be.

    Attributes:
        step: the number of the verification step that found it.
        member: the file inside the pack (or "archive" for the frame around the files).
        place: the row, line, byte or field, in words.
        expected: what it must be.
        found: what it is.
        consequence: what that means.
    """

    def __init__(
        self, step: int, member: str, place: str, expected: object, found: object, consequence: str
    ) -> None:
        self.step = step
        self.member = member
        self.place = place
        self.expected = str(expected)
        self.found = str(found)
        self.consequence = consequence
        where = f"{member}, {place}" if place else member
        super().__init__(
            f"step {step}: {where}: expected {self.expected}, found {self.found}; {consequence}"
        )

    def __reduce__(self) -> tuple[type[VerificationError], tuple[object, ...]]:
        """Let a worker process hand the error over whole."""
        parts = (self.step, self.member, self.place, self.expected, self.found, self.consequence)
        return VerificationError, parts


class WitnessRefusal(AuditError):  # noqa: N818  # A refusal is what the protocol calls it.
    """A witness does not cosign; `status` is the HTTP status of the C2SP witness protocol.

    Attributes:
        status: 400 malformed, 403 not signed by a known key, 404 unknown log,
            409 the old size is not the size last cosigned, 422 the proof fails.
        known_size: the size that the witness cosigned last, for 409.
    """

    def __init__(self, status: int, message: str, known_size: int | None = None) -> None:
        self.status = status
        self.known_size = known_size
        super().__init__(message)
