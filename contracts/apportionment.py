"""Divide a pool among parties by their influence, under a rule with a name and a version.

An agreement and a statement cite the rule by name. A rule has two halves:

    accrue      one output after another, influence becomes each party's share of the value;
    apportion   once, when the period closes, accruals become money.

`signed_linear/1` keeps shares signed and linear in the documents until the period closes, so
cutting a work in pieces or filing it under two names changes no accrual. `per_output_positive/1`
drops the negative influence of each output before it divides, and so pays more for what is filed
under two names. Nights accrue by either with works in the place of parties (`flows.positive`):
who owns a work then changes no accrual, though cutting it in pieces may.

Both apportion in the same order, and each step is a test:

1. The unexplained part of the pool is taken out first and goes to `unexplained`, as it is.
2. A party's claim is its accrual, or nothing where the accrual is negative. The rest of the pool
   is divided by claims over *all* parties, under contract or not.
3. The part of a party nobody has a contract with goes to `unlicensed`; of works nobody is known
   to own, to `unmatched`; what several parties claim, to `disputed`. None of it is spread over
   the others.
4. A party whose estimate is noisier than its agreement allows lets its agreement's fallback
   method take the stated weight of its part. Those parts are pooled by method and divided again
   among the same parties only.
5. What a party would be paid by attribution while its interval contains zero goes to
   `below_noise`.
6. Payables and destinations add up to the pool exactly. Nothing depends on the order of input.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from contracts.accrual import NOISE_Z, Accrual, Fallback, Reliability, Standing
from contracts.errors import ApportionmentError
from contracts.money import round_half_even
from contracts.split import split, split_by_weights

UNLICENSED = "unlicensed"
UNMATCHED = "unmatched"
BELOW_NOISE = "below_noise"
DISPUTED = "disputed"
UNEXPLAINED = "unexplained"
ROUNDING = "rounding"
DESTINATIONS = (UNLICENSED, UNMATCHED, DISPUTED, BELOW_NOISE, UNEXPLAINED, ROUNDING)

__all__ = [
    "BELOW_NOISE",
    "DESTINATIONS",
    "DISPUTED",
    "NOISE_Z",
    "PER_OUTPUT_POSITIVE",
    "ROUNDING",
    "RULES",
    "SIGNED_LINEAR",
    "UNEXPLAINED",
    "UNLICENSED",
    "UNMATCHED",
    "Accrual",
    "AccruedShares",
    "Apportionment",
    "ApportionmentRule",
    "Fallback",
    "OutputInfluence",
    "Portion",
    "Reliability",
    "Standing",
]


@dataclass(frozen=True, slots=True)
class Portion:
    """What one party gets from the pool, with the working.

    `attribution_units + fallback_units = payable_units` where the destination is payable.

    Args:
        party_id: the party.
        accrual_units: signed accrual, as it came in.
        stderr_units: its standard error.
        low_units: lower end of the interval, rounded down.
        claim_units: the accrual, or 0 where it is negative.
        part_units: the part of the pool its claim takes.
        moved_units: how much of the part its fallback method took.
        fallback_units: what the fallback method gave.
        attribution_units: what stays divided by attribution.
        attribution_weight: the weight attribution has in the result, printed on the statement.
        destination: payable, or the named destination of `attribution_units`.
        payable_units: what the party is owed.
    """

    party_id: str
    accrual_units: int
    stderr_units: int
    low_units: int
    claim_units: int
    part_units: int
    moved_units: int = 0
    fallback_units: int = 0
    attribution_units: int = 0
    attribution_weight: Fraction = Fraction(1)
    destination: str = "payable"
    payable_units: int = 0


@dataclass(frozen=True, slots=True)
class Apportionment:
    """A pool, divided. Payables and destinations add up to the pool exactly.

    Args:
        rule: name and version of the rule.
        pool_units: what was divided.
        portions: the working, by party id.
        destinations: units by named destination; every name is present.
    """

    rule: str
    pool_units: int
    portions: Mapping[str, Portion]
    destinations: Mapping[str, int]

    @property
    def payable(self) -> dict[str, int]:
        """Units owed by party id; parties that are owed nothing are left out."""
        return {
            party_id: portion.payable_units
            for party_id, portion in self.portions.items()
            if portion.payable_units
        }


@dataclass(frozen=True, slots=True)
class OutputInfluence:
    """One output: what it was worth and who helped to make it, or hindered it.

    Args:
        output_id: the output.
        value_units: its value times its sampling weight, in units; not negative.
        influence: signed influence by party or work, over everything trained on, in any one unit.
    """

    output_id: str
    value_units: int
    influence: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AccruedShares:
    """Signed shares of the value by party, and the unexplained share; they add up to 1."""

    shares: Mapping[str, Fraction]
    unexplained: Fraction


@dataclass(frozen=True, slots=True)
class ApportionmentRule:
    """A rule by its name and version.

    Args:
        name: as agreements and statements cite it, such as signed_linear/1.
        sentence: what the rule does, in one sentence for a statement.
        weights_of_output: makes one output's influences into weights; their sum divides.
    """

    name: str
    sentence: str
    weights_of_output: Callable[[Mapping[str, int]], dict[str, int]] = field(repr=False)

    def accrue(self, outputs: Iterable[OutputInfluence]) -> AccruedShares:
        """Return each party's signed share of the value of all outputs.

        An output whose weights do not add up to more than zero is unexplained. Exact, and so
        meant for comparison and evaluation; production estimates accruals in `flows`.

        Raises:
            ApportionmentError: a value is negative, or all values are zero.
        """
        sums: dict[str, Fraction] = defaultdict(Fraction)
        unexplained = Fraction(0)
        total = 0
        for output in outputs:
            if output.value_units < 0:
                raise ApportionmentError(
                    f"output {output.output_id} has a negative value of {output.value_units} "
                    f"units; mark it as not payable instead"
                )
            total += output.value_units
            weights = self.weights_of_output(output.influence)
            over = sum(weights.values())
            if over <= 0:
                unexplained += output.value_units
                continue
            for party_id, weight in weights.items():
                sums[party_id] += Fraction(output.value_units * weight, over)
        if not total:
            raise ApportionmentError(
                "outputs are worth nothing together, so shares of their value do not exist; "
                "apportion no pool for this period or correct the values"
            )
        shares = {party_id: sums[party_id] / total for party_id in sorted(sums)}
        return AccruedShares(shares, unexplained / total)

    def apportion(
        self,
        pool_units: int,
        accruals: Sequence[Accrual],
        *,
        unexplained_units: int = 0,
    ) -> Apportionment:
        """Divide a pool among parties and named destinations.

        Args:
            pool_units: what is divided, not negative; reverse an entry instead.
            accruals: one per party. Their sum need not be the pool: claims divide it.
            unexplained_units: the part of the pool that belongs to outputs no training explains.

        Returns:
            The division with its working, adding up to the pool.

        Raises:
            ApportionmentError: the pool is negative, a party is named twice, a standard error is
                negative, or the unexplained part lies outside the pool.
        """
        _check(pool_units, accruals, unexplained_units)
        in_order = sorted(accruals, key=lambda accrual: accrual.party_id)
        claims = [max(accrual.accrual_units, 0) for accrual in in_order]
        explained_units = pool_units - unexplained_units
        parts = split_by_weights(explained_units, claims) if any(claims) else [0] * len(claims)
        portions = [
            _portion(accrual, part_units)
            for accrual, part_units in zip(in_order, parts, strict=True)
        ]
        portions = _apply_fallbacks(in_order, portions)
        destinations = Counter(dict.fromkeys(DESTINATIONS, 0))
        destinations[UNEXPLAINED] += pool_units - sum(parts)
        for portion in portions:
            if portion.destination != "payable":
                destinations[portion.destination] += portion.attribution_units
        result = Apportionment(
            self.name,
            pool_units,
            {portion.party_id: portion for portion in portions},
            dict(destinations),
        )
        out_units = sum(result.payable.values()) + sum(result.destinations.values())
        assert out_units == pool_units, (out_units, pool_units)
        return result


def _check(pool_units: int, accruals: Sequence[Accrual], unexplained_units: int) -> None:
    """Refuse what cannot be divided."""
    if pool_units < 0:
        raise ApportionmentError(
            f"pool to apportion must not be negative, got {pool_units} units; reverse the "
            f"entries of the period instead"
        )
    if not 0 <= unexplained_units <= pool_units:
        raise ApportionmentError(
            f"unexplained part of {unexplained_units} units lies outside the pool of "
            f"{pool_units} units; nothing was divided. Estimate the period again"
        )
    counts = Counter(accrual.party_id for accrual in accruals)
    twice = sorted(party_id for party_id, count in counts.items() if count > 1)
    if twice:
        raise ApportionmentError(
            f"party {twice[0]} has {counts[twice[0]]} accruals in one pool and period; add them "
            f"up first, since the floor at zero holds for a party as a whole"
        )
    for accrual in accruals:
        if accrual.stderr_units < 0:
            raise ApportionmentError(
                f"standard error of {accrual.party_id} must not be negative, got "
                f"{accrual.stderr_units} units"
            )


def _portion(accrual: Accrual, part_units: int) -> Portion:
    """Say where a party's part of the pool goes, before any fallback."""
    low = accrual.accrual_units - (accrual.noise_z or Fraction(0)) * accrual.stderr_units
    portion = Portion(
        accrual.party_id,
        accrual.accrual_units,
        accrual.stderr_units,
        low_units=low.numerator // low.denominator,
        claim_units=max(accrual.accrual_units, 0),
        part_units=part_units,
        attribution_units=part_units,
    )
    if accrual.standing is not Standing.LICENSED:
        return replace(portion, destination=accrual.standing.value)
    if accrual.noise_z is not None and low <= 0 < accrual.accrual_units:
        return replace(portion, destination=BELOW_NOISE)
    return replace(portion, payable_units=part_units)


