"""Corpora and queries on disk: JSON lines, read whole or refused with file and line.

1. A line is one document: `document_id`, optional `group_id` (the work; the
   document itself when absent), optional `source_id`, and `text` or `input_ids`.
   Where both are given, `input_ids` is what was trained on and `text` its print.
2. A line is one query: `output_id`, `text` or `input_ids`, and `prompt_length`,
   the leading tokens that are not scored (at least 1 when it is left out).
3. A fault names the file and the line, and nothing of the file is used.
4. The order of the file is the order of the documents, everywhere after.
5. The digest covers ids, groups, sources and content in order, and no other key.

A name that ends in `.gz` is read through gzip. Unknown keys are kept out of the
digest and otherwise ignored, so that a corpus may carry notes of its own.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from attribution.errors import CorpusError
from attribution.files import canonical_json, sha256_file, write_atomically

FORMAT = "byline-corpus/1"
_FORM = 'A document line is {"document_id": "...", "text": "..."} or has "input_ids": [...].'
EMPTY = ("the corpus holds no document", _FORM)
_QUERY_FORM = 'A query line is {"output_id": "...", "text": "...", "prompt_length": 12}.'


@dataclass(frozen=True)
class Document:
    """One passage that a model may have been trained on.

    Attributes:
        document_id: unique in its corpus.
        group_id: the work it belongs to.
        text: its text, or None when only token ids are known.
        input_ids: its token ids as trained on, or None when only text is known.
        source_id: the book, site or package it came from, where known.
    """

    document_id: str
    group_id: str
    text: str | None = None
    input_ids: tuple[int, ...] | None = None
    source_id: str | None = None

    def as_line(self) -> dict[str, Any]:
        """Return the JSON object of this document, keys without a value left out."""
        line: dict[str, Any] = {"document_id": self.document_id, "group_id": self.group_id}
        if self.source_id is not None:
            line["source_id"] = self.source_id
        if self.text is not None:
            line["text"] = self.text
        if self.input_ids is not None:
            line["input_ids"] = list(self.input_ids)
        return line


@dataclass(frozen=True)
class Corpus:
    """Documents in their file order, and the file they came from."""

    documents: tuple[Document, ...]
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.documents)

    def __iter__(self) -> Iterator[Document]:
        return iter(self.documents)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the content of all documents, in order (rule 5)."""
        return corpus_digest(self.documents)

    @cached_property
    def group_ids(self) -> tuple[str, ...]:
        """Every group once, in the order of its first document."""
        return tuple(dict.fromkeys(document.group_id for document in self.documents))


@dataclass(frozen=True)
class Query:
    """One text to explain: token ids or text, and how much of it is the prompt."""

    output_id: str
    text: str | None
    input_ids: tuple[int, ...] | None
    prompt_length: int | None


def corpus_digest(documents: Iterable[Document]) -> str:
    """Return the SHA-256, in hex, of the documents' canonical lines in order."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(canonical_json(document.as_line()))
    return digest.hexdigest()


def read_corpus(path: Path | str) -> Corpus:
    """Read a corpus file.

    Args:
        path: JSON lines, gzipped when the name ends in `.gz`.

    Returns:
        The documents in file order.

    Raises:
        CorpusError: a line is not JSON, lacks an id or content, repeats an id, or
            holds a value of the wrong type; or there is no document at all.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    seen: dict[str, int] = {}
    documents = []
    for number, record in _records(path, _FORM):
        document = _document(record, path, number)
        name = document.document_id
        if name in seen:
            raise document_twice(path, number, name, seen[name])
        seen[name] = number
        documents.append(document)
    if not documents:
        raise CorpusError(path, 1, *EMPTY)
    return Corpus(tuple(documents), path)


def read_queries(path: Path | str) -> tuple[Query, ...]:
    """Read a query file; faults as in `read_corpus`."""
    path = Path(path)
    seen: dict[str, int] = {}
    queries = []
    for number, record in _records(path, _QUERY_FORM):
        output_id = _string(record, "output_id", path, number, _QUERY_FORM)
        if output_id in seen:
            raise CorpusError(
                path,
                number,
                f"output_id {output_id!r} was already used in line {seen[output_id]}",
                "Give each query its own id.",
            )
        seen[output_id] = number
        text, input_ids = _content(record, path, number, _QUERY_FORM)
        prompt_length = record.get("prompt_length")
        if prompt_length is not None and (
            not isinstance(prompt_length, int) or isinstance(prompt_length, bool)
        ):
            raise CorpusError(
                path, number, f"prompt_length is {prompt_length!r}, not a whole number", _QUERY_FORM
            )
        if prompt_length is not None and prompt_length < 0:
            raise CorpusError(path, number, f"prompt_length {prompt_length} < 0", _QUERY_FORM)
        if prompt_length is not None and input_ids and prompt_length > len(input_ids):
            raise CorpusError(
                path,
                number,
                f"prompt_length {prompt_length} > {len(input_ids)} tokens",
                "The prompt is part of input_ids.",
            )
        queries.append(Query(output_id, text, input_ids, prompt_length))
    if not queries:
        raise CorpusError(path, 1, "the file holds no query", _QUERY_FORM)
    return tuple(queries)


