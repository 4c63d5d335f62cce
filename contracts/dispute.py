"""Claims on a work that do not add up: what is safe to pay, what is contested, what is unclaimed.

1. Claims of exactly 100 % are paid as claimed.
2. Below 100 % the rest is unclaimed: it stands in suspense and is never spread over the others.
3. Above 100 % each claimant is paid what no other claim reaches: its claim cut down to what the
   others leave. The rest is contested and held; the undisputed parts go on being paid.
4. Whatever the resolution, nobody is paid less than the undisputed part already paid, and the
   amount held is divided by the resolution to the last unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from contracts.balances import Adjustment, AdjustmentType
from contracts.errors import SplitSheetError
from contracts.period import Period
from contracts.split import split

# Not ids: no party can be called this.
CONTESTED = "(contested)"
UNCLAIMED = "(unclaimed)"
# Ids that stand for nobody in tables whose column of owners must hold an id.
UNMATCHED_OWNER = "unmatched"
DISPUTED_OWNER = "disputed"
RESERVED_IDS = frozenset({UNMATCHED_OWNER, DISPUTED_OWNER})


@dataclass(frozen=True, slots=True)
class Holdings:
    """What each claimant holds undisputed, and the rest; everything adds up to 1.

    Args:
        shares: undisputed shares by party id; parties with none are left out.
        contested: claimed more than once.
        unclaimed: claimed by nobody.
    """

    shares: Mapping[str, Fraction]
    contested: Fraction = Fraction(0)
    unclaimed: Fraction = Fraction(0)

    def as_sheet(self) -> dict[str, Fraction]:
        """Return shares that add up to 1, with CONTESTED and UNCLAIMED among the owners."""
        rest = {CONTESTED: self.contested, UNCLAIMED: self.unclaimed}
        return dict(self.shares) | {name: share for name, share in rest.items() if share}

    def as_owners(self) -> list[tuple[str, Fraction]]:
        """Return owners and shares adding up to 1: parties by id, disputed, unmatched."""
        rest = ((DISPUTED_OWNER, self.contested), (UNMATCHED_OWNER, self.unclaimed))
        return [*sorted(self.shares.items()), *(pair for pair in rest if pair[1])]


def holdings(claims: Mapping[str, Fraction]) -> Holdings:
    """Say what is undisputed, contested and unclaimed.

    Args:
        claims: claimed shares by party id, as `Work.shares_on` gives them; none above 1.

    Returns:
        The holdings, adding up to 1.

    Raises:
        SplitSheetError: a single claim is not above 0 and at most 1.

    >>> holdings({"anna": Fraction(7, 10), "bo": Fraction(6, 10)}).contested
    Fraction(3, 10)
    """
    for party_id, claim in claims.items():
        if not 0 < claim <= 1:
            raise SplitSheetError(
                f"claim of {party_id} must be above 0 and at most 1, got {claim}; correct it "
                f"before the claims of others are held because of it"
            )
    total = sum(claims.values(), Fraction(0))
    if total <= 1:
        return Holdings(dict(sorted(claims.items())), unclaimed=1 - total)
    safe = {
        party_id: max(1 - (total - claim), Fraction(0))
        for party_id, claim in sorted(claims.items())
    }
    shares = {party_id: share for party_id, share in safe.items() if share}
    return Holdings(shares, contested=1 - sum(shares.values(), Fraction(0)))


def contested_parts(claims: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """Say whose the contested part would be, by how much each claims of it.

    Args:
        claims: claimed shares by party id, as `Work.shares_on` gives them.

    Returns:
        Parts of the contested share by party id, adding up to 1; empty where nothing is contested.

    >>> contested_parts({"anna": Fraction(7, 10), "bo": Fraction(6, 10)})["anna"]
    Fraction(1, 2)
    """
    safe = holdings(claims).shares
    beyond = {party: claim - safe.get(party, 0) for party, claim in sorted(claims.items())}
    total = sum(beyond.values(), Fraction(0))
    return {party: part / total for party, part in beyond.items() if part} if total else {}


def resolve(
    dispute_id: str,
    held_units: int,
    claims: Mapping[str, Fraction],
    decided: Mapping[str, Fraction],
    activity_period: Period,
) -> dict[str, Adjustment]:
    """Divide what a dispute held, as it was decided.

    Args:
        dispute_id: the dispute.
        held_units: what was held for one work and period, not negative.
        claims: the claims that were in dispute.
        decided: the shares of the work as decided, adding up to 1.
        activity_period: the period the money is from.

    Returns:
        One dispute_release adjustment per party that gets something, adding up to `held_units`.

    Raises:
        SplitSheetError: the decision does not add up to 1, or gives a party less than what was
            paid to it undisputed.
    """
    before = holdings(claims)
    total = sum(decided.values(), Fraction(0))
    if total != 1:
        raise SplitSheetError(
            f"decision of dispute {dispute_id} adds up to {total}, not 1; decide who gets the rest"
        )
    if not before.contested:
        raise SplitSheetError(f"claims of dispute {dispute_id} do not exceed the whole work")
    gains = {}
    for party_id in sorted(set(decided) | set(before.shares)):
        gain = decided.get(party_id, Fraction(0)) - before.shares.get(party_id, Fraction(0))
        if gain < 0:
            raise SplitSheetError(
                f"decision of dispute {dispute_id} gives {party_id} {decided.get(party_id, 0)}, "
                f"less than the undisputed {before.shares[party_id]} it was already paid; book a "
                f"correction of ownership instead"
            )
        gains[party_id] = gain / before.contested
    parts = split(held_units, list(gains.values()))
    reason = f"dispute {dispute_id} decided"
    return {
        party_id: Adjustment(AdjustmentType.DISPUTE_RELEASE, units, activity_period, reason)
        for party_id, units in zip(gains, parts, strict=True)
        if units
    }
