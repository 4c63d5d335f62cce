"""Signed notes (c2sp.org/signed-note) with Ed25519: short texts that say who stands behind them.

1. A note is text ending in a line break, an empty line, and one signature line a signer:
   "— NAME BASE64(key id || signature)".
2. Signatures of keys we do not know are passed over; a wrong signature of a key we know refuses
   the whole note, and so does a note that no key we know has signed.
3. Keys have one text form each, the one that Go's sumdb tools use:
   NAME+KEYID+BASE64(type || public key), and PRIVATE+KEY+NAME+KEYID+BASE64(type || seed).
4. Base64 is strict: a text that decodes but is not what encoding gives back is refused, so that
   one note has one spelling.

Type 0x01 signs the text. Type 0x04 is a witness: it signs the time and the text together
(c2sp.org/tlog-cosignature), and its signature carries the time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.audit_errors import KeyFormatError, NoteError

TYPE_ED25519 = 0x01
TYPE_COSIGNATURE = 0x04
NOTE_BYTES_MAX = 1_000_000
SIGNATURES_MAX = 100
TIMESTAMP_MAX = 2**63 - 1
_DASH = "— "
_SECRET_PREFIX = "PRIVATE+KEY+"  # noqa: S105  # The public prefix of the text form.


def b64_strict(text: str, what: str) -> bytes:
    """Decode standard base64 that is spelled the one way encoding would spell it.

    Raises:
        NoteError: it is not.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = None
    if raw is None or base64.b64encode(raw).decode("ascii") != text:
        raise NoteError(f"{what} is not strict base64: {text[:80]!r}; the text was changed")
    return raw


def key_id_of(name: str, key_type: int, public_key: bytes) -> int:
    """Return the 32-bit id of a key, as the signed-note specification computes it."""
    digest = hashlib.sha256(name.encode() + b"\n" + bytes([key_type]) + public_key).digest()
    return int.from_bytes(digest[:4], "big")


def check_key_name(name: str) -> None:
    """Refuse a key name with spaces, plus signs or control characters, or none at all.

    Raises:
        KeyFormatError: the name cannot stand in a signature line.
    """
    if not name or "+" in name or any(c.isspace() or ord(c) < 0x20 for c in name):
        raise KeyFormatError(
            f"key name {name!r} must not be empty nor hold spaces or '+'; "
            "use a host-like name such as example.com/byline"
        )


def _split_key(text: str, what: str) -> tuple[str, int, bytes]:
    """Take NAME+KEYID+BASE64 apart; the base64 may hold plus signs, the name may not."""
    parts = text.split("+", 2)
    try:
        name, key_id_hex, material = parts
        raw = b64_strict(material, f"the {what} of {name}")
        key_id = int.from_bytes(bytes.fromhex(key_id_hex), "big")
    except (ValueError, NoteError):
        raise KeyFormatError(
            f"a {what} is NAME+KEYID+BASE64 with a key id of 8 hex digits; this one is not "
            f"(it starts {text[:40]!r}); copy it again from the key's owner"
        ) from None
    check_key_name(name)
    supported = raw[:1] in {bytes([TYPE_ED25519]), bytes([TYPE_COSIGNATURE])}
    if len(key_id_hex) != 8 or key_id_hex != key_id_hex.lower() or len(raw) != 33 or not supported:
        raise KeyFormatError(
            f"the {what} of {name} is not an Ed25519 key of type 01 or 04 with 8 hex digits of id "
            f"(got {len(raw)} bytes of type {raw[:1].hex()}); nothing else is supported"
        )
    return name, key_id, raw


