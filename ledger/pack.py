"""Write an audit pack: the book, what it stands on, and all a stranger needs to check it.

1. The same members give the same bytes, on any machine (`ledger.pack_format` has the frame).
2. A pack is written whole or not at all, and never from a book that breaks its own rules.
3. Files are copied in blocks: a pack may be larger than the memory.
4. Every pack carries `verify.py`, which needs Python, one signature library and nothing of ours.

What a pack holds: manifest.json (and manifest.note, the log's signature under it),
checkpoint.note, checkpoints.txt, entries.jsonl, leaf_hashes.bin, accounts.csv, trial_balance.csv,
evidence/, draws/ and whatever reports add, verify.py, README.txt.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ledger.audit_book import Book
from ledger.audit_errors import PackError
from ledger.audit_reversals import ENTRIES
from ledger.audit_tables import (
    ACCOUNTS,
    BOOK_MEMBERS,
    CHECKPOINT,
    CHECKPOINTS,
    LEAF_HASHES,
    TRIAL_BALANCE,
    accounts_rows,
    trial_balance_rows,
)
from ledger.checkpoint import read_checkpoint, split_notes
from ledger.note import NoteSigner, sign_note
from ledger.pack_format import (
    COPY_BYTES,
    MANIFEST,
    MANIFEST_NOTE,
    MEMBER_NAME,
    PACK_FORMAT,
    Member,
    archive_comment,
    local_header,
    manifest_statement,
    pack_manifest,
    tail,
)
from ledger.verify_template import standalone_source

VERIFIER = "verify.py"
README = "README.txt"


def write_pack(
    path: Path,
    members: Mapping[str, bytes | Path],
    *,
    period: str,
    origin: str,
    signer: NoteSigner | None = None,
    form: str = PACK_FORMAT,
) -> str:
    """Write a pack from the book's files (`write_book`) and anything else.

    Args:
        path: the file to write.
        members: {name: content}; names are ASCII paths such as statements/2026-11/anna.pdf.
            The manifest, verify.py and README.txt are added.
        period: the period that the pack is about, YYYY-MM.
        origin: the name of the log.
        signer: the log's key; with it the manifest is signed, so that the log stands behind the
            files outside the tree as well. Without it no verifier accepts the pack.
        form: the version of the pack; older ones are for comparing with packs of their time.

    Returns:
        The SHA-256 of the manifest, in hex.

    Raises:
        PackError: a name is not allowed, or the book's files are not all there.
    """
    missing = [name for name in BOOK_MEMBERS if name not in members]
    if missing:
        raise PackError(
            f"pack {path.name} lacks {', '.join(missing)}; nothing was written. "
            "Write the book's files with write_book first"
        )
    own: dict[str, bytes | Path] = {
        VERIFIER: standalone_source().encode(),
        README: readme(period, origin).encode(),
    }
    content = {**own, **members}
    digests = {name: _digest_member(name, content[name]).sha256 for name in content}
    manifest = pack_manifest(digests, period=period, origin=origin, form=form)
    manifest_sha256 = hashlib.sha256(manifest).hexdigest()
    content[MANIFEST] = manifest
    if signer is not None:
        statement = manifest_statement(origin, manifest_sha256, form)
        content[MANIFEST_NOTE] = sign_note(statement, [signer]).encode()
    _write_archive(path, content, form)
    return manifest_sha256


def readme(period: str, origin: str) -> str:
    """Return the README.txt of a pack."""
    return f"""Audit pack of {origin}, period {period}

To check it, without us and without a network:

    python3 verify.py PACK.byline.zip --key KEY [--against CHECKPOINT]

KEY is the public key of the log. Get it from its owner by another way than this pack.
CHECKPOINT is a checkpoint you kept from an earlier pack or statement. Without one, a book that
was rewritten as a whole and signed anew would not be noticed: keep checkpoint.note for next time.
verify.py needs Python 3.11 or newer and the package "cryptography". It is not secret and not
special: compare it with the one published with Byline, or write your own from these rules.

    manifest.json      SHA-256 of every file here; manifest.note is the log's signature under it
    checkpoint.note    the signed checkpoint (c2sp.org/tlog-checkpoint): size and Merkle root
    checkpoints.txt    every earlier checkpoint, oldest first
    entries.jsonl      the book: one leaf a line, in order, in canonical form
    leaf_hashes.bin    SHA-256(0x00 || leaf) of each line, 32 bytes each (RFC 6962)
    accounts.csv       debits, credits and balance of every account, in whole units
    trial_balance.csv  the same by groups of accounts, with totals
    evidence/          files whose digests the entries cite
    draws/             the sampled outputs of each night, one JSON value a line, without texts:
                       id, stratum, model version, territory, value, chance to be drawn in
                       parts per 10^12, value over chance. Anybody can draw them again
    frame/             where it was asked for: every logged output of each night, without texts,
                       from which the samples were drawn. Anybody can count and draw it again

