"""Works, their sources, and who owns how much of each on which date.

1. A work belongs to one source and has documents; influence is computed per work.
2. The shares of a work add up to exactly 100 % for each right on each date. More is an
   overclaim, which the work's record must say by naming its dispute, and less leaves a part
   nobody claimed, which it must say too; `contracts.dispute` says what happens to the money.
   Neither is spread over the others.
3. An interval of dates includes its first day and not its last, so that a share that ends on a
   date and one that begins on it never both hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import SplitSheetError
from contracts.identifier import ExternalId, check_id

if TYPE_CHECKING:
    from contracts.catalogue import Catalogue

ANY_RIGHT = "*"


@dataclass(frozen=True, order=True, slots=True)
class Source:
    """Where works came from: a book, a site, a repository, a package or a dataset."""

    source_id: str
    kind: str = "dataset"
    title: str = ""
    version: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        """Check the id.

        Raises:
            IdentifierError: the id has characters outside the allowed ones.
        """
        check_id("source_id", self.source_id)


@dataclass(frozen=True, order=True, slots=True)
class WorkSplit:
    """One party's share of a work between two dates.

    Args:
        party_id: the owner.
        share: its part of the work, above 0 and at most 1.
        effective_from: first day it holds; None means since ever.
        effective_to: first day it no longer holds; None means for good.
        right: the right the share is of; * means every right without a sheet of its own.
    """

    party_id: str
    share: Fraction
    effective_from: date | None = None
    effective_to: date | None = None
    right: str = ANY_RIGHT

    def __post_init__(self) -> None:
        """Check the id, the share and the interval.

        Raises:
            IdentifierError: the id has characters outside the allowed ones.
            SplitSheetError: the share is outside ]0, 1], or the interval ends before it begins.
        """
        check_id("party_id", self.party_id)
        if not 0 < self.share <= 1:
            raise SplitSheetError(
                f"share of {self.party_id} must be above 0 and at most 1, got {self.share}; "
                f"leave a party without a share out of the sheet"
            )
        if self.effective_from and self.effective_to and self.effective_to <= self.effective_from:
            raise SplitSheetError(
                f"share of {self.party_id} ends {self.effective_to}, not after it begins "
                f"{self.effective_from}; effective_to is the first day it no longer holds"
            )

    def holds_on(self, day: date) -> bool:
        """Say whether the share is in force on a day."""
        after_start = self.effective_from is None or self.effective_from <= day
        return after_start and (self.effective_to is None or day < self.effective_to)


@dataclass(frozen=True, order=True, slots=True)
class Work:
    """A work: the unit that earns.

    Args:
        work_id: our id; the attribution side calls it group_id.
        title: what the work is called in its source.
        source_id: where it came from; empty if not known.
        licence: the licence text or SPDX id it was published under.
        splits: who owns it; empty means unmatched, the money stands in suspense.
        external_ids: outside identifiers, such as (doi, ...).
        dispute_id: the dispute in which more than the whole work is claimed; empty for none.
        unclaimed: whether it is known that a part of the work is claimed by nobody.
    """

    work_id: str
    title: str = ""
    source_id: str = ""
    licence: str = ""
    splits: tuple[WorkSplit, ...] = ()
    external_ids: tuple[ExternalId, ...] = ()
    dispute_id: str = ""
    unclaimed: bool = False

    def __post_init__(self) -> None:
        """Check the ids.

        Raises:
            IdentifierError: an id has characters outside the allowed ones.
        """
        check_id("work_id", self.work_id)
        if self.dispute_id:
            check_id("dispute_id", self.dispute_id)

    def shares_on(self, day: date, right: str = ANY_RIGHT) -> dict[str, Fraction]:
        """Return each owner's share on a day, by party id.

        A right with a sheet of its own is read from that sheet, any other from the sheet for *.
        The shares may add up to more or less than 1: see `check_splits` for a refusal and
        `contracts.dispute` for what is then held.

        Args:
            day: the day of use.
            right: the right that was used.

        Returns:
            Shares by party id, in the order of the ids; empty if nobody owns the work that day.
        """
        sheet = [split for split in self.splits if split.holds_on(day) and split.right == right]
        if not sheet and right != ANY_RIGHT:
            return self.shares_on(day)
        shares: dict[str, Fraction] = {}
        for split in sorted(sheet, key=lambda split: split.party_id):
            shares[split.party_id] = shares.get(split.party_id, Fraction(0)) + split.share
        return shares


def check_splits(work: Work) -> None:
    """Refuse a work whose shares do not add up to 100 % on some date for some right.

    Only dates on which at least one share holds are looked at: a work may start late. An
    overclaim is allowed where the record names its dispute, a gap where it says so.

    Raises:
        SplitSheetError: names the work, the right, the date, the sum and the difference.
    """
    for right in sorted({split.right for split in work.splits}):
        sheet = [split for split in work.splits if split.right == right]
        for day in sorted(_change_dates(sheet)):
            held = [split for split in sheet if split.holds_on(day)]
            total = sum((split.share for split in held), Fraction(0))
            said = (total > 1 and work.dispute_id) or (total < 1 and work.unclaimed)
            if held and total != 1 and not said:
                too = f"{total - 1} too much" if total > 1 else f"{1 - total} too little"
                raise SplitSheetError(
                    f"shares of work {work.work_id} for right {right} on {day} add up to {total}, "
                    f"not 1 ({too}); correct the sheet, or name the dispute (dispute: ID) for "
                    f"what is claimed twice, or say unclaimed: true for what nobody claims"
                )


def load_catalogue(path: Path | str) -> Catalogue:
    """Read a catalogue file whole, or refuse it with every fault: see `contracts.catalogue`."""
    # The catalogue is made of works, so its module imports this one.
    from contracts.catalogue import load_catalogue as load  # noqa: PLC0415

    return load(path)


def _change_dates(sheet: Iterable[WorkSplit]) -> set[date]:
    """Return the days on which a sheet can change, and one day before all of them."""
    dates = {date.min}
    for split in sheet:
        dates |= {day for day in (split.effective_from, split.effective_to) if day is not None}
    return dates
