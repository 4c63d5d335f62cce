"""The exact bytes of every leaf of the book, so that two parties hash the same thing.

A leaf is one JSON object in the form of RFC 8785, restricted further so that no reader can
disagree with another about it:

1. Keys are sorted, nothing stands between the tokens, the text is UTF-8 and not escaped beyond
   what JSON demands, and it is not normalised: two different strings are two different leaves.
2. Amounts are decimal strings (`"-1250000"`), never JSON numbers, since readers disagree about
   large numbers. The only number is `ledger_seq`, below 2**53.
3. Every field is always there; what has no value is `null`. Nothing is joined with a separator,
   so `a|b` + `c` and `a` + `b|c` cannot meet in the same bytes.
4. A line break inside a text is escaped by JSON, so one leaf is always one line of
   `entries.jsonl`. The line break that ends the line is not part of the leaf.

The time at which the database recorded a leaf is not in it: running the same night again on
another machine gives the same leaves and so the same root.

Fields of a journal entry, `byline-entry/1`, in the order in which they stand:

    approved_by    who approved it (a party id), or null
    description    free text for people
    effective_on   the day it counts for, YYYY-MM-DD
    entry_id       "je_" and 26 characters, a function of scope and key (`entry_id_of`)
    evidence       {name: SHA-256 in hex} of the files behind the entry, by name
    format         "byline-entry/1"
    key            with `scope` the idempotency key: the pair names the business event
    kind           accrual, earning, apportionment, recoupment, advance, adjustment, reversal, ...
    ledger_seq     1, 2, 3, ... over entries, periods and accesses together, without a gap
    period         the settlement period that it is booked in, YYYY-MM
    postings       [[account_id, currency, units], ...] in the order of the entry;
                   currency is code/scale ("USD/6"), units a decimal string, debit positive
    prepared_by    who prepared it (a party id, or "system")
    reverses       the entry_id that this entry takes back, or null
    scope          the name space of `key`

Fields of an access, `byline-access/1`: action, actor, format, ledger_seq, object, reason, role.
Fields of a period's opening or close, `byline-period/1`: action ("open" or "close"), approved_by,
format, ledger_seq, period, prepared_by.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

ENTRY_FORMAT = "byline-entry/1"
ACCESS_FORMAT = "byline-access/1"
PERIOD_FORMAT = "byline-period/1"
LEDGER_SEQ_MAX = 2**53 - 1

# The C function behind json.dumps(..., ensure_ascii=False); a leaf is written a million times.
_quote: Callable[[str], str] = json.encoder.encode_basestring


class PostingFields(Protocol):
    """What a leaf needs to know of one posting."""

    @property
    def account_id(self) -> str:
        """The account."""

    @property
    def currency(self) -> str:
        """Code and scale, such as USD/6."""

    @property
    def units(self) -> int:
        """Debit positive, credit negative."""


class EntryFields(Protocol):
    """What a leaf needs to know of a journal entry; `ledger.entry.JournalEntry` has it all."""

    @property
    def entry_id(self) -> str:
        """The name of the entry."""

    @property
    def scope(self) -> str:
        """The name space of the key."""

    @property
    def key(self) -> str:
        """The idempotency key."""

    @property
    def kind(self) -> str:
        """What sort of event it is."""

    @property
    def period(self) -> object:
        """The settlement period; its text is YYYY-MM."""

    @property
    def effective_on(self) -> dt.date | str:
        """The day it counts for."""

    @property
    def description(self) -> str:
        """Free text."""

    @property
    def postings(self) -> Sequence[PostingFields]:
        """The postings, in order."""

    @property
    def reverses(self) -> str | None:
        """The entry taken back, if any."""

    @property
    def prepared_by(self) -> str:
        """The preparer."""

    @property
    def approved_by(self) -> str | None:
        """The approver, if any."""

    @property
    def evidence(self) -> Mapping[str, str]:
        """Digests of the files behind the entry."""


def entry_id_of(scope: str, key: str) -> str:
    """Name the entry of a business event.

    The two texts are hashed with their lengths in front (8 bytes, big-endian, counted in UTF-8
    bytes), so that no two pairs give the same input.

    Args:
        scope: the name space of the key.
        key: the idempotency key.

    Returns:
        "je_" and the first 26 characters of the lower-case base32 of the SHA-256 (130 bits).

    >>> entry_id_of("nightly", "2026-11-01/pool")
    'je_pprraxgjki454ljpfzoloydbuj'
    """
    digest = hashlib.sha256()
    for text in (scope, key):
        raw = text.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return "je_" + base64.b32encode(digest.digest()).decode("ascii").lower()[:26]


def canonical_json(value: object) -> bytes:
    """Write any of our JSON documents in canonical form: sorted keys, no spaces, UTF-8.

    Args:
        value: objects with string keys, lists, strings, whole numbers, booleans, None.

    Returns:
        The bytes, without a line break at the end.

    Raises:
        ValueError: a float is among the values, or a text is not valid Unicode.
    """
    _refuse_floats(value, "$")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def canonical_entry(*, ledger_seq: int, entry: EntryFields) -> bytes:
    """Write a journal entry as the leaf that is hashed.

    Args:
        ledger_seq: its place in the book, 1-based.
        entry: the entry; its own `entry_id` is used if it carries one.

    Returns:
        The leaf, without a line break.
    """
    return canonical_entry_bytes(
        ledger_seq=ledger_seq,
        entry_id=entry.entry_id,
        scope=entry.scope,
        key=entry.key,
        kind=entry.kind,
        period=str(entry.period),
        effective_on=str(entry.effective_on),
        description=entry.description,
        prepared_by=entry.prepared_by,
        approved_by=entry.approved_by,
        reverses=entry.reverses,
        evidence=entry.evidence,
        postings=[(p.account_id, p.currency, p.units) for p in entry.postings],
    )


def canonical_entry_bytes(  # noqa: PLR0913  # One argument per field of the leaf.
    *,
    ledger_seq: int,
    entry_id: str,
    scope: str,
    key: str,
    kind: str,
    period: str,
    effective_on: str,
    description: str,
    prepared_by: str,
    approved_by: str | None,
    reverses: str | None,
    evidence: Mapping[str, str],
    postings: Sequence[tuple[str, str, int]],
) -> bytes:
    """Write the leaf of a journal entry from plain values; see the head of this module.

    Args:
        ledger_seq: its place in the book, 1-based.
        entry_id: "je_...".
        scope: the name space of the key.
        key: the idempotency key.
        kind: what sort of event it is.
        period: YYYY-MM.
        effective_on: YYYY-MM-DD.
        description: free text.
        prepared_by: the preparer.
        approved_by: the approver, or None.
        reverses: the entry taken back, or None.
        evidence: {name: SHA-256 in hex}.
        postings: (account_id, currency, units) in the order of the entry.

    Returns:
        The leaf, without a line break.
    """
    _check_seq(ledger_seq)
    proofs = ",".join(f"{_quote(name)}:{_quote(evidence[name])}" for name in sorted(evidence))
    rows = ",".join(
        f'[{_quote(account_id)},{_quote(currency)},"{units:d}"]'
        for account_id, currency, units in postings
    )
    return (
        f'{{"approved_by":{_maybe(approved_by)},"description":{_quote(description)},'
        f'"effective_on":{_quote(effective_on)},"entry_id":{_quote(entry_id)},'
        f'"evidence":{{{proofs}}},"format":"{ENTRY_FORMAT}","key":{_quote(key)},'
        f'"kind":{_quote(kind)},"ledger_seq":{ledger_seq:d},"period":{_quote(period)},'
        f'"postings":[{rows}],"prepared_by":{_quote(prepared_by)},'
        f'"reverses":{_maybe(reverses)},"scope":{_quote(scope)}}}'
    ).encode()


def canonical_access(
    *, ledger_seq: int, actor: str, role: str, action: str, object_id: str, reason: str
) -> bytes:
    """Write one access to a statement, an export or a trace as a leaf.

    Args:
        ledger_seq: its place in the book, 1-based.
        actor: who looked (an id, never a name).
        role: in which role.
        action: what was done, such as "view" or "export".
        object_id: to what.
        reason: why; may be empty.

    Returns:
        The leaf, without a line break.
    """
    _check_seq(ledger_seq)
    return (
        f'{{"action":{_quote(action)},"actor":{_quote(actor)},"format":"{ACCESS_FORMAT}",'
        f'"ledger_seq":{ledger_seq:d},"object":{_quote(object_id)},"reason":{_quote(reason)},'
        f'"role":{_quote(role)}}}'
    ).encode()


def canonical_period(
    *, ledger_seq: int, action: str, period: str, prepared_by: str, approved_by: str | None
) -> bytes:
    """Write the opening or the close of a settlement period as a leaf.

    Args:
        ledger_seq: its place in the book, 1-based.
        action: "open" or "close".
        period: YYYY-MM.
        prepared_by: who prepared it.
        approved_by: who approved it; a close needs somebody else than the preparer.

    Returns:
        The leaf, without a line break.
    """
    _check_seq(ledger_seq)
    assert action in {"open", "close"}, action
    return (
        f'{{"action":"{action}","approved_by":{_maybe(approved_by)},"format":"{PERIOD_FORMAT}",'
        f'"ledger_seq":{ledger_seq:d},"period":{_quote(period)},'
        f'"prepared_by":{_quote(prepared_by)}}}'
    ).encode()


def _maybe(text: str | None) -> str:
    return "null" if text is None else _quote(text)


def _check_seq(ledger_seq: int) -> None:
    assert 1 <= ledger_seq <= LEDGER_SEQ_MAX, ledger_seq


def _refuse_floats(value: object, where: str) -> None:
    if isinstance(value, float):
        raise ValueError(  # noqa: TRY004  # The value is wrong for the format, not its use here.
            f"{where} is the float {value!r}; canonical documents hold whole numbers and text, "
            "so write it as a text or as a whole number of a smaller unit"
        )
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_floats(inner, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            _refuse_floats(inner, f"{where}[{number}]")
