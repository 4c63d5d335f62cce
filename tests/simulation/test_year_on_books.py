"""A year of months on real books equals the clerk's to the unit, account by account.

Deals start, change and end in the middle of the year, some with effect backwards, some for one
territory only, some in another currency than the pools'; logs come late, nights are taken back,
works are claimed twice and decided, works without an owner are matched. Revenue is divided by
signed_linear/1, a fee by per_output_positive/1.
A failing seed is in the name of the test; add it to SEEDS.
"""

import json
import random
from collections import defaultdict
from fractions import Fraction

import pytest

from flows.books import open_books
from ledger import chart
from tests.databases import fresh_book
from tests.simulation.clerk import Clerk, share_out
from tests.simulation.paper import agree, close, paper_workspace, settle

MONTHS = 12
FEE = 1_234_567
# The clerk's names of currencies, and the books': pools are in dollars.
CURRENCIES = {"": "USD/2", "EUR": "EUR/2", "ISK": "ISK/0"}


class Year:
    """One year of deals and events, kept by the flows and by the clerk."""

    def __init__(self, seed, creators, folder, ledger_url=""):
        self.seed, self.rng = seed, random.Random(seed)
        self.workspace = paper_workspace(folder, ledger_url=ledger_url)
        self.clerk = Clerk()
        self.names = [f"c{number:03d}" for number in range(creators)]
        self.plans = [self.plan(name) for name in self.names]
        self.go_abroad(random.Random(f"{seed}/abroad"))
        self.orphans = {f"x{n}": self.rng.randrange(2, MONTHS) for n in range(creators // 10)}
        self.disputes = []
        for number, name in enumerate(self.names):
            self.clerk.sheets[f"w{number:03d}"] = [(name, Fraction(1), 0)]
            if number % 3 == 0:
                other = self.names[number - 1]
                halves = [(name, Fraction(1, 3), 0), (other, Fraction(2, 3), 0)]
                self.clerk.sheets[f"s{number:03d}"] = halves
        for work in self.orphans:
            self.clerk.sheets[work] = []

    def plan(self, name):
        """Draw when a deal is signed, begins, changes and ends; some are signed late."""
        rng = self.rng
        starts = rng.choice([0, 0, 0, 1, 4])
        ends = rng.choice([None, None, None, starts + rng.randint(3, 7)])
        change = rng.choice([None, None, starts + rng.randint(1, 5)])
        if change and ends and change >= ends:
            change = None
        return {
            "name": name,
            "signed": min(starts + rng.choice([0, 0, 0, 0, 2, 4]), MONTHS - 1),
            "from": starts,
            "to": ends,
            "percent": rng.randint(20, 100),
            "where": rng.choice([None, None, None, "SE"]),
            "change": change,
            "changed": change and change + rng.choice([0, 0, 3]),
            "new_percent": rng.randint(20, 100),
            "advance": rng.choice([0, 0, 0, rng.randint(100, 9000)]),
            "is_never": rng.random() < 0.1,
        }

    def go_abroad(self, rng):
        """Draw deals in euros and kroner, some with a minimum, and every month's rates."""
        rows = []
        for month in range(MONTHS):
            # The last of a month may be a Sunday: the rate of the days before holds.
            on = day(month, 26)
            for currency, least, most in (("EUR", 8000, 9999), ("ISK", 1_200_000, 1_400_000)):
                parts = rng.randint(least, most)
                decimals = f"{parts // 10_000}.{parts % 10_000:04d}"
                rows.append({"from": "USD", "to": currency, "on": on, "rate": decimals})
                # A krona has no smaller coin, a dollar 100.
                units = Fraction(parts, 10_000) / (100 if currency == "ISK" else 1)
                self.clerk.exchange[currency, month] = units
        rates = [row | {"source": "ECB"} for row in rows]
        text = json.dumps({"format": "byline-rates/1", "rates": rates})
        (self.workspace.root / "rates.json").write_text(text, encoding="utf-8")
        for plan in self.plans:
            plan["in"] = rng.choice(["", "", "", "EUR", "ISK"])
            whole_year = plan["from"] == 0 and plan["to"] is None and not plan["change"]
            plan["least"] = whole_year and rng.choice([0, 0, rng.randint(1000, 900_000)])
        # Whatever is drawn, three deals of the whole year are there, with minimums out of reach.
        always = {"signed": 0, "from": 0, "to": None, "change": None, "is_never": False}
        for plan, currency in zip(self.plans, CURRENCIES, strict=False):
            plan.update(always | {"in": currency, "least": 9_000_000})

    def sign(self, month):
        """Write the agreements and versions that are signed in a month, and tell the clerk."""
        for plan in self.plans:
            name = plan["name"]
            known = self.clerk.deals.get(name)
            if plan["signed"] == month and not plan["is_never"]:
                self.write(plan, 1, plan["from"], plan["percent"])
                deal = {key: plan[key] for key in ("from", "to", "where", "in", "least")}
                self.clerk.deals[name] = deal | {"rates": [(plan["from"], plan["percent"])]}
                self.clerk.unrecouped[name] += plan["advance"]
            elif known and plan["change"] and month == max(plan["changed"], plan["signed"] + 1):
                self.write(plan, 2, plan["change"], plan["new_percent"])
                known["rates"].append((plan["change"], plan["new_percent"]))

    def write(self, plan, version, starts, percent):
        """Write one version as an agreement file."""
        lines = []
        if plan["to"] is not None:
            lines.append(f"effective_to: {day(plan['to'], 1)}")
        if plan["advance"]:
            units = plan["advance"]
            paid = day(plan["from"], 1)
            advance = f"advance_id: a, amount: {amount(units, plan['in'])}, paid_on: {paid}"
            lines.append(f"advances: [{{{advance}}}]")
        if plan["least"]:
            least = amount(plan["least"], plan["in"])
            lines.append(f"guarantee: {{amount: {least}, prorated: false}}")
        only = f"if: {{territory: [{plan['where']}]}}, " if plan["where"] else ""
        lines += ["terms:"]
        for pool, rule in (("main", "signed_linear/1"), ("fees", "per_output_positive/1")):
            then = f"basis: pool_share, pool: {pool}, rate: {percent}%, method: {rule}"
            lines += [f"  - {{term_id: {pool}, {only}then: {{{then}}}}}"]
        path = agree(self.workspace, plan["name"], *lines, version=version, starts=day(starts, 1))
        text = path.read_text(encoding="utf-8")
        currency = CURRENCIES[plan["in"]]
        path.write_text(text.replace("currency: USD/2", f"currency: {currency}"), encoding="utf-8")

    def own(self, month):
        """Match what is found in a month, open a dispute and decide the older ones."""
        rng, sheets = self.rng, self.clerk.sheets
        for work, found in self.orphans.items():
            if found == month:
                sheets[work] = [(rng.choice(self.names), Fraction(1), 0)]
        for dispute in [d for d in self.disputes if d["ends"] == month]:
            decided = Fraction(rng.randint(1, 4), 10)
            owner, claimant, first = dispute["owner"], dispute["claimant"], dispute["first"]
            sheets[dispute["work"]] = [
                (owner, Fraction(1), 0),
                (owner, -decided, first),
                (claimant, decided, first),
            ]
            self.disputes.remove(dispute)
        if month % 2 and month < MONTHS - 1:
            number = rng.randrange(len(self.names))
            work, owner = f"w{number:03d}", self.names[number]
            claimant = self.names[(number + 1) % len(self.names)]
            if len(sheets[work]) == 1:
                first = max(month - rng.choice([0, 1]), 0)
                sheets[work] = [(owner, Fraction(1), 0), (claimant, Fraction(1, 2), first)]
                what = {"work": work, "owner": owner, "claimant": claimant}
                ends = month + rng.randint(1, 3)
                self.disputes.append(what | {"first": first, "ends": ends})

    def catalogue(self):
        """Write the sheets as a catalogue; a share that falls is written as two of its time."""
        works = []
        for work, sheet in sorted(self.clerk.sheets.items()):
            changes = defaultdict(lambda: defaultdict(Fraction))
            for creator, share, first in sheet:
                changes[creator][first] += share
            splits = []
            for creator, steps in sorted(changes.items()):
                total = Fraction(0)
                for place, (first, share) in enumerate(sorted(steps.items())):
                    total += share
                    split = {"party_id": creator, "share": str(total)}
                    if first:
                        split["effective_from"] = day(first, 1)
                    if place + 1 < len(steps):
                        split["effective_to"] = day(sorted(steps)[place + 1], 1)
                    if total:
                        splits.append(split)
            works.append({"work_id": work, "splits": splits, "dispute": "dsp"})
        data = {
            "format": "byline-catalogue/1",
            "sources": [],
            "parties": [{"party_id": name} for name in self.names],
            "works": works,
            "documents": [],
        }
        self.workspace.catalogue.write_text(json.dumps(data), encoding="utf-8")
        parties = [f"  - party_id: {name}" for name in [*self.names, "operator"]]
        text = "\n".join(["format: byline-parties/1", "parties:", *parties]) + "\n"
        (self.workspace.agreements / "parties.yaml").write_text(text, encoding="utf-8")

    def play(self):
        """Play all months, comparing the books after each."""
        fee = {"pool_id": "fees", "amount": f"{FEE // 100}.{FEE % 100:02d}", "source": "clause 4"}
        fee |= {"first_period": period(0), "periods": str(MONTHS)}
        fee |= {"division": "per_output_positive/1"}
        pools = json.dumps({"format": "byline-pools/1", "pools": [fee]})
        (self.workspace.root / "pools.json").write_text(pools, encoding="utf-8")
        taken_back = 0
        for month in range(MONTHS):
            self.own(month)
            self.catalogue()
            self.sign(month)
            # A month in which a night is taken back earns more, or nothing could be divided.
            nights = [self.night(month, most=3000 if month % 4 == 3 else 1000)]
            unexplained = self.rng.randint(0, 500)
            signed, positive = nights[0][2:]
            settle(
                self.workspace,
                day(month, 10),
                signed,
                unexplained=unexplained,
                positive=positive,
            )
            if month % 3 == 1:
                late = self.night(month - 1, parts=4)
                settle(
                    self.workspace,
                    day(month - 1, 20),
                    late[2],
                    late="0123456789ab",
                    positive=late[3],
                )
                nights.append(late)
            if month % 4 == 3:
                wrong = self.clerk.months[month - 1]["nights"][0]
                self.take_back(month, wrong)
                unexplained -= self.unexplained
                nights.append((-1, *wrong[1:]))
                taken_back += 1
            self.unexplained = max(unexplained, 0) if month % 4 != 3 else 0
            self.clerk.close(month, nights, unexplained, share_out(FEE, [1] * MONTHS)[month])
            close(self.workspace, period(month))
            self.compare(month)
        return taken_back

    def night(self, month, parts=1, most=1000):
        """Draw a night: what works accrued in two territories by either rule."""
        works = sorted(self.clerk.sheets)
        chosen = works if parts == 1 else self.rng.sample(works, len(works) // parts)
        signed, positive = (
            {
                work: {place: self.rng.randint(least, most // 2) for place in ("DE", "SE")}
                for work in sorted(chosen)
            }
            for least in (-100, 0)
        )
        return 1, month, signed, positive

    def take_back(self, month, wrong):
        """Reverse the first night of the month before, in this month."""
        key = f"{day(wrong[1], 10)}/main"
        with open_books(self.workspace) as books:
            (entry,) = [s.entry for s in books.entries() if s.entry.key == key]
            books.reverse(
                entry.entry_id,
                key=f"{key}/reversed",
                period=period(month),
                effective_on=day(month, 12),
                prepared_by="accountant-1",
                approved_by="controller-1",
            )

    def compare(self, month):
        """Hold every account of the books against the clerk's."""
        clerk = self.clerk
        for name, currency in CURRENCIES.items():
            expected = {chart.ROYALTY_EXPENSE: clerk.expense[name]}
            for creator in self.names:
                mine = clerk.deals.get(creator, {}).get("in", "") == name
                expected[chart.royalties_payable(creator)] = -clerk.owed[creator] * mine
                expected[chart.royalty_advances(creator)] = clerk.unrecouped[creator] * mine
                expected[chart.debit_balance(creator)] = clerk.debit[creator] * mine
                expected[chart.accrued(creator)] = 0
            if name:
                expected[chart.exchange("USD/2", currency)] = clerk.exchanged[name][1]
            else:
                expected |= self.suspense()
            self.hold_against(currency, expected, (self.seed, month, currency))

    def suspense(self):
        """Give what stands with nobody, and what went to other currencies."""
        clerk = self.clerk
        accounts = (chart.UNLICENSED, chart.UNMATCHED, chart.DISPUTED, chart.UNEXPLAINED)
        names = ("unlicensed", "unmatched", "disputed", "unexplained")
        expected = {
            account: -clerk.suspense[name] for name, account in zip(names, accounts, strict=True)
        }
        for name in filter(None, CURRENCIES):
            account = chart.exchange("USD/2", CURRENCIES[name])
            expected[account] = clerk.exchanged[name][0]
        return expected

    def hold_against(self, currency, expected, where):
        """Compare the accounts of one currency."""
        with open_books(self.workspace) as books:
            found = {line.account_id: line.balance_units for line in books.trial_balance(currency)}
        assert sum(found.values()) == 0, where
        wrong = {
            name: (found.get(name, 0), units)
            for name, units in expected.items()
            if found.get(name, 0) != units
        }
        assert not wrong, (where, wrong)


def amount(units, currency):
    """Write an amount of a currency; a krona has no smaller coin."""
    return str(units) if currency == "ISK" else f"{units // 100}.{units % 100:02d}"


def period(month):
    """Name a month of the year."""
    return f"2026-{month + 1:02d}"


def day(month, number):
    """Name a day; months from 12 on lie in the next year."""
    return f"{2026 + month // 12}-{month % 12 + 1:02d}-{number:02d}"


@pytest.mark.parametrize("seed", [1])
def test_a_small_year_on_real_books_equals_the_clerks(seed, tmp_path):
    """Twelve closes of 20 creators, every account compared after each."""
    assert Year(seed, 20, tmp_path / "home").play() == 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 2026])
def test_a_year_of_300_creators_on_real_books_equals_the_clerks(seed, tmp_path):
    """The same with 300 creators, every account compared after each close."""
    assert Year(seed, 300, tmp_path / "home").play() == 3


@pytest.mark.slow
@pytest.mark.postgres
def test_a_small_year_on_postgresql_equals_the_clerks(tmp_path):
    """The same twelve closes with the books on a server."""
    with fresh_book("postgresql", tmp_path) as url:
        assert Year(3, 20, tmp_path / "home", ledger_url=url).play() == 3
