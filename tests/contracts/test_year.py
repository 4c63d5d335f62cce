"""A simulated year of settlements equals an independent slow oracle, to the unit.

The simulation draws deals as plain dictionaries. One side writes them as agreement files, loads
them and calculates with `contracts`. The other side, the oracle below, imports nothing of
`contracts`: it follows DESIGN's order of calculation with loops a clerk could follow. Deals start,
change and end in the middle of the year; there are late logs, disputes and reversals.
A failing seed is printed by the test's name; add it to SEEDS.
"""

import random
from dataclasses import replace
from fractions import Fraction

import pytest

from contracts.accrual import Accrual, Standing
from contracts.apportionment import SIGNED_LINEAR
from contracts.balances import Adjustment, AdjustmentType, Balances, Hold
from contracts.earnings import EarningInputs, compute_earnings
from contracts.importers.native import parse_agreements
from contracts.period import Period
from contracts.pool_amount import PoolAmount
from contracts.usage import Usage

SEEDS = [1, 2, 3, 2026]
FIRST = Period("2026-01")
MONTHS = 12


def clerk_round(value):
    """Round half to even, by cases."""
    whole = value.numerator // value.denominator
    rest = value - whole
    up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1)
    return whole + 1 if up else whole


def clerk_split(amount, weights):
    """Give each its whole part, then one unit at a time to whoever lacks most."""
    total = sum(weights)
    parts = [amount * weight // total for weight in weights]
    while sum(parts) < amount:
        lacks = [Fraction(amount * w, total) - p for w, p in zip(weights, parts, strict=True)]
        parts[lacks.index(max(lacks))] += 1
    return parts


def clerk_apportion(pool, unexplained, rows):
    """Divide a pool; rows are (party, accrual, stderr, standing)."""
    out = {"unexplained": unexplained, "unlicensed": 0, "unmatched": 0, "below_noise": 0}
    rows = sorted(rows)
    claims = [max(accrual, 0) for _, accrual, _, _ in rows]
    if not any(claims):
        return {}, out | {"unexplained": pool}
    paid = {}
    parts = clerk_split(pool - unexplained, claims)
    for (party, accrual, stderr, standing), part in zip(rows, parts, strict=True):
        if standing != "licensed":
            out[standing] += part
        elif accrual > 0 and 100 * accrual <= 196 * stderr:
            out["below_noise"] += part
        elif part:
            paid[party] = part
    return paid, out


def tier_sum(tiers, count):
    """Earn unit by unit of a window that reached a count, step by step."""
    steps = tiers["steps"]
    if tiers["applies"] == "whole":
        rate = 0
        for above, percent in steps:
            if count > above:
                rate = percent
        return Fraction(count * rate, 100)
    total = Fraction(0)
    for i, (above, percent) in enumerate(steps):
        top = steps[i + 1][0] if i + 1 < len(steps) else None
        inside = count if top is None else min(count, top)
        if inside > above:
            total += Fraction((inside - above) * percent, 100)
    return total


def clerk_pool_term(deal, state, month, amount):
    """Earn the pool term: rate or tiers, fees, cap and floor."""
    rate = deal["rate"]
    if deal["change"] and month >= deal["change"][0]:
        rate = deal["change"][1]
    royalty = clerk_round(Fraction(amount * rate, 100))
    if deal["tiers"]:
        new_year = (month - deal["from"]) % MONTHS == 0
        if deal["tiers"]["counted"] == "period" or (
            deal["tiers"]["counted"] == "year" and new_year
        ):
            state["counter"] = 0
        before = state["counter"]
        state["counter"] = before + amount
        royalty = clerk_round(
            tier_sum(deal["tiers"], before + amount) - tier_sum(deal["tiers"], before)
        )
    base = royalty
    for fee in (clerk_round(Fraction(base * deal["fee_percent"], 100)), deal["fee_fixed"]):
        royalty -= min(fee, royalty)
    if deal["cap"] is not None:
        royalty = min(royalty, deal["cap"])
    return max(royalty, deal["floor"])


def clerk_output_fee(deal, outputs):
    """Earn the fee per output, work by work, and keep the licensor's part of the shared work."""
    if not deal["price_mills"] or not sum(outputs):
        return 0
    royalty = clerk_round(Fraction(sum(outputs) * deal["price_mills"], 10))
    own, shared = clerk_split(royalty, outputs)
    mine, _ = clerk_split(shared, deal["share"])
    return own + mine


def clerk_month(deal, state, month, facts):
    """Settle one deal for one month; returns what is paid."""
    active = deal["from"] <= month and (deal["to"] is None or month < deal["to"])
    pool_royalty = clerk_pool_term(deal, state, month, facts["amount"]) if active else 0
    royalty = pool_royalty + (clerk_output_fee(deal, facts["outputs"]) if active else 0)
    balance = royalty
    due = [item for item in state["reserve"] if item[0] <= month]
    state["reserve"] = [item for item in state["reserve"] if item[0] > month]
    balance += sum(units for _, units in due)
    if active and deal["reserve"] and pool_royalty > 0:
        percent, release = deal["reserve"]
        taken = clerk_round(Fraction(pool_royalty * percent, 100))
        balance -= taken
        for later, units in enumerate(clerk_split(taken, release), start=1):
            state["reserve"].append((month + later, units))
    # A deal's year begins in its first month, so in this year's run it never begins anew.
    same_year = [units for about, units in facts["adjust"] if about >= deal["from"]]
    state["earned"] += royalty + sum(same_year)
    ends = deal["to"] == month + 1 or (active and (month + 1 - deal["from"]) % MONTHS == 0)
    if active and deal["guarantee"] and ends:
        minimum, prorated = deal["guarantee"]
        months = month - deal["from"] + 1
        if prorated and months < MONTHS:
            minimum = clerk_round(Fraction(minimum * months, MONTHS))
        balance += max(minimum - state["earned"], 0)
    recouped = min(clerk_round(Fraction(max(balance, 0) * deal["recoup"], 100)), state["advance"])
    state["advance"] -= recouped
    balance -= recouped
    balance += sum(units for _, units in facts["adjust"]) - facts["hold"] - state["debit"]
    state["debit"] = max(-balance, 0)
    balance = max(balance, 0)
    tax = clerk_round(Fraction(balance * deal["vat"], 100))
    balance += tax - clerk_round(Fraction(balance * deal["withheld"], 100))
    state["forward"] += balance
    paid = 0
    if state["forward"] > 0 and state["forward"] >= deal["threshold"]:
        paid, state["forward"] = state["forward"], 0
    return paid


def draw_deal(rng, number):
    """Draw one deal as plain values; money in cents."""
    starts = rng.choice([0, 0, 0, 2, 5])
    steps = [(0, rng.randint(5, 50))]
    for above in sorted(rng.sample(range(10_000, 500_000, 7_919), rng.randint(1, 2))):
        steps.append((above, steps[-1][1] + rng.randint(0, 20)))
    first = rng.randint(0, 100)
    tiers = {
        "counted": rng.choice(["period", "year", "agreement"]),
        "applies": rng.choice(["marginal", "whole"]),
        "steps": steps,
    }
    cap = rng.choice([None, None, rng.randint(5_000, 90_000)])
    has_tiers = rng.random() < 0.3
    return {
        "id": f"d{number:03d}",
        "from": starts,
        "to": rng.choice([None, None, None, starts + rng.randint(2, 6)]),
        "rate": rng.randint(1, 100),
        "change": None if has_tiers else rng.choice([None, (starts + 3, rng.randint(1, 100))]),
        "tiers": tiers if has_tiers else None,
        "fee_percent": rng.choice([0, 0, 5, 12]),
        "fee_fixed": rng.choice([0, 0, 150]),
        "cap": cap,
        "floor": rng.choice([0, 0, 0, rng.randint(1, 4_000)]),  # below every cap
        "reserve": rng.choice([None, (rng.randint(1, 30), [first, 100 - first])]),
        "guarantee": rng.choice([None, None, (rng.randint(1, 900_000), rng.random() < 0.5)]),
        "advances": {starts + 1: rng.randint(1, 400_000)} if rng.random() < 0.4 else {},
        "recoup": rng.choice([100, 100, 50]),
        "withheld": rng.choice([0, 0, 15, 30]),
        "vat": rng.choice([0, 0, 25]),
        "threshold": rng.choice([0, 2_500, 10_000]),
        "price_mills": rng.choice([0, 0, 3, 17]),
        "share": rng.choice([(1, 1), (1, 2), (2, 1)]),
    }


def money(cents):
    """Write cents in whole currency."""
    return f"{cents // 100}.{cents % 100:02d}"


def written_term(deal):
    """Write what the pool term pays, with RATE where its rate belongs."""
    then = ["basis: pool_share", "pool: main", "rate: RATE%", f"floor: {money(deal['floor'])}"]
    if deal["tiers"]:
        steps = ", ".join(f"{{above: {money(a)}, rate: {p}%}}" for a, p in deal["tiers"]["steps"])
        kind = f"counted: {deal['tiers']['counted']}, applies: {deal['tiers']['applies']}"
        then.append(f"tiers: {{{kind}, steps: [{steps}]}}")
    if deal["cap"] is not None:
        then.append(f"cap: {money(deal['cap'])}")
    if deal["reserve"]:
        percent, release = deal["reserve"]
        parts = ", ".join(f"{part}%" for part in release)
        then.append(f"reserve: {{rate: {percent}%, release: [{parts}]}}")
    fees = []
    if deal["fee_percent"]:
        fees.append(f"{{name: fee, rate: {deal['fee_percent']}%}}")
    if deal["fee_fixed"]:
        fees.append(f"{{name: bank, amount: {money(deal['fee_fixed'])}}}")
    then.append(f"deductions: [{', '.join(fees)}]")
    return ", ".join(then)


def written(deal):
    """Write a deal as agreement files: one version, or two where it changes."""
    lines = [
        "format: byline-agreement/1",
        f"agreement_id: {deal['id']}",
        f"licensor: {deal['id']}",
        "licensee: operator",
        "currency: USD/2",
        f"year_starts: {FIRST.plus(deal['from']).start}",
        f"recoupment_rate: {deal['recoup']}%",
        f"withholding: {{country: XX, rate: {deal['withheld']}%}}",
        f"indirect_tax: {{name: VAT, rate: {deal['vat']}%}}",
        f"payment: {{threshold: {money(deal['threshold'])}}}",
    ]
    if deal["to"] is not None:
        lines.append(f"effective_to: {FIRST.plus(deal['to']).start}")
    if deal["guarantee"]:
        minimum, prorated = deal["guarantee"]
        lines.append(f"guarantee: {{amount: {money(minimum)}, prorated: {str(prorated).lower()}}}")
    lines += ["terms:", "  - term_id: outputs", f"    then: {{{written_term(deal)}}}"]
    if deal["price_mills"]:
        price = f"0.{deal['price_mills']:03d}"
        lines += ["  - term_id: fee", f"    then: {{basis: per_output, price: {price}}}"]
    texts = {}
    rates = [(deal["from"], deal["rate"])]
    changes = deal["change"] and (deal["to"] is None or deal["change"][0] < deal["to"])
    for version, (starts, rate) in enumerate(
        rates + ([deal["change"]] if changes else []), start=1
    ):
        dates = [f"version: {version}", f"effective_from: {FIRST.plus(starts).start}"]
        text = "\n".join(lines + dates) + "\n"
        texts[f"{deal['id']}.v{version}.yaml"] = text.replace("RATE%", f"{rate}%")
    return texts


def draw_facts(rng, month, held):
    """Draw what happens to one deal in a month besides its part of the pool."""
    adjust = []
    if held and rng.random() < 0.5:
        adjust.append((held[0], held[1]))
    if month and rng.random() < 0.2:
        adjust.append((rng.randrange(month), rng.randint(-30_000, 30_000)))
    return {"outputs": [rng.randint(0, 900), rng.randint(0, 900)], "adjust": adjust}


def run_contracts(agreement, deal, month, facts, balances):
    """Settle the month with `contracts`."""
    period = FIRST.plus(month)
    usages = [
        Usage(work, outputs=Fraction(count))
        for work, count in zip(
            (f"{deal['id']}/w1", f"{deal['id']}/w2"), facts["outputs"], strict=True
        )
    ]
    shares = dict(
        zip(
            (deal["id"], "zz-partner"),
            (Fraction(n, sum(deal["share"])) for n in deal["share"]),
            strict=True,
        )
    )
    kinds = (AdjustmentType.USAGE_CORRECTION, AdjustmentType.DISPUTE_RELEASE)
    inputs = EarningInputs(
        pools=[PoolAmount("main", facts["pool"], facts["amount"])],
        usages=usages,
        shares={f"{deal['id']}/w2": shares},
        opening=balances,
        adjustments=[
            Adjustment(kinds[i == 0], units, FIRST.plus(about), f"n{i}")
            for i, (about, units) in enumerate(facts["adjust"])
        ],
        holds=[Hold("d1", facts["hold"], "contested")] if facts["hold"] else [],
    )
    return compute_earnings(agreement, period, inputs)


class Year:
    """Twelve months of deals, settled both ways and compared after every step."""

    def __init__(self, seed, parties):
        self.seed, self.rng = seed, random.Random(seed)
        self.deals = [draw_deal(self.rng, number) for number in range(parties)]
        names = ", ".join(f"{{party_id: {deal['id']}}}" for deal in self.deals)
        texts = {"p": f"format: byline-parties/1\nparties: [{names}]\n"}
        for deal in self.deals:
            texts |= written(deal)
        self.book = parse_agreements(texts)
        self.balances = {deal["id"]: Balances() for deal in self.deals}
        empty = dict.fromkeys(("counter", "earned", "advance", "debit", "forward"), 0)
        self.states = {deal["id"]: empty | {"reserve": []} for deal in self.deals}
        self.held = {}

    def play(self):
        """Play all months; return how many payments were made."""
        payments = 0
        for month in range(MONTHS):
            pool, paid = self.divide(month)
            current = {a.agreement_id: a for a in self.book.to_settle(FIRST.plus(month))}
            for deal in self.deals:
                if deal["id"] in current:
                    facts = {"pool": pool, "amount": paid.get(deal["id"], 0)}
                    payments += self.settle(current[deal["id"]], deal, month, facts)
        return payments

    def divide(self, month):
        """Divide the month's pool both ways."""
        rng, day = self.rng, FIRST.plus(month).start
        pool = rng.randint(0, len(self.deals) * 60_000)
        unexplained = min(pool, rng.randint(0, len(self.deals) * 4_000))
        rows = [("nobody", rng.randint(-5_000, 50_000), 0, "unmatched")]
        for deal in self.deals:
            standing = "licensed" if self.book.is_licensed(deal["id"], day) else "unlicensed"
            accrual = rng.randint(-20_000, 100_000)
            rows.append((deal["id"], accrual, rng.randint(0, 30_000), standing))
        paid, named = clerk_apportion(pool, unexplained, rows)
        accruals = [Accrual(*row[:3], Standing(row[3])) for row in rng.sample(rows, len(rows))]
        ours = SIGNED_LINEAR.apportion(pool, accruals, unexplained_units=unexplained)
        assert ours.payable == paid, (self.seed, month)
        assert {key: ours.destinations[key] for key in named} == named, (self.seed, month)
        return pool, paid

    def settle(self, agreement, deal, month, facts):
        """Settle one deal both ways; return whether it was paid."""
        own, rng = deal["id"], self.rng
        facts |= draw_facts(rng, month, self.held.pop(own, None)) | {"hold": 0}
        if facts["amount"] and rng.random() < 0.1:
            facts["hold"] = rng.randint(1, facts["amount"])
            self.held[own] = (month, facts["hold"])
        state, before = self.states[own], self.balances[own]
        state["advance"] += deal["advances"].get(month, 0)
        before = replace(before, unrecouped_units=state["advance"])
        result = run_contracts(agreement, deal, month, facts, before)
        after = self.balances[own] = result.closing
        seen = (self.seed, month, own)
        assert result.payable_units == clerk_month(deal, state, month, facts), seen
        assert after.unrecouped_units == state["advance"], seen
        assert after.reserve_units == sum(units for _, units in state["reserve"]), seen
        assert after.debit_units == state["debit"], seen
        assert after.carried_forward_units == state["forward"], seen
        return bool(result.payable_units)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_year_of_settlements_equals_the_clerk(seed):
    """Forty deals, twelve months: every payment and every balance is the same."""
    assert Year(seed, 40).play() > 40


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_large_year_of_settlements_equals_the_clerk(seed):
    """Three hundred deals, twelve months, ten years of them."""
    assert Year(seed, 300).play() > 300
