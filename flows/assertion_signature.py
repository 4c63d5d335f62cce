"""Check the signature under an assertion file before a report speaks of what an officer signed.

1. The signature stands at the end of the file, `signature: {signer: ID, value: BASE64}`, and covers
   every other field, as an agreement's does; it counts under a key of `keys/assertion-signers.pub`.
2. Who signed is who the assertion says has signed it.
3. A file without a signature is not refused: auditors keep such notes. The report says that nobody
   signed it, wherever it cites the file.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import yaml
from cryptography.exceptions import InvalidSignature

from contracts.errors import ContractsError
from contracts.signature import signed_bytes
from flows.agreement_desk import trusted_keys
from flows.compliance_given import GivenFileError
from flows.workspace import Workspace

KIND = "assertion"
FIELDS = {"signer", "value"}


def signature_said(workspace: Workspace, path: Path) -> str:
    """Check the signature of an assertion file.

    Args:
        workspace: whose trusted keys.
        path: the file, which is YAML.

    Returns:
        What a report says of it: whose signature holds, or that there is none.

    Raises:
        GivenFileError: the file cannot be read, or its signature does not hold.
        SignatureError: there are no trusted keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise GivenFileError(path, f"cannot be read ({problem})", "Mend the file") from problem
    if not isinstance(content, Mapping) or "signature" not in content:
        return "not signed by anybody's key"
    given = content["signature"]
    if not isinstance(given, Mapping) or set(given) != FIELDS:
        raise GivenFileError(path, f"signature is {given!r}", "Its keys are signer, value")
    signer, asserted = str(given["signer"]), content.get("assertion")
    named = str(asserted.get("signed_by")) if isinstance(asserted, Mapping) else signer
    if named != signer:
        raise GivenFileError(
            path, f"signed by {signer!r}, but says {named!r} signed it", "Have that person sign it"
        )
    keys = trusted_keys(workspace, KIND)
    if signer not in keys:
        raise GivenFileError(
            path,
            f"signed by {signer!r}, none of the trusted {', '.join(sorted(keys)) or '(none)'}",
            f"Add the key to keys/{KIND}-signers.pub if it is the officer's",
        )
    try:
        value = base64.b64decode(str(given["value"]), validate=True)
        keys[signer].verify(value, signed_bytes(text, KIND))
    except (InvalidSignature, ValueError, ContractsError) as problem:
        raise GivenFileError(
            path,
            f"the signature of {signer!r} does not hold: the text was changed after signing",
            "Fetch the signed file again",
        ) from problem
    return f"signature of {signer} checked"
