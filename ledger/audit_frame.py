"""Open a pack and check its frame: steps 1 and 2 of a verification.

1. Every byte outside the members is the one that the members call for; the first that is not
   is named with the member it belongs to. A name that could leave the reader's folder is refused.
2. The manifest is in canonical form and gives every member's SHA-256, and lists no other.

When a member's content is not what the manifest says, the row is looked for: by the hashes of the
leaves for the entries, by computing them anew for the tables (`ledger.audit`).
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from ledger.audit_errors import PackError, VerificationError
from ledger.pack_format import (
    COPY_BYTES,
    MANIFEST,
    MANIFEST_NOTE,
    MEMBER_NAME,
    PACK_FORMATS,
    Member,
    archive_comment,
    commented_format,
    local_header,
    pack_manifest,
    read_directory,
    read_local_header,
    tail,
)

ARCHIVE = "archive"
_TAMPERED = "the pack was changed after it was written"


@dataclass(frozen=True)
class Part:
    """One member as it stands in the file.

    Attributes:
        member: its name, size, SHA-256 as found, and the CRC-32 that its header gives.
        offset: where its bytes begin.
        crc_found: the CRC-32 of the bytes found.
    """

    member: Member
    offset: int
    crc_found: int


class OpenPack:
    """A pack whose frame was checked; gives the bytes of its members.

    Args:
        path: the pack. Use as a context manager.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise PackError(
                f"pack {path} cannot be opened: {error.strerror}; nothing was verified"
            ) from None
        self.parts: dict[str, Part] = {}
        self.manifest: dict[str, object] = {}
        self.manifest_sha256 = ""
        self.format = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, name: str) -> bytes:
        """Return a member's bytes; for members that fit in memory."""
        part = self.parts[name]
        return self.read_at(name, 0, part.member.size)

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """Return some bytes of a member."""
        part = self.parts[name]
        self._file.seek(part.offset + offset)
        return self._file.read(max(0, min(size, part.member.size - offset)))

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield a member's lines with their line breaks, never reading it whole."""
        part = self.parts[name]
        left = part.member.size
        with self.path.open("rb", buffering=COPY_BYTES) as file:
            file.seek(part.offset)
            for line in file:
                if len(line) >= left:
                    if left:
                        yield line[:left]
                    return
                left -= len(line)
                yield line

    def check_frame(self) -> None:
        """Check step 1 and keep the places of the members.

        Raises:
            PackError: this is no archive at all.
            VerificationError: a byte of the frame is not what the members call for.
        """
        directory = read_directory(self._file)
        if directory is None:
            self._check_end()
            return
        members, comment = directory
        offset = 0
        for number, listed in enumerate(members):
            header = local_header(listed.name, listed.crc, listed.size)
            self._file.seek(offset)
            found = self._file.read(len(header))
            part = self._measure(listed, offset + len(header))
            if found != header:
                self._header_differs(number, listed, header, found, part, offset)
            self.parts[listed.name] = part
            offset = part.offset + listed.size
        names = [listed.name for listed in members]
        if names != sorted(set(names)):
            wrong = next(n for n, m in zip(names, sorted(set(names)), strict=False) if n != m)
            raise VerificationError(
                1, wrong, "name", "members sorted by name, each once", wrong, _TAMPERED
            )
        for name in names:
            if not MEMBER_NAME.fullmatch(name):
                raise VerificationError(
                    1, ascii(name), "name", "a plain relative path such as a/b.c", ascii(name),
                    "who unpacks it could get a file outside of the folder",
                )  # fmt: skip
        if self._file.seek(0, os.SEEK_END) != offset + len(tail(members, comment)):
            raise VerificationError(
                1, ARCHIVE, f"byte {offset + 1}", "the directory after the last member",
                "other bytes", _TAMPERED,
            )  # fmt: skip
        self._check_comment(comment)

    def _check_comment(self, comment: bytes) -> None:
        part = self.parts.get(MANIFEST)
        if part is None:
            raise VerificationError(1, ARCHIVE, "members", MANIFEST, "no such member", _TAMPERED)
        self.manifest_sha256 = part.member.sha256
        self.format = commented_format(comment)
        expected = archive_comment(part.member.sha256, self.format)
        if comment != expected and part.crc_found == part.member.crc:
            raise VerificationError(
                1,
                ARCHIVE,
                "comment",
                expected.decode(),
                comment.decode(errors="replace"),
                _TAMPERED,
            )

    def _measure(self, listed: Member, offset: int) -> Part:
        """Hash a member's bytes as they stand in the file."""
        self._file.seek(offset)
        crc, left, digest = 0, listed.size, hashlib.sha256()
        while left and (block := self._file.read(min(COPY_BYTES, left))):
            crc, left = zlib.crc32(block, crc), left - len(block)
            digest.update(block)
        member = Member(listed.name, listed.crc, listed.size, digest.hexdigest())
        return Part(member, offset, crc)

    def _header_differs(
        self, number: int, listed: Member, header: bytes, found: bytes, part: Part, offset: int
    ) -> None:
        """Name the member whose two headers disagree; its content says which one is wrong."""
        name = listed.name
        local = read_local_header(self._file, offset)
        if local is not None and local[1:3] == (listed.crc, listed.size) and local[0] != name:
            # Only the names differ: the manifest knows which one is right.
            known = self._manifest_names()
            name = local[0] if local[0] in known else name
        if found[18:26] == header[18:26] and part.crc_found != listed.crc:
            place = "header in the archive's directory, byte"
        else:
            place = "header, byte"
        at = next(
            (n for n, (a, b) in enumerate(zip(header, found, strict=False)) if a != b), len(found)
        )
        raise VerificationError(
            1, name, f"{place} {at + 1} (member {number + 1} of the archive)",
            header[at : at + 8].hex(), found[at : at + 8].hex(), _TAMPERED,
        )  # fmt: skip

    def _manifest_names(self) -> set[str]:
        """Return the names in the manifest, wherever it is, without trusting it."""
        offset = 0
        while (found := read_local_header(self._file, offset)) is not None:
            name, _, size, start = found
            if name == MANIFEST:
                self._file.seek(start)
                try:
                    return {*json.loads(self._file.read(size))["members"], MANIFEST, MANIFEST_NOTE}
                except (ValueError, KeyError, TypeError):
                    return set()
            offset = start + size
        return set()

    def _check_end(self) -> None:
        """The directory is damaged: walk the members from the front and compare the end."""
        offset = 0
        members: list[Member] = []
        while (found := read_local_header(self._file, offset)) is not None:
            name, crc, size, start = found
            part = self._measure(Member(name, crc, size, ""), start)
            if part.crc_found != crc or not name.isascii():
                break
            members.append(part.member)
            offset = start + size
        if not members:
            raise PackError(
                f"{self.path} is not an audit pack: no member can be read from it; nothing was "
                "verified. Check that the file was copied whole"
            )
        manifest = next((m for m in members if m.name == MANIFEST), None)
        digest = "" if manifest is None else manifest.sha256
        comment_bytes = len(archive_comment(digest))
        self._file.seek(max(offset, self._file.seek(0, os.SEEK_END) - comment_bytes))
        form = commented_format(self._file.read(comment_bytes))
        expected = tail(members, archive_comment(digest, form))
        self._file.seek(offset)
        found_tail = self._file.read(len(expected) + 1)
        pairs = enumerate(zip(expected, found_tail, strict=False))
        at = next((n for n, (a, b) in pairs if a != b), min(len(expected), len(found_tail)))
        owner = _owner(members, at)
        raise VerificationError(
            1, owner, f"byte {offset + at + 1} of the file, in the archive's directory or end",
            expected[at : at + 8].hex() or "the end of the file",
            found_tail[at : at + 8].hex() or "the end of the file", _TAMPERED,
        )  # fmt: skip

    def check_manifest(self) -> list[str]:
        """Check step 2.

        Returns:
            The members whose content differs from the manifest, empty when all is well.

        Raises:
            VerificationError: the manifest itself is damaged, or lists other members.
        """
        raw = self.read(MANIFEST)
        part = self.parts[MANIFEST]
        try:
            manifest = json.loads(raw)
            members, named = dict(manifest["members"]), manifest["format"]
            written = pack_manifest(
                members,
                period=str(manifest["period"]),
                origin=str(manifest["origin"]),
                form=self.format,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise VerificationError(
                2, MANIFEST, "", f"a manifest of format {self.format}", repr(error), _TAMPERED
            ) from None
        if named not in PACK_FORMATS:
            raise VerificationError(
                2, MANIFEST, "format", " or ".join(PACK_FORMATS), named,
                "this verifier is older than the pack, or it is no pack: take a newer verifier",
            )  # fmt: skip
        if written != raw or part.crc_found != part.member.crc:
            at = next((n for n, (a, b) in enumerate(zip(written, raw, strict=False)) if a != b), -1)
            raise VerificationError(
                2, MANIFEST, f"byte {at + 1}" if at >= 0 else "",
                f"CRC {part.member.crc:08x} and canonical form", f"CRC {part.crc_found:08x}",
                _TAMPERED,
            )  # fmt: skip
        self.manifest = manifest
        present = set(self.parts) - {MANIFEST, MANIFEST_NOTE}
        if present != set(members):
            wrong = min(present ^ set(members))
            listed = "in the manifest" if wrong in members else "not in the manifest"
            there = "in the archive" if wrong in present else "not in the archive"
            raise VerificationError(2, wrong, "", listed, there, "a member was added or removed")
        if MANIFEST_NOTE in self.parts:
            # The note cannot be in the manifest it signs; its own checksum still must hold.
            note = self.parts[MANIFEST_NOTE]
            members[MANIFEST_NOTE] = note.member.sha256 if _whole(note) else "another content"
        return [name for name in sorted(members) if not self._content_ok(name, members)]

    def _content_ok(self, name: str, digests: dict[str, str]) -> bool:
        part = self.parts[name]
        if part.member.sha256 == digests[name] and part.crc_found != part.member.crc:
            raise VerificationError(
                1, name, "header, CRC-32", f"{part.crc_found:08x}", f"{part.member.crc:08x}",
                _TAMPERED,
            )  # fmt: skip
        return part.member.sha256 == digests[name]


def _whole(part: Part) -> bool:
    return part.crc_found == part.member.crc


def _owner(members: list[Member], at: int) -> str:
    """Name the member whose directory entry holds a byte of the archive's end."""
    for number, member in enumerate(members):
        before = len(tail(members[: number + 1], b"")) - len(tail([], b""))
        if at < before:
            return member.name
    return ARCHIVE
