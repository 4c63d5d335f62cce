"""Step 8 of a verification: what takes an entry back is its exact negation, and the only one.

Reversals and releases are few, so the entries that they name are looked up and read again at the
end; nothing but a 64-bit name and a place is remembered of each entry until then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from ledger.audit_errors import VerificationError
from ledger.audit_leaf import AUDIT_TAKING_BACK, ENTRY_HEAD, POSTING

ENTRIES = "entries.jsonl"
# From the letters of RFC 4648 to the digits that int() reads in base 32.
BASE32 = bytes.maketrans(b"abcdefghijklmnopqrstuvwxyz234567", b"0123456789abcdefghijklmnopqrstuv")
# What `reread(offset, size)` gives back: the bytes of the book from there.
Reread = Callable[[int, int], bytes]


class Taker(NamedTuple):
    """An entry that takes another one back.

    Attributes:
        ledger_seq: its place.
        reverses: the id of the entry it names.
        kind: reversal or release.
        offset: where its line begins in the book.
        size: the bytes of its line.
    """

    ledger_seq: int
    reverses: bytes
    kind: bytes
    offset: int
    size: int


def check_takers(
    takers: Sequence[Taker], names: Sequence[int], offsets: Sequence[int], reread: Reread
) -> None:
    """Check every reversal and release of a book.

    Args:
        takers: they, in the order of the book.
        names: the first 64 bits of the name of every entry, in order.
        offsets: where the line of each of them begins.
        reread: gives back bytes of the book.

    Raises:
        VerificationError: the first that is not the exact negation of one earlier entry.
    """
    targets = {_prefix(taker.reverses) for taker in takers}
    rows = {n >> 4: row for row, n in enumerate(names) if n >> 4 in targets} if targets else {}
    taken: dict[bytes, int] = {}
    for seq, name, kind, offset, size in takers:
        row = rows.get(_prefix(name))
        line = b"" if row is None else line_at(reread, offsets[row])
        head = ENTRY_HEAD.match(line)
        if head is None or head[3] != name or int(head[7]) >= seq:
            _fail(seq, "an earlier entry", text_of(name), "it takes back what was never booked")
        wanted_kind = AUDIT_TAKING_BACK[kind]
        if wanted_kind is not None and head[6] != wanted_kind.encode():
            found = f"{text_of(name)} of kind {text_of(head[6])}"
            _fail(seq, f"an entry of kind {wanted_kind}", found, "only a hold is released")
        if name in taken:
            found = f"{text_of(name)}, taken back in row {taken[name]}"
            _fail(seq, "an entry not taken back before", found, "it is taken back twice")
        taken[name] = seq
        ours = _posting_rows(reread(offset, size))
        _compare_negation(seq, ours, _posting_rows(line), text_of(name))


def _fail(seq: int, expected: str, found: str, consequence: str) -> NoReturn:
    place = f"row {seq}, reverses"
    raise VerificationError(8, ENTRIES, place, expected, found, consequence)


def _posting_rows(line: bytes) -> list[tuple[bytes, ...]]:
    head = ENTRY_HEAD.match(line)
    assert head is not None, line[:200]
    return POSTING.findall(line, head.end())


def _compare_negation(
    seq: int, ours: list[tuple[bytes, ...]], theirs: list[tuple[bytes, ...]], name: str
) -> None:
    expected = [(key, -int(units)) for key, units, _ in theirs]
    found = [(key, int(units)) for key, units, _ in ours]
    if expected == found:
        return
    number = next(
        (n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b),
        min(len(expected), len(found)),
    )
    raise VerificationError(
        8, ENTRIES, f"row {seq}, posting {number + 1}", str(expected[number : number + 1]),
        str(found[number : number + 1]), f"it is not the exact negation of {name}",
    )  # fmt: skip


def _prefix(entry_id: bytes) -> int:
    """Return the first 60 bits of an entry's name, as its id spells them."""
    return int(entry_id[3:15].translate(BASE32), 32)


def line_at(reread: Reread, offset: int) -> bytes:
    """Return the line of the book that begins at an offset."""
    size = 1 << 14
    while True:
        block = reread(offset, size)
        if b"\n" in block or len(block) < size:
            return block[: block.find(b"\n") + 1]
        size *= 8


def text_of(raw: bytes | None) -> str:
    """Return bytes of a leaf as text that can stand in a message."""
    return "null" if raw is None else re.sub(r"[\x00-\x1f]", "?", raw.decode("utf-8", "replace"))
