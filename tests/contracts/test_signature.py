"""A signature covers every term, and is checked against keys named beforehand."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.errors import BadFilesError, SignatureError
from contracts.importers.native import parse_agreements
from contracts.signature import sign_agreement, verify_agreement

PARTIES = "format: byline-parties/1\nparties: [{party_id: anna}]\n"
TEXT = """\
format: byline-agreement/1
agreement_id: agr_anna
version: 1
licensor: anna
licensee: operator
effective_from: 2026-11-01
terms:
  - term_id: outputs
    then: {basis: pool_share, pool: revenue, rate: 50%}
"""
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = {"anna-2026": KEY.public_key()}


def loaded(text):
    """Load the one agreement of a text."""
    return parse_agreements({"p": PARTIES, "a": text}).agreements[0]


def test_a_signed_agreement_loads_and_verifies():
    """The signature stands in the file; comments and layout may change without it."""
    signed = sign_agreement(TEXT, "anna-2026", KEY)
    verify_agreement(loaded(signed), TRUSTED)
    verify_agreement(loaded("# reviewed\n" + signed), TRUSTED)


@pytest.mark.parametrize(
    ("old", "new"), [("50%", "60%"), ("2026-11-01", "2026-12-01"), ("agr_anna", "agr_ann")]
)
def test_a_changed_term_breaks_the_signature(old, new):
    """No rate, date or id can be changed after signing."""
    signed = sign_agreement(TEXT, "anna-2026", KEY).replace(old, new)
    with pytest.raises(SignatureError, match="terms were changed after signing"):
        verify_agreement(loaded(signed), TRUSTED)


def test_unsigned_and_strange_keys_are_told_apart():
    """A key that came from nowhere proves nothing."""
    with pytest.raises(SignatureError, match="is not signed"):
        verify_agreement(loaded(TEXT), TRUSTED)
    signed = loaded(sign_agreement(TEXT, "anna-2026", KEY))
    with pytest.raises(SignatureError, match=r"none of the trusted keys \(none\)"):
        verify_agreement(signed, {})
    with pytest.raises(SignatureError, match="terms were changed"):
        verify_agreement(replace(signed, signature="AAAA"), TRUSTED)


def test_signing_twice_and_signing_no_agreement_are_refused():
    """A second signature is a new version; a list is no agreement."""
    with pytest.raises(SignatureError, match="already signed"):
        sign_agreement(sign_agreement(TEXT, "anna-2026", KEY), "anna-2026", KEY)
    with pytest.raises(BadFilesError, match="a mapping of fields"):
        sign_agreement("- a\n", "anna-2026", KEY)
