"""Read the leaves of the book as plain entries: all an export needs, with no database.

A leaf is canonical JSON (`ledger.canonical`); an audit pack's `entries.jsonl` has one
a line. Leaves that are no entries (periods, accesses) are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ledger.canonical import ENTRY_FORMAT


@dataclass(frozen=True)
class BookLine:
    """One posting with what its entry says. Units: debit positive."""

    ledger_seq: int
    entry_id: str
    line: int
    kind: str
    scope: str
    period: str
    effective_on: str
    description: str
    prepared_by: str
    approved_by: str
    reverses: str
    account_id: str
    currency: str
    units: int


def book_lines(leaves: Iterable[bytes]) -> Iterator[BookLine]:
    """Give every posting of every entry, in the order of the book.

    Args:
        leaves: canonical leaves, with or without their line break.
    """
    for leaf in leaves:
        value = json.loads(leaf)
        if value["format"] != ENTRY_FORMAT:
            continue
        for line, (account_id, currency, units) in enumerate(value["postings"], start=1):
            yield BookLine(
                ledger_seq=value["ledger_seq"],
                entry_id=value["entry_id"],
                line=line,
                kind=value["kind"],
                scope=value["scope"],
                period=value["period"],
                effective_on=value["effective_on"],
                description=value["description"],
                prepared_by=value["prepared_by"],
                approved_by=value["approved_by"] or "",
                reverses=value["reverses"] or "",
                account_id=account_id,
                currency=currency,
                units=int(units),
            )
