"""Ids: opaque texts of ours, and outside identifiers as (scheme, value) pairs.

1. Our ids say nothing about a person; they are letters, digits and a few signs, and never change.
2. Outside identifiers keep their scheme beside them, since no one registry covers all works.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.errors import IdentifierError

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}"
SCHEMES = frozenset(
    {"doi", "eidr", "iscc", "isbn", "isni", "issn", "istc", "iswc", "isrc", "ipi", "orcid"}
    | {"pypi", "purl", "spdx", "swhid", "url"}
)
_ID = re.compile(ID_PATTERN)


@dataclass(frozen=True, order=True, slots=True)
class ExternalId:
    """An identifier another registry gave, with the name of that registry.

    Args:
        scheme: a lower-case scheme name, such as doi or isbn.
        value: the identifier as that scheme writes it.
    """

    scheme: str
    value: str

    def __post_init__(self) -> None:
        """Refuse an unknown scheme or an empty value.

        Raises:
            IdentifierError: the scheme is not known, or the value is empty.
        """
        if self.scheme not in SCHEMES:
            raise IdentifierError(f"identifier scheme (one of {', '.join(sorted(SCHEMES))})", self)
        if not self.value.strip():
            raise IdentifierError(f"{self.scheme} value", self.value)


def check_id(what: str, text: object) -> str:
    """Return an id unchanged if it is one.

    Args:
        what: the field, for the error text, such as party_id.
        text: what was given.

    Returns:
        The id.

    Raises:
        IdentifierError: not a text, too long, or characters outside the allowed ones.
    """
    if not isinstance(text, str) or _ID.fullmatch(text) is None:
        raise IdentifierError(what, text)
    return text


def external_ids(pairs: Mapping[str, str]) -> tuple[ExternalId, ...]:
    """Return outside identifiers from a mapping of scheme to value, sorted."""
    return tuple(sorted(ExternalId(scheme, value) for scheme, value in pairs.items()))
