"""A slow clerk who keeps a year of royalties by hand: the oracle of the simulated year.

It imports nothing of ours. It knows deals and sheets as plain values, follows the rules as they
are written for accountants, and keeps one number for every account.
"""

from collections import defaultdict
from fractions import Fraction

NOBODY = ("disputed", "unlicensed", "unmatched")


def round_even(value):
    """Round half to even, by cases."""
    whole = value.numerator // value.denominator
    rest = value - whole
    up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1)
    return whole + 1 if up else whole


def cut(amount, values):
    """Round exact values so that they add up to an amount: down, then up where most is lost."""
    parts = [value.numerator // value.denominator for value in values]
    while sum(parts) < amount:
        lacks = [value - part for value, part in zip(values, parts, strict=True)]
        parts[lacks.index(max(lacks))] += 1
    return parts


def share_out(amount, weights):
    """Give each its whole part, then one unit at a time to whoever lacks most."""
    if amount < 0:
        return [-part for part in share_out(-amount, weights)]
    total = sum(weights)
    parts = [amount * w // total for w in weights]
    while sum(parts) < amount:
        lacks = [Fraction(amount * w, total) - p for w, p in zip(weights, parts, strict=True)]
        parts[lacks.index(max(lacks))] += 1
    return parts


def whole(nights):
    """Add up everything nights accrued by the first rule."""
    return sum(
        sign * sum(by_place.values())
        for sign, _, accrued, _ in nights
        for by_place in accrued.values()
    )


# Which of a night's accruals divides which pool: of revenue by the sum, of fees output by output.
POOLS = {"main": 2, "fees": 3}


class Clerk:
    """The clerk's books: deals, sheets and accounts, and what every closed month came to."""

    def __init__(self):
        # creator -> {"from", "to", "rates": [(month, percent)]}, and "where": the only territory,
        # "in": another currency than the pools', "least": the minimum of its first twelve months
        self.deals = {}
        self.exchange = {}  # (currency, month) -> its units for one of the pools'
        self.sheets = {}  # work -> [(creator, share, first month)]
        self.owed = defaultdict(int)
        self.unrecouped = defaultdict(int)
        self.debit = defaultdict(int)
        self.suspense = defaultdict(int)
        self.expense = defaultdict(int)  # by currency; "" is the pools'
        self.exchanged = defaultdict(lambda: [0, 0])  # out of the pools', into the other
        self.left = defaultdict(Fraction)  # (creator, pool) -> what rounding left, to be added
        self.year = defaultdict(int)
        self.months = {}

    def owners(self, work, month):
        """Give (holder, share) of a work: undisputed parts, then disputed, then unmatched."""
        claims = defaultdict(Fraction)
        for creator, share, first in self.sheets.get(work, []):
            if first <= month:
                claims[creator] += share
        total = sum(claims.values())
        found = []
        for creator in sorted(claims):
            others = total - claims[creator]
            safe = claims[creator] if total <= 1 else max(1 - others, 0)
            if safe:
                found.append((creator, safe))
        given = sum(share for _, share in found)
        if given < 1:
            found.append(("disputed" if total > 1 else "unmatched", 1 - given))
        return found

    def rate(self, creator, month):
        """Give the percentage a creator's deal pays in a month; None where it has not begun."""
        deal = self.deals.get(creator)
        if deal is None or month < deal["from"]:
            return None
        return [percent for first, percent in deal["rates"] if first <= month][-1]

    def licensed(self, creator, month):
        """Say whether a creator has a deal in force in a month."""
        deal = self.deals.get(creator)
        return bool(deal) and deal["from"] <= month and (deal["to"] is None or month < deal["to"])

    def parts(self, nights, pool):
        """Divide nights among holders: (claim, holder, work) -> signed units."""
        found = defaultdict(int)
        for night in nights:
            sign, month = night[:2]
            for work, by_place in night[POOLS[pool]].items():
                units = sum(by_place.values())
                owners = self.owners(work, month)
                shares = [share for _, share in owners]
                over = 1
                for share in shares:
                    over *= share.denominator
                weights = [int(share * over) for share in shares]
                for (owner, share), part in zip(owners, share_out(units, weights), strict=True):
                    places = list(by_place)
                    exact = [share * by_place[place] for place in places]
                    if owner in NOBODY:
                        found[f"{owner}/{owner}", owner, work] += sign * part
                        continue
                    for place, there in zip(places, cut(part, exact), strict=True):
                        if self.licensed(owner, month) and self.reaches(owner, place):
                            found[owner, f"agr-{owner}", work] += sign * there
                        else:
                            found[f"unlicensed/{owner}", "unlicensed", work] += sign * there
        return found

    def reaches(self, creator, place):
        """Say whether a creator's deal holds in a territory."""
        return self.deals[creator].get("where") in (None, place)

    def close(self, month, nights, unexplained, fee):
        """Close a month: divide its pools, correct earlier months, settle every deal.

        `nights` are (sign, month of use, units by work and territory, the same output by output);
        `unexplained` belongs to nobody; `fee` is the second pool, of which nobody's part is as
        large as in the first.
        """
        pool = whole(nights) + unexplained
        units = {"main": (pool, unexplained)}
        units["fees"] = (fee, round_even(Fraction(fee * unexplained, pool)))
        record = {"nights": nights}
        self.months[month] = record
        for name, sums in units.items():
            parts = self.parts(nights, name)
            held = self._divide(parts, *sums)
            weights = defaultdict(lambda: defaultdict(int))
            for (_, holder, work), part in parts.items():
                weights[work][holder] += part
            record[name] = {"held": held, "original": held, "weights": weights}
        adjusted = self._correct(month)
        record["royalty"] = self._royalties(month, record)
        self.expense[""] += pool + fee
        earned = self._earn(month, record)
        for creator, deal in sorted(self.deals.items()):
            mine = earned[creator]
            self.year[creator] += mine + adjusted[creator]
            if deal.get("least") and month == deal["from"] + 11:
                top_up = max(deal["least"] - self.year[creator], 0)
                self.expense[self.currency(creator)] += top_up
                mine += top_up
            taken = min(mine, self.unrecouped[creator])
            self.unrecouped[creator] -= taken
            balance = mine - taken + adjusted[creator] - self.debit[creator]
            owes = max(-balance, 0)
            self.owed[creator] += mine - taken + adjusted[creator] + owes - self.debit[creator]
            self.debit[creator] = owes

    def currency(self, creator):
        """Name the currency of a creator's deal; "" is the pools'."""
        return self.deals[creator].get("in", "")

    def _earn(self, month, record):
        """Pay the month's royalties; what is converted keeps what its rounding leaves."""
        earned = defaultdict(int)
        for pool in POOLS:
            for creator, units in self._given(record[pool]).items():
                mine, currency = units, self.currency(creator)
                if currency and units:
                    exact = units * self.exchange[currency, month] + self.left[creator, pool]
                    mine = round_even(exact)
                    self.left[creator, pool] = exact - mine
                    self.exchanged[currency][0] -= units
                    self.exchanged[currency][1] += mine
                royalty = round_even(Fraction(mine * self.rate(creator, month), 100))
                self.expense[currency] += royalty - mine
                earned[creator] += royalty
        return earned

    def _divide(self, parts, pool, unexplained):
        """Give what every holder and work gets of a pool of the month."""
        claims = defaultdict(int)
        for (claim, _, _), units in parts.items():
            claims[claim] += units
        names = sorted(claims)
        floored = [max(claims[name], 0) for name in names]
        # Where more that nobody explains was taken back than came in, none is left to set apart.
        unexplained = max(unexplained, 0)
        held = defaultdict(int)
        if not any(floored):
            self.suspense["unexplained"] += pool
            return held
        self.suspense["unexplained"] += unexplained
        for name, units in zip(names, share_out(pool - unexplained, floored), strict=True):
            mine = {(h, w): u for (claim, h, w), u in parts.items() if claim == name}
            keys = sorted(mine, key=lambda key: key[1])
            if units:
                positive = [max(mine[key], 0) for key in keys]
                for key, part in zip(keys, share_out(units, positive), strict=True):
                    held[key] += part
        for (holder, _), units in held.items():
            if holder in NOBODY:
                self.suspense[holder] += units
        return held

    def _given(self, divided):
        """Add up what every creator was given of a pool."""
        given = defaultdict(int)
        for (holder, _), units in divided["held"].items():
            if holder not in NOBODY:
                given[holder.removeprefix("agr-")] += units
        return given

    def _royalties(self, month, record):
        """Apply each deal's rate to what it was given of each pool of a month, by itself."""
        royalty = defaultdict(int)
        for pool in POOLS:
            for creator, units in self._given(record[pool]).items():
                if currency := self.currency(creator):
                    units = round_even(units * self.exchange[currency, month])  # noqa: PLW2901
                royalty[creator] += round_even(Fraction(units * self.rate(creator, month), 100))
        return royalty

    def _correct(self, this):
        """Work out every closed month again with what is known now; give the differences."""
        adjusted = defaultdict(int)
        for month, record in self.months.items():
            if month == this:
                continue
            before = record["royalty"]
            for pool in POOLS:
                now = defaultdict(lambda: defaultdict(int))
                for (_, holder, work), units in self.parts(record["nights"], pool).items():
                    now[work][holder] += units
                mine = record[pool]
                old, mine["held"] = mine["held"], self._held_now(mine, now)
                for sign, held in ((1, mine["held"]), (-1, old)):
                    for (holder, _), units in held.items():
                        if holder in NOBODY:
                            self.suspense[holder] += sign * units
                            self.expense[""] += sign * units
            record["royalty"] = royalty = self._royalties(month, record)
            for creator in royalty.keys() | before.keys():
                units = royalty.get(creator, 0) - before.get(creator, 0)
                adjusted[creator] += units
                self.expense[self.currency(creator)] += units
        return adjusted

    def _held_now(self, record, now):
        """Divide every work's units of a month among those who hold it now."""
        held = defaultdict(int)
        by_work = defaultdict(dict)
        for (holder, work), units in record["original"].items():
            by_work[work][holder] = units
        for work, was in by_work.items():
            old, new = record["weights"][work], now[work]
            moving = {h for h in {*old, *new} if old.get(h, 0) != new.get(h, 0)}
            takers = [h for h in sorted(moving) if new.get(h, 0) > 0]
            for holder, units in was.items():
                if not takers or holder not in moving:
                    held[holder, work] += units
            if takers:
                loose = sum(units for holder, units in was.items() if holder in moving)
                for holder, units in zip(
                    takers, share_out(loose, [new[h] for h in takers]), strict=True
                ):
                    held[holder, work] += units
        return held
