"""Worked examples in the book's language, each with its sum worked by hand.

A file in `examples/` is plain text that an accountant can review without reading code:

    title: what the example shows
    trap: what goes wrong without care (optional)

    terms NAME:
        the agreement, in the native YAML, without its ids
    2026-11 NAME pool revenue 800.00 of 10000.00
    2026-11 NAME expect gross 800.00, deductions -40.00, payable 760.00

    by hand:
        fee: 800.00 x 5% = 40.00

The runner calculates every `expect` and checks every line of arithmetic as well: `=` is exact, `~`
is rounded half to even to the digits shown.
"""

import ast
import operator
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from contracts.agreement import Agreement
from contracts.apportionment import (
    RULES,
    Accrual,
    Fallback,
    OutputInfluence,
    Reliability,
    Standing,
)
from contracts.balances import Adjustment, AdjustmentType, Balances, Hold
from contracts.dispute import holdings
from contracts.earnings import EarningInputs, compute_group
from contracts.fx import FxRate, FxTable
from contracts.importers.native import parse_agreements
from contracts.money import parse_units
from contracts.period import Period
from contracts.pool import divide_equally
from contracts.pool_amount import PoolAmount, in_currency
from contracts.rate import parse_rate
from contracts.restatement import adjustments_for, restate
from contracts.split import split_signed
from contracts.usage import Usage, Use

FILES = sorted((Path(__file__).parent / "examples").glob("*.txt"))
EXAMPLES_MIN = 30
PARTIES = "format: byline-parties/1\nparties: [{party_id: anna}, {party_id: operator}]\n"
HEAD = (
    "format: byline-agreement/1\nagreement_id: %s\nversion: 1\nlicensor: anna\nlicensee: operator\n"
)
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass
class Example:
    """One file: its agreements, its dated lines and its arithmetic."""

    title: str = ""
    agreements: dict = field(default_factory=dict)
    lines: list = field(default_factory=list)
    by_hand: list = field(default_factory=list)


def read(path):
    """Read an example into its parts."""
    example = Example()
    section, blocks = "", defaultdict(list)
    for raw in path.read_text(encoding="utf-8").splitlines():
        if raw.startswith((" ", "\t")) and section:
            blocks[section].append(raw)
        elif raw.startswith("title:"):
            example.title = raw
        elif raw.startswith(("terms", "by hand")):
            section = raw.rstrip(":")
        elif raw and not raw.startswith(("trap:", "#")):
            section = ""
            example.lines.append(raw)
    for name, block in blocks.items():
        if name == "by hand":
            example.by_hand = block
        else:
            example.agreements[name.split()[1]] = agreement(name.split()[1], block)
    return example


def agreement(name, block):
    """Build the agreement of a `terms` section."""
    indent = min(len(line) - len(line.lstrip()) for line in block if line.strip())
    body = "\n".join(line[indent:] for line in block)
    text = HEAD % name + body + "\n"
    if "effective_from" not in body:
        text += "effective_from: 2026-01-01\n"
    return parse_agreements({"parties": PARTIES, name: text}).agreements[0]


