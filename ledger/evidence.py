"""Evidence: the digests of the files that an entry was computed from.

1. An entry cites files by a short name and their SHA-256, never by content or path.
2. The digests are part of the leaf that is hashed, so evidence cannot be exchanged later.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from ledger.errors import EntryError

EVIDENCE_ITEMS_MAX = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_evidence(evidence: Mapping[str, str]) -> None:
    """Return quietly if every item is a name with a SHA-256 in lower-case hex.

    Raises:
        EntryError: a name or a digest is malformed, or there are more than 64 items.
    """
    if len(evidence) > EVIDENCE_ITEMS_MAX:
        raise EntryError(
            f"an entry cites at most {EVIDENCE_ITEMS_MAX} files, got {len(evidence)}; nothing was "
            f"posted. Cite the digest of one manifest that lists them"
        )
    for name, digest in evidence.items():
        if _NAME.fullmatch(name) is None or _SHA256.fullmatch(digest) is None:
            raise EntryError(
                f"evidence {name!r}: expected a name and the SHA-256 of a file as 64 lower-case "
                f"hex digits, got {digest!r}; nothing was posted"
            )


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a file's bytes as evidence is written: lower-case hex."""
    return hashlib.sha256(content).hexdigest()
