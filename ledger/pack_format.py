"""The frame of an audit pack: one archive file of which every single byte is determined.

A pack is an ordinary ZIP file, so that anybody can open it. It is also canonical: from the names
and contents of its members exactly one sequence of bytes follows, and the reader writes that
sequence again and compares. So a changed byte is found even where ZIP tools never look.

1. Members are stored, not compressed, sorted by name, dated 1980-01-01, mode 0644, nothing extra.
2. `manifest.json` lists every other member with its SHA-256; the archive's comment holds the
   SHA-256 of the manifest, and `manifest.note` is the log's signature under it.
   Format, comment and note name one version: 1, or 2, which brings the draws of the samples too.
3. Names are plain relative paths in ASCII, each once: nothing leaves the folder it is unpacked in.
4. The frame is not what proves a pack: somebody who changes a member can write all of the frame
   anew. It names the place of damage; the signed checkpoint proves the book (`ledger.audit`).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ledger.canonical import canonical_json

PACK_FORMAT = "byline-pack/2"
PACK_FORMATS = (PACK_FORMAT, "byline-pack/1")
MEMBER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=-]*(/[A-Za-z0-9][A-Za-z0-9._@+=-]*)*")
MANIFEST = "manifest.json"
MANIFEST_NOTE = "manifest.note"
COPY_BYTES = 1 << 20

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_DATE = 0x0021  # 1980-01-01, the first day that ZIP can say.
_MADE_BY = (3 << 8) | 45  # Unix, version 4.5.
_MODE = 0o100644 << 16
_LIMIT = 0xFFFFFFFF
_COMMENT_BYTES = len(f"{PACK_FORMAT} sha256:") + 64


@dataclass(frozen=True)
class Member:
    """One file of a pack.

    Attributes:
        name: its path inside the pack.
        crc: CRC-32 of its bytes.
        size: in bytes.
        sha256: in hex.
    """

    name: str
    crc: int
    size: int
    sha256: str


def archive_comment(manifest_sha256: str, form: str = PACK_FORMAT) -> bytes:
    """Return the archive's comment, which names the manifest's digest."""
    return f"{form} sha256:{manifest_sha256}".encode()


def commented_format(comment: bytes) -> str:
    """Return the format that an archive's comment names; the newest where it names none."""
    return next((form for form in PACK_FORMATS if comment.startswith(form.encode())), PACK_FORMAT)


def local_header(name: str, crc: int, size: int) -> bytes:
    """Return the one header that may stand before a member's bytes."""
    extra = struct.pack("<2H2Q", 1, 16, size, size) if size >= _LIMIT else b""
    short = min(size, _LIMIT)
    raw = name.encode("ascii")
    version = 45 if extra else 20
    return (
        _LOCAL.pack(b"PK\x03\x04", version, 0, 0, 0, _DATE, crc, short, short, len(raw), len(extra))
        + raw
        + extra
    )


def central_header(name: str, crc: int, size: int, offset: int) -> bytes:
    """Return a member's entry in the central directory."""
    long = [value for value in (size, size) if size >= _LIMIT]
    long += [offset] if offset >= _LIMIT else []
    extra = struct.pack(f"<2H{len(long)}Q", 1, 8 * len(long), *long) if long else b""
    raw = name.encode("ascii")
    version = 45 if extra else 20
    short = min(size, _LIMIT)
    fields = (b"PK\x01\x02", _MADE_BY, version, 0, 0, 0, _DATE, crc, short, short)
    ends = (len(raw), len(extra), 0, 0, 0, _MODE, min(offset, _LIMIT))
    return _CENTRAL.pack(*fields, *ends) + raw + extra


def end_record(count: int, directory_bytes: int, offset: int, comment: bytes) -> bytes:
    """Return what follows the central directory."""
    big = b""
    if offset >= _LIMIT or count >= 0xFFFF:
        big = struct.pack(
            "<4sQ2H2I4Q",
            b"PK\x06\x06",
            44,
            _MADE_BY,
            45,
            0,
            0,
            count,
            count,
            directory_bytes,
            offset,
        ) + struct.pack("<4sIQI", b"PK\x06\x07", 0, offset + directory_bytes, 1)
    few = min(count, 0xFFFF)
    short = (directory_bytes, min(offset, _LIMIT), len(comment))
    return big + _END.pack(b"PK\x05\x06", 0, 0, few, few, *short) + comment


