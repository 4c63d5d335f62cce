"""The tables of a pack that follow from its entries, and the files of the book inside a pack.

1. `accounts.csv` has a row for each account and currency: debits, credits, their difference.
2. `trial_balance.csv` has a row for each group of accounts (the first two words of their names):
   what stands on the debit side and what on the credit side, and a total that must agree.
3. Both are computed from the leaves alone, by the writer and again by the verifier, and compared
   byte for byte; rows are sorted, lines end in a line break, nothing is quoted.
4. `leaf_hashes.bin` holds the 32 bytes of each leaf's hash in order. It proves nothing by itself,
   but it lets a verifier name the row that was changed and a creator make a proof offline.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

from ledger.audit_reversals import ENTRIES

ACCOUNTS = "accounts.csv"
TRIAL_BALANCE = "trial_balance.csv"
LEAF_HASHES = "leaf_hashes.bin"
CHECKPOINT = "checkpoint.note"
CHECKPOINTS = "checkpoints.txt"
BOOK_MEMBERS = (ACCOUNTS, CHECKPOINT, CHECKPOINTS, ENTRIES, LEAF_HASHES, TRIAL_BALANCE)


def accounts_rows(debits: Mapping[bytes, int], credits_: Mapping[bytes, int]) -> Iterator[str]:
    """Write `accounts.csv` row by row.

    Args:
        debits: {account","currency: units}, as `Book` keeps them.
        credits_: likewise, negative.
    """
    yield "account_id,currency,debit_units,credit_units,balance_units\n"
    for key in sorted(debits.keys() | credits_.keys()):
        debit, credit = debits.get(key, 0), -credits_.get(key, 0)
        name = key.decode().replace('","', ",")
        yield f"{name},{debit},{credit},{debit - credit}\n"


def trial_balance_rows(debits: Mapping[bytes, int], credits_: Mapping[bytes, int]) -> Iterator[str]:
    """Write `trial_balance.csv` row by row; the two columns of each TOTAL row agree."""
    groups: dict[tuple[str, str], list[int]] = {}
    for key in debits.keys() | credits_.keys():
        account, _, currency = key.decode().partition('","')
        group = ":".join(account.split(":")[:2])
        balance = debits.get(key, 0) + credits_.get(key, 0)
        for name in (group, "TOTAL"):
            sides = groups.setdefault((currency, name), [0, 0])
            sides[balance < 0] += abs(balance)
    yield "group,currency,debit_units,credit_units\n"
    for currency, rows in itertools.groupby(sorted(groups), key=lambda pair: pair[0]):
        for _, name in sorted(rows, key=lambda pair: (pair[1] == "TOTAL", pair[1])):
            debit, credit = groups[currency, name]
            yield f"{name},{currency},{debit},{credit}\n"


def first_row_difference(
    expected: Iterable[str], found: Iterable[str]
) -> tuple[int, str, str] | None:
    """Compare two tables row by row.

    Returns:
        (line number from 1, expected line, found line) of the first difference, or None.
    """
    pairs = itertools.zip_longest(expected, found, fillvalue="(no row)")
    for number, (ours, theirs) in enumerate(pairs, 1):
        if ours != theirs:
            return number, ours.rstrip("\n"), theirs.rstrip("\n")
    return None
