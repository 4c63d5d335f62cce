"""Read leaves strictly: what is not byte for byte in canonical form is refused, by its field.

1. The canonical form is written down here as patterns over bytes, apart from the writer in
   `ledger.canonical`; a test holds the two against each other.
2. The quick way accepts a leaf in one pass without building objects: a million leaves are
   read in seconds. A leaf it does not accept is read again the slow way, which names the
   first field that is wrong, what it must be and what it is.
3. Amounts are whole, without leading zeros or signs to spare, not zero, within +-10**16.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from ledger.canonical import (
    ACCESS_FORMAT,
    ENTRY_FORMAT,
    PERIOD_FORMAT,
    canonical_access,
    canonical_entry_bytes,
    canonical_period,
)

AUDIT_KINDS = (
    *("accrual", "earning", "apportionment", "recoupment", "advance", "guarantee", "reserve"),
    *("tax", "conversion", "adjustment", "reversal", "hold", "release", "close", "payout"),
    "opening",
)
AUDIT_APPROVED_KINDS = frozenset({b"adjustment", b"reversal", b"close", b"payout"})
# What takes an entry back, and of which kind that entry must be (None: of any).
AUDIT_TAKING_BACK: dict[bytes, str | None] = {b"reversal": None, b"release": "hold"}
AUDIT_UNITS_MAX = 10**16

_WORD = rb"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}"
# A JSON text with exactly the escapes that canonical form allows.
_TEXT = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f]))[^"\\\x00-\x1f]*+)*+'
_HEX = rb"[0-9a-f]{64}"
_MONTH = rb"[0-9]{4}-(?:0[1-9]|1[0-2])"
_DAY = rb"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_SEQ = rb"[1-9][0-9]{0,15}"
_PROOF = rb'"%b":"%b"' % (_WORD, _HEX)

_HEAD = (
    rb'\{"approved_by":(?:null|"(%b)"),"description":"%b","effective_on":"(%b)",'
    rb'"entry_id":"(je_[a-z2-7]{26})","evidence":\{((?:%b(?:,%b)*+)?)\},'
    rb'"format":"byline-entry/1","key":"(%b)","kind":"(%b)","ledger_seq":(%b),"period":"(%b)",'
    rb'"postings":\['
    % (_WORD, _TEXT, _DAY, _PROOF, _PROOF, _TEXT, b"|".join(k.encode() for k in AUDIT_KINDS),
       _SEQ, _MONTH)
)  # fmt: skip
_TAIL = rb',"prepared_by":"(%b)","reverses":(?:null|"(je_[a-z2-7]{26})"),"scope":"(%b)"\}\n' % (
    _WORD,
    _WORD,
)
_UNITS = rb"[1-9][0-9]{0,16}"
_KEY = rb'[^"\\]++","[^"\\]++'

ENTRY_HEAD = re.compile(_HEAD)
ENTRY_TAIL = re.compile(_TAIL)
# The commonest entry, two lines that balance: same currency (group 10), same units (group 12),
# and the second negative unless the first is (group 11). What it accepts is also accepted line
# by line; it is only quicker.
ENTRY_TWO = re.compile(
    _HEAD
    + rb'\["([^"\\]++","([^"\\]++))","(-)?(%b)"\],\["([^"\\]++","\10)","(?(11)|-)\12"\]\]' % _UNITS
    + _TAIL
)
POSTING = re.compile(rb'\["(%b)","(-?%b)"\](,|\])' % (_KEY, _UNITS))
ACCOUNT = re.compile(
    rb"(?=.{1,200}\")(?:Assets|Liabilities|Equity|Income|Expenses)(?::[A-Za-z0-9][A-Za-z0-9._/@+-]*)+"
    rb'","[A-Z][A-Z0-9]{2,7}/(?:[0-9]|1[0-2])'
)
ACCESS = re.compile(
    rb'\{"action":"%b","actor":"%b","format":"byline-access/1","ledger_seq":(%b),'
    rb'"object":"%b","reason":"%b","role":"%b"\}\n' % (_WORD, _WORD, _SEQ, _WORD, _TEXT, _WORD)
)
PERIOD = re.compile(
    rb'\{"action":"(open|close)","approved_by":(?:null|"(%b)"),"format":"byline-period/1",'
    rb'"ledger_seq":(%b),"period":"(%b)","prepared_by":"(%b)"\}\n' % (_WORD, _SEQ, _MONTH, _WORD)
)
EVIDENCE = re.compile(rb'"([^"]+)":"([0-9a-f]{64})"')


class Difference(NamedTuple):
    """Where a leaf is not what it must be.

    Attributes:
        field: the field, in words.
        expected: what it must be.
        found: what it is.
        canonical: nothing was wrong after all; the other fields are empty.
    """

    field: str
    expected: str
    found: str
    canonical: bool = False


def unescape(raw: bytes) -> bytes:
    """Return the UTF-8 bytes that a JSON text stands for."""
    return raw if b"\\" not in raw else str(json.loads(b'"' + raw + b'"')).encode()


def diagnose(line: bytes, ledger_seq: int) -> Difference:
    """Say what is wrong with a leaf, reading it the slow way.

    Args:
        line: the line, with its line break if it has one.
        ledger_seq: its place.

    Returns:
        The first thing that is wrong; `canonical` when nothing is.
    """
    if not line.endswith(b"\n"):
        return Difference("end", "a line break", repr(line[-20:]))
    try:
        value = json.loads(line)
    except ValueError as error:
        return Difference("text", "a JSON object in UTF-8", f"{error} in {line[:120]!r}")
    writer = _WRITERS.get(str(value.get("format"))) if isinstance(value, dict) else None
    if writer is None:
        formats = f"an object with format {ENTRY_FORMAT}, {ACCESS_FORMAT} or {PERIOD_FORMAT}"
        return Difference("format", formats, repr(line[:120]))
    names, write = writer
    if set(value) != names:
        missing, extra = sorted(names - set(value)), sorted(set(value) - names)
        return Difference("fields", ", ".join(sorted(names)), f"missing {missing}, extra {extra}")
    wrong = _wrong_field(value, ledger_seq)
    if wrong is not None:
        return wrong
    written = write(value) + b"\n"
    return Difference("", "", "", True) if written == line else _wrong_byte(written, line)


def _wrong_byte(written: bytes, line: bytes) -> Difference:
    """Show where a leaf leaves the canonical form although its values are right."""
    pairs = enumerate(zip(written, line, strict=False))
    at = next((n for n, (ours, theirs) in pairs if ours != theirs), min(len(written), len(line)))
    around = slice(max(0, at - 10), at + 20)
    field = f"byte {at + 1} of the row (not in canonical form)"
    return Difference(field, repr(written[around]), repr(line[around]))


def _wrong_field(value: dict[str, object], ledger_seq: int) -> Difference | None:
    """Check field by field, in the order of the leaf."""
    for name in sorted(value):
        found = value[name]
        if name == "ledger_seq":
            if found != ledger_seq or type(found) is not int:
                return Difference(name, str(ledger_seq), repr(found))
        elif name == "evidence":
            pairs = found.items() if isinstance(found, dict) else [("?", found)]
            for key, digest in pairs:
                if not _fits(_WORD, key) or not _fits(_HEX, digest):
                    return Difference(f"evidence {key!r}", "a SHA-256 in hex", repr(digest))
        elif name == "postings":
            wrong = _wrong_posting(found)
            if wrong is not None:
                return wrong
        elif not _field_fits(name, found):
            return Difference(name, _SHAPES.get(name, (b"", "a name or null"))[1], repr(found))
    return None


def _field_fits(name: str, found: object) -> bool:
    if name == "format":
        return True
    if name in {"approved_by", "reverses"} and found is None:
        return True
    return _fits(_SHAPES.get(name, (_WORD, ""))[0], found)


def _wrong_posting(found: object) -> Difference | None:
    if not isinstance(found, list) or len(found) < 2:
        return Difference("postings", "a list of at least two", repr(found)[:120])
    for number, posting in enumerate(found, 1):
        where = f"posting {number}"
        if not isinstance(posting, list) or not all(isinstance(part, str) for part in posting):
            return Difference(where, "[account, currency, units] as texts", repr(posting))
        if len(posting) != 3:
            return Difference(where, "[account, currency, units]", repr(posting))
        if not ACCOUNT.fullmatch(f'{posting[0]}","{posting[1]}'.encode()):
            return Difference(where, "an account and a currency", repr(posting[:2]))
        if not _fits(rb"-?[1-9][0-9]{0,16}", posting[2]) or abs(int(posting[2])) > AUDIT_UNITS_MAX:
            return Difference(where, f"whole units, not zero, to {AUDIT_UNITS_MAX}", repr(posting))
    return None


def _fits(pattern: bytes, found: object) -> bool:
    if not isinstance(found, str):
        return False
    try:
        return re.fullmatch(pattern, found.encode(), re.DOTALL) is not None
    except UnicodeEncodeError:
        return False


_SHAPES: dict[str, tuple[bytes, str]] = {
    "description": (rb".*", "text"),
    "key": (rb".+", "text that is not empty"),
    "reason": (rb".*", "text"),
    "effective_on": (_DAY, "a day YYYY-MM-DD"),
    "period": (_MONTH, "a month YYYY-MM"),
    "entry_id": (rb"je_[a-z2-7]{26}", "je_ and 26 characters"),
    "reverses": (rb"je_[a-z2-7]{26}", "an entry id or null"),
    "kind": (b"|".join(k.encode() for k in AUDIT_KINDS), "one of " + ", ".join(AUDIT_KINDS)),
}


def _write_entry(value: dict[str, object]) -> bytes:
    fields = {name: value[name] for name in value if name not in {"format", "postings"}}
    rows = value["postings"]
    assert isinstance(rows, list), rows
    postings = [(account, currency, int(units)) for account, currency, units in rows]
    return canonical_entry_bytes(**fields, postings=postings)  # type: ignore[arg-type]


def _write_access(value: dict[str, object]) -> bytes:
    fields = {name: value[name] for name in value if name not in {"format", "object"}}
    return canonical_access(**fields, object_id=value["object"])  # type: ignore[arg-type]


def _write_period(value: dict[str, object]) -> bytes:
    if value["action"] not in {"open", "close"}:
        return b'{"action":"open|close"}'
    fields = {name: value[name] for name in value if name != "format"}
    return canonical_period(**fields)  # type: ignore[arg-type]


_WRITERS: dict[str, tuple[set[str], Callable[[dict[str, object]], bytes]]] = {
    ENTRY_FORMAT: (
        {"approved_by", "description", "effective_on", "entry_id", "evidence", "format", "key"}
        | {"kind", "ledger_seq", "period", "postings", "prepared_by", "reverses", "scope"},
        _write_entry,
    ),
    ACCESS_FORMAT: (
        {"action", "actor", "format", "ledger_seq", "object", "reason", "role"},
        _write_access,
    ),
    PERIOD_FORMAT: (
        {"action", "approved_by", "format", "ledger_seq", "period", "prepared_by"},
        _write_period,
    ),
}
