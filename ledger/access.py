"""Accesses: who looked at a statement, an export or a trace is itself a leaf of the book.

1. An access is append-only and takes its `ledger_seq` from the same head as an entry.
2. It names ids only: the actor, the role, the action, the object and a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ledger.canonical import canonical_access
from ledger.errors import EntryError
from ledger.posting_rules import check_words, is_storable

REASON_CHARACTERS_MAX = 2000


@dataclass(frozen=True, slots=True)
class Access:
    """One access, as it is recorded.

    Args:
        actor: who, by id.
        role: in which role, such as "creator", "accountant", "auditor".
        action: what was done, such as "view", "export", "trace", "erase".
        object_id: to what.
        reason: why, in words; may be empty.
    """

    actor: str
    role: str
    action: str
    object_id: str
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be stored.

        Raises:
            EntryError: an id is malformed or the reason is too long.
        """
        what = f"access of {self.actor!r} to {self.object_id!r}"
        check_words({"actor": self.actor, "role": self.role}, what)
        check_words({"action": self.action, "object": self.object_id}, what)
        if len(self.reason) > REASON_CHARACTERS_MAX or not is_storable(self.reason):
            raise EntryError(
                f"{what}: reason must be at most {REASON_CHARACTERS_MAX} characters of valid "
                f"text, got {len(self.reason)}; nothing was recorded"
            )

    def leaf(self, ledger_seq: int) -> bytes:
        """Return the canonical bytes of the access at its place in the book."""
        return canonical_access(
            ledger_seq=ledger_seq,
            actor=self.actor,
            role=self.role,
            action=self.action,
            object_id=self.object_id,
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True)
class RecordedAccess:
    """An access with its place in the book and the time at which the database recorded it."""

    ledger_seq: int
    recorded_at: datetime
    access: Access
