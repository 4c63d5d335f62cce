"""The book as statements cite it: entries by account, leaves, and the checkpoint of a period.

1. A period is issued under the first checkpoint that covers every entry booked up to it, so the
   same statement made a year later stands on the same checkpoint.
2. Entries are indexed by account once; ten thousand statements do not read the book ten thousand
   times.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flows.payout_holds import PaymentHold, holds_of
from ledger import chart
from ledger.checkpoint import Checkpoint, read_checkpoint
from ledger.journal import SealedEntry
from ledger.merkle import MerkleTree, consistency_proof
from ledger.proof import PROOF_FORMAT, prove_entry
from ledger.store import LedgerStore, StoredCheckpoint

Moves = Sequence[tuple[SealedEntry, int]]


@dataclass(frozen=True)
class BookView:
    """The book as statements cite it.

    Args:
        entries: every sealed entry under the checkpoint, in order.
        by_account: entries with what they add to what is owed, by payable account and currency.
        checkpoint: what the period's checkpoint says.
        note: its signed note.
        earlier: checkpoints under which earlier periods were issued, oldest first.
        trial_balance_units: the sum over all accounts, zero.
        holds: payees to whom nothing was sent, as the log stood under the checkpoint.
    """

    entries: tuple[SealedEntry, ...]
    by_account: Mapping[tuple[str, str], Moves]
    checkpoint: Checkpoint
    note: str
    earlier: tuple[StoredCheckpoint, ...]
    trial_balance_units: int
    holds: Mapping[str, PaymentHold]

    @classmethod
    def of(cls, books: LedgerStore, period: str) -> BookView:
        """Read the book once, as it stood when a closed period was sealed."""
        entries = tuple(books.entries())
        stored = books.checkpoints()
        issued: dict[str, StoredCheckpoint] = {}
        for name in sorted(
            {sealed.entry.period for sealed in entries if sealed.entry.period <= period}
        ):
            found = _issued_under(entries, stored, name)
            if found is not None:
                issued[name] = found
        latest = _issued_under(entries, stored, period) or stored[-1]
        entries = tuple(sealed for sealed in entries if sealed.ledger_seq <= latest.size)
        moves: dict[tuple[str, str], list[tuple[SealedEntry, int]]] = defaultdict(list)
        units = 0
        for sealed in entries:
            sums: dict[tuple[str, str], int] = defaultdict(int)
            for posting in sealed.entry.postings:
                units += posting.units
                if posting.account_id.startswith(chart.PAYABLE_PREFIX):
                    sums[posting.account_id, posting.currency] -= posting.units
            for account, added in sums.items():
                if added:
                    moves[account].append((sealed, added))
        before = {note.size: note for note in issued.values() if note.size < latest.size}
        return cls(
            entries,
            moves,
            read_checkpoint(latest.note),
            latest.note,
            tuple(before[size] for size in sorted(before)),
            units,
            holds_of(books.accesses(), latest.size),
        )

    def movements_on(self, account: str, currency: str) -> Moves:
        """Return every entry that touches a payable account, with what it adds to what is owed."""
        return self.by_account.get((account, currency), ())


@dataclass(frozen=True)
class ProofParts:
    """Leaves and inclusion proofs, made once and shared by all statements of a period.

    Args:
        note: the signed checkpoint.
        entries: (leaf, tlog-proof text) by place.
        consistency: (size, hashes in base64) from the checkpoints of earlier periods.
    """

    note: str
    entries: Mapping[int, tuple[str, str]]
    consistency: tuple[tuple[int, tuple[str, ...]], ...]

    @classmethod
    def of(cls, books: LedgerStore, view: BookView, cited: Iterable[int]) -> ProofParts:
        """Make the proofs of the entries that a period's statements cite."""
        size = view.checkpoint.size
        tree = MerkleTree(books.leaf_hashes(0))
        wanted = set(cited)
        made = {}
        for sealed in view.entries:
            seq = sealed.ledger_seq
            if seq in wanted:
                proof = prove_entry(tree.node, seq, view.note, size)
                made[seq] = (sealed.leaf().decode("utf-8"), proof.text())
        links = tuple(
            (note.size, tuple(_b64(h) for h in consistency_proof(tree.node, note.size, size)))
            for note in view.earlier
        )
        return cls(view.note, made, links)

    def of_statement(self, places: Iterable[int]) -> dict[str, object]:
        """Give one statement's proof: its entries, and the way from earlier checkpoints."""
        entries = [
            {"ledger_seq": seq, "leaf": self.entries[seq][0], "tlog_proof": self.entries[seq][1]}
            for seq in sorted(places)
        ]
        links = [{"size": size, "hashes": list(hashes)} for size, hashes in self.consistency]
        return {
            "format": PROOF_FORMAT,
            "checkpoint": self.note,
            "entries": entries,
            "consistency": links,
        }

    def only(self, places: Iterable[int]) -> ProofParts:
        """Keep the entries named."""
        wanted = set(places)
        return ProofParts(
            self.note, {s: e for s, e in self.entries.items() if s in wanted}, self.consistency
        )


def _issued_under(
    entries: Sequence[SealedEntry], stored: Sequence[StoredCheckpoint], period: str
) -> StoredCheckpoint | None:
    """Find the first checkpoint over every entry booked up to a period."""
    last = max((s.ledger_seq for s in entries if s.entry.period <= period), default=1)
    return next((note for note in stored if note.size >= last), None)


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
