"""Recoup advances from royalties, and set royalties of one agreement off against another.

1. Recouped and left over add up to the royalty; the unrecouped balance never goes below zero.
2. Nothing is recouped from a royalty that is not positive.
3. Agreements are set off against each other only where both name the same collateral group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from contracts.errors import AgreementError
from contracts.money import round_half_even


@dataclass(frozen=True, slots=True)
class Recoupment:
    """What a royalty recouped.

    Args:
        recouped_units: taken from the royalty.
        left_units: what remains of the royalty.
        unrecouped_units: what remains of the advance.
    """

    recouped_units: int
    left_units: int
    unrecouped_units: int


def recoup(royalty_units: int, unrecouped_units: int, rate: Fraction = Fraction(1)) -> Recoupment:
    """Apply a royalty to an unrecouped advance.

    Args:
        royalty_units: the royalty before recoupment, of either sign.
        unrecouped_units: what is still unrecouped, not negative.
        rate: the part of the royalty that may be taken.

    Returns:
        The amounts taken and left.

    Raises:
        AgreementError: the unrecouped balance is negative, so more was recouped than advanced.

    >>> recoup(800, 500)
    Recoupment(recouped_units=500, left_units=300, unrecouped_units=0)
    """
    if unrecouped_units < 0:
        raise AgreementError(
            f"unrecouped balance is {unrecouped_units} units, below zero: more was recouped than "
            f"advanced. Reverse the recoupment that went too far"
        )
    available_units = round_half_even(max(royalty_units, 0) * rate)
    recouped_units = min(available_units, unrecouped_units)
    return Recoupment(
        recouped_units, royalty_units - recouped_units, unrecouped_units - recouped_units
    )


def set_off(royalty_units: int, unrecouped: Mapping[str, int]) -> dict[str, int]:
    """Apply what is left of a royalty to other agreements' unrecouped advances, by id.

    Args:
        royalty_units: what is left after the agreement's own recoupment.
        unrecouped: unrecouped units of the other agreements of the group, by agreement id.

    Returns:
        Units taken for each agreement that received something.

    >>> set_off(100, {"agr_b": 30, "agr_a": 90})
    {'agr_a': 90, 'agr_b': 10}
    """
    taken: dict[str, int] = {}
    left_units = max(royalty_units, 0)
    for agreement_id in sorted(unrecouped):
        part = recoup(left_units, unrecouped[agreement_id])
        if part.recouped_units:
            taken[agreement_id] = part.recouped_units
        left_units = part.left_units
    return taken