def _apply_fallbacks(accruals: Sequence[Accrual], portions: Sequence[Portion]) -> list[Portion]:
    """Let the fallback methods divide the stated part of what is too noisy (rule 4)."""
    result = list(portions)
    for method in Fallback:
        chosen = [
            i
            for i, accrual in enumerate(accruals)
            if accrual.is_unreliable
            and accrual.reliability is not None
            and accrual.reliability.fallback is method
        ]
        weights = [accruals[i].fallback_weight() for i in chosen]
        over = sum(weights, Fraction(0))
        if over <= 0:
            continue
        moved = [_moved_units(accruals[i], portions[i]) for i in chosen]
        given = split(sum(moved), [weight / over for weight in weights])
        for i, moved_units, given_units in zip(chosen, moved, given, strict=True):
            result[i] = _with_fallback(accruals[i], portions[i], moved_units, given_units)
    return result


def _moved_units(accrual: Accrual, portion: Portion) -> int:
    """Return how much of a party's part its fallback method takes."""
    assert accrual.reliability is not None, accrual
    return round_half_even(portion.part_units * accrual.reliability.weight)


def _with_fallback(
    accrual: Accrual, portion: Portion, moved_units: int, given_units: int
) -> Portion:
    """Return the portion with the fallback's result in it."""
    assert accrual.reliability is not None, accrual
    kept_units = portion.part_units - moved_units
    paid_units = kept_units if portion.destination == "payable" else 0
    return replace(
        portion,
        moved_units=moved_units,
        fallback_units=given_units,
        attribution_units=kept_units,
        attribution_weight=1 - accrual.reliability.weight,
        payable_units=paid_units + given_units,
    )


def _signed(influence: Mapping[str, int]) -> dict[str, int]:
    """Keep every influence as it is."""
    return dict(influence)


def _positive(influence: Mapping[str, int]) -> dict[str, int]:
    """Drop what is not positive."""
    return {party_id: value for party_id, value in influence.items() if value > 0}


SIGNED_LINEAR = ApportionmentRule(
    "signed_linear/1",
    "Influence is added up with its sign over all outputs of the period; only then are negative "
    "totals set to zero and the pool divided.",
    _signed,
)
PER_OUTPUT_POSITIVE = ApportionmentRule(
    "per_output_positive/1",
    "Negative influence is set to zero output by output, and work by work, before the value of the "
    "output is divided.",
    _positive,
)
RULES: dict[str, ApportionmentRule] = {
    rule.name: rule for rule in (SIGNED_LINEAR, PER_OUTPUT_POSITIVE)
}
