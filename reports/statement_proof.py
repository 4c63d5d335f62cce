"""Check a published statement against the book, trusting neither.

The steps are numbered here and in the code; a step is never skipped silently.

    1. The statement follows from its own inputs: digest, totals, every sum.
    2. The checkpoint is signed by a key the reader named beforehand.
    3. It is the checkpoint the reader already holds, or continues it.
    4. Each entry the statement cites is under the checkpoint's root, in the words shown.
    5. Each cited entry balances in every currency.
    6. The postings to the payee's account add up to the change the statement shows,
       entry by entry.

(1) proves the arithmetic of the paper, (2) who speaks, (3) that the book was not
rewritten since, (4) and (5) that the entries are in it, (6) the sum. What stays
unproved: that no other entry to the payee exists; the audit pack shows that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.chart import royalties_payable
from ledger.checkpoint import Checkpoint, read_checkpoint
from ledger.note import NoteVerifier, b64_strict
from ledger.proof import verify_statement_proof
from reports.errors import StatementFileError
from reports.statement import Statement
from reports.statement_reader import parse_statement, read_statement


@dataclass(frozen=True)
class StatementCheck:
    """What was established: the statement, the checkpoint, and whether (3) was possible."""

    statement: Statement
    checkpoint: Checkpoint
    entries: int
    compared_with_held: bool


def verify_statement_file(
    data: bytes,
    trusted_keys: Sequence[NoteVerifier],
    *,
    held: str | None = None,
    consistency: Sequence[bytes] = (),
    name: str = "statement.json",
) -> StatementCheck:
    """Check a statement's JSON, as published, by the six steps of this module.

    Args:
        data: the statement's JSON file, with its `proof` member.
        trusted_keys: the log's public keys, got from elsewhere than this file.
        held: a checkpoint note that the reader already has, or None; then step 3
            cannot be done and the result says so.
        consistency: hashes from the held checkpoint to the statement's, when they differ; by
            default those that the statement brings for checkpoints of earlier periods.
        name: what to call the file in errors.

    Raises:
        StatementFileError: step 1, 4 or 6 failed, or the file carries no proof.
        ReportError: step 1, a sum does not foot.
        VerificationError: steps 3 to 6, the first difference.
        NoteError: step 2, nobody trusted signed the checkpoint.
    """
    statement = read_statement(data, name)  # (1)
    proof = parse_statement(data, name).get("proof")
    if not isinstance(proof, dict):
        raise StatementFileError(name, "proof", "absent", "the proof of the entries cited")
    header = statement.inputs.header
    account = royalties_payable(header.payee_id)
    change = statement.closing_units - statement.inputs.opening_units
    established = verify_statement_proof(  # (2) to (5), and the sum of (6)
        proof,
        trusted_keys,
        held=held,
        consistency=consistency or _brought(proof, held, name),
        amounts={(account, header.currency): -change},
    )
    _check_entries(statement, proof, account, name)  # (6)
    return StatementCheck(statement, established.checkpoint, established.entries, held is not None)


def held_note(data: bytes) -> str:
    """Take the checkpoint out of what a creator holds: a note, or an earlier statement's JSON.

    Raises:
        StatementFileError: a JSON file without a checkpoint.
    """
    text = data.decode("utf-8", "replace")
    if not text.startswith("{"):
        return text
    proof = parse_statement(data, "the statement held").get("proof")
    if not isinstance(proof, dict) or not isinstance(proof.get("checkpoint"), str):
        raise StatementFileError("the statement held", "proof", "absent", "a checkpoint")
    return str(proof["checkpoint"])


def _brought(proof: Mapping[str, Any], held: str | None, name: str) -> list[bytes]:
    """Find the hashes that the statement brings for the checkpoint held; they prove themselves."""
    if held is None:
        return []
    said, size = read_checkpoint(str(proof.get("checkpoint"))), read_checkpoint(held).size
    if size > said.size:
        raise StatementFileError(
            name,
            "checkpoint",
            f"of {said.size} leaves",
            f"one as late as the checkpoint held, of {size}; compare that one with the audit pack",
        )
    for link in proof.get("consistency", []):
        if link["size"] == size:
            return [b64_strict(text, "a consistency hash") for text in link["hashes"]]
    return []


def _check_entries(statement: Statement, proof: Mapping[str, Any], account: str, name: str) -> None:
    """Compare each entry the statement lists with the leaf that the proof shows."""
    currency = statement.inputs.header.currency
    leaves = {item["ledger_seq"]: json.loads(item["leaf"]) for item in proof["entries"]}
    listed = {entry.ledger_seq: entry for entry in statement.inputs.entries}
    if set(listed) != set(leaves):
        shown, proved = sorted(listed), sorted(leaves)
        raise StatementFileError(name, "entries", f"entries {shown}", f"entries {proved} as proved")
    for seq, entry in listed.items():
        leaf = leaves[seq]
        units = -sum(
            int(text) for to, unit, text in leaf["postings"] if (to, unit) == (account, currency)
        )
        shown_entry = (entry.entry_id, entry.kind, entry.effective_on, entry.amount_units)
        proved_entry = (leaf["entry_id"], leaf["kind"], leaf["effective_on"], units)
        if shown_entry != proved_entry:
            raise StatementFileError(name, f"entry {seq}", str(shown_entry), str(proved_entry))
