"""Read a large book in parts, several at a time, with the verdict of reading it in one go.

1. The book is cut between lines. What stands before a part (how many leaves and bytes, which
   periods are open) is counted in one quick pass that checks nothing.
2. Each part is checked in full by a process of its own, from that beginning. When every part holds,
   the beginnings were right too, since each is what the checked part before it led to.
3. Parts are put together in order, so the first difference in the book is the one reported.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ledger.audit_book import Book
from ledger.audit_leaf import PERIOD

PART_BYTES_MIN = 32 << 20
PARTS_PER_WORKER = 4
_MARK = b'"format":"byline-period/1"'


class BookPart(NamedTuple):
    """A part of the book and what stands before it.

    Attributes:
        path: the pack.
        start: where the part begins in the file.
        end: where it ends.
        offset: how many bytes of the book stand before it.
        leaves: how many leaves stand before it.
        periods: {period: is it open} before it.
    """

    path: Path
    start: int
    end: int
    offset: int
    leaves: int
    periods: dict[bytes, bool]


def cut_book(path: Path, start: int, lines: Iterator[bytes], part_bytes: int) -> list[BookPart]:
    """Cut a book into parts of about so many bytes.

    Args:
        path: the pack.
        start: where the book begins in the file.
        lines: its lines.
        part_bytes: how large a part should be.
    """
    parts: list[BookPart] = []
    offset = begun = begun_leaves = 0
    periods: dict[bytes, bool] = {}
    begun_periods: dict[bytes, bool] = {}
    for leaves, line in enumerate(lines, 1):
        offset += len(line)
        if line.startswith(b'{"action"') and _MARK in line:
            found = PERIOD.fullmatch(line)
            if found is not None:
                periods[found[4]] = found[1] == b"open"
        if offset - begun >= part_bytes:
            parts.append(
                BookPart(path, start + begun, start + offset, begun, begun_leaves, begun_periods)
            )
            begun, begun_leaves, begun_periods = offset, leaves, dict(periods)
    if begun < offset or not parts:
        parts.append(
            BookPart(path, start + begun, start + offset, begun, begun_leaves, begun_periods)
        )
    return parts


def read_part(part: BookPart) -> tuple[Book, bytes]:
    """Check one part of a book.

    Returns:
        The book over the part, and the hashes of its leaves, joined.

    Raises:
        VerificationError: the first rule that a leaf of the part breaks.
    """
    hashes: list[bytes] = []
    book = Book(leaves=part.leaves, offset=part.offset, periods=part.periods)
    book.on_hashes = lambda _, batch: hashes.extend(batch)
    book.feed(_part_lines(part))
    book.flush()
    book.on_hashes = None
    return book, b"".join(hashes)


def _part_lines(part: BookPart) -> Iterator[bytes]:
    with part.path.open("rb", buffering=1 << 20) as file:
        file.seek(part.start)
        left = part.end - part.start
        while left > 0:
            line = file.readline()
            left -= len(line)
            yield line[: len(line) + left] if left < 0 else line
            if not line:
                return


def read_parts(parts: list[BookPart], workers: int) -> Iterator[tuple[Book, bytes]]:
    """Check parts in processes of their own; yields them in the order of the book.

    Raises:
        VerificationError: the first difference, in the order of the book.
    """
    # "spawn" starts clean processes on every system, whatever threads this one has.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(parts)), mp_context=context) as pool:
        yield from pool.map(read_part, parts)
