"""Be a witness on one's own machine: a pack, a key, and a file of what was signed before.

1. Nothing but the pack, the log's public key and the witness's two files is read: no workspace, no
   database, no network.
2. The witness's key is made at the first run, 0600, and never replaced. A memory without its key
   is refused: the signatures given before could no longer be told to be this witness's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from flows.artefacts import write_bytes
from flows.errors import FlowError
from ledger.audit_witness import Witnessed, witness_pack
from ledger.checkpoint import read_checkpoint, read_signer, read_verifiers, write_key_files
from ledger.note import TYPE_COSIGNATURE, NoteSigner


@dataclass(frozen=True)
class WitnessRun:
    """What a run of the witness did.

    Attributes:
        witnessed: the verification, what was seen before, and the cosigned note.
        public_key: the witness's public key, for whoever checks the cosignature.
        made: the private key's file when this run made it, else None.
        out: where the cosigned note was written, if anywhere.
    """

    witnessed: Witnessed
    public_key: str
    made: Path | None
    out: Path | None

    def as_json(self) -> dict[str, object]:
        """Give the run as plain values."""
        checkpoint = read_checkpoint(self.witnessed.note)
        return {
            "cosigned": True,
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root_hex,
            "size_before": self.witnessed.before.size,
            "witness_public_key": self.public_key,
            "witness_key_made": self.made is not None,
            "note": self.witnessed.note,
        }

    def lines(self) -> list[str]:
        """Give the run as a person reads it, the note last."""
        made = (
            [
                f"witness key made: {self.made}; keep it and its backup to yourself",
                f"give {self.made.with_suffix('.pub')} to whoever checks your signatures",
            ]
            if self.made
            else []
        )
        note = [f"cosigned checkpoint: {self.out}"] if self.out else self.witnessed.note.split("\n")
        return [*made, *self.witnessed.lines(), *note]


def witness_with_files(
    pack: Path, state: Path, *, log_key: str, witness_key: Path, name: str, out: Path | None
) -> WitnessRun:
    """Verify a pack and cosign its checkpoint.

    Args:
        pack: the audit pack.
        state: what this witness remembers; made when missing.
        log_key: the log's public key, a file or its text, got from its owner.
        witness_key: the witness's private key; made when missing.
        name: name of a key that is made, host-like.
        out: a file for the cosigned note.

    Returns:
        What was signed.

    Raises:
        FlowError: the key is missing and the memory is not, or the key is not a witness's.
        VerificationError: the pack does not verify; nothing was signed.
        WitnessRefusal: the book was rolled back or forked; nothing was signed.
    """
    log_keys = read_verifiers(log_key)
    made = None if witness_key.exists() else _make_key(witness_key, state, name)
    signer = read_signer(witness_key)
    if signer.key_type != TYPE_COSIGNATURE:
        raise FlowError(
            f"{witness_key} holds a key of type {signer.key_type:02x}, which signs a log's own "
            f"checkpoints; a witness signs with type {TYPE_COSIGNATURE:02x}. Nothing was signed; "
            f"name another file, and a witness key is made there"
        )
    witnessed = witness_pack(pack, state, log_keys=log_keys, witness=signer, now=int(time.time()))
    if out is not None:
        write_bytes(out, witnessed.note.encode("utf-8"))
    return WitnessRun(witnessed, signer.verifier.text, made, out)


def _make_key(witness_key: Path, state: Path, name: str) -> Path:
    """Make a witness key for a witness that has signed nothing yet."""
    if state.exists():
        raise FlowError(
            f"{state} says what this witness signed before, but its key {witness_key} is missing; "
            f"nothing was signed. Restore the key from its backup, or begin as a new witness with "
            f"another --state"
        )
    write_key_files(witness_key, NoteSigner.generate(name, TYPE_COSIGNATURE))
    return witness_key
