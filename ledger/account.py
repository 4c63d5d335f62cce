"""Accounts: their names, their five categories and the side on which they normally stand.

1. An account is named by a path of words joined with colons; the first word is its category.
2. The book keeps one account per currency: the key is (account_id, currency).
3. Debits are positive and credits negative, everywhere; a liability that is owed is therefore
   a negative sum of postings, and `normal_sign` turns it into what a person expects to read.
"""

from __future__ import annotations

import re
from functools import lru_cache

from contracts.errors import MoneyError
from contracts.money import Currency
from ledger.errors import EntryError

ACCOUNT_CHARACTERS_MAX = 200
CATEGORIES = ("Assets", "Liabilities", "Equity", "Income", "Expenses")
_DEBIT_CATEGORIES = frozenset({"Assets", "Expenses"})
_PATTERN = re.compile(
    r"(?:Assets|Liabilities|Equity|Income|Expenses)(?::[A-Za-z0-9][A-Za-z0-9._/@+-]*)+"
)


@lru_cache(maxsize=65536)
def check_account_id(account_id: str) -> str:
    """Return the account id unchanged if it is a well-formed one.

    Args:
        account_id: such as "Liabilities:Accrued:pkg-numpy"; 200 characters at most.

    Raises:
        EntryError: the category is unknown, a part is empty, or a character is not allowed.
    """
    if len(account_id) > ACCOUNT_CHARACTERS_MAX or _PATTERN.fullmatch(account_id) is None:
        raise EntryError(
            f"account {account_id!r} is not a name of an account: expected one of "
            f"{', '.join(CATEGORIES)} and then words of letters, digits and ._/@+- joined by "
            f"colons, {ACCOUNT_CHARACTERS_MAX} characters at most; nothing was posted"
        )
    return account_id


@lru_cache(maxsize=256)
def check_currency(currency: str) -> str:
    """Return the currency text unchanged if it is CODE/SCALE.

    Raises:
        EntryError: it is not.
    """
    try:
        return Currency.parse(currency).text
    except MoneyError as error:
        raise EntryError(str(error)) from error


def category_of(account_id: str) -> str:
    """Return the first word of an account id.

    >>> category_of("Liabilities:Accrued:anna")
    'Liabilities'
    """
    return account_id.partition(":")[0]


def normal_sign(account_id: str) -> int:
    """Return 1 for accounts that normally stand on the debit side, -1 for the credit side.

    >>> normal_sign("Expenses:Royalty"), normal_sign("Liabilities:Accrued:anna")
    (1, -1)
    """
    return 1 if category_of(account_id) in _DEBIT_CATEGORIES else -1
