"""The trial balance as a paper and as rows: every account, debit or credit, adding up to zero.

1. Debits and credits of each currency are equal, or nothing is shown.
2. An account stands once a currency; accounts without a balance are listed, so
   that a vanished account is noticed.
3. Accounts are grouped by their first name part (Assets, Liabilities, Equity,
   Income, Expenses), in that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.balance import TrialBalanceLine
from reports.errors import TrialBalanceError
from reports.render.csv import csv_bytes
from reports.render.document import Block, Cell, Column, Document, Facts, Heading, Row, Table
from reports.render.text import amount, count

ROOTS: Final = ("Assets", "Liabilities", "Equity", "Income", "Expenses")
CSV_COLUMNS: Final = ("account_id", "currency", "debit_units", "credit_units")


@dataclass(frozen=True)
class AccountBalance:
    """One account's balance in one currency: debit positive, credit negative."""

    account_id: str
    currency: str
    balance_units: int


@dataclass(frozen=True)
class TrialBalance:
    """A trial balance that balances. `lines` are sorted by currency, root and account."""

    title: str
    as_of: str
    lines: tuple[AccountBalance, ...]

    @property
    def currencies(self) -> tuple[str, ...]:
        """The currencies it has lines in, sorted."""
        return tuple(sorted({line.currency for line in self.lines}))

    def debit_units(self, currency: str) -> int:
        """Return the sum of all debit balances of a currency; equal to that of the credits."""
        return sum(max(line.balance_units, 0) for line in self.lines if line.currency == currency)


def from_ledger(lines: Iterable[TrialBalanceLine]) -> list[AccountBalance]:
    """Take the balances over from the ledger's own trial balance."""
    return [AccountBalance(line.account_id, line.currency, line.balance_units) for line in lines]


def build_trial_balance(
    lines: Sequence[AccountBalance], *, as_of: str, title: str = "Trial balance"
) -> TrialBalance:
    """Sort the balances and refuse them if a currency does not add up to zero.

    Args:
        lines: one balance an account and currency.
        as_of: ISO date, or what the balance is as of ("entry 118").
        title: what to call it.

    Raises:
        TrialBalanceError: debits and credits of a currency differ.
    """
    seen = {(line.account_id, line.currency) for line in lines}
    assert len(seen) == len(lines), "an account is listed twice in one currency"
    ordered = tuple(sorted(lines, key=lambda line: (line.currency, *_place(line.account_id))))
    for currency in {line.currency for line in ordered}:
        mine = [line.balance_units for line in ordered if line.currency == currency]
        debit = sum(units for units in mine if units > 0)
        credit = -sum(units for units in mine if units < 0)
        if debit != credit:
            raise TrialBalanceError(currency, debit, credit)
    return TrialBalance(title, as_of, ordered)


def trial_balance_blocks(balance: TrialBalance) -> tuple[Block, ...]:
    """Lay the trial balance out, one table a currency."""
    blocks: list[Block] = []
    for currency in balance.currencies:
        rows = _rows([line for line in balance.lines if line.currency == currency], currency)
        columns = (
            Column("Account", "left", "1fr"),
            Column("Debit", "right"),
            Column("Credit", "right"),
        )
        blocks += [Heading(currency.partition("/")[0]), Table(columns, tuple(rows))]
    return tuple(blocks)


def trial_balance_document(balance: TrialBalance, *, date: str, payer_id: str) -> Document:
    """Make a paper of a trial balance.

    Args:
        balance: what to show.
        date: ISO date of the paper.
        payer_id: whose books these are.
    """
    facts = Facts((("Books of", Cell(payer_id)), ("Lines", Cell(count(len(balance.lines))))))
    return Document(
        title=balance.title,
        subtitle=f"as of {balance.as_of}",
        running=(payer_id, balance.title, balance.as_of),
        footer="Debits and credits are equal in every currency",
        date=date,
        author=payer_id,
        facts=(("Date", date), ("As of", balance.as_of)),
        blocks=(facts, *trial_balance_blocks(balance)),
    )


def trial_balance_csv(balance: TrialBalance) -> bytes:
    """Write a trial balance as CSV in whole units."""
    return csv_bytes(
        CSV_COLUMNS,
        [
            (
                line.account_id,
                line.currency,
                max(line.balance_units, 0),
                max(-line.balance_units, 0),
            )
            for line in balance.lines
        ],
    )


def _rows(lines: Sequence[AccountBalance], currency: str) -> list[Row]:
    rows: list[Row] = []
    root = ""
    for line in lines:
        first = line.account_id.split(":", 1)[0]
        if first != root:
            root = first
            rows.append(Row((Cell(first),), "group"))
        rows.append(_row(Cell(line.account_id), line.balance_units, currency))
    debit = sum(max(line.balance_units, 0) for line in lines)
    both = amount(debit, currency)
    rows.append(Row((Cell("Total"), both, both), "total"))
    return rows


def _row(name: Cell, units: int, currency: str) -> Row:
    debit = amount(units, currency) if units > 0 else Cell("")
    credit = amount(-units, currency) if units < 0 else Cell("")
    if units == 0:
        debit = amount(0, currency, tone="muted")
    return Row((name, debit, credit))


def _place(account_id: str) -> tuple[int, str]:
    root = account_id.split(":", 1)[0]
    return (ROOTS.index(root) if root in ROOTS else len(ROOTS), account_id)
