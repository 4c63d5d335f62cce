"""Fill the compliance report's facts about the books from the leaves of the book alone.

What is computed here an auditor can compute again from `entries.jsonl` of the pack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Final

from ledger import chart
from ledger.chart import RESERVE_PREFIX, SUSPENSE
from ledger.posting_rules import APPROVED_KINDS
from reports.compliance_inputs import LedgerFact, SuspenseFact
from reports.exports.leaves import BookLine, book_lines

SOURCE = "entries.jsonl of the audit pack"
AGE_DAYS: Final = (("to 30", 30), ("to 90", 90), ("to 365", 365))
ACTIONS: Final = (
    (chart.UNLICENSED, "sign an agreement: the next close pays it (`byline agreements import`)"),
    (chart.UNMATCHED, "find the owners: `byline works unmatched`, `byline works match`"),
    (chart.DISPUTED, "decide the claims: `byline works match` with --decided-by"),
    (chart.BELOW_NOISE, "kept: the interval contains zero"),
    (chart.UNEXPLAINED, "kept: no training text explains these outputs"),
    (RESERVE_PREFIX, "released on the day its agreement says"),
)


def ledger_fact(leaves: Iterable[bytes], currency: str) -> LedgerFact:
    """Count the entries of a book and add its postings up.

    Args:
        leaves: canonical leaves, from the first on.
        currency: the currency whose trial balance is taken.
    """
    kinds: dict[str, str] = {}
    approved, reversals, postings, balance = set(), set(), 0, 0
    for line in book_lines(leaves):
        kinds[line.entry_id] = line.kind
        postings += 1
        if line.currency == currency:
            balance += line.units
        if line.approved_by:
            approved.add(line.entry_id)
        assert line.approved_by or line.kind not in APPROVED_KINDS, line
        if line.kind == "reversal":
            reversals.add(line.entry_id)
    return LedgerFact(
        entries=len(kinds),
        postings=postings,
        trial_balance_units=balance,
        reversals=len(reversals),
        approved_entries=len(approved),
        source=SOURCE,
        entries_by_kind=dict(Counter(kinds.values())),
    )


def suspense_facts(leaves: Iterable[bytes], as_of: str) -> tuple[SuspenseFact, ...]:
    """Give every suspense and reserve balance, by currency, with the age of what is still there.

    Money leaves an account in the order in which it came (first in, first out); so what is left
    is the latest credits, and the oldest day is that of the earliest one not used up by debits.

    Args:
        leaves: canonical leaves, from the first on.
        as_of: ISO date from which ages are counted.
    """
    moves: dict[tuple[str, str], list[BookLine]] = {}
    for line in book_lines(leaves):
        if line.account_id.startswith((*SUSPENSE, RESERVE_PREFIX)):
            moves.setdefault((line.currency, line.account_id), []).append(line)
    facts = []
    for (currency, account_id), lines in sorted(moves.items()):
        left = _left(lines)
        owed = -sum(line.units for line in lines)
        if owed:
            oldest = left[0][0] if left else ""
            ages = _by_age(left, as_of)
            facts.append(
                SuspenseFact(account_id, owed, oldest, _action(account_id), currency, ages)
            )
    return tuple(facts)


def _left(lines: list[BookLine]) -> list[tuple[str, int]]:
    """Give the credits that no debit has used up, oldest first: (day, units)."""
    used = sum(line.units for line in lines if line.units > 0)
    left = []
    for line in sorted(lines, key=lambda one: (one.effective_on, one.ledger_seq)):
        if line.units < 0:
            taken = min(used, -line.units)
            used -= taken
            if -line.units > taken:
                left.append((line.effective_on, -line.units - taken))
    return left


def _by_age(left: Iterable[tuple[str, int]], as_of: str) -> dict[str, int]:
    ages: Counter[str] = Counter()
    for day, units in left:
        days = (date.fromisoformat(as_of) - date.fromisoformat(day)).days
        name = next((name for name, most in AGE_DAYS if days <= most), "older")
        ages[name] += units
    return dict(ages)


def _action(account_id: str) -> str:
    """Say what can be done about an account, by its prefix."""
    return next((what for prefix, what in ACTIONS if account_id.startswith(prefix)), "none known")
