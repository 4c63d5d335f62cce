"""The rules an entry must keep before the book sees it; the database repeats each of them.

1. At least two postings; each a whole number of units, not zero, within +-10**16.
2. The postings add up to zero in every currency.
3. Adjustments, reversals, closing entries and payouts are approved, and nobody approves his
   own work, of whatever kind.
4. A reversal takes back one entry of any kind, a release takes back one hold; no other kind
   takes anything back.
5. Ids, account names, the period and the effective day are well formed.

Python checks them first only to say clearly what is wrong; what holds, holds in the database.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Protocol

from ledger.account import check_account_id, check_currency
from ledger.errors import ApprovalError, EntryError, UnbalancedEntryError
from ledger.evidence import check_evidence

KINDS = (
    "accrual",
    "earning",
    "apportionment",
    "recoupment",
    "advance",
    "guarantee",
    "reserve",
    "tax",
    "conversion",
    "adjustment",
    "reversal",
    "hold",
    "release",
    "close",
    "payout",
    "opening",
)
APPROVED_KINDS = frozenset({"adjustment", "reversal", "close", "payout"})
TAKING_BACK_KINDS = frozenset({"reversal", "release"})
UNITS_MAX = 10**16
POSTINGS_MIN = 2
KEY_CHARACTERS_MAX = 512
DESCRIPTION_CHARACTERS_MAX = 2000

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_PERIOD = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class _Posting(Protocol):
    @property
    def account_id(self) -> str: ...
    @property
    def currency(self) -> str: ...
    @property
    def units(self) -> int: ...


def check_postings(entry_id: str, postings: Iterable[_Posting]) -> None:
    """Check rules 1 and 2, and the names of accounts and currencies.

    Raises:
        EntryError: too few postings, a malformed name, or an amount that is not allowed.
        UnbalancedEntryError: a currency does not add up to zero.
    """
    debit_units: dict[str, int] = {}
    credit_units: dict[str, int] = {}
    count = 0
    for count, posting in enumerate(postings, 1):
        check_account_id(posting.account_id)
        check_currency(posting.currency)
        units = posting.units
        # bool is an int to Python; as an amount of money it is a mistake.
        if type(units) is not int or not 0 < abs(units) <= UNITS_MAX:
            raise EntryError(
                f"posting {count} of journal entry {entry_id} to {posting.account_id}: expected "
                f"a whole number of units between 1 and {UNITS_MAX} (or negative), "
                f"got {units!r}; nothing was posted"
            )
        side = debit_units if units > 0 else credit_units
        side[posting.currency] = side.get(posting.currency, 0) + abs(units)
    if count < POSTINGS_MIN:
        raise EntryError(
            f"journal entry {entry_id} has {count} postings, expected at least {POSTINGS_MIN}: "
            f"money comes from somewhere and goes somewhere; nothing was posted"
        )
    for currency in sorted(debit_units.keys() | credit_units.keys()):
        debits, credits_ = debit_units.get(currency, 0), credit_units.get(currency, 0)
        if debits != credits_:
            raise UnbalancedEntryError(entry_id, currency, debits, credits_)


def check_kind(
    kind: str, prepared_by: str, approved_by: str | None, reverses: str | None, what: str
) -> None:
    """Check rules 3 and 4.

    Raises:
        EntryError: the kind is unknown, or does not go with taking an entry back.
        ApprovalError: the approval is missing, or is the preparer's own.
    """
    if kind not in KINDS:
        raise EntryError(
            f"{what} is of the unknown kind {kind!r}; expected one of {', '.join(KINDS)}; "
            f"nothing was posted"
        )
    if (kind in TAKING_BACK_KINDS) != (reverses is not None):
        raise EntryError(
            f"{what} is of kind {kind!r} with reverses={reverses!r}; a reversal and a release "
            f"name the entry they take back, and no other kind does; nothing was posted"
        )
    if approved_by == prepared_by or (kind in APPROVED_KINDS and approved_by is None):
        raise ApprovalError(what, prepared_by, approved_by)


def check_words(fields: Mapping[str, str | None], what: str) -> None:
    """Check that ids are ids: `fields` maps the name of a field to its value.

    Raises:
        EntryError: a value is not None and not an id.
    """
    for name, value in fields.items():
        if value is not None and _ID.fullmatch(value) is None:
            raise EntryError(
                f"{what}: {name} must be letters, digits and ._:/@+-, 128 characters at most, "
                f"got {value!r}; nothing was posted"
            )


def check_times(period: str, effective_on: str, what: str) -> None:
    """Check that the period is a month and the effective day a real day.

    Raises:
        EntryError: one of them is not.
    """
    if _PERIOD.fullmatch(period) is None:
        raise EntryError(f"{what}: period must be YYYY-MM, got {period!r}; nothing was posted")
    if not _is_day(effective_on):
        raise EntryError(
            f"{what}: effective_on must be a day YYYY-MM-DD, got {effective_on!r}; "
            f"nothing was posted"
        )


def check_texts(key: str, description: str, evidence: Mapping[str, str], what: str) -> None:
    """Check the key, the description and the evidence.

    Raises:
        EntryError: a text is empty, too long or cannot be stored, or evidence is malformed.
    """
    if not 0 < len(key) <= KEY_CHARACTERS_MAX or not key.isprintable():
        raise EntryError(
            f"{what}: key must be 1 to {KEY_CHARACTERS_MAX} printable characters, got "
            f"{len(key)}: {key[:80]!r}; nothing was posted"
        )
    # PostgreSQL cannot store the NUL character and UTF-8 has no lone surrogates.
    if len(description) > DESCRIPTION_CHARACTERS_MAX or not is_storable(description):
        raise EntryError(
            f"{what}: description must be at most {DESCRIPTION_CHARACTERS_MAX} characters of "
            f"valid text without NUL, got {len(description)}: {description[:80]!r}; "
            f"nothing was posted"
        )
    check_evidence(evidence)


def is_storable(text: str) -> bool:
    """Say whether both databases and every leaf can hold a text."""
    if "\x00" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@lru_cache(maxsize=4096)
def _is_day(text: str) -> bool:
    if _DAY.fullmatch(text) is None:
        return False
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True
