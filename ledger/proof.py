"""Proofs that an entry is in the book, as text files (c2sp.org/tlog-proof), and their checking.

1. A proof file holds the index of the entry, the hashes from its leaf up to the root, and the
   signed checkpoint; so it can be checked offline by whoever has the log's public key.
2. The leaf itself is not in the file. A statement carries the leaves that it cites, and the
   checker hashes those: what is shown is what is proved.
3. `verify_statement_proof` checks a statement against a checkpoint that the creator already
   holds: the cited entries are in the book, they balance, and their postings to the creator add
   up to the amount that the statement shows.

A proof shows that an entry is in the book, not that no other entry is; what a statement leaves
out is found by the sum of its account (`accounts.csv` of the pack) or by an auditor.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.audit_errors import NoteError, ProofError, VerificationError
from ledger.audit_leaf import diagnose
from ledger.canonical import ENTRY_FORMAT
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.merkle import (
    NodeSource,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from ledger.note import NoteVerifier, b64_strict

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
PROOF_FORMAT = "byline-statement-proof/1"
STATEMENT_PROOF = "statement proof"
_HASHES_MAX = 63


@dataclass(frozen=True)
class InclusionProof:
    """That a leaf is in the tree of a checkpoint.

    Attributes:
        index: the 0-based place of the leaf (`ledger_seq` - 1).
        hashes: sibling hashes from the leaf up.
        checkpoint: the signed note.
        extra: opaque bytes that nothing vouches for; empty for none.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""

    def text(self) -> str:
        """Write the proof as a tlog-proof file."""
        extra = [f"extra {_b64(self.extra)}"] if self.extra else []
        lines = [PROOF_HEADER, *extra, f"index {self.index}", *map(_b64, self.hashes)]
        return "\n".join(lines) + "\n\n" + self.checkpoint

    @classmethod
    def parse(cls, text: str) -> InclusionProof:
        """Read a tlog-proof file; nothing in it is trusted yet.

        Raises:
            ProofError: it has not the form of one.
            NoteError: a hash is not base64.
        """
        head, gap, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        extra = b""
        if lines[0] != PROOF_HEADER or not gap:
            raise ProofError(f"a proof starts with {PROOF_HEADER}, got {text[:60]!r}")
        position = 1
        if len(lines) > position and lines[position].startswith("extra "):
            extra = b64_strict(lines[position].removeprefix("extra "), "the proof's extra data")
            position += 1
        number = lines[position].removeprefix("index ") if len(lines) > position else ""
        plain = number.isascii() and number.isdecimal() and str(int(number)) == number
        if not plain or not lines[position].startswith("index "):
            raise ProofError(f"a proof names 'index N' on line {position + 1}, got {number!r}")
        hashes = tuple(b64_strict(line, "a hash of the proof") for line in lines[position + 1 :])
        if len(hashes) > _HASHES_MAX:
            raise ProofError(f"a proof has at most {_HASHES_MAX} hashes, got {len(hashes)}")
        return cls(int(number), hashes, checkpoint, extra)

    def check(self, leaf: bytes, trusted_keys: Sequence[NoteVerifier]) -> Checkpoint:
        """Check that a leaf is in the book that the checkpoint was signed over.

        Args:
            leaf: the canonical bytes of the entry, as shown to the reader.
            trusted_keys: the log's public key, and those of witnesses if any.

        Returns:
            The checkpoint, with the signatures that were checked.

        Raises:
            NoteError: nobody trusted signed the checkpoint.
            ProofError: the leaf is not under its root.
        """
        said = open_checkpoint(self.checkpoint, trusted_keys)
        verify_inclusion(leaf_hash(leaf), self.index, said.size, self.hashes, said.root)
        return said


def prove_entry(nodes: NodeSource, ledger_seq: int, checkpoint: str, size: int) -> InclusionProof:
    """Make the proof that an entry is in the book of a checkpoint.

    Args:
        nodes: full nodes of the tree, such as `MerkleTree.node`.
        ledger_seq: the place of the entry, 1-based.
        checkpoint: the signed note.
        size: the size that the checkpoint names.

    Raises:
        ProofError: the entry is not in a book of that size.
    """
    hashes = inclusion_proof(nodes, ledger_seq - 1, size)
    return InclusionProof(ledger_seq - 1, tuple(hashes), checkpoint)


def statement_proof(
    nodes: NodeSource, leaves: Mapping[int, bytes], checkpoint: str, size: int
) -> dict[str, object]:
    """Make the part of a statement that proves the entries it cites.

    Args:
        nodes: full nodes of the tree, such as `MerkleTree.node`.
        leaves: {ledger_seq: canonical leaf} of the cited entries.
        checkpoint: the signed note of the period's last checkpoint.
        size: the size that the checkpoint names.

    Returns:
        A JSON object: format, checkpoint, and for each entry its leaf and its tlog-proof text.

    Raises:
        ProofError: an entry is not in a book of that size.
    """
    entries = [
        {
            "ledger_seq": seq,
            "leaf": leaves[seq].decode("utf-8"),
            "tlog_proof": prove_entry(nodes, seq, checkpoint, size).text(),
        }
        for seq in sorted(leaves)
    ]
    return {"format": PROOF_FORMAT, "checkpoint": checkpoint, "entries": entries}


