"""The catalogue: every source, party, work and document of an installation, from one JSON file.

1. Either the whole file is right, or nothing is loaded and every fault is listed at once.
2. A document belongs to one work. A work may have no owner (its money stands in suspense); an
   owner, a source or a work that is named must exist.
3. Ids are unique within their kind, and the order of the file changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from contracts.dispute import RESERVED_IDS
from contracts.errors import (
    BadFilesError,
    ContractsError,
    Fault,
    IdentifierError,
    SplitSheetError,
)
from contracts.identifier import external_ids
from contracts.party import Party
from contracts.work import Source, Work, WorkSplit, check_splits

CATALOGUE_FORMAT = "byline-catalogue/1"
_FOUND_CHARACTERS_MAX = 60
_Record = Mapping[str, Any]
_Built = TypeVar("_Built")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Sources, parties, works and documents, each by id.

    Args:
        sources: sources by source id.
        parties: parties by party id.
        works: works by work id.
        work_of: work id by document id.
    """

    sources: Mapping[str, Source]
    parties: Mapping[str, Party]
    works: Mapping[str, Work]
    work_of: Mapping[str, str]

    def documents_of(self, work_id: str) -> tuple[str, ...]:
        """Return the document ids of a work, sorted."""
        return tuple(sorted(doc for doc, work in self.work_of.items() if work == work_id))

    def works_of(self, party_id: str, day: date) -> tuple[Work, ...]:
        """Return the works a party owns a share of on a day, by work id."""
        return tuple(
            work
            for _, work in sorted(self.works.items())
            if any(split.party_id == party_id and split.holds_on(day) for split in work.splits)
        )


def load_catalogue(path: Path | str) -> Catalogue:
    """Read a catalogue file whole, or refuse it with every fault it has.

    Args:
        path: a JSON file of format byline-catalogue/1.

    Returns:
        The catalogue.

    Raises:
        BadFilesError: each fault with line, field, what was found and what was expected.
        OSError: the file cannot be read.
    """
    text = Path(path).read_text(encoding="utf-8")
    return parse_catalogue(text, file=str(path))


