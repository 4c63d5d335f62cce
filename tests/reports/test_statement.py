"""A statement foots, rolls forward and agrees with the ledger, or there is none."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.errors import StatementDoesNotFootError, StatementInputError
from reports.statement import allot_to_works, build_statement, canonical_inputs, summarise_works
from reports.statement_inputs import (
    Movement,
    ReplacedVersion,
    StatementInputs,
    WorkLine,
)
from tests.reports.example import header, inputs, work

MOVES = ("earned", "adjustment", "reserve_taken", "recoupment", "withholding_tax", "payout")


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.tuples(st.sampled_from(MOVES), st.integers(-(10**15), 10**15)), max_size=20),
)
def test_opening_balance_and_movements_add_up_to_the_closing_balance(opening, moves):
    """Nothing but the printed lines changes the balance, and every line is printed."""
    movements = tuple(Movement(kind, units) for kind, units in moves)
    earned = sum(units for kind, units in moves if kind == "earned")
    works = (work("w", "2026-11-20", earned, 10**10),) if earned else ()
    statement = build_statement(
        StatementInputs(header=header(), opening_units=opening, movements=movements, works=works)
    )
    printed = [line.amount_units for line in statement.summary if not line.is_total]
    assert sum(printed) == statement.closing_units == opening + sum(units for _, units in moves)
    assert [line.kind for line in statement.summary if line.is_total] == [
        "net",
        "payable",
        "closing",
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.integers(-(10**12), 10**12),
            st.integers(-(10**11), 10**11),
            st.integers(1, 10**15),
        ),
        max_size=30,
    )
)
def test_both_layouts_have_the_same_total(lines):
    """Adding detail lines up to a work summary loses no unit and keeps every pool."""
    detail = [
        work(name, f"2026-11-{1 + place % 30:02d}", units, share, pool_units=pool)
        for place, (name, units, share, pool) in enumerate(lines)
    ]
    summary = summarise_works(detail)
    assert sum(line.amount_units for line in summary) == sum(line.amount_units for line in detail)
    assert sum(line.pool_units for line in summary) == sum(line.pool_units for line in detail)
    assert len(summary) == len({name for name, *_ in lines})


def test_shares_of_two_nights_are_averaged_over_their_pools_and_errors_add_in_squares():
    """Two equal nights have the same share and an error smaller by the root of two."""
    night = work("w", "2026-11-20", 50, 10**11)
    (line,) = summarise_works([night, replace(night, activity_period="2026-11-21")])
    assert line.share_ppt == 10**11
    assert abs(line.stderr_ppt * line.stderr_ppt * 2 - night.stderr_ppt**2) < 10**12
    assert line.low_ppt < line.share_ppt < line.high_ppt
    assert line.activity_period == "2026-11-20..2026-11-21"


@given(st.integers(0, 10**15), st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=20))
def test_what_a_creator_earned_is_divided_among_the_works_to_the_unit(gross, accruals):
    """Works share the creator's amount in proportion to their signed accruals."""
    if sum(accruals) <= 0:
        accruals = [*accruals, 1 - sum(accruals)]
    parts = allot_to_works(gross, accruals)
    total = sum(accruals)
    assert sum(parts) == gross
    for part, accrual in zip(parts, accruals, strict=True):
        assert abs(part - Fraction(gross * accrual, total)) < 1


def test_money_that_no_work_accrued_is_refused():
    """An amount cannot be tied to works that accrued nothing."""
    with pytest.raises(ValueError, match="accruals add up to -3 units"):
        allot_to_works(10, [-5, 2])


def test_the_example_foots():
    """The worked example: payable 84.940678, closing 72.940678 after a payout of 12."""
    statement = build_statement(inputs())
    assert statement.earned_units == 135_500_000
    assert statement.net_units == 74_295_678
    assert statement.payable_units == 84_940_678
    assert statement.closing_units == 72_940_678
    assert not statement.is_nil


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ledger_closing_units": 72_940_679}, "closing balance against the ledger"),
        ({"previous_closing_units": 1}, "opening balance against the closing balance"),
        ({"entries": inputs().entries[1:]}, "against the journal entries cited"),
        ({"works": inputs().works[1:]}, "work lines against royalties earned"),
        (
            {"adjustments": (replace(inputs().adjustments[0], amount_units=5),)},
            "typed adjustments against their line",
        ),
        (
            {"pools": (replace(inputs().pools[0], pool_units=1),)},
            "destinations of pool pool:inference against the pool",
        ),
        (
            {"pools": (replace(inputs().pools[0], mine_units=2_106_500_000),)},
            "above what the pool paid",
        ),
    ],
)
def test_sums_that_disagree_are_refused(change, message):
    """One unit of difference is enough for there to be no statement."""
    with pytest.raises(StatementDoesNotFootError, match=message):
        build_statement(inputs(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": header(status="draft")}, "status is 'draft'"),
        ({"movements": (Movement("gift", 5),)}, "movement kind is 'gift'"),
        (
            {"pools": (replace(inputs().pools[0], destinations={"lost": 1}),)},
            "pool pool:inference is \\['lost'\\]",
        ),
        (
            {"adjustments": (replace(inputs().adjustments[0], adjustment_type="oops"),)},
            "adjustment type is 'oops'",
        ),
        ({"replaces": ReplacedVersion(1, "ab", 0, "rate")}, "version is 1, expected a version"),
    ],
)
def test_words_no_statement_has_are_refused(change, message):
    """A misspelt kind must not vanish from the account summary."""
    with pytest.raises(StatementInputError, match=message):
        build_statement(inputs(**change))


def test_a_nil_period_still_makes_a_statement():
    """Nothing earned is said, not left out."""
    statement = build_statement(StatementInputs(header=header()))
    assert statement.is_nil
    assert statement.closing_units == 0


def test_a_second_version_names_the_first_and_the_difference():
    """What a correction changed is one number on the new version."""
    first = build_statement(inputs())
    replaced = ReplacedVersion(1, first.sha256, first.payable_units, "rate corrected")
    second = build_statement(
        inputs(
            header=header(version=2, status="restated"),
            replaces=replaced,
            movements=(*inputs().movements, Movement("fee", -40_678)),
            entries=(),
            ledger_closing_units=72_900_000,
        )
    )
    assert second.difference_units == -40_678
    assert second.sha256 != first.sha256


def test_the_digest_is_over_canonical_text_without_floats():
    """Two builds of the same inputs have one digest; integers are texts."""
    assert build_statement(inputs()).sha256 == build_statement(inputs()).sha256
    assert b'"opening_units":"12000000"' in canonical_inputs(inputs())


def test_split_is_kept_apart_in_the_summary():
    """A work with two splits in one period is two lines, never an average."""
    half = WorkLine("w", "p", "2026-11", 5, 100, 10, split=Fraction(1, 2))
    whole = replace(half, split=Fraction(1))
    assert len(summarise_works([half, whole])) == 2
