"""Balances: sums of postings, and the trial balance of a whole book.

1. A balance is the sum of postings, debit positive; nothing else decides it.
2. The trial balance of a currency adds up to zero, whatever moment it is taken at.
3. A stored balance (a snapshot) only saves time: it can be thrown away and made again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ledger.account import category_of, normal_sign
from ledger.entry import JournalEntry


@dataclass(frozen=True, slots=True)
class TrialBalanceLine:
    """One account in a trial balance.

    Attributes:
        account_id: the account.
        currency: code and scale.
        debit_units: sum of its debits, not negative.
        credit_units: sum of its credits, not negative.
    """

    account_id: str
    currency: str
    debit_units: int
    credit_units: int

    @property
    def balance_units(self) -> int:
        """Debits less credits."""
        return self.debit_units - self.credit_units

    @property
    def normal_units(self) -> int:
        """The balance as a person expects it: positive on the side where the account belongs."""
        return normal_sign(self.account_id) * self.balance_units

    @property
    def category(self) -> str:
        """Assets, Liabilities, Equity, Income or Expenses."""
        return category_of(self.account_id)


def trial_balance_of(entries: Iterable[JournalEntry], currency: str) -> list[TrialBalanceLine]:
    """Sum entries into a trial balance, one line an account, sorted by account.

    This is the slow reference that the database's own sums are tested against.

    Args:
        entries: every entry that counts.
        currency: which currency to sum.
    """
    sums: dict[str, list[int]] = {}
    for entry in entries:
        for posting in entry.postings:
            if posting.currency == currency:
                side = sums.setdefault(posting.account_id, [0, 0])
                side[0 if posting.units > 0 else 1] += abs(posting.units)
    lines = [
        TrialBalanceLine(account_id, currency, debits, credits_)
        for account_id, (debits, credits_) in sorted(sums.items())
    ]
    assert sum(line.balance_units for line in lines) == 0, lines
    return lines
