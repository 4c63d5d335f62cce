"""Sign agreements and other YAML files and check their signatures (Ed25519).

1. What is signed is the content, not the layout: every field but the signature, as canonical JSON
   of the texts as written, behind a line that says what it is. Comments may change; no term can.
2. A signature is checked against a key that the reader named beforehand, never against one that
   came with the file.
3. An agreement that is not signed is not refused here: whether it may pay is a setting.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from contracts.agreement import Agreement
from contracts.errors import BadFilesError, SignatureError
from contracts.importers.yaml_text import read_yaml

AGREEMENT = "agreement"


def signed_bytes(payload: str, kind: str = AGREEMENT) -> bytes:
    """Return the bytes that a signature of a text covers.

    Args:
        payload: the YAML text, signed or not.
        kind: what it is; a signature under one kind of text is none under another.

    Raises:
        BadFilesError: the text is not one YAML mapping.
    """
    document = read_yaml(payload, file=kind)
    if not document.faults and not isinstance(document.value, dict):
        document.fault((), document.value, "a mapping of fields")
    if document.faults:
        raise BadFilesError(document.faults)
    content = {key: value for key, value in document.value.items() if key != "signature"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"byline-{kind}-signature/1\n{text}".encode()


def sign_agreement(payload: str, signer: str, key: Ed25519PrivateKey, kind: str = AGREEMENT) -> str:
    """Return the text of an agreement, or of another file, with a signature at its end.

    Args:
        payload: the YAML text, without a signature.
        signer: the name of the key, as readers know it.
        key: the private key.
        kind: what it is.

    Raises:
        SignatureError: the text is signed already; a new signature needs a new version.
        BadFilesError: the text is not one YAML mapping.
    """
    covered = signed_bytes(payload, kind)
    document = read_yaml(payload, file=kind)
    if "signature" in document.value:
        raise SignatureError(
            f"{kind} text is already signed by {document.value['signature']}; sign the text of "
            f"a new version"
        )
    value = base64.b64encode(key.sign(covered)).decode()
    return f"{payload.rstrip()}\nsignature:\n  signer: {json.dumps(signer)}\n  value: {value}\n"


def verify_agreement(agreement: Agreement, keys: Mapping[str, Ed25519PublicKey]) -> None:
    """Check the signature of an agreement against keys the reader trusts.

    Args:
        agreement: an agreement read from a file.
        keys: trusted public keys by signer name.

    Raises:
        SignatureError: not signed, signed by a key that is not trusted, or the text was changed.
    """
    if not agreement.signature:
        raise SignatureError(f"{agreement.name} is not signed; ask its licensor for a signed text")
    key = keys.get(agreement.signer)
    if key is None:
        raise SignatureError(
            f"{agreement.name} is signed by {agreement.signer!r}, which is none of the trusted "
            f"keys {', '.join(sorted(keys)) or '(none)'}; nothing is paid under it"
        )
    try:
        key.verify(base64.b64decode(agreement.signature), signed_bytes(agreement.payload))
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(
            f"{agreement.name} does not carry a valid signature of {agreement.signer!r}: its terms "
            f"were changed after signing. Fetch the signed text again"
        ) from error
