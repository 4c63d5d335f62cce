"""Parties, works and agreements come back from the database as they went in, and never change."""

import json
from datetime import date
from fractions import Fraction

import pytest
from sqlmodel import SQLModel, create_engine

from contracts import tables
from contracts.agreement import Agreement, AgreementBook
from contracts.catalogue import parse_catalogue
from contracts.errors import MissingRateError, StoreConflictError
from contracts.fx import FxRate
from contracts.importers.native import parse_agreements
from contracts.store import ContractStore
from contracts.terms import Basis, Term

PARTIES = (
    "format: byline-parties/1\nparties: [{party_id: anna}, {party_id: operator, kind: operator}]\n"
)
AGREEMENT = """\
format: byline-agreement/1
agreement_id: agr_anna
version: 1
licensor: anna
licensee: operator
effective_from: 2026-11-01
terms:
  - term_id: outputs
    then: {basis: pool_share, pool: revenue}
"""
CATALOGUE = {
    "format": "byline-catalogue/1",
    "sources": [{"source_id": "s1", "kind": "package"}],
    "parties": [{"party_id": "anna"}, {"party_id": "bo", "external_ids": {"orcid": "1"}}],
    "works": [
        {
            "work_id": "w1",
            "source_id": "s1",
            "external_ids": {"doi": "10.1/x"},
            "splits": [
                {"party_id": "anna", "share": "1/3", "effective_to": "2027-01-01"},
                {"party_id": "bo", "share": "2/3", "effective_to": "2027-01-01"},
                {"party_id": "bo", "share": "1", "effective_from": "2027-01-01"},
            ],
        },
        {"work_id": "w2"},
    ],
    "documents": [{"document_id": "d1", "work_id": "w1"}],
}


@pytest.fixture
def store():
    """A store on an empty database with the tables of contracts."""
    engine = create_engine("sqlite://")
    SQLModel.metadata.create_all(
        engine, [row.__table__ for row in vars(tables).values() if hasattr(row, "__table__")]
    )
    yield ContractStore(engine)
    engine.dispose()


def test_a_book_comes_back_equal_and_storing_it_again_changes_nothing(store):
    """Texts, digests and terms survive the database; a second run inserts no row."""
    book = parse_agreements({"p.yaml": PARTIES, "a.yaml": AGREEMENT})
    assert store.save_book(book, approved_by="lena") == 3
    assert store.save_book(book) == 0
    assert store.book() == book


def test_a_catalogue_comes_back_equal_and_storing_it_again_changes_nothing(store):
    """Shares stay exact fractions with their dates; identifiers keep their scheme."""
    catalogue = parse_catalogue(json.dumps(CATALOGUE))
    assert store.save_catalogue(catalogue) == 11
    assert store.save_catalogue(catalogue) == 0
    back = store.catalogue()
    assert back.parties == catalogue.parties
    assert back.work_of == catalogue.work_of
    assert back.sources == catalogue.sources
    assert back.works["w1"].shares_on(date(2026, 6, 1)) == {
        "anna": Fraction(1, 3),
        "bo": Fraction(2, 3),
    }
    assert set(back.works["w1"].splits) == set(catalogue.works["w1"].splits)


def test_a_changed_text_under_the_same_version_is_refused_by_field(store):
    """What a statement cited last month is still there; new terms are a new version."""
    store.save_book(parse_agreements({"p.yaml": PARTIES, "a.yaml": AGREEMENT}))
    changed = parse_agreements({"p.yaml": PARTIES, "a.yaml": AGREEMENT + "# a remark\n"})
    with pytest.raises(
        StoreConflictError, match=r"agreement agr_anna 1 is already stored .* new version"
    ):
        store.save_book(changed)
    assert store.book().agreements[0].payload == AGREEMENT


def test_a_conflict_anywhere_stores_nothing_of_the_whole(store):
    """A new version beside a changed old one leaves the database as it was."""
    store.save_book(parse_agreements({"p.yaml": PARTIES, "a.yaml": AGREEMENT}))
    texts = {
        "p.yaml": PARTIES,
        "a.yaml": AGREEMENT.replace("2026-11-01", "2026-10-01"),
        "b.yaml": AGREEMENT.replace("version: 1", "version: 2"),
    }
    with pytest.raises(StoreConflictError, match="effective_from"):
        store.save_book(parse_agreements(texts))
    assert [a.version for a in store.book().agreements] == [1]


def test_an_agreement_without_a_text_is_not_stored(store):
    """Terms that nobody can read back have no place in the books."""
    term = Term("t", Basis.POOL_SHARE, pool_id="revenue")
    agreement = Agreement("agr", 1, "anna", "operator", date(2026, 1, 1), (term,))
    with pytest.raises(ValueError, match="agreement agr v1 has no text"):
        store.save_book(AgreementBook((agreement,)))


def test_rates_come_back_by_date_with_their_source(store):
    """The last published rate counts, and a published rate is never changed."""
    rate = FxRate("USD", "EUR", date(2026, 11, 2), Fraction(93, 100), "ECB reference rates")
    assert store.save_rates([rate]) == 1
    table = store.rates()
    assert table.rate_on("USD", "EUR", date(2026, 11, 5)) == rate
    with pytest.raises(MissingRateError, match="no exchange rate from USD to EUR on 2026-12-01"):
        table.rate_on("USD", "EUR", date(2026, 12, 1))
    with pytest.raises(StoreConflictError, match="rate_numerator 93"):
        store.save_rates(
            [FxRate("USD", "EUR", date(2026, 11, 2), Fraction(94, 100), "ECB reference rates")]
        )
