"""Re-perform the book from its leaves alone: steps 4 to 9 of a verification, in one pass.

Memory grows with the number of accounts and by 40 bytes an entry, not with the text of the book;
no object is kept per row. Numbers of steps are those of `ledger.audit`.

What is checked of every leaf, in order:

    4. canonical form, place without a gap (`ledger.audit_leaf`)
    5. the entry id is the one of (scope, key) and unique; approvals; real days
    6. zero sum in every currency, at least two postings
    7. periods open and close in calendar order; nothing is booked in a period that is not open
    8. reversals and releases are the exact negation of one earlier entry, each taken back once
    9. the Merkle tree over the leaves, and its root wherever a checkpoint stands
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import itertools
from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from ledger.audit_errors import VerificationError
from ledger.audit_leaf import (
    ACCESS,
    ACCOUNT,
    AUDIT_APPROVED_KINDS,
    AUDIT_TAKING_BACK,
    AUDIT_UNITS_MAX,
    ENTRY_HEAD,
    ENTRY_TAIL,
    ENTRY_TWO,
    EVIDENCE,
    PERIOD,
    POSTING,
    diagnose,
    unescape,
)
from ledger.audit_reversals import (
    BASE32,
    ENTRIES,
    Reread,
    Taker,
    check_takers,
    line_at,
    text_of,
)
from ledger.merkle import EMPTY_ROOT, HASH_BYTES, Frontier

BATCH_LEAVES = 8192
# The captured fields of an entry, in the order of the leaf; None for null.
_Fields = tuple[Any, ...]


class Book:
    """The state of the book after the leaves fed so far.

    Args:
        sizes: the tree sizes at which the root is wanted, such as those of checkpoints.
        leaves: how many leaves stand before the first one fed, for a part of a book.
        offset: how many bytes stand before it.
        periods: {period: is it open} before it.
    """

    def __init__(
        self,
        sizes: Iterable[int] = (),
        *,
        leaves: int = 0,
        offset: int = 0,
        periods: Mapping[bytes, bool] | None = None,
    ) -> None:
        self.leaves = leaves
        self.entries = 0
        self.postings = 0
        self.accesses = 0
        self.debits: dict[bytes, int] = {}
        self.credits: dict[bytes, int] = {}
        self.evidence: dict[bytes, int] = {}
        self.periods: dict[bytes, bool] = dict(periods or {})
        self.roots: dict[int, bytes] = {0: EMPTY_ROOT}
        self._frontier = Frontier()
        self._batch: list[bytes] = []
        self._wanted = sorted({size for size in sizes if size > 0}, reverse=True)
        self._days: set[bytes] = set()
        self._scopes: dict[bytes, bytes] = {}
        self._evidence_seen = b""
        self._names = array("Q")
        self._name_offsets = array("Q")
        self._takers: list[Taker] = []
        self._offset = offset
        self.on_hashes: Callable[[int, list[bytes]], None] | None = None

    def feed(self, lines: Iterable[bytes]) -> None:
        """Read leaves, each a line with its line break, in the order of the book.

        Raises:
            VerificationError: the first rule that a leaf breaks.
        """
        sha256 = hashlib.sha256
        batch = self._batch
        for line in lines:
            self.leaves += 1
            if line.startswith(b'{"approved_by"'):
                self._entry(line)
            else:
                self._other(line)
            self._offset += len(line)
            batch.append(sha256(b"\x00" + line[:-1]).digest())
            if len(batch) == BATCH_LEAVES or (self._wanted and self._wanted[-1] == self.leaves):
                self.flush()

    def finish(self, reread: Reread) -> None:
        """Check what needs the whole book: unique names and reversals.

        Args:
            reread: gives back bytes of the book, for the few rows that are looked at twice.

        Raises:
            VerificationError: a name twice, or a reversal that is none.
        """
        self.flush()
        for name, following in itertools.pairwise(sorted(self._names)):
            if name == following:
                rows = [n for n, known in enumerate(self._names) if known == name]
                self._same_name(rows[0], rows[1], reread)
        check_takers(self._takers, self._names, self._name_offsets, reread)

    def absorb(self, part: Book, hashes: bytes) -> None:
        """Add a part of the book that was read apart and follows what was read so far.

        Args:
            part: the book over the part, with this one's leaves, bytes and periods before it.
            hashes: the leaf hashes of the part, joined.
        """
        for start in range(0, len(hashes), HASH_BYTES):
            self.leaves += 1
            self._batch.append(hashes[start : start + HASH_BYTES])
            full = len(self._batch) == BATCH_LEAVES
            if full or (self._wanted and self._wanted[-1] == self.leaves):
                self.flush()
        self.flush()
        assert self.leaves == part.leaves, (self.leaves, part.leaves)
        self.entries += part.entries
        self.postings += part.postings
        self.accesses += part.accesses
        for ours, theirs in ((self.debits, part.debits), (self.credits, part.credits)):
            for key, units in theirs.items():
                ours[key] = ours.get(key, 0) + units
        self.evidence = part.evidence | self.evidence
        self.periods = part.periods
        self._names.extend(part._names)
        self._name_offsets.extend(part._name_offsets)
        self._takers += part._takers

    @property
    def taken_back(self) -> int:
        """How many entries were reversed or released."""
        return len(self._takers)

    def root_at(self, size: int) -> bytes:
        """Return the root at one of the sizes asked for, or at the end."""
        return self._frontier.root() if size == self.leaves else self.roots[size]

    def flush(self) -> None:
        """Bring the leaves read so far into the tree."""
        batch = self._batch
        if self.on_hashes is not None and batch:
            self.on_hashes(self.leaves - len(batch), batch)
        self._frontier.extend(batch)
        batch.clear()
        while self._wanted and self._wanted[-1] <= self._frontier.size:
            self.roots[self._wanted.pop()] = self._frontier.root()

    def _entry(self, line: bytes) -> None:
        two = ENTRY_TWO.fullmatch(line)
        if two is not None and self._two_postings(*two.group(9, 11, 12, 13)):
            fields = two.group(1, 2, 3, 4, 5, 6, 7, 8, 14, 15, 16)
            place, balanced = (0, 0), True
        else:
            fields, place, balanced = self._lines(line)
        if not line.isascii() and not _is_utf8(line):
            self._refuse(line)
        approved_by, day, entry_id, evidence, key, kind, seq, period = fields[:8]
        prepared_by, reverses, scope = fields[8:]
        if int(seq) != self.leaves:
            self._refuse(line)
        if evidence and evidence != self._evidence_seen:
            self._cite(evidence, line)
        if self.periods.get(period) is not True:
            self._period_not_open(period)
        if day not in self._days:
            self._check_day(day)
        self._check_name(entry_id, scope, key)
        if approved_by == prepared_by or (kind in AUDIT_APPROVED_KINDS and approved_by is None):
            self._not_approved(prepared_by, approved_by)
        if not balanced:
            self._unbalanced(line, *place)
        if reverses is not None or kind in AUDIT_TAKING_BACK:
            self._takes_back(line, kind, reverses)
        self.entries += 1

    def _two_postings(
        self, first: bytes, negative: bytes | None, text: bytes, second: bytes
    ) -> bool:
        """Book the two lines of the commonest entry; False leaves them to the general way."""
        units = int(text)
        debit, credit = (first, second) if negative is None else (second, first)
        debits, credits_ = self.debits, self.credits
        if debit not in debits or credit not in credits_:
            # An account seen for the first time on this side: its name is checked in full.
            if not ACCOUNT.fullmatch(debit) or not ACCOUNT.fullmatch(credit):
                return False
            debits.setdefault(debit, 0)
            credits_.setdefault(credit, 0)
        if units > AUDIT_UNITS_MAX:
            return False
        debits[debit] += units
        credits_[credit] -= units
        self.postings += 2
        return True

    def _lines(self, line: bytes) -> tuple[_Fields, tuple[int, int], bool]:
        """Read an entry of any number of lines: its fields, where its lines are, the balance."""
        head = ENTRY_HEAD.match(line)
        if head is None:
            self._refuse(line)
        end, balanced = self._postings(line, head.end())
        tail = ENTRY_TAIL.fullmatch(line, end)
        if tail is None:
            self._refuse(line)
        return (*head.groups(), *tail.groups()), (head.end(), end), balanced

    def _postings(self, line: bytes, position: int) -> tuple[int, bool]:
        """Add up the postings of one entry; returns where they end, and whether they balance."""
        match = POSTING.match
        debits, credits_ = self.debits, self.credits
        sums: dict[bytes, int] = {}
        count = 0
        while True:
            found = match(line, position)
            if found is None:
                self._refuse(line)
            key, text, separator = found.groups()
            units = int(text)
            side = debits if units > 0 else credits_
            if key in side:
                side[key] += units
            else:
                if not ACCOUNT.fullmatch(key):
                    self._refuse(line)
                side[key] = units
            currency = key[key.rindex(b'"') :]
            sums[currency] = sums.get(currency, 0) + units
            if not -AUDIT_UNITS_MAX <= units <= AUDIT_UNITS_MAX:
                self._refuse(line)
            count += 1
            position = found.end()
            if separator == b"]":
                break
        self.postings += count
        if count < 2:
            self._refuse(line)
        return position, not any(sums.values())

    def _other(self, line: bytes) -> None:
        access = ACCESS.fullmatch(line)
        if access is not None and (line.isascii() or _is_utf8(line)):
            if int(access[1]) != self.leaves:
                self._refuse(line)
            self.accesses += 1
            return
        found = PERIOD.fullmatch(line)
        if found is None:
            self._refuse(line)
        action, approved_by, seq, period, prepared_by = found.groups()
        if int(seq) != self.leaves:
            self._refuse(line)
        if action == b"open":
            later = [known for known in self.periods if known >= period]
            if later:
                self._fail(7, "period", f"one after {text_of(max(later))}", text_of(period),
                           "periods open in calendar order, each once")  # fmt: skip
            self.periods[period] = True
            return
        if approved_by is None or approved_by == prepared_by:
            self._fail(7, "approval", f"an approver other than {text_of(prepared_by)}",
                       text_of(approved_by), "one person alone closed the period")  # fmt: skip
        first = min((known for known, is_open in self.periods.items() if is_open), default=None)
        if first != period:
            self._fail(7, "period", f"the first open period, {text_of(first)}", text_of(period),
                       "periods close once and in order")  # fmt: skip
        self.periods[period] = False

    def _cite(self, evidence: bytes, line: bytes) -> None:
        pairs = EVIDENCE.findall(evidence)
        names = [name for name, _ in pairs]
        if names != sorted(set(names)):
            self._refuse(line)
        for _, digest in pairs:
            self.evidence.setdefault(bytes.fromhex(digest.decode()), self.leaves)
        # The entries of one night cite the same files: most are looked at once.
        self._evidence_seen = evidence

    def _check_name(self, entry_id: bytes, scope: bytes, key: bytes) -> None:
        begin = self._scopes.get(scope)
        if begin is None:
            begin = self._scopes[scope] = len(scope).to_bytes(8, "big") + scope
        text = key if b"\\" not in key else unescape(key)
        digest = hashlib.sha256(begin + len(text).to_bytes(8, "big") + text).digest()
        # The 26 letters of an id are the first 130 bits of the digest, five bits a letter.
        bits = int.from_bytes(digest[:17], "big") >> 6
        if int(entry_id[3:].translate(BASE32), 32) != bits:
            name = base64.b32encode(digest)[:26].lower()
            given = text_of(entry_id)
            self._fail(5, "entry_id", f"je_{text_of(name)}, the name of its scope and key",
                       given, "the entry passes for another business event")  # fmt: skip
        self._names.append(bits >> 66)
        self._name_offsets.append(self._offset)

    def _same_name(self, first: int, second: int, reread: Reread) -> None:
        ids = []
        for row in (first, second):
            head = ENTRY_HEAD.match(line_at(reread, self._name_offsets[row]))
            assert head is not None, row
            ids.append((text_of(head[3]), int(head[7])))
        if ids[0][0] == ids[1][0]:
            raise VerificationError(
                5, ENTRIES, f"row {ids[1][1]}, entry_id", "an entry id used once",
                f"{ids[1][0]}, which row {ids[0][1]} has too", "one business event is booked twice",
            )  # fmt: skip

    def _takes_back(self, line: bytes, kind: bytes, reverses: bytes | None) -> None:
        if (kind in AUDIT_TAKING_BACK) != (reverses is not None):
            self._fail(
                8, "reverses", "an entry id for a reversal or release, else null",
                f"{text_of(reverses)} for kind {text_of(kind)}", "it is unclear what is taken back",
            )  # fmt: skip
        assert reverses is not None, kind
        self._takers.append(Taker(self.leaves, reverses, kind, self._offset, len(line)))

    def _not_approved(self, prepared_by: bytes, approved_by: bytes | None) -> NoReturn:
        who = "nobody" if approved_by is None else text_of(approved_by)
        self._fail(
            5, "approval", f"an approver other than {text_of(prepared_by)}", who,
            "one person alone booked it",
        )  # fmt: skip

    def _period_not_open(self, period: bytes) -> NoReturn:
        state = "closed" if period in self.periods else "never opened"
        self._fail(7, "period", "an open period", f"{text_of(period)}, which is {state}",
                   "the entry belongs to no period that could take it")  # fmt: skip

    def _check_day(self, day: bytes) -> None:
        try:
            dt.date.fromisoformat(day.decode())
        except ValueError:
            self._fail(
                5, "effective_on", "a day of the calendar", text_of(day), "there is no such day"
            )
        self._days.add(day)

    def _unbalanced(self, line: bytes, start: int, end: int) -> NoReturn:
        sums: dict[str, int] = {}
        for key, text, _ in POSTING.findall(line, start, end):
            currency = text_of(key[key.rindex(b'"') + 1 :])
            sums[currency] = sums.get(currency, 0) + int(text)
        currency = next(name for name in sorted(sums) if sums[name])
        self._fail(6, f"postings in {currency}", "a sum of 0", str(sums[currency]),
                   "debits and credits differ")  # fmt: skip

    def _refuse(self, line: bytes) -> NoReturn:
        wrong = diagnose(line, self.leaves)
        self._fail(4, wrong.field, wrong.expected, wrong.found, "the leaf was changed")

    def _fail(
        self, step: int, field: str, expected: str, found: str, consequence: str, row: int = 0
    ) -> NoReturn:
        place = f"row {row or self.leaves}, {field}"
        raise VerificationError(step, ENTRIES, place, expected, found, consequence)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
