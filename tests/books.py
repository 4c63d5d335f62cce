"""Entries to post in tests, short to write."""

from ledger.entry import JournalEntry, Posting

PERIOD = "2026-11"
USD = "USD/6"


def posting(account_id: str, units: int, currency: str = USD) -> Posting:
    """Return one line."""
    return Posting(account_id, currency, units)


def accrual(key: str, units: int = 100, creator: str = "anna", **changes: object) -> JournalEntry:
    """Return a balanced two-line accrual of a creator.

    Args:
        key: the idempotency key in the scope "nightly".
        units: the amount.
        creator: whose.
        changes: fields of the entry that differ from the ordinary.
    """
    fields: dict[str, object] = {
        "scope": "nightly",
        "key": key,
        "kind": "accrual",
        "period": PERIOD,
        "effective_on": f"{PERIOD}-21",
        "description": "accrual of one night",
        "postings": [
            posting("Expenses:Royalty", units),
            posting(f"Liabilities:Accrued:{creator}", -units),
        ],
    }
    return JournalEntry(**(fields | changes))
