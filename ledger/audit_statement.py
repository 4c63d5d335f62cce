"""Prove a statement against the book with nothing but its file, a key and an earlier checkpoint.

    1. The checkpoint under the statement is signed by a key that the reader named beforehand.
    2. It continues the checkpoint that the reader holds, alone or in an earlier statement.
    3. Every entry shown is under the checkpoint's root, in the words shown, and balances.
    4. The entries' postings to the payee add up to closing less opening balance of the paper.

Whether the paper's own lines add up is for `byline audit verify STATEMENT`, which reads it whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ledger.audit_errors import NoteError, VerificationError
from ledger.checkpoint import read_checkpoint, read_verifiers
from ledger.note import b64_strict
from ledger.proof import verify_statement_proof

PAYABLE = "Liabilities:RoyaltiesPayable:"


def is_statement(path: Path) -> bool:
    """Say whether a file is JSON, as statements are, and no pack."""
    try:
        with path.open("rb") as file:
            return file.read(1) == b"{"
    except OSError:
        return False


def prove_statement(path: Path, key: str, against: Sequence[Path]) -> list[str]:
    """Prove a statement; return what a person reads.

    Args:
        path: the statement's JSON.
        key: the log's public key: its text, or a file.
        against: what the reader holds: notes, or earlier statements' JSON.

    Raises:
        KeyFormatError: the key cannot be read.
        NoteError: nobody trusted signed a checkpoint, or what is held has none.
        VerificationError: the first difference.
    """
    document = _statement_json(path)
    try:
        header, proof = document["inputs"]["header"], document["proof"]
        account = (PAYABLE + header["payee_id"], header["currency"])
        opening = int(document["inputs"]["opening_units"])
        closing = int(document["totals"]["closing"]["units"])
        number = str(header["statement_number"])
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationError(
            1, path.name, "", "a statement in JSON with its proof", repr(error), "it proves nothing"
        ) from None
    trusted = read_verifiers(key)
    entries, root = 0, ""
    notes: list[str | None] = [held_checkpoint(item) for item in against]
    for held in notes or [None]:
        done = verify_statement_proof(
            proof,
            trusted,
            held=held,
            consistency=_hashes(proof, held),
            amounts={account: opening - closing},
        )
        entries, root = done.entries, done.checkpoint.root_hex
    lines = [
        f"statement {number}: {entries} entries are in the book of root {root}",
        f"they take {account[0]} from {opening} to {closing} units of {account[1]}",
    ]
    said = "continues every checkpoint you hold: nothing before was rewritten"
    return [*lines, f"PROVED: the book {said}" if against else "PROVED, with no checkpoint held"]


def _statement_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise NoteError(f"{path} cannot be read: {error}; nothing was verified") from None


def held_checkpoint(path: Path) -> str:
    """Take a checkpoint out of a note or an earlier statement.

    Raises:
        NoteError: it cannot be read, or brings none.
    """
    if not is_statement(path):
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NoteError(f"{path} cannot be read: {error}; nothing was verified") from None
    proof = _statement_json(path).get("proof")
    if not isinstance(proof, dict) or not isinstance(proof.get("checkpoint"), str):
        raise NoteError(f"{path} brings no checkpoint; nothing was verified against it")
    return str(proof["checkpoint"])


def _hashes(proof: Mapping[str, Any], held: str | None) -> list[bytes]:
    """Find the hashes that lead from the checkpoint held to the statement's."""
    links = proof.get("consistency", [])
    if held is None or not isinstance(links, list):
        return []
    size = read_checkpoint(held).size
    found: list[str] = next((link["hashes"] for link in links if link.get("size") == size), [])
    return [b64_strict(text, "a consistency hash") for text in found]
