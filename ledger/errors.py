"""Every error the ledger raises on purpose. Bugs are assertions and are not listed here."""

from __future__ import annotations


class LedgerError(Exception):
    """A caller asked for something the books do not allow."""