def parse_catalogue(text: str, *, file: str = "catalogue.json") -> Catalogue:
    """Read a catalogue from its JSON text.

    Args:
        text: the JSON text.
        file: the name to give in faults.

    Returns:
        The catalogue.

    Raises:
        BadFilesError: each fault with line, field, what was found and what was expected.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        fault = Fault(file, error.lineno, "(file)", error.msg, "one JSON object")
        raise BadFilesError([fault]) from error
    reader = _Reader(file=file, text=text)
    if not isinstance(data, dict) or data.get("format") != CATALOGUE_FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        reader.fault("format", found, CATALOGUE_FORMAT)
        raise BadFilesError(reader.faults)
    catalogue = _read(reader, data)
    if reader.faults:
        raise BadFilesError(reader.faults)
    return catalogue


@dataclass(slots=True)
class _Reader:
    """Collects faults, and finds the line of a record by its id in the text."""

    file: str
    text: str
    faults: list[Fault] = field(default_factory=list)

    def fault(self, where: str, found: object, expected: str, *, near: str = "") -> None:
        """Note one fault; `near` is an id whose first mention gives the line."""
        position = self.text.find(json.dumps(near, ensure_ascii=False)) if near else 0
        line = self.text.count("\n", 0, max(position, 0)) + 1
        shown = repr(found)
        if len(shown) > _FOUND_CHARACTERS_MAX:
            shown = shown[:_FOUND_CHARACTERS_MAX] + "..."
        self.faults.append(Fault(self.file, line, where, shown, expected))

    def records(self, data: _Record, name: str, key: str) -> Iterator[tuple[str, str, _Record]]:
        """Yield (where, id, record) for each record of a list, each id once."""
        rows = data.get(name, [])
        if not isinstance(rows, list):
            self.fault(name, rows, "a list of records")
            return
        seen: set[str] = set()
        for position, record in enumerate(rows):
            where = f"{name}[{position}]"
            record_id = record.get(key) if isinstance(record, dict) else None
            if not isinstance(record_id, str):
                self.fault(where, record, f"a record with a text field {key}")
            elif record_id in seen:
                self.fault(f"{where}.{key}", record_id, "an id used only once", near=record_id)
            else:
                seen.add(record_id)
                yield where, record_id, record

    def build(self, where: str, record_id: str, make: Callable[[], _Built]) -> _Built | None:
        """Make a value, or note why it cannot be made."""
        try:
            return make()
        except (ContractsError, ValueError, ZeroDivisionError, TypeError, AttributeError) as error:
            self.fault(where, record_id, str(error), near=record_id)
            return None


def _read(reader: _Reader, data: _Record) -> Catalogue:
    """Build everything, then check what names what."""
    sources: dict[str, Source] = {}
    for where, source_id, row in reader.records(data, "sources", "source_id"):
        source = reader.build(where, source_id, partial(_source, row))
        if source is not None:
            sources[source_id] = source
    parties: dict[str, Party] = {}
    for where, party_id, row in reader.records(data, "parties", "party_id"):
        party = reader.build(where, party_id, partial(_party, row))
        if party is not None:
            parties[party_id] = party
    works: dict[str, Work] = {}
    for where, work_id, row in reader.records(data, "works", "work_id"):
        work = reader.build(where, work_id, partial(_work, row))
        if work is not None:
            works[work_id] = work
            _check_names(reader, where, work, sources, parties)
    work_of: dict[str, str] = {}
    for where, document_id, row in reader.records(data, "documents", "document_id"):
        work_of[document_id] = str(row.get("work_id"))
        if work_of[document_id] not in works:
            expected = "the id of a work in this catalogue"
            reader.fault(f"{where}.work_id", row.get("work_id"), expected, near=document_id)
    return Catalogue(sources, parties, works, work_of)


def _check_names(
    reader: _Reader,
    where: str,
    work: Work,
    sources: Mapping[str, Source],
    parties: Mapping[str, Party],
) -> None:
    """Note a source or an owner that the catalogue does not have."""
    if work.source_id and work.source_id not in sources:
        expected = "the id of a source in this catalogue"
        reader.fault(f"{where}.source_id", work.source_id, expected, near=work.work_id)
    for split in work.splits:
        if split.party_id not in parties:
            expected = "the id of a party in this catalogue"
            reader.fault(f"{where}.splits", split.party_id, expected, near=work.work_id)


def _source(row: _Record) -> Source:
    """Build a source from its record."""
    return Source(
        row["source_id"],
        str(row.get("kind", "dataset")),
        str(row.get("title", "")),
        str(row.get("version", "")),
        str(row.get("licence", "")),
    )


def _party(row: _Record) -> Party:
    """Build a party from its record."""
    if row["party_id"] in RESERVED_IDS:
        raise IdentifierError("party_id (a name that no suspense account has)", row["party_id"])
    return Party(
        row["party_id"],
        str(row.get("kind", "creator")),
        str(row.get("payee_id", "")),
        external_ids(row.get("external_ids", {})),
    )


def _work(row: _Record) -> Work:
    """Build a work from its record, its shares adding up to 1."""
    work = Work(
        row["work_id"],
        str(row.get("title", "")),
        str(row.get("source_id") or ""),
        str(row.get("licence", "")),
        tuple(_split(split) for split in row.get("splits", [])),
        external_ids(row.get("external_ids", {})),
        str(row.get("dispute", "")),
        row.get("unclaimed", False) is True,
    )
    check_splits(work)
    return work


def _split(row: _Record) -> WorkSplit:
    """Build one share; it is a text such as 1/2 or 0.5, since a JSON number would be a float."""
    share = row.get("share", "1")
    if not isinstance(share, str):
        raise SplitSheetError(f"a share must be a text such as '1/2', got the number {share}")
    return WorkSplit(
        str(row.get("party_id")),
        Fraction(share),
        _day(row.get("effective_from")),
        _day(row.get("effective_to")),
        str(row.get("right", "*")),
    )


def _day(text: str | None) -> date | None:
    """Read an ISO date, or none."""
    return None if text is None else date.fromisoformat(text)
