"""A pool is divided to the last unit, and nobody's money goes quietly to somebody else."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.apportionment import (
    DESTINATIONS,
    PER_OUTPUT_POSITIVE,
    RULES,
    SIGNED_LINEAR,
    Accrual,
    Fallback,
    OutputInfluence,
    Reliability,
    Standing,
)
from contracts.errors import ApportionmentError

RELIABILITIES = st.one_of(
    st.none(),
    st.builds(
        Reliability,
        limit=st.fractions(0, 2, max_denominator=20),
        fallback=st.sampled_from(Fallback),
        weight=st.fractions(Fraction(1, 20), 1, max_denominator=20),
    ),
)


@st.composite
def accruals(draw):
    """Draw accruals of parties of every standing, some noisy, some negative."""
    count = draw(st.integers(0, 12))
    return [
        Accrual(
            f"p{i}",
            draw(st.integers(-(10**9), 10**12)),
            draw(st.integers(0, 10**12)),
            draw(st.sampled_from(Standing)),
            works=draw(st.integers(0, 9)),
            usage=draw(st.integers(0, 10**6)),
            fixed=draw(st.integers(0, 5)),
            reliability=draw(RELIABILITIES),
        )
        for i in range(count)
    ]


@st.composite
def pools(draw):
    """Draw a pool with its unexplained part."""
    pool_units = draw(st.integers(0, 10**13))
    return pool_units, draw(st.integers(0, pool_units))


def out_of(result):
    """Add up everything that leaves the pool."""
    return sum(result.payable.values()) + sum(result.destinations.values())


@given(pools(), accruals(), st.sampled_from(sorted(RULES)))
def test_payables_and_destinations_add_up_to_the_pool(pool, accruals, rule):
    """Nothing is lost and nothing invented, whatever the accruals."""
    pool_units, unexplained_units = pool
    result = RULES[rule].apportion(pool_units, accruals, unexplained_units=unexplained_units)
    assert out_of(result) == pool_units
    assert set(result.destinations) == set(DESTINATIONS)
    assert all(units > 0 for units in result.payable.values())
    assert all(units >= 0 for units in result.destinations.values())


@given(pools(), accruals(), st.randoms())
def test_the_order_of_accruals_changes_nothing(pool, accruals, random):
    """The same claims give the same money however they were read."""
    pool_units, unexplained_units = pool
    shuffled = list(accruals)
    random.shuffle(shuffled)
    kwargs = {"unexplained_units": unexplained_units}
    assert SIGNED_LINEAR.apportion(pool_units, accruals, **kwargs) == SIGNED_LINEAR.apportion(
        pool_units, shuffled, **kwargs
    )


@given(pools(), accruals())
def test_what_a_party_gets_is_its_claim_whoever_else_is_licensed(pool, accruals):
    """Taking away one party's licence moves its own money and nobody else's."""
    pool_units, unexplained_units = pool
    plain = [Accrual(a.party_id, a.accrual_units) for a in accruals]
    before = SIGNED_LINEAR.apportion(pool_units, plain, unexplained_units=unexplained_units)
    for i, accrual in enumerate(plain):
        unlicensed = Accrual(accrual.party_id, accrual.accrual_units, standing=Standing.UNLICENSED)
        changed = [*plain[:i], unlicensed, *plain[i + 1 :]]
        after = SIGNED_LINEAR.apportion(pool_units, changed, unexplained_units=unexplained_units)
        lost_units = before.payable.get(accrual.party_id, 0)
        assert after.destinations["unlicensed"] == lost_units
        others = {key: units for key, units in before.payable.items() if key != accrual.party_id}
        assert after.payable == others


@given(st.integers(0, 10**12), accruals())
def test_a_fallback_moves_money_only_among_those_it_was_agreed_with(pool_units, accruals):
    """Parties whose attribution is reliable are paid as if no fallback existed."""
    with_clause = SIGNED_LINEAR.apportion(pool_units, accruals)
    without = SIGNED_LINEAR.apportion(
        pool_units,
        [
            Accrual(a.party_id, a.accrual_units, a.stderr_units, a.standing, a.works)
            for a in accruals
        ],
    )
    moved = sum(portion.moved_units for portion in with_clause.portions.values())
    given_units = sum(portion.fallback_units for portion in with_clause.portions.values())
    assert moved == given_units
    for accrual in accruals:
        if not accrual.is_unreliable:
            party = accrual.party_id
            assert with_clause.payable.get(party, 0) == without.payable.get(party, 0)


def test_the_unexplained_part_stays_as_it_is():
    """A negative accrual of one party scales the other claims, not what nobody explains."""
    result = SIGNED_LINEAR.apportion(
        1000, [Accrual("a", 700), Accrual("b", -100), Accrual("c", 200)], unexplained_units=200
    )
    # 800 explained; claims 700 and 200 of 900: 622.2 and 177.8.
    assert result.payable == {"a": 622, "c": 178}
    assert result.destinations["unexplained"] == 200


def test_a_party_whose_interval_contains_zero_is_paid_nothing_and_nobody_else_more():
    """1.96 standard errors of 60 reach below an accrual of 100; those of 50 do not."""
    accruals = [Accrual("noisy", 100, 60), Accrual("sure", 100, 50), Accrual("big", 800)]
    result = SIGNED_LINEAR.apportion(1000, accruals)
    assert result.payable == {"sure": 100, "big": 800}
    assert result.destinations["below_noise"] == 100
    assert result.portions["noisy"].low_units == -18
    off = SIGNED_LINEAR.apportion(1000, [replace(a, noise_z=None) for a in accruals])
    assert off.payable == {"noisy": 100, "sure": 100, "big": 800}


def test_a_fallback_takes_its_weight_and_the_rest_stays_attributed():
    """Two noisy parties, half by equal shares per work: worked in the comments."""
    clause = Reliability(Fraction(1, 4), Fallback.EQUAL_PER_WORK, Fraction(1, 2))
    accruals = [
        Accrual("a", 600, 200, works=1, reliability=clause),
        Accrual("b", 200, 90, works=3, reliability=clause),
        Accrual("c", 200),
    ]
    result = SIGNED_LINEAR.apportion(1000, accruals)
    # a gives up 300 and b 100: 400 in the pot, by works 1 to 3: 100 and 300.
    assert result.payable == {"a": 400, "b": 400, "c": 200}
    assert result.portions["a"].attribution_weight == Fraction(1, 2)
    assert result.portions["b"].fallback_units == 300


def test_a_fallback_still_pays_a_party_below_the_noise_floor():
    """What attribution cannot show goes below noise; the agreed fallback part is paid."""
    clause = Reliability(Fraction(1, 4), Fallback.FIXED, Fraction(1, 2))
    accruals = [
        Accrual("a", 100, 80, fixed=1, reliability=clause),
        Accrual("b", 900, 400, fixed=1, reliability=clause),
    ]
    result = SIGNED_LINEAR.apportion(1000, accruals)
    # pot 50 + 450, half each; a's other 50 is below noise, b's other 450 is not.
    assert result.payable == {"a": 250, "b": 700}
    assert result.destinations["below_noise"] == 50


def test_with_no_positive_claim_the_pool_is_unexplained():
    """A period in which nothing helped pays nobody by accident."""
    result = SIGNED_LINEAR.apportion(500, [Accrual("a", -5), Accrual("b", 0)])
    assert result.payable == {}
    assert result.destinations["unexplained"] == 500


def test_filing_works_under_two_names_changes_no_claim_of_anyone():
    """signed_linear/1: influence 5, -3 and 4 against 6 is the same under one name or three."""
    outputs = [
        OutputInfluence("o1", 100, {"a": 5, "b": 6}),
        OutputInfluence("o2", 100, {"a": 1, "b": 2}),
    ]
    filed_apart = [
        OutputInfluence("o1", 100, {"a1": 9, "a2": -4, "b": 6}),
        OutputInfluence("o2", 100, {"a1": -1, "a2": 2, "b": 2}),
    ]
    whole = SIGNED_LINEAR.accrue(outputs).shares
    parts = SIGNED_LINEAR.accrue(filed_apart).shares
    assert parts["a1"] + parts["a2"] == whole["a"]
    assert parts["b"] == whole["b"]


def test_per_output_positive_pays_more_for_filing_under_two_names():
    """The comparison rule fails exactly the law above: this is why it is not the default."""
    outputs = [OutputInfluence("o1", 100, {"a": 5, "b": 5})]
    filed_apart = [OutputInfluence("o1", 100, {"a1": 10, "a2": -5, "b": 5})]
    whole = PER_OUTPUT_POSITIVE.accrue(outputs).shares
    parts = PER_OUTPUT_POSITIVE.accrue(filed_apart).shares
    assert whole["a"] == Fraction(1, 2)
    assert parts["a1"] == Fraction(2, 3)
    assert parts["b"] < whole["b"]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**6), st.lists(st.integers(-(10**6), 10**6), min_size=3, max_size=3)
        ),
        min_size=1,
        max_size=10,
    ).filter(lambda rows: any(value for value, _ in rows))
)
def test_signed_accruals_are_linear_in_the_documents(rows):
    """Merging any two parties gives exactly the sum of what they had apart."""
    apart = [
        OutputInfluence(str(i), value, dict(zip("abc", influence, strict=True)))
        for i, (value, influence) in enumerate(rows)
    ]
    merged = [
        OutputInfluence(
            o.output_id,
            o.value_units,
            {"ab": o.influence["a"] + o.influence["b"], "c": o.influence["c"]},
        )
        for o in apart
    ]
    left, right = SIGNED_LINEAR.accrue(apart), SIGNED_LINEAR.accrue(merged)
    zero = Fraction(0)
    assert left.shares.get("a", zero) + left.shares.get("b", zero) == right.shares.get("ab", zero)
    assert left.unexplained == right.unexplained
    assert sum(left.shares.values(), left.unexplained) == 1


def test_an_output_nothing_helped_is_unexplained():
    """Its value is nobody's: a total of zero or below cannot be divided."""
    outputs = [OutputInfluence("o1", 300, {"a": -1, "b": 1}), OutputInfluence("o2", 100, {"a": 2})]
    shares = SIGNED_LINEAR.accrue(outputs)
    assert shares.unexplained == Fraction(3, 4)
    assert shares.shares == {"a": Fraction(1, 4)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SIGNED_LINEAR.apportion(-1, []), "pool to apportion must not be negative, got -1"),
        (
            lambda: SIGNED_LINEAR.apportion(5, [], unexplained_units=6),
            "6 units lies outside the pool of 5",
        ),
        (
            lambda: SIGNED_LINEAR.apportion(5, [Accrual("a", 1), Accrual("a", 2)]),
            "party a has 2 accruals",
        ),
        (lambda: SIGNED_LINEAR.apportion(5, [Accrual("a", 1, -1)]), "must not be negative, got -1"),
        (lambda: SIGNED_LINEAR.accrue([]), "worth nothing together"),
        (
            lambda: SIGNED_LINEAR.accrue([OutputInfluence("o", -1, {})]),
            "output o has a negative value",
        ),
        (lambda: Reliability(Fraction(-1)), "limit of at least 0"),
    ],
)
def test_what_cannot_be_divided_is_refused(call, message):
    """Each refusal names the values and what to do."""
    with pytest.raises(ApportionmentError, match=message):
        call()
