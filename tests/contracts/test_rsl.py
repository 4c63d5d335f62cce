"""RSL documents are evidence and drafts: read at their most restrictive, never money owed."""

import hashlib

import pytest

from contracts.errors import BadFilesError
from contracts.importers.native import parse_agreements
from contracts.importers.rsl import draft_agreement, read_rsl
from contracts.usage import Use


def read(body, **options):
    """Read a document with one content element."""
    data = f'<rsl xmlns="https://rslstandard.org/rsl">{body}</rsl>'.encode()
    options = {
        "location": "https://x.example/rsl.xml",
        "acquired_at": "2026-11-01T00:00Z",
    } | options
    return read_rsl(data, **options), data


def offer_of(licence, attributes='url="/"', **options):
    """Read the one offer of a licence."""
    document, _ = read(f"<content {attributes}><license>{licence}</license></content>", **options)
    return document.offers[0]


def test_an_offer_is_read_with_its_evidence():
    """Uses, payment and amount arrive, with the digest of the very bytes."""
    document, data = read(
        '<content url="/books/*" server="https://l.example"><license>'
        '<permits type="usage">ai-train search</permits>'
        '<payment type="training"><amount currency="EUR">12.50</amount>'
        "<standard>cc-by</standard></payment></license></content>"
    )
    (offer,) = document.offers
    assert document.sha256 == hashlib.sha256(data).hexdigest()
    assert offer.uses == {Use.TRAIN, Use.FINETUNE, Use.SEARCH}
    assert (offer.payment, offer.amount, offer.currency) == ("training", "12.50", "EUR")
    assert offer.token_needed
    assert offer.standard == "cc-by"


def test_a_prohibition_beats_a_permission_and_the_conflict_is_listed():
    """Permitting training while prohibiting everything permits nothing."""
    offer = offer_of(
        '<permits type="usage">ai-train</permits><prohibits type="usage">all</prohibits>'
    )
    assert offer.uses == frozenset()
    assert "train is permitted and prohibited; read as prohibited" in offer.conflicts


def test_an_unknown_reporting_profile_means_unlicensed():
    """What cannot be reported as asked must not be used."""
    licence = '<permits>ai-all</permits><reporting type="audit" profile="https://p.example/1"/>'
    assert offer_of(licence).uses == frozenset()
    known = offer_of(licence, known_profiles=["https://p.example/1"])
    assert Use.TRAIN in known.uses
    assert Use.SEARCH not in known.uses


def test_a_licence_that_names_no_use_permits_none():
    """Silence is read at its most restrictive, and the reader is told."""
    offer = offer_of('<prohibits type="usage">search</prohibits>')
    assert offer.uses == frozenset()
    assert offer.conflicts == ("no use is permitted by name; read as permitting none",)


def test_words_of_the_drafts_are_read_and_recorded():
    """0.9 wrote train-ai with commas and called the payment inference."""
    document, _ = read(
        '<content url="/"><license><permits>train-ai, search</permits>'
        '<payment type="inference"/></license></content>'
    )
    assert document.drafts == ("inference", "train-ai")
    assert document.offers[0].payment == "use"
    assert document.offers[0].uses == {Use.TRAIN, Use.FINETUNE, Use.SEARCH}


def test_no_draft_loads_as_an_agreement():
    """A person has to decide who, when and how much before anything is owed."""
    document, _ = read('<content url="/"><license><permits>ai-train</permits></license></content>')
    draft = draft_agreement(document, document.offers[0])
    assert "use: [finetune, train]" in draft
    assert document.sha256 in draft
    with pytest.raises(BadFilesError, match="the field licensor"):
        parse_agreements({"draft.yaml": draft})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<content><license/></content>", "a url, the path"),
        ("<content url='/'><license><permits>ai-dream</permits></license></content>", "ai-dream"),
        ("<content url='/'><license><payment type='gold'/></license></content>", "'gold'"),
        (
            "<content url='/'><license><payment><amount>1</amount></payment></license></content>",
            "a currency, ISO 4217",
        ),
        ("<novelty/>", "an element of the RSL vocabulary"),
        (
            "<content url='/'><license><permits/><permits/></license></content>",
            "at most one of each type",
        ),
        ("<content", "an XML document"),
    ],
)
def test_what_the_vocabulary_does_not_have_is_refused(body, message):
    """A document that is not understood whole is not understood."""
    with pytest.raises(BadFilesError, match=message):
        read(body)


def test_entities_and_foreign_documents_are_refused():
    """A fetched file may not expand, and a feed is not a licence."""
    options = {"location": "x", "acquired_at": "2026-11-01T00:00Z"}
    with pytest.raises(BadFilesError, match="a document without entities"):
        read_rsl(b'<!DOCTYPE rsl [<!ENTITY a "b">]><rsl/>', **options)
    with pytest.raises(BadFilesError, match="rsl in the namespace"):
        read_rsl(b"<feed/>", **options)
