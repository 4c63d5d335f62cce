"""A corpus that stays on disk: checked once, then read a document at a time.

1. Opening reads the file once, front to back, and refuses what `corpus.read_corpus` refuses,
   with file and line. What stays in memory is 16 bytes a document, whatever its length.
2. The digest is that of the same corpus read whole.
3. A file that is altered while it is open is refused at the next read: documents of two
   versions never stand in one index. One that is replaced is read on as it was opened.
4. A `.gz` file is unpacked once, into a file without a name that ends with the process.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import weakref
from abc import abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, overload

import numpy as np

from attribution.corpus import (
    EMPTY,
    Document,
    document_of_line,
    document_twice,
    raw_lines,
)
from attribution.errors import CorpusError
from attribution.files import canonical_json


class _Documents(Sequence[Document]):
    """Documents that are read when they are asked for; a slice of them is a view of the same."""

    @overload
    def __getitem__(self, place: int) -> Document: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Document]: ...

    def __getitem__(self, place: int | slice) -> Document | Sequence[Document]:
        """Return one document, or some of them as a view."""
        if isinstance(place, slice):
            return Picked(self, np.arange(*place.indices(len(self))))
        return self._document(range(len(self))[place])

    @abstractmethod
    def _document(self, place: int) -> Document:
        """Return the document at a place from 0 on."""


class CorpusFile(_Documents):
    """The documents of a file, in file order, read when they are asked for.

    Attributes:
        path: the file.
        digest: SHA-256 over the content of all documents, in order.
    """

    def __init__(self, path: Path | str, scratch: Path | None = None) -> None:
        """Open and check.

        Args:
            path: JSON lines, gzipped when the name ends in `.gz`.
            scratch: folder for the unpacked form of a gzipped file.

        Raises:
            CorpusError: as `corpus.read_corpus`.
            FileNotFoundError: there is no such file.
        """
        self.path = Path(path)
        self._stream = _plain(self.path, scratch)
        weakref.finalize(self, self._stream.close)
        self._state = self._looked()
        self._begins = array("Q")
        self._names = array("Q")
        self.digest = self._read()
        self._refuse_twins()

    def _read(self) -> str:
        digest = hashlib.sha256()
        begin = 0
        for number, raw in enumerate(self._stream, start=1):
            document = document_of_line(raw, self.path, number)
            if document is not None:
                self._begins.append(begin)
                self._names.append(_short(document.document_id))
                digest.update(canonical_json(document.as_line()))
            begin += len(raw)
        if not self._begins:
            raise CorpusError(self.path, 1, *EMPTY)
        return digest.hexdigest()

    def _refuse_twins(self) -> None:
        """Refuse an id that two documents have; equal short names are looked up."""
        names = np.frombuffer(self._names, dtype=np.uint64)
        order = self._by_name
        same = np.flatnonzero(names[order][1:] == names[order][:-1])
        seen: dict[str, int] = {}
        for place in sorted({int(order[i + step]) for i in same for step in (0, 1)}):
            name = self[place].document_id
            if name in seen:
                number, before = self._line(place), self._line(seen[name])
                raise document_twice(self.path, number, name, before)
            seen[name] = place

    def _line(self, place: int) -> int:
        """Return the line number of a document, for a message."""
        self._stream.seek(0)
        number = read = 0
        while read <= self._begins[place]:
            read += len(self._stream.readline())
            number += 1
        return number

    @cached_property
    def _by_name(self) -> np.ndarray:
        names = np.frombuffer(self._names, dtype=np.uint64)
        return np.argsort(names, kind="stable").astype(np.uint32 if len(self) >> 32 == 0 else int)

    def place_of(self, document_id: str) -> int:
        """Return where a document stands.

        Raises:
            KeyError: it is not in the corpus.
        """
        names = np.frombuffer(self._names, dtype=np.uint64)
        wanted = np.uint64(_short(document_id))
        begin = int(np.searchsorted(names, wanted, sorter=self._by_name))
        for place in self._by_name[begin:]:
            if names[place] != wanted:
                break
            if self[int(place)].document_id == document_id:
                return int(place)
        raise KeyError(document_id)

    def __len__(self) -> int:
        """Return how many documents there are."""
        return len(self._begins)

    def _document(self, place: int) -> Document:
        self._refuse_altered()
        self._stream.seek(self._begins[place])
        document = document_of_line(self._stream.readline(), self.path, 0)
        assert document is not None, (self.path, place)
        return document

    def __iter__(self) -> Iterator[Document]:
        """Read all documents, in file order."""
        return (self[place] for place in range(len(self)))

    def _looked(self) -> tuple[int, int]:
        found = os.fstat(self._stream.fileno())
        return found.st_size, found.st_mtime_ns

    def _refuse_altered(self) -> None:
        if self._looked() != self._state:
            raise CorpusError(
                self.path,
                1,
                f"the file was altered while it was read: {self._state[0]} bytes before, "
                f"{self._looked()[0]} now",
                "Leave it alone until the build has ended, and start again.",
            )


class Picked(_Documents):
    """Some documents of a sequence, in an order of their own, read when they are asked for."""

    def __init__(self, documents: Sequence[Document], places: np.ndarray) -> None:
        self._documents, self._places = documents, places

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._places)

    def _document(self, place: int) -> Document:
        return self._documents[int(self._places[place])]


class Joined(_Documents):
    """The documents of two sequences, one after the other."""

    def __init__(self, first: Sequence[Document], second: Sequence[Document]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        """Return how many there are in both."""
        return len(self._first) + len(self._second)

    def _document(self, place: int) -> Document:
        inside = place - len(self._first)
        return self._first[place] if inside < 0 else self._second[inside]


def _plain(path: Path, scratch: Path | None) -> IO[bytes]:
    """Open the file for reading, unpacked where it is gzipped (rule 4)."""
    if path.suffix != ".gz":
        return path.open("rb")
    unpacked = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - open as long as the corpus
    for raw in raw_lines(path):
        unpacked.write(raw)
    unpacked.flush()
    unpacked.seek(0)
    return unpacked


def _short(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