def tail(members: Sequence[Member], comment: bytes) -> bytes:
    """Return everything that follows the last member: the directory and the end record."""
    offset, directory = 0, []
    for member in members:
        directory.append(central_header(member.name, member.crc, member.size, offset))
        offset += len(local_header(member.name, member.crc, member.size)) + member.size
    joined = b"".join(directory)
    return joined + end_record(len(members), len(joined), offset, comment)


def pack_manifest(
    digests: Mapping[str, str], *, period: str, origin: str, form: str = PACK_FORMAT
) -> bytes:
    """Write `manifest.json`.

    Args:
        digests: {member: SHA-256 in hex} of every member but the manifest and its note.
        period: the period that the pack is about, YYYY-MM.
        origin: the name of the log.
        form: the version of the pack, one of PACK_FORMATS.

    Returns:
        Canonical JSON with a line break at the end.
    """
    named = {name: digest for name, digest in digests.items() if name not in _SELF}
    document = {"format": form, "members": named, "origin": origin, "period": period}
    return canonical_json(document) + b"\n"


_SELF = frozenset({MANIFEST, MANIFEST_NOTE})


def manifest_statement(origin: str, manifest_sha256: str, form: str = PACK_FORMAT) -> str:
    """Return the text under which the log signs a manifest (`manifest.note`)."""
    return f"{form}\n{origin}\n{manifest_sha256}\n"


def read_local_header(file: BinaryIO, offset: int) -> tuple[str, int, int, int] | None:
    """Read the member header at an offset.

    Returns:
        (name, crc, size, offset of the data), or None where there is no such header.
    """
    file.seek(offset)
    raw = file.read(_LOCAL.size)
    if len(raw) < _LOCAL.size or raw[:4] != b"PK\x03\x04":
        return None
    *_, crc, size, _size, name_bytes, extra_bytes = _LOCAL.unpack(raw)
    name = file.read(name_bytes).decode("ascii", errors="backslashreplace")
    extra = file.read(extra_bytes)
    if size == _LIMIT and len(extra) == 20:
        size = int.from_bytes(extra[4:12], "little")
    return name, crc, size, offset + _LOCAL.size + name_bytes + extra_bytes


def read_directory(file: BinaryIO) -> tuple[list[Member], bytes] | None:
    """Read the central directory, if the end of the file leads to one that is itself canonical.

    Returns:
        The members it lists (digests empty) and the comment, or None.
    """
    end = file.seek(0, os.SEEK_END)
    # The directory is small: a member costs about 80 bytes of it.
    file.seek(max(0, end - (64 << 20)))
    last = file.read()
    start = len(last) - _END.size - _COMMENT_BYTES
    if start < 0 or last[start : start + 4] != b"PK\x05\x06":
        return None
    comment = last[start + _END.size :]
    directory_bytes = int.from_bytes(last[start + 12 : start + 16], "little")
    if last[start - 20 : start - 16] == b"PK\x06\x07":
        start -= 76
    position = start - directory_bytes
    members: list[Member] = []
    while position < start and position >= 0 and last[position : position + 4] == b"PK\x01\x02":
        fields = _CENTRAL.unpack_from(last, position)
        crc, size, name_bytes, extra_bytes = fields[7], fields[8], fields[10], fields[11]
        position += _CENTRAL.size
        name = last[position : position + name_bytes].decode("ascii", errors="replace")
        extra = last[position + name_bytes : position + name_bytes + extra_bytes]
        if size == _LIMIT and len(extra) >= 12:
            size = int.from_bytes(extra[4:12], "little")
        members.append(Member(name, crc, size, ""))
        position += name_bytes + extra_bytes
    if not members or not all(member.name.isascii() for member in members):
        return None
    written = tail(members, comment)
    return (members, comment) if last.endswith(written) else None