@dataclass(frozen=True)
class ProvedStatement:
    """What the check of a statement's proof established.

    Attributes:
        checkpoint: what the log signed.
        entries: how many cited entries were found in the book.
        units: {(account, currency): sum of the cited postings}, of the accounts asked for.
    """

    checkpoint: Checkpoint
    entries: int
    units: Mapping[tuple[str, str], int]


def verify_statement_proof(
    proof: Mapping[str, object],
    trusted_keys: Sequence[NoteVerifier],
    *,
    held: str | None = None,
    consistency: Sequence[bytes] = (),
    amounts: Mapping[tuple[str, str], int] | None = None,
) -> ProvedStatement:
    """Check the entries that a statement cites, trusting neither the statement nor the book.

        1. The checkpoint is signed by a key of the log named beforehand.
        2. It is the checkpoint that the reader holds, or continues it.
        3. Every cited entry is in canonical form and under the checkpoint's root.
        4. Every cited entry balances in every currency.
        5. The cited postings add up to the amounts stated.

    Args:
        proof: what `statement_proof` made, as read from the statement's JSON.
        trusted_keys: the log's public key.
        held: a checkpoint that the reader already has; None skips step 2 and says so nowhere,
            so callers tell the reader.
        consistency: the hashes from the held checkpoint to the statement's, when they differ.
        amounts: {(account, currency): units} that the cited postings must add up to; debits are
            positive, what is owed to a payee is negative.

    Returns:
        What was established.

    Raises:
        VerificationError: the first difference, with its entry and both values.
        NoteError: nobody trusted signed a checkpoint.
    """
    if proof.get("format") != PROOF_FORMAT:
        raise VerificationError(
            1, STATEMENT_PROOF, "format", PROOF_FORMAT, repr(proof.get("format")), "it is no proof"
        )
    said = open_checkpoint(str(proof.get("checkpoint")), trusted_keys)  # (1)
    if held is not None:
        _check_continues(said, open_checkpoint(held, trusted_keys), consistency)  # (2)
    units: dict[tuple[str, str], int] = {}
    seen: set[int] = set()
    entries = proof.get("entries")
    for cited in entries if isinstance(entries, list) else []:
        _add_entry(cited, said, seen, units)  # (3) and (4)
    for (account, currency), stated in (amounts or {}).items():
        added = units.get((account, currency), 0)
        if added != stated:  # (5)
            raise VerificationError(
                5, STATEMENT_PROOF, f"{account} in {currency}", f"{stated} units as stated",
                f"{added} units in the entries cited", "the statement does not follow from them",
            )  # fmt: skip
    wanted = {key: units.get(key, 0) for key in amounts} if amounts is not None else units
    return ProvedStatement(said, len(seen), wanted)


def _check_continues(said: Checkpoint, held: Checkpoint, consistency: Sequence[bytes]) -> None:
    same = (said.origin, said.size, said.root) == (held.origin, held.size, held.root)
    if same and not consistency:
        return
    if said.origin != held.origin:
        raise VerificationError(
            2, STATEMENT_PROOF, "origin", held.origin, said.origin, "it is another log"
        )
    try:
        verify_consistency(held.size, held.root, said.size, said.root, consistency)
    except ProofError as error:
        raise VerificationError(
            2, STATEMENT_PROOF, "checkpoint", f"one that continues {held.size} leaves with root "
            f"{held.root_hex}", f"{said.size} leaves with root {said.root_hex} ({error})",
            "the book was rewritten since, or the consistency proof is missing",
        ) from None  # fmt: skip


def _add_entry(
    cited: object, said: Checkpoint, seen: set[int], units: dict[tuple[str, str], int]
) -> None:
    parts = cited if isinstance(cited, dict) else {}
    seq, leaf = parts.get("ledger_seq"), str(parts.get("leaf")).encode("utf-8", "replace")
    place = f"entry {seq}"
    if not isinstance(seq, int) or seq in seen:
        raise VerificationError(
            3, STATEMENT_PROOF, place, "a ledger_seq cited once", repr(seq), "it counts twice"
        )
    seen.add(seq)
    wrong = diagnose(leaf + b"\n", seq)
    value: dict[str, Any] = json.loads(leaf) if wrong.canonical else {"format": None}
    if not wrong.canonical or value["format"] != ENTRY_FORMAT:
        raise VerificationError(
            3, STATEMENT_PROOF, f"{place}, {wrong.field}", wrong.expected or ENTRY_FORMAT,
            wrong.found or value["format"], "the entry shown was changed",
        )  # fmt: skip
    try:
        included = InclusionProof.parse(str(parts.get("tlog_proof")))
        # The place comes from the leaf, not from the proof: a proof for another place fails.
        verify_inclusion(leaf_hash(leaf), seq - 1, said.size, included.hashes, said.root)
    except (ProofError, NoteError) as error:
        raise VerificationError(
            3, STATEMENT_PROOF, place, f"a leaf under root {said.root_hex}", str(error),
            "the entry is not in the book that was signed",
        ) from None  # fmt: skip
    sums: dict[str, int] = {}
    for account, currency, text in value["postings"]:
        key = (account, currency)
        units[key] = units.get(key, 0) + int(text)
        sums[currency] = sums.get(currency, 0) + int(text)
    for currency in sorted(sums):
        if sums[currency]:
            raise VerificationError(
                4, STATEMENT_PROOF, f"{place}, postings in {currency}", "a sum of 0",
                sums[currency], "debits and credits differ",
            )  # fmt: skip


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
