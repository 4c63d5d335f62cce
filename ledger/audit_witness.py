"""Be a witness with one command: verify a pack, compare it with what was seen before, cosign.

    1. The pack verifies, step by step (`ledger.audit`).
    2. The book in it continues the one that this witness signed last (`ledger.witness`).
    3. What was signed is remembered before the signature is given out.

The proof for (2) is made from the leaves that (1) has just hashed, so the witness needs nothing
from the log but the pack; the decision is the same as for a request over the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.audit import run_verify
from ledger.audit_errors import ProofError
from ledger.audit_frame import OpenPack
from ledger.audit_report import VerifyReport
from ledger.audit_tables import CHECKPOINT, LEAF_HASHES
from ledger.checkpoint import read_checkpoint
from ledger.merkle import HASH_BYTES, MerkleTree, NodeSource, consistency_proof
from ledger.note import NoteSigner, NoteVerifier
from ledger.witness import Cosigned, WitnessRequest, cosign_with_file, read_state


@dataclass(frozen=True)
class Witnessed:
    """What a witness did with a pack.

    Attributes:
        report: the verification, all steps held.
        before: what the witness had signed last.
        note: the checkpoint with the witness's signature, to be given back to the log.
    """

    report: VerifyReport
    before: Cosigned
    note: str

    def lines(self) -> list[str]:
        """Return what a person reads: the verification, then what was signed."""
        seen = f"{self.before.size} leaves seen before" if self.before.size else "first time seen"
        return [*self.report.lines(), f"COSIGNED: {self.report.size} leaves ({seen})"]


def make_request(nodes: NodeSource, old_size: int, checkpoint: str) -> WitnessRequest:
    """Make the request by which a log asks a witness to cosign.

    Args:
        nodes: full nodes of the tree, such as `MerkleTree.node`.
        old_size: the size that the witness signed last, 0 for never (its 409 answer tells).
        checkpoint: the signed note.

    Raises:
        ProofError: the checkpoint is smaller than the old size.
    """
    proof = consistency_proof(nodes, old_size, read_checkpoint(checkpoint).size)
    return WitnessRequest(old_size, tuple(proof), checkpoint)


def witness_pack(
    pack: Path,
    state_path: Path,
    *,
    log_keys: Sequence[NoteVerifier],
    witness: NoteSigner,
    now: int,
) -> Witnessed:
    """Verify a pack and cosign its checkpoint, as a second party.

    Args:
        pack: the audit pack.
        state_path: what this witness remembers, a file of its own; made when missing.
        log_keys: the log's public key, got from its owner and not from the pack.
        witness: the witness's own key (type 0x04).
        now: the time, in seconds since 1970.

    Returns:
        What was signed.

    Raises:
        VerificationError: the pack does not verify; nothing was signed.
        WitnessRefusal: the book was rolled back or forked since; nothing was signed.
    """
    report = run_verify(pack, log_keys)
    if report.failure is not None:
        raise report.failure
    before = read_state(state_path).logs.get(report.origin, Cosigned())
    with OpenPack(pack) as opened:
        opened.check_frame()
        note = opened.read(CHECKPOINT).decode("utf-8")
        hashes = opened.read(LEAF_HASHES)
    tree = MerkleTree(
        hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)
    )
    try:
        request = make_request(tree.node, before.size, note)
    except ProofError:
        # A smaller book has no proof: the witness says so itself, with both values.
        request = WitnessRequest(before.size, (), note)
    signed = cosign_with_file(state_path, request, log_keys=log_keys, witness=witness, now=now)
    return Witnessed(report, before, signed)
