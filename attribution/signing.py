"""Ed25519 signatures of an index's manifests and removal records.

A signature is one line of JSON beside what it signs: algorithm, public key, signature.
What is signed is a line `byline-index KIND` followed by the file's bytes, so that a record
can never stand in for a manifest.

    signatures/<sha256 of the manifest>.sig      written before that manifest is in place
    removals/NNNNNN.sig                          beside the record

A signature says who made the index, not that its rows are right: `verify` computes some
of them again for that. Whoever holds the key can sign another index.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from attribution.errors import GradientIndexError, IndexSignatureError
from attribution.files import canonical_json

MANIFEST = "manifest"
REMOVAL = "removal"
_ALGORITHM = "Ed25519"


class Signer(Protocol):
    """Signs bytes of a kind: given (kind, data), returns the signature's text."""

    def __call__(self, kind: str, data: bytes) -> str:
        """Return the text that `check_signature` reads."""
        ...


@dataclass(frozen=True)
class KeySigner:
    """Signs with one private key.

    Attributes:
        key: the private key; never written anywhere.
    """

    key: Ed25519PrivateKey

    @classmethod
    def from_pem(cls, source: Path | bytes) -> KeySigner:
        """Read an unencrypted PKCS#8 PEM key, from a file or from its bytes.

        Raises:
            GradientIndexError: it is not an Ed25519 private key.
        """
        data = source if isinstance(source, bytes) else source.read_bytes()
        try:
            key = load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
            raise _wrong_key("private", source, str(fault)) from fault
        if not isinstance(key, Ed25519PrivateKey):
            raise _wrong_key("private", source, f"it is a {type(key).__name__}")
        return cls(key)

    @property
    def public_hex(self) -> str:
        """The public key's 32 bytes in hex: how `verify` names it."""
        return _hex(self.key.public_key())

    def __call__(self, kind: str, data: bytes) -> str:
        """Sign."""
        said = {
            "algorithm": _ALGORITHM,
            "public_key": self.public_hex,
            "signature": self.key.sign(_message(kind, data)).hex(),
        }
        return canonical_json(said).decode()


def public_key(source: Path | bytes | str) -> str:
    """Return a public key in hex: of 64 hex digits, of PEM bytes, or of a PEM file.

    Raises:
        GradientIndexError: it is not an Ed25519 public key.
    """
    if isinstance(source, str) and len(source) == 64:
        return source.lower()
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as fault:
        raise _wrong_key("public", source, str(fault)) from fault
    if not isinstance(key, Ed25519PublicKey):
        raise _wrong_key("public", source, f"it is a {type(key).__name__}")
    return _hex(key)


def check_signature(kind: str, path: Path, data: bytes, text: str, key: str | None = None) -> str:
    """Check a signature.

    Args:
        kind: `MANIFEST` or `REMOVAL`.
        path: of the signature, for the error.
        data: what was signed.
        text: the signature's text.
        key: the public key it must be by, in hex; None accepts the one it names.

    Returns:
        The public key it is by, in hex.

    Raises:
        IndexSignatureError: it is damaged, by another key, or of other bytes.
    """
    try:
        said = json.loads(text)
        by, signature = str(said["public_key"]), bytes.fromhex(said["signature"])
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(by))
    except (ValueError, KeyError, TypeError) as fault:
        raise IndexSignatureError(
            f"{path} is not a signature ({fault!r}); the {kind} proves nothing. Restore the file"
        ) from fault
    if key is not None and by != key:
        raise IndexSignatureError(
            f"{path}: signed by {by[:16]}…, expected is {key[:16]}…; the {kind} was made by "
            f"somebody else. Ask whoever gave you the index for their key"
        )
    try:
        public.verify(signature, _message(kind, data))
    except InvalidSignature as fault:
        raise IndexSignatureError(
            f"{path}: the signature by {by[:16]}… is not of this {kind}; one of the two was "
            f"altered. Restore them, or build the index again"
        ) from fault
    return by


def _message(kind: str, data: bytes) -> bytes:
    return f"byline-index {kind}\n".encode() + data


def _hex(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _wrong_key(what: str, source: object, why: str) -> GradientIndexError:
    name = source if isinstance(source, Path | str) else "the key given"
    return GradientIndexError(
        f"{name} is not an Ed25519 {what} key in PEM form ({why}); nothing was signed or "
        f"checked. Make one with `openssl genpkey -algorithm ed25519`"
    )
