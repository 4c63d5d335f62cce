"""Parties: who owns works, who licenses them, who is paid.

1. A party is an id, a kind and outside identifiers. Names, addresses, bank and tax numbers are
   personal data and live in the erasable side table of the ledger.
2. A party is paid through a payee, by default itself; an agent may be payee of many parties.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.errors import IdentifierError
from contracts.identifier import ExternalId, check_id

PARTY_KINDS = frozenset({"creator", "publisher", "collective", "agent", "operator"})


@dataclass(frozen=True, order=True, slots=True)
class Party:
    """A party to agreements.

    Args:
        party_id: our id of the party.
        kind: creator, publisher, collective, agent or operator.
        payee_id: the party that receives the money; empty means the party itself.
        external_ids: outside identifiers, such as (isni, ...).
    """

    party_id: str
    kind: str = "creator"
    payee_id: str = ""
    external_ids: tuple[ExternalId, ...] = ()

    def __post_init__(self) -> None:
        """Check ids and kind, and make the party its own payee if none is named.

        Raises:
            IdentifierError: an id has characters outside the allowed ones, or the kind is unknown.
        """
        check_id("party_id", self.party_id)
        if not self.payee_id:
            object.__setattr__(self, "payee_id", self.party_id)
        check_id("payee_id", self.payee_id)
        if self.kind not in PARTY_KINDS:
            raise IdentifierError(
                f"party kind (one of {', '.join(sorted(PARTY_KINDS))})", self.kind
            )
