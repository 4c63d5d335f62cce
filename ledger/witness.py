"""A second party that signs checkpoints only when the book has grown (c2sp.org/tlog-witness).

A witness keeps one thing for each log: the size and root that it signed last. It signs a new
checkpoint only when the log proves that the new book continues that one, and its signature
carries the time. So the owner of the book cannot show two different books, nor an older one,
without a witness having said no.

1. The checkpoint must be signed by the log's key that the witness was given beforehand.
2. The old size of a request must be the size signed last; if it is not, the answer is the size
   (409), so that the log can ask again with the right proof.
3. A smaller book is a rollback, another root at the same size a fork: both are refused with both
   values, and nothing is remembered.
4. The state is written to disk before the signature is given out, under a lock, so that two
   requests at once cannot make the witness go back.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ledger.audit_errors import NoteError, ProofError, WitnessRefusal
from ledger.canonical import canonical_json
from ledger.checkpoint import Checkpoint, add_signature, open_checkpoint, read_checkpoint
from ledger.merkle import EMPTY_ROOT, verify_consistency
from ledger.note import TYPE_COSIGNATURE, NoteSigner, NoteVerifier, b64_strict, split_note

WITNESS_FORMAT = "byline-witness/1"
PROOF_HASHES_MAX = 63
_BAD_REQUEST, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _UNPROCESSABLE = 400, 403, 404, 409, 422


@dataclass(frozen=True)
class Cosigned:
    """What a witness remembers of one log.

    Attributes:
        size: the size signed last; 0 for never.
        root: the root signed last.
        timestamp: when, in seconds since 1970.
    """

    size: int = 0
    root: bytes = EMPTY_ROOT
    timestamp: int = 0


@dataclass(frozen=True)
class WitnessState:
    """What a witness remembers: for each log, by origin, what it signed last."""

    logs: Mapping[str, Cosigned] = field(default_factory=lambda: MappingProxyType({}))

    def text(self) -> str:
        """Write the state as canonical JSON."""
        logs = {
            origin: {"root": said.root.hex(), "size": said.size, "time": said.timestamp}
            for origin, said in self.logs.items()
        }
        return canonical_json({"format": WITNESS_FORMAT, "logs": logs}).decode() + "\n"

    @classmethod
    def parse(cls, text: str) -> WitnessState:
        """Read what `text` wrote.

        Raises:
            WitnessRefusal: it is damaged; a witness that has forgotten must not sign.
        """
        try:
            document = json.loads(text)
            logs = {
                origin: Cosigned(said["size"], bytes.fromhex(said["root"]), said["time"])
                for origin, said in document["logs"].items()
            }
            state = cls(MappingProxyType(logs))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WitnessRefusal(_CONFLICT, _damaged(repr(error))) from None
        if document.get("format") != WITNESS_FORMAT or state.text() != text:
            raise WitnessRefusal(_CONFLICT, _damaged("it is not in canonical form"))
        return state


@dataclass(frozen=True)
class WitnessRequest:
    """A request to cosign (the body of `add-checkpoint`).

    Attributes:
        old_size: the size from which the proof starts.
        proof: consistency hashes, at most 63.
        checkpoint: the signed note.
    """

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: str

    def text(self) -> str:
        """Write the request as the protocol has it."""
        hashes = [base64.b64encode(part).decode("ascii") for part in self.proof]
        return "\n".join([f"old {self.old_size}", *hashes]) + "\n\n" + self.checkpoint

    @classmethod
    def parse(cls, text: str) -> WitnessRequest:
        """Read a request.

        Raises:
            WitnessRefusal: it has not the form of one (400).
        """
        head, gap, checkpoint = text.partition("\n\n")
        first, *lines = head.split("\n")
        number = first.removeprefix("old ")
        plain = number.isascii() and number.isdecimal() and str(int(number)) == number
        if not gap or not first.startswith("old ") or not plain or len(lines) > PROOF_HASHES_MAX:
            raise WitnessRefusal(
                _BAD_REQUEST,
                f"a request is 'old SIZE', at most {PROOF_HASHES_MAX} hashes, an empty line and a "
                f"checkpoint; got {text[:80]!r}; nothing was signed",
            )
        try:
            proof = tuple(b64_strict(line, "a hash of the request") for line in lines)
        except NoteError as error:
            raise WitnessRefusal(_BAD_REQUEST, f"{error}; nothing was signed") from None
        return cls(int(number), proof, checkpoint)


def cosign(
    state: WitnessState,
    request: WitnessRequest,
    *,
    log_keys: Sequence[NoteVerifier],
    witness: NoteSigner,
    now: int,
) -> tuple[WitnessState, str]:
    """Decide on a request, as a function of what the witness remembers.

    Args:
        state: what the witness remembers.
        request: what the log asks.
        log_keys: the keys of the logs that the witness knows.
        witness: the witness's own key (type 0x04).
        now: the time, in seconds since 1970.

    Returns:
        The new state, to be stored before anything is given out, and the signature line.

    Raises:
        WitnessRefusal: with the protocol's status; nothing changes.
    """
    assert witness.key_type == TYPE_COSIGNATURE, witness
    said = _open(request.checkpoint, log_keys)
    last = state.logs.get(said.origin, Cosigned())
    _check_growth(said, last, request)
    # A witness's clock may be set back; what it says must not go back.
    timestamp = max(now, last.timestamp)
    text = split_note(request.checkpoint)[0]
    signed = Cosigned(said.size, said.root, timestamp)
    logs = {**state.logs, said.origin: signed}
    return WitnessState(MappingProxyType(logs)), witness.signature_line(text, timestamp)


def _open(note: str, log_keys: Sequence[NoteVerifier]) -> Checkpoint:
    try:
        origin = read_checkpoint(note).origin
    except NoteError as error:
        raise WitnessRefusal(_BAD_REQUEST, f"{error}; nothing was signed") from None
    keys = [key for key in log_keys if key.name == origin]
    if not keys:
        raise WitnessRefusal(
            _NOT_FOUND,
            f"log {origin} is not known to this witness (known: "
            f"{', '.join(sorted({key.name for key in log_keys})) or 'none'}); nothing was signed. "
            "Give the witness the log's public key first",
        )
    try:
        return open_checkpoint(note, keys)
    except NoteError as error:
        raise WitnessRefusal(_FORBIDDEN, f"{error}; nothing was signed") from None


def _check_growth(said: Checkpoint, last: Cosigned, request: WitnessRequest) -> None:
    seen = f"{said.origin} was last signed at {last.size} leaves with root {last.root.hex()}"
    shown = f"the checkpoint has {said.size} leaves with root {said.root_hex}"
    if said.size < last.size:
        raise WitnessRefusal(
            _CONFLICT,
            f"{seen}; {shown}: the book was rolled back by {last.size - said.size} leaves. Nothing "
            "was signed; keep both checkpoints, they prove it",
            last.size,
        )
    if said.size == last.size and said.root != last.root:
        raise WitnessRefusal(
            _CONFLICT,
            f"{seen}; {shown}: two books of the same size, the log has forked. Nothing was signed; "
            "keep both checkpoints, they prove it",
            last.size,
        )
    if request.old_size > said.size:
        raise WitnessRefusal(
            _BAD_REQUEST,
            f"the request starts from {request.old_size} leaves, {shown}; nothing was signed",
        )
    if request.old_size != last.size:
        raise WitnessRefusal(
            _CONFLICT,
            f"{seen}, the request starts from {request.old_size}; nothing was signed. Ask again "
            f"with a proof from {last.size}",
            last.size,
        )
    try:
        verify_consistency(last.size, last.root, said.size, said.root, request.proof)
    except ProofError as error:
        raise WitnessRefusal(
            _UNPROCESSABLE,
            f"{seen}; {shown}, and the second does not continue the first: {error}. "
            "Nothing was signed; keep both checkpoints, they prove it",
        ) from None


def cosign_with_file(
    state_path: Path,
    request: WitnessRequest,
    *,
    log_keys: Sequence[NoteVerifier],
    witness: NoteSigner,
    now: int,
) -> str:
    """Decide on a request, keeping what the witness remembers in a file.

    The file is locked while deciding and replaced before the signature is returned.

    Returns:
        The checkpoint with the witness's signature line added.

    Raises:
        WitnessRefusal: with the protocol's status; the file is as before.
    """
    state_path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(state_path):
        state = read_state(state_path)
        after, line = cosign(state, request, log_keys=log_keys, witness=witness, now=now)
        temporary = state_path.with_name(f".{state_path.name}.{os.getpid()}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(after.text())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(state_path)
    return add_signature(request.checkpoint, line)


def read_state(state_path: Path) -> WitnessState:
    """Read what a witness remembers; a missing file is a witness that has signed nothing yet.

    Raises:
        WitnessRefusal: the file is damaged.
    """
    try:
        text = state_path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return WitnessState()
    return WitnessState.parse(text)


@contextlib.contextmanager
def _locked(state_path: Path) -> Iterator[None]:
    with state_path.with_name(f"{state_path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _damaged(reason: str) -> str:
    return (
        f"the witness's memory is damaged ({reason}); nothing was signed, since a witness that has "
        "forgotten what it signed would sign a rollback. Restore the file from its backup"
    )