@dataclass(frozen=True)
class NoteVerifier:
    """A public key with the name its owner signs by.

    Attributes:
        name: host-like, such as example.com/byline.
        key_type: 0x01 for a log, 0x04 for a witness.
        public_key: 32 bytes.
    """

    name: str
    key_type: int
    public_key: bytes

    @property
    def key_id(self) -> int:
        """The 32-bit id that signature lines carry."""
        return key_id_of(self.name, self.key_type, self.public_key)

    @property
    def text(self) -> str:
        """The text form, to be handed to others."""
        material = base64.b64encode(bytes([self.key_type]) + self.public_key).decode("ascii")
        return f"{self.name}+{self.key_id:08x}+{material}"

    @classmethod
    def parse(cls, text: str) -> NoteVerifier:
        """Read the text form.

        Raises:
            KeyFormatError: it is not one, or its id does not belong to its key.
        """
        name, key_id, raw = _split_key(text.strip(), "public key")
        verifier = cls(name=name, key_type=raw[0], public_key=raw[1:])
        if verifier.key_id != key_id:
            raise KeyFormatError(
                f"the public key of {name} has id {verifier.key_id:08x}, its text says "
                f"{key_id:08x}; the text was changed, copy it again from the key's owner"
            )
        return verifier

    def check(self, text: str, signature: bytes) -> int | None:
        """Check a signature over a note's text.

        Returns:
            The time of a cosignature in seconds since 1970, None for a plain signature.

        Raises:
            NoteError: the signature is wrong.
        """
        timestamp: int | None = None
        message = text.encode()
        if self.key_type == TYPE_COSIGNATURE:
            timestamp, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = cosigned_message(text, min(timestamp, TIMESTAMP_MAX))
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature:
            raise NoteError(
                f"the signature of {self.name} (key {self.key_id:08x}) does not fit the text "
                f"{text[:120]!r}; the text or the signature was changed"
            ) from None
        return timestamp


