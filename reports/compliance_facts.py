"""Fill the compliance report's facts about the books from the leaves of the book alone.

What is computed here an auditor can compute again from `entries.jsonl` of the pack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ledger.chart import SUSPENSE
from ledger.posting_rules import APPROVED_KINDS
from reports.compliance_inputs import LedgerFact, SuspenseFact
from reports.exports.leaves import BookLine, book_lines

SOURCE = "entries.jsonl of the audit pack"


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


def suspense_facts(leaves: Iterable[bytes], currency: str) -> tuple[SuspenseFact, ...]:
    """Give every suspense balance with the day of its oldest unit still there.

    Money leaves an account in the order in which it came (first in, first out); so
    the oldest day is that of the earliest credit not yet used up by debits.

    Args:
        leaves: canonical leaves, from the first on.
        currency: the currency of the balances.
    """
    moves: dict[str, list[BookLine]] = {}
    for line in book_lines(leaves):
        if line.currency == currency and line.account_id.startswith(SUSPENSE):
            moves.setdefault(line.account_id, []).append(line)
    facts = []
    for account_id, lines in sorted(moves.items()):
        owed = -sum(line.units for line in lines)
        if owed:
            facts.append(SuspenseFact(account_id, owed, _oldest(lines), "not recorded"))
    return tuple(facts)


def _oldest(lines: list[BookLine]) -> str:
    used = sum(line.units for line in lines if line.units > 0)
    for line in sorted(lines, key=lambda one: (one.effective_on, one.ledger_seq)):
        if line.units < 0:
            if used < -line.units:
                return line.effective_on
            used += line.units
    return ""
