"""Outside identifiers are (scheme, value) pairs; a scheme nobody knows is refused."""

import pytest

from contracts.errors import IdentifierError
from contracts.identifier import ExternalId


@pytest.mark.parametrize("scheme", ["iswc", "isrc", "isbn", "doi", "iscc", "url", "ipi", "orcid"])
def test_each_registrys_identifier_keeps_its_scheme_beside_its_value(scheme):
    """No registry covers all works, so the value alone would say nothing."""
    pair = ExternalId(scheme, "T-034.524.680-1")
    assert (pair.scheme, pair.value) == (scheme, "T-034.524.680-1")


@pytest.mark.parametrize(("scheme", "value"), [("ISBN", "1"), ("shelf", "1"), ("isbn", " ")])
def test_an_unknown_scheme_and_an_empty_value_are_refused(scheme, value):
    """Schemes are written in lower case; one that is not known is named with those that are."""
    with pytest.raises(IdentifierError):
        ExternalId(scheme, value)