Amounts are whole units of a currency with a scale: 1250000 in USD/6 is 1.25 USD.
"""


def write_book(
    folder: Path, leaves: Iterable[bytes], *, checkpoint: str, earlier: Sequence[str] = ()
) -> dict[str, Path]:
    """Write the files of the book for a pack into a folder, checking the book while writing it.

    Args:
        folder: an empty folder of the caller's, for example a temporary one.
        leaves: canonical leaves from the first on; those after the checkpoint are left out.
        checkpoint: the signed checkpoint that the pack stands on.
        earlier: earlier signed checkpoints of the same book, in order; the last may be repeated.

    Returns:
        {member name: file} for `write_pack`.

    Raises:
        VerificationError: the book itself breaks a rule.
        PackError: the leaves do not lead to the checkpoint's root.
    """
    said = read_checkpoint(checkpoint)
    notes = [note for note in earlier if read_checkpoint(note).size <= said.size]
    book = Book(read_checkpoint(note).size for note in notes)
    paths = {name: folder / name for name in BOOK_MEMBERS}
    with paths[ENTRIES].open("w+b") as entries, paths[LEAF_HASHES].open("wb") as hashes:
        book.on_hashes = lambda _, batch: hashes.writelines(batch)

        def written() -> Iterator[bytes]:
            for leaf in itertools.islice(leaves, said.size):
                line = leaf + b"\n"
                entries.write(line)
                yield line

        book.feed(written())

        def reread(offset: int, size: int) -> bytes:
            entries.seek(offset)
            return entries.read(size)

        book.finish(reread)
    if book.leaves != said.size or book.root_at(book.leaves) != said.root:
        raise PackError(
            f"the book has {book.leaves} leaves with root {book.root_at(book.leaves).hex()}, its "
            f"checkpoint says {said.size} with root {said.root_hex}; no pack was written. "
            "Run byline db check: either the book or the checkpoint was changed"
        )
    paths[CHECKPOINT].write_text(checkpoint, encoding="utf-8")
    if not notes or notes[-1] != checkpoint:
        notes.append(checkpoint)
    text = "".join(notes)
    assert split_notes(text) == notes
    paths[CHECKPOINTS].write_text(text, encoding="utf-8")
    for name, rows in ((ACCOUNTS, accounts_rows), (TRIAL_BALANCE, trial_balance_rows)):
        with paths[name].open("w", encoding="ascii", newline="") as file:
            file.writelines(rows(book.debits, book.credits))
    return paths


def _digest_member(name: str, content: bytes | Path) -> Member:
    """Measure a member, reading a file once and never whole."""
    crc, size, digest = 0, 0, hashlib.sha256()
    for block in _blocks(content):
        crc, size = zlib.crc32(block, crc), size + len(block)
        digest.update(block)
    return Member(name, crc, size, digest.hexdigest())


def _write_archive(
    path: Path, members: Mapping[str, bytes | Path], form: str = PACK_FORMAT
) -> None:
    """Write members, one of them the manifest, as a canonical archive, whole or not at all.

    Args:
        path: the file to write; the same bytes for the same members, always.
        members: {name: content}; a path is copied in blocks.
        form: the version of the pack, as its manifest says.

    Raises:
        PackError: a name is not allowed, or there is no manifest.
    """
    wrong = [name for name in members if not MEMBER_NAME.fullmatch(name) or ".." in name.split("/")]
    if wrong or MANIFEST not in members:
        raise PackError(
            f"pack {path.name} cannot be written: member names {wrong} are not of the form "
            f"a/b.c in ASCII, or {MANIFEST} is missing; nothing was written"
        )
    measured = [_digest_member(name, members[name]) for name in sorted(members)]
    manifest = next(member for member in measured if member.name == MANIFEST)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            for member in measured:
                file.write(local_header(member.name, member.crc, member.size))
                for block in _blocks(members[member.name]):
                    file.write(block)
            file.write(tail(measured, archive_comment(manifest.sha256, form)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _blocks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(COPY_BYTES):
            yield block