class Runner:
    """Plays the dated lines of an example, period by period."""

    def __init__(self, example):
        self.example = example
        self.balances = defaultdict(Balances)
        self.history = defaultdict(list)
        self.rates = []
        self.period = None
        self.checked = 0

    def run(self):
        """Play all periods in order."""
        by_period = defaultdict(list)
        for line in self.example.lines:
            period, name, verb, rest = (*line.split(None, 3), "")[:4]
            by_period[Period(period)].append((name, verb, rest.strip()))
        for period, lines in sorted(by_period.items()):
            if any(verb in {"accrual", "work", "output"} for _, verb, _ in lines):
                self.play_pool(lines)
            else:
                self.play(period, lines)
        assert self.checked, "an example expects something"

    def play(self, period, lines):
        """Calculate one period of all agreements and compare what is expected."""
        self.period = period
        inputs = {name: EarningInputs() for name in self.example.agreements}
        for name, verb, rest in lines:
            if verb == "restate":
                # The new terms are another section; periods played so far are calculated again.
                new = self.example.agreements[rest]
                restated = restate(self.example.agreements[name], new, self.history[name])
                inputs[name] = replace(inputs[name], adjustments=adjustments_for(restated))
            elif verb != "expect":
                known = inputs.get(name, EarningInputs())
                inputs[name] = self.event(name, verb, rest, known)
        active = {name for name, verb, _ in lines if verb != "rate"}
        pairs = [
            (
                self.example.agreements[name],
                replace(value, opening=self.balances[name], fx=FxTable(self.rates)),
            )
            for name, value in inputs.items()
            if name in active
        ]
        results = {result.agreement_id: result for result in compute_group(pairs, period)}
        for name, result in results.items():
            self.balances[name] = result.closing
            self.history[name].append((period, inputs[name]))
        for name, verb, rest in lines:
            if verb == "expect":
                self.compare(results[name], rest)

    def event(self, name, verb, rest, inputs):
        """Apply one line to the inputs of an agreement."""
        terms = self.example.agreements.get(name)
        return getattr(self, f"on_{verb}")(name, rest.split(), terms and terms.currency, inputs)

    def on_pool(self, name, words, money, inputs):
        """Read `pool ID AMOUNT [of WHOLE]`, or `pool ID AMOUNT in CURRENCY`."""
        foreign = words[3] if "in" in words else ""
        whole = words[3] if "of" in words else words[1]
        units = [parse_units(text, foreign or money) for text in (whole, words[1])]
        amount = PoolAmount(words[0], *units)
        if foreign:
            codes = (c.partition("/")[0] for c in (foreign, money))
            rate = FxTable(self.rates).rate_on(*codes, self.period.end)
            left = self.balances[name].remainders.get(words[0], Fraction(0))
            amount = in_currency(amount, foreign, money, rate, left)
        return replace(inputs, pools=(*inputs.pools, amount))

    def on_usage(self, _name, words, _money, inputs):
        """Read `usage WORK USE outputs N tokens N territory XX model M`."""
        facts = dict(zip(words[2::2], words[3::2], strict=True))
        usage = Usage(
            words[0],
            Use(words[1]),
            Fraction(facts.get("outputs", 0)),
            Fraction(facts.get("tokens", 0)),
            territory=facts.get("territory", "*"),
            model_version=facts.get("model", "*"),
        )
        return replace(inputs, usages=(*inputs.usages, usage))

    def on_claims(self, _name, words, _money, inputs):
        """Read `claims WORK PARTY SHARE PARTY SHARE`."""
        claims = {p: parse_rate(s) for p, s in zip(words[1::2], words[2::2], strict=True)}
        return replace(inputs, shares={**inputs.shares, words[0]: holdings(claims).as_sheet()})

    def on_adjust(self, _name, words, money, inputs):
        """Read `adjust TYPE PERIOD AMOUNT REASON`."""
        kind, about = AdjustmentType(words[0]), Period(words[1])
        item = Adjustment(kind, parse_units(words[2], money), about, " ".join(words[3:]))
        return replace(inputs, adjustments=(*inputs.adjustments, item))

    def on_hold(self, _name, words, money, inputs):
        """Read `hold DISPUTE AMOUNT REASON`."""
        item = Hold(words[0], parse_units(words[1], money), " ".join(words[2:]))
        return replace(inputs, holds=(*inputs.holds, item))

    def on_advance(self, name, words, money, inputs):
        """Read `advance AMOUNT`: paid before the period is settled."""
        old = self.balances[name]
        units = old.unrecouped_units + parse_units(words[0], money)
        self.balances[name] = replace(old, unrecouped_units=units)
        return inputs

    def on_rate(self, _name, words, _money, inputs):
        """Read `rate FROM TO DATE RATE`."""
        day = date.fromisoformat(words[2])
        self.rates.append(FxRate(words[0], words[1], day, Fraction(words[3]), "named source"))
        return inputs

    def compare(self, result, rest):
        """Compare one `expect` line with the calculation."""
        sums = {line.code: line.amount_units for line in result.lines}
        sums |= {
            "net": result.net_units,
            "payable": result.payable_units,
            "carried": result.carried_forward_units,
            "unrecouped": result.closing.unrecouped_units,
            "held_back": result.closing.reserve_units,
            "debit": result.closing.debit_units,
            "in_dispute": result.closing.held_units,
            "unconverted": result.closing.unconverted_units,
        }
        in_payment = {"payable", "carried"}
        for part in rest.split(","):
            key, text = part.split()
            money = result.payment_currency if key in in_payment else result.currency
            assert sums[key] == parse_units(text, money), (key, sums)
            self.checked += 1

    def play_pool(self, lines):
        """Divide one pool among parties, or equally per work."""
        accruals, outputs, works, pool = [], [], {}, {}
        for name, verb, rest in lines:
            words = rest.split()
            facts = dict(zip(words[1::2], words[2::2], strict=False))
            if verb == "accrual":
                accruals.append(self.accrual(name, words, facts))
            elif verb == "output":
                influence = {party: int(nats) for party, nats in facts.items()}
                outputs.append(OutputInfluence(name, parse_units(words[0], "USD/2"), influence))
            elif verb == "work":
                claims = {p: parse_rate(s) for p, s in zip(words[::2], words[1::2], strict=True)}
                works[name] = holdings(claims)
            elif verb == "divide":
                pool = {"units": parse_units(words[0], "USD/2"), "rule": words[-1]}
            elif verb == "unexplained":
                pool["unexplained"] = parse_units(words[0], "USD/2")
        accruals += self.accrued(outputs, pool)
        if works:
            divided = divide_equally("pool", pool["units"], works)
            out = {party: amount.amount_units for party, amount in divided.amounts.items()}
            out |= {"contested": divided.contested_units, "unclaimed": divided.unclaimed_units}
        else:
            unexplained = pool.get("unexplained", 0)
            result = RULES[pool["rule"]].apportion(
                pool["units"], accruals, unexplained_units=unexplained
            )
            out = dict.fromkeys(result.portions, 0) | result.payable | dict(result.destinations)
        for _, verb, rest in lines:
            for part in rest.split(",") if verb == "expect" else ():
                key, text = part.split()
                assert out[key] == parse_units(text, "USD/2"), (key, out)
                self.checked += 1

    def accrued(self, outputs, pool):
        """Give what parties accrued by the pool's rule over all outputs; none without outputs."""
        if not outputs:
            return []
        accrued = RULES[pool["rule"]].accrue(outputs)
        names = sorted(accrued.shares)
        parts = [*(accrued.shares[name] for name in names), accrued.unexplained]
        *units, pool["unexplained"] = split_signed(pool["units"], parts)
        return [Accrual(name, own) for name, own in zip(names, units, strict=True)]

    def accrual(self, name, words, facts):
        """Read an accrual line."""
        clause = None
        if "limit" in facts:
            method = Fallback(facts["fallback"])
            clause = Reliability(parse_rate(facts["limit"]), method, parse_rate(facts["weight"]))
        return Accrual(
            name,
            parse_units(words[0], "USD/2"),
            parse_units(facts.get("stderr", "0"), "USD/2"),
            Standing(facts.get("standing", "licensed")),
            works=int(facts.get("works", 1)),
            usage=int(facts.get("usage", 0)),
            fixed=int(facts.get("fixed", 0)),
            reliability=clause,
        )


