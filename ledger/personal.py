"""Personal data: kept beside the book, erasable, and tied to it by salted commitments.

1. No leaf and no posting holds a name, an address, a bank account or a tax number.
2. What the book may hold is a commitment: SHA-256 over the party, the field, the value and a
   random salt of 32 bytes. Without the salt even a short value cannot be guessed from it.
3. Erasing deletes value and salt. The commitment stays and changes no hash of the book.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ledger.errors import BookError

SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class PersonalDatum:
    """One personal fact of one party, with the salt of its commitment.

    Args:
        party_id: whose.
        field: what, such as "legal_name", "iban", "tax_number".
        value: the fact itself.
        salt: 32 random bytes, drawn for this fact alone.
    """

    party_id: str
    field: str
    value: str
    salt: bytes

    def commitment(self) -> str:
        """Return the commitment in hex."""
        return commitment_of(self.party_id, self.field, self.value, self.salt)


def commitment_of(party_id: str, field: str, value: str, salt: bytes) -> str:
    """Commit to a personal fact without saying it.

    Each part is hashed with its length in front, so no two facts give the same input.

    Args:
        party_id: whose.
        field: what.
        value: the fact itself.
        salt: 32 random bytes.

    Returns:
        SHA-256 in hex.
    """
    assert len(salt) == SALT_BYTES, len(salt)
    digest = hashlib.sha256(b"byline-commitment/1")
    for part in (salt, party_id.encode(), field.encode(), value.encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def check_commitment(datum: PersonalDatum, commitment: str) -> None:
    """Return quietly if a revealed fact is the one that was committed to.

    Raises:
        BookError: it is not.
    """
    found = datum.commitment()
    if found != commitment:
        raise BookError(
            f"{datum.field} of {datum.party_id} was committed to as {commitment} but the value "
            f"and salt shown give {found}; it is another value or another salt"
        )
