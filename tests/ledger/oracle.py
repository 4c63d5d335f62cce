"""A book in plain Python, slow and obvious, that the database is compared with.

It keeps entries in a list and sums them anew at every question. What it refuses, the database
must refuse; what it accepts must be in the database at the same place.
"""

from dataclasses import dataclass, field

from ledger.entry import JournalEntry
from ledger.journal import reversal_of


class Refused(Exception):  # noqa: N818  # A verdict, not a fault.
    """The oracle does not take it."""


@dataclass
class Oracle:
    """What the book should hold."""

    leaves: list[JournalEntry | str] = field(default_factory=list)
    periods: dict[str, str] = field(default_factory=dict)

    @property
    def entries(self) -> dict[str, JournalEntry]:
        """Every entry by its name."""
        return {leaf.entry_id: leaf for leaf in self.leaves if isinstance(leaf, JournalEntry)}

    def place_of(self, entry_id: str) -> int:
        """Return the place of an entry, 1-based."""
        for place, leaf in enumerate(self.leaves, 1):
            if isinstance(leaf, JournalEntry) and leaf.entry_id == entry_id:
                return place
        raise Refused("unknown entry")

    def open_period(self, period: str) -> None:
        """Open a period, in order."""
        if self.periods.get(period) == "open":
            return
        if period in self.periods or any(known > period for known in self.periods):
            raise Refused("period order")
        self.periods[period] = "open"
        self.leaves.append(f"open {period}")

    def close_period(self, period: str) -> None:
        """Close a period, in order; again by the same people is no error."""
        if self.periods.get(period) == "closed":
            return
        earlier = [p for p, state in self.periods.items() if p < period and state == "open"]
        if self.periods.get(period) != "open" or earlier:
            raise Refused("period order")
        self.periods[period] = "closed"
        self.leaves.append(f"close {period}")

    def post(self, entries: list[JournalEntry]) -> list[tuple[int, bool]]:
        """Post entries, all or none; returns (place, replayed) of each."""
        leaves = list(self.leaves)
        try:
            return [self._post_one(entry) for entry in entries]
        except Refused:
            self.leaves = leaves
            raise

    def _post_one(self, entry: JournalEntry) -> tuple[int, bool]:
        known = self.entries
        if entry.entry_id in known:
            if known[entry.entry_id] != entry:
                raise Refused("other content under the same key")
            return self.place_of(entry.entry_id), True
        if self.periods.get(entry.period) != "open":
            raise Refused("period not open")
        if entry.reverses is not None:
            taken_back = {e.reverses for e in known.values()}
            original = known.get(entry.reverses)
            if original is None or entry.reverses in taken_back:
                raise Refused("nothing to take back")
            if entry.kind == "release" and original.kind != "hold":
                raise Refused("no hold")
            negated = [(p.account_id, p.currency, -p.units) for p in entry.postings]
            if negated != [tuple(p) for p in original.postings]:
                raise Refused("no negation")
        self.leaves.append(entry)
        return len(self.leaves), False

    def reverse(self, entry_id: str, key: str, period: str, kind: str) -> list[tuple[int, bool]]:
        """Take an entry back."""
        if entry_id not in self.entries:
            raise Refused("unknown entry")
        return self.post([reversal_of(self.entries[entry_id], **reversal(key, period, kind))])

    def access(self) -> int:
        """Record an access."""
        self.leaves.append("access")
        return len(self.leaves)

    def balance(self, account_id: str, up_to: int | None = None, day: str = "9999-12-31") -> int:
        """Sum every posting to an account, of the first leaves and up to a day."""
        return sum(
            posting.units
            for leaf in self.leaves[:up_to]
            if isinstance(leaf, JournalEntry) and leaf.effective_on <= day
            for posting in leaf.postings
            if posting.account_id == account_id
        )

    def accounts(self) -> set[str]:
        """Return every account that was posted to."""
        return {p.account_id for entry in self.entries.values() for p in entry.postings}


def reversal(key: str, period: str, kind: str) -> dict[str, str | None]:
    """Return the fields of a reversal or release beside its entry."""
    return {
        "key": key,
        "period": period,
        "effective_on": f"{period}-09",
        "prepared_by": "ben",
        "approved_by": "carla" if kind == "reversal" else None,
        "kind": kind,
    }