@dataclass(frozen=True)
class NoteSigner:
    """A private key with the name its owner signs by. Its repr hides the key.

    Attributes:
        name: host-like, such as example.com/byline.
        key_type: 0x01 for a log, 0x04 for a witness.
    """

    name: str
    key_type: int
    _private_key: Ed25519PrivateKey

    @classmethod
    def generate(cls, name: str, key_type: int = TYPE_ED25519) -> NoteSigner:
        """Make a new key from the operating system's randomness.

        Raises:
            KeyFormatError: the name cannot stand in a signature line.
        """
        check_key_name(name)
        return cls(name, key_type, Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, name: str, seed: bytes, key_type: int = TYPE_ED25519) -> NoteSigner:
        """Make a key from 32 bytes known to nobody else (tests use fixed ones)."""
        check_key_name(name)
        return cls(name, key_type, Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def parse(cls, text: str) -> NoteSigner:
        """Read the text form.

        Raises:
            KeyFormatError: it is not one, or its id does not belong to its key.
        """
        text = text.strip()
        if not text.startswith(_SECRET_PREFIX):
            raise KeyFormatError(
                "a private key starts with PRIVATE+KEY+; this text does not (it is not shown "
                "here in case it is secret). Was the public key given instead?"
            )
        try:
            name, key_id, raw = _split_key(text.removeprefix(_SECRET_PREFIX), "private key")
        except KeyFormatError:
            raise KeyFormatError(
                "a private key is PRIVATE+KEY+NAME+KEYID+BASE64; this text is damaged (not shown "
                "here, it may be secret); restore the key file from its backup"
            ) from None
        signer = cls.from_seed(name, raw[1:], raw[0])
        if signer.verifier.key_id != key_id:
            raise KeyFormatError(
                f"the private key of {name} has id {signer.verifier.key_id:08x}, its text says "
                f"{key_id:08x}; the file was changed, restore it from its backup"
            )
        return signer

    @property
    def text(self) -> str:
        """The secret text form, for the key file only."""
        material = bytes([self.key_type]) + self._private_key.private_bytes_raw()
        encoded = base64.b64encode(material).decode("ascii")
        return f"{_SECRET_PREFIX}{self.name}+{self.verifier.key_id:08x}+{encoded}"

    @property
    def verifier(self) -> NoteVerifier:
        """The public half."""
        public_key = self._private_key.public_key().public_bytes_raw()
        return NoteVerifier(self.name, self.key_type, public_key)

    def signature_line(self, text: str, timestamp: int | None = None) -> str:
        """Sign a note's text.

        Args:
            text: the text, with its final line break.
            timestamp: seconds since 1970; for a witness, and only for a witness.

        Returns:
            The signature line, with its line break.
        """
        assert (timestamp is not None) == (self.key_type == TYPE_COSIGNATURE), timestamp
        _check_text(text)
        signature = self.verifier.key_id.to_bytes(4, "big")
        if timestamp is None:
            signature += self._private_key.sign(text.encode())
        else:
            signature += timestamp.to_bytes(8, "big")
            signature += self._private_key.sign(cosigned_message(text, timestamp))
        return f"{_DASH}{self.name} {base64.b64encode(signature).decode('ascii')}\n"

    def __repr__(self) -> str:
        """Name the key without showing it."""
        return f"NoteSigner({self.name}, {self.verifier.key_id:08x})"


@dataclass(frozen=True)
class NoteSignature:
    """A signature that was checked: whose, and for a witness, when.

    Attributes:
        verifier: the key.
        timestamp: seconds since 1970 for a cosignature, else None.
    """

    verifier: NoteVerifier
    timestamp: int | None


@dataclass(frozen=True)
class OpenedNote:
    """A note at least one known key has signed.

    Attributes:
        text: what was signed, with its final line break.
        signatures: those of known keys, in the order of the note.
        unknown: the names on signature lines of keys we do not know.
    """

    text: str
    signatures: tuple[NoteSignature, ...]
    unknown: tuple[str, ...]


def cosigned_message(text: str, timestamp: int) -> bytes:
    """Return what a witness signs: its statement, the time, and the whole text."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def sign_note(text: str, signers: Iterable[NoteSigner]) -> str:
    """Sign a text with one or more log keys (type 0x01)."""
    return text + "\n" + "".join(signer.signature_line(text) for signer in signers)


def split_note(note: str) -> tuple[str, list[str]]:
    """Take a note apart into its text and its signature lines (without line breaks).

    Raises:
        NoteError: it has not the form of a note.
    """
    if len(note.encode()) > NOTE_BYTES_MAX:
        raise NoteError(f"a note has at most {NOTE_BYTES_MAX} bytes; this is something else")
    text, gap, signatures = note.rpartition("\n\n")
    text += "\n"
    lines = signatures.split("\n")
    if not gap or lines.pop() != "" or not 1 <= len(lines) <= SIGNATURES_MAX:
        raise NoteError(
            "a signed note is text, an empty line, and 1 to 100 signature lines that end in a line "
            f"break; got {note[-80:]!r}; fetch it again"
        )
    _check_text(text)
    return text, lines


def open_note(note: str, verifiers: Sequence[NoteVerifier]) -> OpenedNote:
    """Check a signed note against keys named beforehand.

    Args:
        note: the whole note.
        verifiers: the keys that the reader trusts.

    Returns:
        The text and who signed it; at least one signature.

    Raises:
        NoteError: malformed, a wrong signature of a known key, or no known key signed.
    """
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    text, lines = split_note(note)
    signatures: dict[tuple[str, int], NoteSignature] = {}
    unknown: list[str] = []
    for line in lines:
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH) or not name or not encoded:
            raise NoteError(f"a signature line is '— NAME BASE64', got {line[:80]!r}")
        raw = b64_strict(encoded, f"the signature of {name}")
        if len(raw) < 5:
            raise NoteError(f"the signature of {name} has {len(raw)} bytes, too few for a key id")
        key = (name, int.from_bytes(raw[:4], "big"))
        verifier = known.get(key)
        if verifier is None:
            unknown.append(name)
        elif key not in signatures:
            signatures[key] = NoteSignature(verifier, verifier.check(text, raw[4:]))
        else:
            raise NoteError(f"{name} signed the note twice with one key; one line was added")
    if not signatures:
        trusted = ", ".join(f"{v.name} ({v.key_id:08x})" for v in verifiers) or "none"
        raise NoteError(
            f"no key named beforehand signed the note: signed by {', '.join(unknown)}, trusted "
            f"are {trusted}; get the log's public key from its owner, not from the pack"
        )
    return OpenedNote(text, tuple(signatures.values()), tuple(unknown))


def _check_text(text: str) -> None:
    controls = sorted({ord(c) for c in text if ord(c) < 0x20 and c != "\n"})
    if not text.endswith("\n") or controls:
        raise NoteError(
            f"the text of a note ends in a line break and holds no other control characters; got "
            f"{text[-40:]!r} with control characters {controls}"
        )
