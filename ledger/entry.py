"""Journal entries and their postings: what is booked, as values that cannot change.

1. An entry is named by the business event it records: `entry_id` is a function of (scope, key).
2. `payload_sha256` covers every field, so "the same entry again" has one meaning.
3. An entry that exists keeps the rules of `posting_rules`: it is checked when it is built.
4. Debits are positive, credits negative, in whole units of a currency such as USD/6.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from ledger.canonical import canonical_entry_bytes, entry_id_of
from ledger.posting_rules import (
    check_kind,
    check_postings,
    check_texts,
    check_times,
    check_words,
)

_NO_EVIDENCE: Mapping[str, str] = MappingProxyType({})
# The leaf of an entry that has no place in the book yet; see `leaf_at`.
_UNPLACED_SEQ = 1
_UNPLACED = b'"ledger_seq":1,"period":"'


class Posting(NamedTuple):
    """One line of an entry; a million of them make one night, hence a tuple.

    Attributes:
        account_id: the account, such as Liabilities:Accrued:pkg-numpy.
        currency: code and scale, such as USD/6.
        units: debit positive, credit negative, never zero.
    """

    account_id: str
    currency: str
    units: int


@dataclass(frozen=True)
class JournalEntry:
    """One business event, as balanced postings.

    Args:
        scope: the name space of `key`, such as "nightly".
        key: names the event within the scope; posting the same event again posts nothing.
        kind: one of `posting_rules.KINDS`.
        period: the settlement period it is booked in, YYYY-MM (text or `Period`).
        effective_on: the day it counts for, YYYY-MM-DD (text or date).
        description: for people.
        postings: at least two, adding up to zero in every currency; the order is kept.
        reverses: the entry that a reversal or release takes back.
        prepared_by: who prepared it, "system" for the machine.
        approved_by: who approved it; never the preparer.
        evidence: name -> SHA-256 hex of the files it was computed from.

    Raises:
        EntryError: a rule of `posting_rules` is broken.
    """

    scope: str
    key: str
    kind: str
    period: str
    effective_on: str
    description: str
    postings: Sequence[Posting]
    reverses: str | None = None
    prepared_by: str = "system"
    approved_by: str | None = None
    evidence: Mapping[str, str] = field(default_factory=lambda: _NO_EVIDENCE)

    def __post_init__(self) -> None:
        """Bring the fields into one form and check every rule."""
        # A Period and a date write themselves as the texts that are kept.
        object.__setattr__(self, "period", str(self.period))
        object.__setattr__(self, "effective_on", str(self.effective_on))
        object.__setattr__(
            self,
            "postings",
            tuple(p if type(p) is Posting else Posting(*p) for p in self.postings),
        )
        object.__setattr__(self, "evidence", MappingProxyType(dict(self.evidence)))
        what = f"journal entry {self.scope}/{self.key}"
        check_words({"scope": self.scope, "prepared_by": self.prepared_by}, what)
        check_words({"approved_by": self.approved_by, "reverses": self.reverses}, what)
        check_texts(self.key, self.description, self.evidence, what)
        check_times(self.period, self.effective_on, what)
        check_kind(self.kind, self.prepared_by, self.approved_by, self.reverses, what)
        check_postings(self.entry_id, self.postings)

    @cached_property
    def entry_id(self) -> str:
        """The name of the entry, a function of (scope, key) alone."""
        return entry_id_of(self.scope, self.key)

    @property
    def payload_sha256(self) -> str:
        """SHA-256 in hex over every field: the leaf it would be as the first of a book."""
        return payload_sha256_of(self.unplaced_leaf())

    def unplaced_leaf(self) -> bytes:
        """Return the canonical leaf as if the entry were the first of a book."""
        # The same as `canonical_entry`, whose copy of a million postings is not needed here.
        return canonical_entry_bytes(
            ledger_seq=_UNPLACED_SEQ,
            entry_id=self.entry_id,
            scope=self.scope,
            key=self.key,
            kind=self.kind,
            period=self.period,
            effective_on=self.effective_on,
            description=self.description,
            prepared_by=self.prepared_by,
            approved_by=self.approved_by,
            reverses=self.reverses,
            evidence=self.evidence,
            postings=self.postings,
        )


def payload_sha256_of(unplaced_leaf: bytes) -> str:
    """Return the payload hash of an entry whose unplaced leaf is at hand."""
    return hashlib.sha256(unplaced_leaf).hexdigest()


def leaf_at(unplaced_leaf: bytes, ledger_seq: int) -> bytes:
    """Give an unplaced leaf its place in the book without writing it all again.

    Inside a JSON text a quotation mark is always escaped, so the searched bytes cannot occur
    in a value; and no key before `ledger_seq` in sorted order has a number as its value.

    Args:
        unplaced_leaf: what `JournalEntry.unplaced_leaf` returned.
        ledger_seq: the place, 1-based.

    Returns:
        The same bytes as `canonical_entry(ledger_seq=ledger_seq, entry=entry)`.
    """
    before, found, after = unplaced_leaf.partition(_UNPLACED)
    assert found, unplaced_leaf[:200]
    return b'%b"ledger_seq":%d,"period":"%b' % (before, ledger_seq, after)


def first_difference(booked: JournalEntry, given: JournalEntry) -> tuple[str, object, object]:
    """Name the first field in which two entries of the same name differ.

    Returns:
        The field ("postings[3].units" for a posting), the booked value and the given one.
    """
    assert booked.entry_id == given.entry_id, (booked.entry_id, given.entry_id)
    for item in dataclasses.fields(JournalEntry):
        ours, theirs = getattr(booked, item.name), getattr(given, item.name)
        if item.name != "postings":
            if ours != theirs:
                return item.name, ours, theirs
            continue
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
            for name in Posting._fields:
                if getattr(mine, name) != getattr(other, name):
                    where = f"postings[{number}].{name}"
                    return where, getattr(mine, name), getattr(other, name)
        if len(ours) != len(theirs):
            return "number of postings", len(ours), len(theirs)
    raise AssertionError(f"entries {booked.entry_id} do not differ in any field")
