"""Single checks of a verification: tables, evidence, statements, earlier checkpoints.

`ledger.audit` calls them in its numbered steps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from ledger.audit_book import Book
from ledger.audit_errors import NoteError, VerificationError
from ledger.audit_frame import OpenPack
from ledger.audit_tables import (
    ACCOUNTS,
    LEAF_HASHES,
    accounts_rows,
    first_row_difference,
    trial_balance_rows,
)
from ledger.checkpoint import Checkpoint
from ledger.merkle import HASH_BYTES, leaf_hash

EVIDENCE_PREFIX = "evidence/"
STATEMENTS_PREFIX = "statements/"
_HEX_DIGEST = re.compile(rb"[0-9a-f]{64}")


def compare_table(pack: OpenPack, step: int, name: str, book: Book) -> int:
    """Compute a table of the pack anew and compare it row by row.

    Returns:
        The number of rows.

    Raises:
        VerificationError: the first row that differs.
    """
    expected = accounts_rows if name == ACCOUNTS else trial_balance_rows
    found = (line.decode("utf-8", "replace") for line in pack.lines(name))
    counted = _Counter(expected(book.debits, book.credits))
    different = first_row_difference(counted, found)
    if different is not None:
        line, ours, theirs = different
        raise VerificationError(
            step, name, f"line {line}", ours, theirs, "the entries add up to something else"
        )
    return counted.count


def check_evidence_files(pack: OpenPack, book: Book) -> str:
    """Check that each evidence file is cited by an entry, or by an evidence file that is cited.

    Returns:
        What was counted, in words.

    Raises:
        VerificationError: a file that nothing cites.
    """
    files = [name for name in pack.parts if name.startswith(EVIDENCE_PREFIX)]
    cited = set(book.evidence)
    waiting = {name: bytes.fromhex(pack.parts[name].member.sha256) for name in files}
    found = len(cited & set(waiting.values()))
    while reached := [name for name, digest in waiting.items() if digest in cited]:
        for name in reached:
            del waiting[name]
            if name.endswith(".json"):
                text = pack.read(name)
                cited.update(bytes.fromhex(h.decode()) for h in _HEX_DIGEST.findall(text))
    if waiting:
        name = min(waiting)
        raise VerificationError(
            12, name, "", "a SHA-256 that an entry or a cited manifest cites",
            waiting[name].hex(), "it is not the evidence that the book speaks of",
        )  # fmt: skip
    return f"{len(files)} files; {found} of {len(book.evidence)} cited digests are in the pack"


def check_statements(pack: OpenPack) -> str:
    """Check that each entry a statement shows is, byte for byte, that row of the book.

    Statements are members statements/*.json with a `proof` as `ledger.proof` makes it. Their sums
    are the business of the statement itself (`byline audit` of a statement checks them).

    Returns:
        What was counted, in words.

    Raises:
        VerificationError: a statement that is no JSON, or shows an entry that is not in the book.
    """
    files = [
        name for name in pack.parts if name.startswith(STATEMENTS_PREFIX) and name.endswith(".json")
    ]
    cited = 0
    for name in files:
        try:
            document = json.loads(pack.read(name))
            proof = document.get("proof") or {"entries": []}
            shown = [(int(item["ledger_seq"]), str(item["leaf"])) for item in proof["entries"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise VerificationError(
                13, name, "", "a statement in JSON with its proof", repr(error), "it proves nothing"
            ) from None
        for seq, leaf in shown:
            stored = (
                pack.read_at(LEAF_HASHES, (seq - 1) * HASH_BYTES, HASH_BYTES) if seq > 0 else b""
            )
            actual = leaf_hash(leaf.encode("utf-8", "replace"))
            if actual != stored:
                raise VerificationError(
                    13, name, f"entry {seq}", f"row {seq} of the book, hash {stored.hex()}",
                    f"hash {actual.hex()}", "the statement shows what was not booked",
                )  # fmt: skip
        cited += len(shown)
    return f"{len(files)} statements cite {cited} entries"


class _Counter:
    """Counts rows as they pass, so that a table is never held whole."""

    def __init__(self, rows: Iterable[str]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        for row in self._rows:
            self.count += 1
            yield row


def narrow(
    book: Book, known: list[tuple[str, Checkpoint]]
) -> tuple[int, tuple[str, Checkpoint] | None]:
    """Find the first known checkpoint that the book does not lead to.

    Returns:
        The size up to which the book is the one signed, and the checkpoint after it or None.
    """
    good = 0
    for place, said in sorted(known, key=lambda pair: pair[1].size):
        if said.size > book.leaves or book.root_at(said.size) != said.root:
            return good, (place, said)
        good = said.size
    return good, None


def as_difference(step: int, member: str, error: NoteError) -> VerificationError:
    """Turn a note that nobody we trust signed into the difference of a step."""
    return VerificationError(
        step, member, "", "a note signed by a key named beforehand", str(error),
        "nobody you trust stands behind it",
    )  # fmt: skip
