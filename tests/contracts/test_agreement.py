"""Which version of which agreement holds on which day, and which term covers which use."""

from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.agreement import Agreement, AgreementBook
from contracts.errors import AgreementError, IdentifierError
from contracts.party import Party
from contracts.period import Period
from contracts.terms import Basis, Term
from contracts.usage import Condition, Usage, Use

TERM = Term("outputs", Basis.POOL_SHARE, pool_id="revenue")
DAYS = st.dates(date(2026, 1, 1), date(2027, 12, 31))


def agreement(version=1, starts=date(2026, 1, 1), **fields):
    """Build an agreement of anna's."""
    name = fields.pop("agreement_id", "agr")
    return Agreement(name, version, "anna", "operator", starts, (TERM,), **fields)


@given(st.lists(st.tuples(DAYS, st.none() | DAYS), min_size=1, max_size=5), DAYS)
def test_on_one_day_at_most_one_version_is_in_force(spans, day):
    """However versions overlap, the highest that has begun speaks, or nobody does."""
    versions = [
        agreement(i, starts, effective_to=None if ends is None or ends <= starts else ends)
        for i, (starts, ends) in enumerate(spans, start=1)
    ]
    book = AgreementBook(tuple(versions))
    found = book.for_party("anna", day)
    begun = [a for a in versions if a.effective_from <= day]
    expected = [a for a in begun[-1:] if a.in_force_on(day)]
    assert list(found) == expected
    assert book.in_force("agr", day) == (expected[0] if expected else None)
    assert book.is_licensed("anna", day) == bool(expected)


def test_a_later_version_takes_over_on_its_first_day():
    """The earlier text is not touched and still answers for earlier days."""
    change = date(2026, 7, 1)
    book = AgreementBook((agreement(2, change), agreement(1)))
    assert book.in_force("agr", date(2026, 6, 30)).version == 1
    assert book.in_force("agr", change).version == 2
    assert [a.version for a in book.for_period("anna", Period("2026-06"))] == [1]
    assert [a.version for a in book.for_period("anna", Period("2026-07"))] == [2]


def test_a_change_within_a_month_settles_the_month_under_the_later_version():
    """A period is settled as a whole, under the version in force at its end."""
    book = AgreementBook((agreement(1), agreement(2, date(2026, 7, 15))))
    assert [a.version for a in book.for_period("anna", Period("2026-07"))] == [2]


def test_an_ended_agreement_is_still_settled_but_licenses_nothing():
    """Its reserves and balances are paid out; new use of the works is unlicensed."""
    book = AgreementBook((agreement(effective_to=date(2026, 7, 1)),))
    assert not book.is_licensed("anna", date(2026, 7, 1))
    assert book.for_period("anna", Period("2026-07")) == ()
    assert [a.agreement_id for a in book.to_settle(Period("2026-07"))] == ["agr"]
    assert book.to_settle(Period("2025-12")) == ()


def test_an_agreement_that_lists_the_work_goes_before_one_for_all_works():
    """The narrower deal covers the work; a work under none is unlicensed."""
    day = date(2026, 5, 1)
    every = agreement()
    one = agreement(agreement_id="agr-one", works=("w1",))
    book = AgreementBook((every, one))
    assert book.covering("anna", "w1", day) == one
    assert book.covering("anna", "w2", day) == every
    assert AgreementBook((one,)).covering("anna", "w2", day) is None
    assert book.covering("bo", "w1", day) is None


def test_the_most_specific_term_covers_a_use_and_unknown_facts_meet_no_narrow_term():
    """A use in an unknown territory is not a use in Sweden."""
    wide = Term("wide", Basis.PER_OUTPUT, Fraction(1))
    narrow = Term(
        "narrow", Basis.PER_OUTPUT, Fraction(2), Condition((Use.RAG_INPUT,), territories=("SE",))
    )
    deal = Agreement("agr", 1, "anna", "operator", date(2026, 1, 1), (wide, narrow))
    assert deal.term_for(Usage("w", Use.RAG_INPUT, territory="SE")) == narrow
    assert deal.term_for(Usage("w", Use.RAG_INPUT)) == wide
    only = Agreement("agr", 1, "anna", "operator", date(2026, 1, 1), (narrow,))
    assert only.term_for(Usage("w", Use.TRAIN, territory="SE")) is None


@given(st.integers(0, 40))
def test_every_agreement_year_has_one_first_and_one_last_period(offset):
    """Years are counted from the anniversary, and a year has twelve periods."""
    deal = agreement(starts=date(2026, 3, 15))
    period = Period("2026-03").plus(offset)
    assert deal.is_first_of_year(period) == (offset % 12 == 0)
    assert deal.is_last_of_year(period) == (offset % 12 == 11)
    assert deal.year_of(period) == offset // 12
    assert deal.months_of_year(period) == offset % 12 + 1


def test_the_payee_is_who_the_agreement_names_or_the_party_itself():
    """An agent named in the agreement goes before one in the party's record."""
    parties = {"anna": Party("anna", payee_id="agent-1"), "bo": Party("bo", payee_id="agent-2")}
    book = AgreementBook((agreement(payee_id="agent-9"),), parties)
    day = date(2026, 5, 1)
    assert book.payee_of("anna", day) == "agent-9"
    assert book.payee_of("bo", day) == "agent-2"
    assert book.payee_of("cia", day) == "cia"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"version": 0}, AgreementError, "version of at least 1"),
        ({"effective_to": date(2026, 1, 1)}, AgreementError, "not after it begins"),
        ({"works": ()}, AgreementError, "must list its works"),
        ({"works": ("*", "w1")}, AgreementError, "must list its works"),
        ({"recoupment_rate": Fraction(0)}, AgreementError, "above 0 and at most 1, got 0"),
        ({"agreement_id": "no spaces"}, IdentifierError, "agreement_id must be"),
        ({"payee_id": "no spaces"}, IdentifierError, "payee_id must be"),
    ],
)
def test_terms_that_contradict_each_other_are_refused(fields, error, message):
    """An agreement is right when it is built, or it is not built."""
    with pytest.raises(error, match=message):
        agreement(**fields)


def test_a_version_given_twice_is_refused():
    """Two texts for one version would make the statement ambiguous."""
    with pytest.raises(AgreementError, match="agreement agr v1 is there twice"):
        AgreementBook((agreement(), agreement()))
