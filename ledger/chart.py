"""The chart of accounts: every account that Byline posts to is named here and nowhere else.

1. What a creator has earned but no period has divided yet stands in `Liabilities:Accrued`.
2. What a payee is owed stands in `Liabilities:RoyaltiesPayable`.
3. What a close divides goes to the payees through `Liabilities:PoolClearing`, one entry a payee,
   so that no payee's entry shows what another one got; after a close it stands at zero.
4. Money whose owner is not known, not under contract, in dispute or too uncertain to pay goes
   to a suspense account with a name, never quietly to the others.
5. An id stands in an account name as it is, so two ids never share an account; an id that no
   account name can hold (one that ends in a colon, say) is refused.
"""

from __future__ import annotations

from ledger.account import check_account_id

ROYALTY_EXPENSE = "Expenses:Royalty"
CASH = "Assets:Cash"
ROUNDING = "Equity:Rounding"
OPENING = "Equity:Opening"
INDIRECT_TAX_RECOVERABLE = "Assets:IndirectTaxRecoverable"
WITHHOLDING_PAYABLE = "Liabilities:WithholdingTax"
ROYALTIES_IN_TRANSIT = "Assets:PayoutsInTransit"
POOL_CLEARING = "Liabilities:PoolClearing"

UNLICENSED = "Liabilities:Suspense:Unlicensed"
UNMATCHED = "Liabilities:Suspense:Unmatched"
BELOW_NOISE = "Liabilities:Suspense:BelowNoise"
UNEXPLAINED = "Liabilities:Suspense:Unexplained"
DISPUTED = "Liabilities:Suspense:Disputed"
SUSPENSE = (UNLICENSED, UNMATCHED, BELOW_NOISE, UNEXPLAINED, DISPUTED)

EXCHANGE_PREFIX = "Equity:Exchange:"

ACCRUED_PREFIX = "Liabilities:Accrued:"
PAYABLE_PREFIX = "Liabilities:RoyaltiesPayable:"
ADVANCE_PREFIX = "Assets:RoyaltyAdvances:"
RESERVE_PREFIX = "Liabilities:Reserve:"
DEBIT_PREFIX = "Assets:DebitBalances:"
DISPUTED_PREFIX = "Liabilities:Suspense:Disputed:"


def accrued(creator_id: str) -> str:
    """Name the account of what a creator has earned and no period has divided yet.

    >>> accrued("pkg-numpy")
    'Liabilities:Accrued:pkg-numpy'
    """
    return _named(ACCRUED_PREFIX, creator_id)


def royalties_payable(payee_id: str) -> str:
    """Name the account of what a payee is owed."""
    return _named(PAYABLE_PREFIX, payee_id)


def royalty_advances(payee_id: str) -> str:
    """Name the account of what a payee got in advance and has not earned back."""
    return _named(ADVANCE_PREFIX, payee_id)


def reserve(payee_id: str) -> str:
    """Name the account of what is kept back from a payee for later corrections."""
    return _named(RESERVE_PREFIX, payee_id)


def debit_balance(payee_id: str) -> str:
    """Name the account of what a correction took back beyond what a payee was owed."""
    return _named(DEBIT_PREFIX, payee_id)


def disputed(payee_id: str) -> str:
    """Name the account of what a payee would be owed if a dispute ends in his favour."""
    return _named(DISPUTED_PREFIX, payee_id)


def exchange(from_currency: str, to_currency: str) -> str:
    """Name the account through which one currency is turned into another, CODE/SCALE both.

    >>> exchange("USD/6", "EUR/2")
    'Equity:Exchange:USD-EUR'
    """
    codes = (currency.partition("/")[0] for currency in (from_currency, to_currency))
    return check_account_id(EXCHANGE_PREFIX + "-".join(codes))


def owner_of(account_id: str) -> str | None:
    """Return the creator or payee that an account belongs to.

    Returns:
        What follows the prefix of an account kept per party, or None for the house's own accounts.

    >>> owner_of("Liabilities:Accrued:pkg-numpy"), owner_of("Expenses:Royalty")
    ('pkg-numpy', None)
    """
    for prefix in (
        ACCRUED_PREFIX,
        PAYABLE_PREFIX,
        ADVANCE_PREFIX,
        RESERVE_PREFIX,
        DEBIT_PREFIX,
        DISPUTED_PREFIX,
    ):
        if account_id.startswith(prefix):
            return account_id[len(prefix) :]
    return None


def _named(prefix: str, owner_id: str) -> str:
    return check_account_id(prefix + owner_id)
