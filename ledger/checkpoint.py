"""Signed checkpoints of the book (c2sp.org/tlog-checkpoint), and the files their keys live in.

A checkpoint says: the log named ORIGIN had SIZE leaves, and their root was ROOT.

1. Three lines, origin, size in decimal, root in base64; no extension lines of ours.
2. It is a signed note. The log signs with a key whose name is the origin; witnesses add theirs.
3. A key file is text, belongs to its owner alone (permission 0600) and is refused otherwise.

Whoever holds a checkpoint can tell any later rewriting of the book up to its size. Whoever
holds none can tell nothing about the owner of the database (ARCHITECTURE.md).
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.audit_errors import KeyFormatError, NoteError
from ledger.merkle import EMPTY_ROOT, HASH_BYTES
from ledger.note import (
    TYPE_ED25519,
    NoteSignature,
    NoteSigner,
    NoteVerifier,
    b64_strict,
    open_note,
    sign_note,
    split_note,
)

KEY_FILE_MODE = 0o600


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says.

    Attributes:
        origin: the name of the log.
        size: its number of leaves.
        root: the RFC 6962 root over them, 32 bytes.
        extensions: further lines; ours have none.
        signatures: whose signatures were checked; empty when only read, not opened.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    signatures: tuple[NoteSignature, ...] = ()

    @property
    def text(self) -> str:
        """The text that is signed."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode("ascii")]
        return "\n".join([*lines, *self.extensions]) + "\n"

    @property
    def root_hex(self) -> str:
        """The root in hex, for people and for the database."""
        return self.root.hex()


def sign_checkpoint(origin: str, size: int, root: bytes, signer: NoteSigner) -> str:
    """Write and sign a checkpoint.

    Args:
        origin: the name of the log; the signer's name must be the same.
        size: its number of leaves.
        root: the root over them, 32 bytes.
        signer: the log's key (type 0x01).

    Returns:
        The signed note. The same arguments give the same note (Ed25519 is deterministic).

    Raises:
        NoteError: the signer speaks for another log.
    """
    if signer.name != origin or signer.key_type != TYPE_ED25519:
        raise NoteError(
            f"checkpoint of {origin} cannot be signed by the key of {signer.name} "
            f"(type {signer.key_type:02x}); use the log's own key or change the origin setting"
        )
    assert size > 0 or root == EMPTY_ROOT, (size, root.hex())
    text = Checkpoint(origin, size, root).text
    _parse_text(text)
    return sign_note(text, [signer])


def open_checkpoint(note: str, verifiers: Sequence[NoteVerifier]) -> Checkpoint:
    """Check a checkpoint against keys named beforehand.

    Args:
        note: the signed note.
        verifiers: the log's key, and those of any witnesses; the log's must have signed.

    Returns:
        What it says, with the signatures that were checked.

    Raises:
        NoteError: malformed, or the log's key named beforehand did not sign it.
    """
    opened = open_note(note, verifiers)
    said = _parse_text(opened.text)
    if not any(
        s.verifier.name == said.origin and s.verifier.key_type == TYPE_ED25519
        for s in opened.signatures
    ):
        signed_by = ", ".join(s.verifier.name for s in opened.signatures)
        raise NoteError(
            f"checkpoint of {said.origin} is signed by {signed_by}, not by a known key of the log "
            "itself; a witness cannot speak for the log"
        )
    return Checkpoint(said.origin, said.size, said.root, said.extensions, opened.signatures)


def read_checkpoint(note: str) -> Checkpoint:
    """Read what a checkpoint says WITHOUT checking any signature; for display and look-up only.

    Raises:
        NoteError: it has not the form of a checkpoint.
    """
    return _parse_text(split_note(note)[0])


def add_signature(note: str, line: str) -> str:
    """Add a witness's signature line to a checkpoint, once.

    Raises:
        NoteError: the result would not have the form of a note.
    """
    if line in note.splitlines(keepends=True):
        return note
    joined = note + line
    split_note(joined)
    return joined


def split_notes(text: str) -> list[str]:
    """Take a file of checkpoints, one after the other, apart.

    A checkpoint ends where the last of its signature lines ends.

    Raises:
        NoteError: something follows that is not a checkpoint.
    """
    notes: list[str] = []
    current: list[str] = []
    for line in text.splitlines(keepends=True):
        if current and current[-1].startswith("— ") and not line.startswith("— "):
            notes.append("".join(current))
            current = []
        current.append(line)
    if current:
        notes.append("".join(current))
    for note in notes:
        read_checkpoint(note)
    return notes


def _parse_text(text: str) -> Checkpoint:
    lines = text.split("\n")
    story = f"a checkpoint is origin, size and root on a line each; got {text[:160]!r}"
    if len(lines) < 4 or lines.pop() != "" or not all(lines):
        raise NoteError(f"{story}; it is no checkpoint")
    origin, size_text, root_text, *extensions = lines
    if not (size_text.isascii() and size_text.isdecimal() and str(int(size_text)) == size_text):
        raise NoteError(f"{story}; its size {size_text!r} is not a plain decimal number")
    root = b64_strict(root_text, f"the root in the checkpoint of {origin}")
    if len(root) != HASH_BYTES:
        raise NoteError(f"{story}; its root has {len(root)} bytes, not {HASH_BYTES}")
    return Checkpoint(origin, int(size_text), root, tuple(extensions))


def write_key_files(private_path: Path, signer: NoteSigner) -> None:
    """Write a private key (0600) and, beside it with the suffix .pub, the public key.

    Raises:
        KeyFormatError: the file exists; a key is never overwritten.
    """
    private_path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        descriptor = os.open(private_path, flags, KEY_FILE_MODE)
    except FileExistsError:
        raise KeyFormatError(
            f"{private_path} exists; a key is never overwritten, since checkpoints signed with it "
            "could no longer be continued. Move it away yourself to start a new log"
        ) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(signer.text + "\n")
        file.flush()
        os.fsync(file.fileno())
    private_path.with_suffix(".pub").write_text(signer.verifier.text + "\n", encoding="utf-8")


def read_signer(path: Path) -> NoteSigner:
    """Read a private key file.

    Raises:
        KeyFormatError: it is missing, may be read by others, or is not a key.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        raise KeyFormatError(
            f"there is no key file {path}; run byline init, or restore the file from its backup"
        ) from None
    if mode & 0o077:
        raise KeyFormatError(
            f"key file {path} has permission {mode:04o}, others may read it; expected "
            f"{KEY_FILE_MODE:04o}. Run chmod 600 on it, and make a new key if it was exposed"
        )
    return NoteSigner.parse(path.read_text(encoding="utf-8"))


def read_verifiers(source: Path | str) -> list[NoteVerifier]:
    """Read public keys: a file with one a line (# starts a remark), or the text of one key.

    Raises:
        KeyFormatError: the file is missing or empty, or a line is not a key.
    """
    if isinstance(source, str) and source.count("+") >= 2 and not Path(source).exists():
        return [NoteVerifier.parse(source)]
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise KeyFormatError(
            f"{path} is neither a public key (NAME+KEYID+BASE64) nor a file of them; "
            "get the log's public key from its owner"
        ) from None
    lines = [line.strip() for line in text.splitlines()]
    keys = [NoteVerifier.parse(line) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise KeyFormatError(f"{path} holds no public key; it needs one NAME+KEYID+BASE64 a line")
    return keys