def value_of(text):
    """Calculate one side of a line of arithmetic, exactly."""
    source = re.sub(r"(\d+(?:\.\d+)?)%", r"(\1/100)", text.replace(" x ", " * ").strip())

    def walk(node):
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        if isinstance(node, ast.UnaryOp):
            return -walk(node.operand)
        if isinstance(node, ast.Call):
            return {"min": min, "max": max}[node.func.id](walk(arg) for arg in node.args)
        return Fraction(ast.get_source_segment(source, node))

    return walk(ast.parse(source, mode="eval").body)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_example_comes_out_as_its_file_says(path):
    """Every expected amount is what the calculation gives, to the last unit."""
    example = read(path)
    assert example.title, "an example says what it shows"
    assert all(isinstance(item, Agreement) for item in example.agreements.values())
    Runner(example).run()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_sum_worked_by_hand_is_right(path):
    """The arithmetic in the file holds line by line, so a reviewer checks terms, not sums."""
    lines = [line.rpartition(":")[2] for line in read(path).by_hand if re.search("[=~]", line)]
    assert lines, "an example has its sum worked by hand"
    for line in lines:
        left, sign, right = re.split("([=~])", line, maxsplit=1)
        digits = len(right.strip().partition(".")[2])
        value = value_of(left)
        assert (value if sign == "=" else round(value, digits)) == value_of(right), line


def test_there_are_enough_examples():
    """At least thirty, one for each term and trap."""
    assert len(FILES) >= EXAMPLES_MIN
