"""The journal: sealed entries in the order of the book, and the entry that takes one back.

1. A sealed entry has its place, `ledger_seq`, which never changes and leaves no gap.
2. A reversal is the exact negation, line by line, of the entry it names; so is a release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ledger.canonical import canonical_entry
from ledger.entry import JournalEntry, Posting


@dataclass(frozen=True, slots=True)
class Posted:
    """What the book answers to a posted entry.

    Attributes:
        entry_id: the entry.
        ledger_seq: its place in the book, 1-based.
        replayed: True when the same entry was in the book before this call.
    """

    entry_id: str
    ledger_seq: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """An entry with its place in the book.

    Attributes:
        ledger_seq: the place, 1-based, over entries, periods and accesses together.
        recorded_at: when the database recorded it (UTC); not part of the leaf.
        entry: what was booked.
    """

    ledger_seq: int
    recorded_at: datetime
    entry: JournalEntry

    @property
    def entry_id(self) -> str:
        """The name of the entry."""
        return self.entry.entry_id

    def leaf(self) -> bytes:
        """Return the canonical bytes that are hashed into the Merkle tree."""
        return canonical_entry(ledger_seq=self.ledger_seq, entry=self.entry)


def reversal_of(  # noqa: PLR0913  # One argument per field that a reversal does not inherit.
    entry: JournalEntry,
    *,
    key: str,
    period: str,
    effective_on: str,
    prepared_by: str,
    approved_by: str | None,
    description: str | None = None,
    kind: str = "reversal",
    scope: str | None = None,
    evidence: Mapping[str, str] | None = None,
) -> JournalEntry:
    """Build the entry that takes another one back: the same lines with the signs turned.

    Args:
        entry: what is taken back.
        key: the idempotency key of the reversal itself.
        period: the open period it is booked in.
        effective_on: the day it counts for.
        prepared_by: who prepared it.
        approved_by: who approved it; needed for a reversal, not for a release.
        description: for people; by default it names the entry.
        kind: "reversal", or "release" for the end of a hold.
        scope: by default that of the entry.
        evidence: digests of the files that explain why.
    """
    return JournalEntry(
        scope=entry.scope if scope is None else scope,
        key=key,
        kind=kind,
        period=period,
        effective_on=effective_on,
        description=description or f"{kind} of {entry.entry_id}: {entry.description}"[:2000],
        postings=tuple(Posting(p.account_id, p.currency, -p.units) for p in entry.postings),
        reverses=entry.entry_id,
        prepared_by=prepared_by,
        approved_by=approved_by,
        evidence={} if evidence is None else evidence,
    )
