"""Verify an audit pack, trusting neither the database it came from nor whoever wrote it.

The steps are numbered here and in the code; a step is never skipped silently.

    1. The archive's frame is, byte for byte, the one that its members call for.
    2. Every member has the SHA-256 that the manifest gives, and no member is missing or added;
       the log's signature under the manifest holds.
    3. The checkpoint is signed by a key of the log that the reader named beforehand.
    4. Every leaf is in canonical form and in its place: numbered 1, 2, 3 ... without a gap.
    5. Every entry has the name of its business event, used once, and its approvals.
    6. Every entry balances in every currency.
    7. Periods open and close in order, and nothing is booked in a period that is not open.
    8. Every reversal is the exact negation of one earlier entry, taken back once.
    9. The number of leaves and the Merkle root are those of the checkpoint.
   10. The book continues every earlier checkpoint in the pack, and those the reader brought.
   11. The accounts and the trial balance follow from the entries.
   12. Every evidence file has a digest that an entry cites.
   13. Every entry that a statement in the pack shows is that row of the book.
   14. Every sampled output is one that its night's seed draws, with the chance and the weight that
       its value and its stratum give; the seed comes from an earlier checkpoint. Where the pack
       brings a night's frame, it is all that was logged, and the draws are all that it calls for.

(1) and (2) find damage and name its place, (3) proves who speaks, (4) to (8) that the book keeps
its own rules, (9) that it is the book that was signed, (10) that it was not rewritten since the
reader last looked, (11) the sums, (12) that the numbers behind the entries are the ones
published, (13) that creators were shown the same book, and (14) that nobody chose the sample. What
no step can find: a book rewritten as a whole, with a new signature, by the owner of the key, shown
to a reader who brings no checkpoint of his own. Bring one.

Needs no database and no network. The checks of payloads are `ledger.audit_book`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ledger.audit_book import Book
from ledger.audit_checks import (
    as_difference,
    check_evidence_files,
    check_statements,
    compare_table,
    narrow,
)
from ledger.audit_draws import check_draws
from ledger.audit_errors import AuditError, NoteError, PackError, VerificationError
from ledger.audit_frame import OpenPack
from ledger.audit_parallel import PART_BYTES_MIN, PARTS_PER_WORKER, cut_book, read_parts
from ledger.audit_population import check_frames
from ledger.audit_report import STEPS, VerifyReport
from ledger.audit_reversals import ENTRIES
from ledger.audit_statement import held_checkpoint
from ledger.audit_tables import (
    ACCOUNTS,
    BOOK_MEMBERS,
    CHECKPOINT,
    CHECKPOINTS,
    LEAF_HASHES,
    TRIAL_BALANCE,
)
from ledger.checkpoint import Checkpoint, open_checkpoint, read_verifiers, split_notes
from ledger.merkle import HASH_BYTES, leaf_hash
from ledger.note import NoteVerifier, open_note
from ledger.pack_format import MANIFEST_NOTE, PACK_FORMAT, manifest_statement


def run_verify(
    path: Path,
    keys: Path | str | Sequence[NoteVerifier],
    against: Iterable[Path | str] = (),
    on_step: Callable[[int, str], None] | None = None,
    workers: int = 1,
) -> VerifyReport:
    """Verify a pack and report, whatever the outcome; for commands.

    Args:
        path: the pack.
        keys: the log's public key, got from its owner and not from the pack: its text, or a file
            with one key a line; keys of witnesses may be among them.
        against: checkpoints that the reader already holds, as files (notes, or statements' JSON)
            or as text.
        on_step: called with (number, title) when a step begins.
        workers: processes for a large book. More than one only from a program whose main module
            may be imported again, as multiprocessing demands.

    Returns:
        The report. `ok` says whether every step held; `failure` is the first difference.

    Raises:
        KeyFormatError: the keys cannot be read; nothing was verified.
    """
    trusted = read_verifiers(keys) if isinstance(keys, Path | str) else list(keys)
    report = VerifyReport(str(path))
    try:
        notes = [_note_text(item) for item in against]
        _Verification(path, trusted, notes, report, on_step, workers).run()
    except AuditError as error:
        report.failure = error
    except RecursionError:
        report.failure = PackError(
            f"{path}: a file in it holds lists within lists deeper than any of Byline's; it was "
            f"made to stop its reader, and nothing is proved. Ask for the pack again"
        )
    return report


def verify_pack(
    path: Path, trusted_keys: Sequence[NoteVerifier], against: Iterable[Path | str] = ()
) -> VerifyReport:
    """Verify a pack; as `run_verify`, but the first difference is raised.

    Raises:
        VerificationError: the first difference: step, member, place, both values.
        AuditError: the pack or a checkpoint cannot be read at all.
    """
    report = run_verify(path, list(trusted_keys), against)
    if report.failure is not None:
        raise report.failure
    return report


def _note_text(item: Path | str) -> str:
    if isinstance(item, str) and "\n" in item:
        return item
    return held_checkpoint(Path(item))


class _Verification:
    """One run over one pack; the methods are the steps."""

    def __init__(
        self,
        path: Path,
        trusted: Sequence[NoteVerifier],
        against: Sequence[str],
        report: VerifyReport,
        on_step: Callable[[int, str], None] | None,
        workers: int,
    ) -> None:
        self.path = path
        self.trusted = trusted
        self.against = against
        self.report = report
        self.on_step = on_step
        self.workers = workers

    def run(self) -> None:
        """Do every step in order; raises the first difference."""
        with OpenPack(self.path) as self.pack:
            self._begin(1)
            self.pack.check_frame()
            self._done(1, f"{len(self.pack.parts)} members")
            self._begin(2)
            self._manifest()
            self._begin(3)
            checkpoint = self._checkpoint()
            earlier = self._earlier(checkpoint)
            self._begin(4)
            book = self._book(checkpoint, [said.size for _, said in earlier])
            self._root(book, checkpoint, earlier)
            self._continuity(book, earlier)
            self._begin(11)
            self._tables(book)
            self._begin(12)
            self._done(12, check_evidence_files(self.pack, book))
            self._begin(13)
            self._done(13, check_statements(self.pack))
            self._begin(14)
            self._done(14, self._draws(earlier))
            self.report.ok = True

    def _begin(self, step: int) -> None:
        if self.on_step is not None:
            self.on_step(step, STEPS[step - 1])

    def _done(self, step: int, detail: str) -> None:
        self.report.steps.append((step, STEPS[step - 1], detail))

    def _manifest(self) -> None:
        """Step 2; a wrong member is looked into for the row."""
        damaged = self.pack.check_manifest()
        self.report.period = str(self.pack.manifest["period"])
        self.report.origin = str(self.pack.manifest["origin"])
        if damaged:
            # Entries come first: what is computed from them cannot be right without them.
            self._raise_damage(ENTRIES if ENTRIES in damaged else damaged[0])
        missing = [name for name in BOOK_MEMBERS if name not in self.pack.parts]
        if missing:
            raise VerificationError(
                2, missing[0], "", "a member of every pack", "no such member",
                "the book cannot be verified without it",
            )  # fmt: skip
        if MANIFEST_NOTE not in self.pack.parts:
            raise VerificationError(
                2, MANIFEST_NOTE, "", "the log's signature under the manifest", "no such member",
                "nobody vouches for papers and draws; ask for the signed pack",
            )  # fmt: skip
        text = manifest_statement(self.report.origin, self.pack.manifest_sha256, self.pack.format)
        try:
            opened = open_note(self._text(2, MANIFEST_NOTE), self.trusted)
        except NoteError as error:
            raise as_difference(2, MANIFEST_NOTE, error) from None
        if opened.text != text:
            raise VerificationError(
                2, MANIFEST_NOTE, "", repr(text), repr(opened.text),
                "the signature is under another manifest",
            )  # fmt: skip
        signer = opened.signatures[0].verifier.name
        count = len(self.pack.parts) - 1
        self._done(2, f"{self.pack.format}, {count} digests, signed by {signer}")

    def _raise_damage(self, name: str) -> None:
        digests = self.pack.manifest["members"]
        assert isinstance(digests, dict), digests
        expected = f"SHA-256 {digests.get(name, 'as signed')}"
        found: str = f"SHA-256 {self.pack.parts[name].member.sha256}"
        place = ""
        if name == ENTRIES and LEAF_HASHES in self.pack.parts:
            hashes = self.pack.read(LEAF_HASHES)
            for row, line in enumerate(self.pack.lines(ENTRIES), 1):
                wanted = hashes[(row - 1) * HASH_BYTES : row * HASH_BYTES]
                actual = leaf_hash(line.removesuffix(b"\n"))
                if actual != wanted or not line.endswith(b"\n"):
                    place, expected = f"row {row}", f"leaf hash {wanted.hex() or '(no such row)'}"
                    found = f"leaf hash {actual.hex()} of {line[:100]!r}"
                    break
            else:
                place, expected = "end", f"{len(hashes) // HASH_BYTES} rows"
                found = "fewer"
        elif name in {ACCOUNTS, TRIAL_BALANCE}:
            book = Book()
            book.feed(self.pack.lines(ENTRIES))
            compare_table(self.pack, 2, name, book)
        raise VerificationError(2, name, place, expected, found, "the member was changed")

    def _checkpoint(self) -> Checkpoint:
        """Step 3."""
        try:
            said = open_checkpoint(self._text(3, CHECKPOINT), self.trusted)
        except NoteError as error:
            raise as_difference(3, CHECKPOINT, error) from None
        if said.origin != self.report.origin:
            raise VerificationError(
                3, CHECKPOINT, "origin", self.report.origin, said.origin,
                "the manifest speaks of another log",
            )  # fmt: skip
        self.report.size, self.report.root_hex = said.size, said.root_hex
        for signature in said.signatures:
            if signature.timestamp is not None:
                self.report.cosigned.append((signature.verifier.name, signature.timestamp))
        when = "".join(
            f", cosigned by {name} at {dt.datetime.fromtimestamp(seen, dt.UTC):%Y-%m-%d %H:%M:%S}Z"
            for name, seen in self.report.cosigned
        )
        self._done(3, f"{said.origin} signed {said.size} leaves{when}")
        return said

    def _earlier(self, checkpoint: Checkpoint) -> list[tuple[str, Checkpoint]]:
        """Open the checkpoints of step 10: those of the pack, and those the reader brought."""
        earlier: list[tuple[str, Checkpoint]] = []
        try:
            notes = split_notes(self._text(10, CHECKPOINTS))
            for number, note in enumerate(notes, 1):
                place = f"{CHECKPOINTS}, checkpoint {number}"
                earlier.append((place, open_checkpoint(note, self.trusted)))
        except NoteError as error:
            raise as_difference(10, CHECKPOINTS, error) from None
        for number, note in enumerate(self.against, 1):
            place = f"checkpoint {number} held by the reader"
            try:
                earlier.append((place, open_checkpoint(note, self.trusted)))
            except NoteError as error:
                raise as_difference(10, place, error) from None
        for place, said in earlier:
            if said.origin != checkpoint.origin:
                raise VerificationError(
                    10, place, "origin", checkpoint.origin, said.origin, "it is another log"
                )
            if said.size > checkpoint.size:
                raise VerificationError(
                    10, place, "size", f"a book of at least {said.size} leaves",
                    f"{checkpoint.size} leaves in the pack",
                    "the book was rolled back or its end was cut off",
                )  # fmt: skip
        return earlier

    def _book(self, checkpoint: Checkpoint, sizes: Iterable[int]) -> Book:
        """Steps 4 to 8, in one pass over the entries."""
        book = Book(sizes)
        hashes = self.pack.parts[LEAF_HASHES].member.size // HASH_BYTES

        def compare(first: int, batch: list[bytes]) -> None:
            joined = b"".join(batch)
            wanted = self.pack.read_at(LEAF_HASHES, first * HASH_BYTES, len(joined))
            if joined != wanted:
                self._row_differs(first, batch, wanted)

        book.on_hashes = compare
        part = self.pack.parts[ENTRIES]
        if self.workers > 1 and part.member.size > PART_BYTES_MIN:
            part_bytes = max(PART_BYTES_MIN, part.member.size // (PARTS_PER_WORKER * self.workers))
            parts = cut_book(self.path, part.offset, self.pack.lines(ENTRIES), part_bytes)
            for read, hashes_read in read_parts(parts, self.workers):
                book.absorb(read, hashes_read)
        else:
            book.feed(self.pack.lines(ENTRIES))
        book.finish(lambda offset, size: self.pack.read_at(ENTRIES, offset, size))
        if hashes != book.leaves or self.pack.parts[LEAF_HASHES].member.size % HASH_BYTES:
            raise VerificationError(
                4, LEAF_HASHES, "size", f"{book.leaves} hashes of 32 bytes",
                f"{self.pack.parts[LEAF_HASHES].member.size} bytes", "leaves were cut off or added",
            )  # fmt: skip
        report = self.report
        report.entries, report.postings = book.entries, book.postings
        report.accesses = book.accesses
        currencies = {key[key.rindex(b'"') + 1 :].decode() for key in book.debits}
        self._done(4, f"{book.leaves} leaves")
        self._done(5, f"{book.entries} entries")
        self._done(6, f"{book.postings} postings in {', '.join(sorted(currencies)) or 'none'}")
        closed = sum(not is_open for is_open in book.periods.values())
        self._done(7, f"{len(book.periods)} periods, {closed} closed")
        self._done(8, f"{book.taken_back} taken back")
        return book

    def _row_differs(self, first: int, batch: list[bytes], wanted: bytes) -> None:
        for number, actual in enumerate(batch):
            stored = wanted[number * HASH_BYTES : (number + 1) * HASH_BYTES]
            if stored != actual:
                raise VerificationError(
                    9, ENTRIES, f"row {first + number + 1}",
                    f"leaf hash {stored.hex() or '(none)'} as in {LEAF_HASHES}",
                    f"leaf hash {actual.hex()}", "the row was changed, added or moved",
                )  # fmt: skip

    def _root(
        self, book: Book, checkpoint: Checkpoint, earlier: list[tuple[str, Checkpoint]]
    ) -> None:
        """Step 9."""
        if book.leaves != checkpoint.size:
            raise VerificationError(
                9, ENTRIES, "number of rows", f"{checkpoint.size} as in the checkpoint",
                str(book.leaves), "rows were cut off or added",
            )  # fmt: skip
        root = book.root_at(book.leaves)
        if root != checkpoint.root:
            good, bad = narrow(book, earlier)
            last = book.leaves if bad is None else bad[1].size
            raise VerificationError(
                9, ENTRIES, f"rows {good + 1} to {last}",
                f"root {checkpoint.root_hex} as in the checkpoint", f"root {root.hex()}",
                "this is not the book that was signed",
            )  # fmt: skip
        self._done(9, checkpoint.root_hex)

    def _continuity(self, book: Book, earlier: list[tuple[str, Checkpoint]]) -> None:
        """Step 10."""
        good, bad = narrow(book, earlier)
        if bad is not None:
            place, said = bad
            raise VerificationError(
                10, ENTRIES, f"rows {good + 1} to {said.size}",
                f"root {said.root_hex} at {said.size} leaves as in {place}",
                f"root {book.root_at(said.size).hex()}",
                "the book was rewritten after that checkpoint was signed",
            )  # fmt: skip
        self.report.external = len(self.against)
        inside = len(earlier) - len(self.against)
        self._done(10, f"{inside} in the pack, {len(self.against)} held by the reader")

    def _tables(self, book: Book) -> None:
        """Step 11."""
        rows = 0
        for name in (ACCOUNTS, TRIAL_BALANCE):
            rows += compare_table(self.pack, 11, name, book)
        self._done(11, f"{rows} rows recomputed")

    def _draws(self, earlier: list[tuple[str, Checkpoint]]) -> str:
        """Step 14."""
        if self.pack.format != PACK_FORMAT:
            return f"none: a pack of {self.pack.format} brings no draws, ask for it anew"
        drawn = check_draws(self.pack, {said.root_hex for _, said in earlier})
        return drawn + check_frames(self.pack)

    def _text(self, step: int, name: str) -> str:
        raw = self.pack.read(name)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            place, found = f"byte {error.start + 1}", repr(raw[error.start :][:8])
            raise VerificationError(
                step, name, place, "text in UTF-8", found, "the member was changed"
            ) from None