def corpus_bytes(documents: Iterable[Document]) -> bytes:
    """Return the corpus file of the documents: one canonical JSON line each."""
    return b"".join(canonical_json(document.as_line()) for document in documents)


def write_corpus(path: Path, documents: Sequence[Document]) -> Corpus:
    """Write a corpus file whole or not at all, and return what was written.

    Raises:
        CorpusError: two documents have the same id; nothing is written.
    """
    seen: dict[str, int] = {}
    for number, document in enumerate(documents, start=1):
        if document.document_id in seen:
            raise CorpusError(
                path,
                number,
                f"document_id {document.document_id!r} is also that of document "
                f"{seen[document.document_id]}",
                "Give each document its own id.",
            )
        seen[document.document_id] = number
    write_atomically(path, corpus_bytes(documents))
    return Corpus(tuple(documents), path)


def corpus_manifest(
    corpora: Mapping[str, Corpus], *, inputs: Mapping[str, str], notes: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe corpus files: digests and counts of each, and what they were made from.

    Args:
        corpora: name -> a corpus that was written to a file.
        inputs: name -> SHA-256 of what the corpora were made from.
        notes: further keys, such as the rules of the harvest.
    """
    files = {}
    for name, corpus in sorted(corpora.items()):
        assert corpus.path is not None, f"corpus {name} was never written"
        files[name] = {
            "file": corpus.path.name,
            "sha256": sha256_file(corpus.path),
            "corpus_digest": corpus.digest,
            "documents": len(corpus),
            "groups": len(corpus.group_ids),
        }
    return {"format": FORMAT, "inputs": dict(inputs), "files": files, **notes}


def _records(path: Path, form: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of each line that is not blank."""
    for number, raw in enumerate(raw_lines(path), start=1):
        record = _record(raw, path, number, form)
        if record is not None:
            yield number, record


def _record(raw: bytes, path: Path, number: int, form: str) -> dict[str, Any] | None:
    """Return the object of a line; None where it is blank."""
    if not raw.strip():
        return None
    try:
        record = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise CorpusError(path, number, f"the line is not JSON ({fault})", form) from fault
    if not isinstance(record, dict):
        kind = type(record).__name__
        raise CorpusError(path, number, f"the line is a {kind}, not an object", form)
    return record


def document_of_line(raw: bytes, path: Path, number: int) -> Document | None:
    """Read one line of a corpus file; None where it is blank.

    Raises:
        CorpusError: as `read_corpus`.
    """
    record = _record(raw, path, number, _FORM)
    return None if record is None else _document(record, path, number)


def document_twice(path: Path, number: int, name: str, before: int) -> CorpusError:
    """Return the error of an id that two lines have."""
    return CorpusError(
        path,
        number,
        f"document_id {name!r} was already used in line {before}",
        "Give each document its own id.",
    )


def raw_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file as they stand, unpacked where its name ends in `.gz`."""
    if path.suffix != ".gz":
        with path.open("rb") as stream:
            yield from stream
        return
    number = 0
    try:
        with gzip.open(path, "rb") as stream:
            for raw in stream:
                number += 1
                yield raw
    except (gzip.BadGzipFile, EOFError) as fault:
        raise CorpusError(path, number + 1, f"the gzip data is damaged ({fault})", _FORM) from fault


def _document(record: dict[str, Any], path: Path, number: int) -> Document:
    document_id = _string(record, "document_id", path, number, _FORM)
    group_id = document_id
    if record.get("group_id") is not None:
        group_id = _string(record, "group_id", path, number, _FORM)
    source_id = None
    if record.get("source_id") is not None:
        source_id = _string(record, "source_id", path, number, _FORM)
    text, input_ids = _content(record, path, number, _FORM)
    return Document(document_id, group_id, text, input_ids, source_id)


def _string(record: dict[str, Any], key: str, path: Path, number: int, form: str) -> str:
    value = record.get(key)
    if value is None:
        raise CorpusError(path, number, f"the line has no {key}", form)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise CorpusError(
            path, number, f"{key} is {value!r}, not a non-empty line of printable text", form
        )
    return value


def _content(
    record: dict[str, Any], path: Path, number: int, form: str
) -> tuple[str | None, tuple[int, ...] | None]:
    text, ids = record.get("text"), record.get("input_ids")
    if text is None and ids is None:
        raise CorpusError(path, number, "the line has neither text nor input_ids", form)
    if text is not None and not isinstance(text, str):
        raise CorpusError(path, number, f"text is a {type(text).__name__}, not a string", form)
    if ids is None:
        return text, None
    if not isinstance(ids, list) or any(
        not isinstance(token, int) or isinstance(token, bool) or token < 0 for token in ids
    ):
        raise CorpusError(path, number, "input_ids is not a list of whole numbers >= 0", form)
    return text, tuple(ids)
