"""Keep parties, works and agreements in the database of the ledger, in immutable versions.

1. The same record given again changes nothing; a different record under the same id and version
   is an error that names the field.
2. What is read back equals what was written: rows are converted to the frozen dataclasses, which
   check themselves.
3. Each public method is one transaction, so a catalogue or a book is stored whole or not at all.
4. Identifiers of a party or work may be added later; they are never changed or removed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Any, TypeVar

from sqlalchemy import Engine, insert, select
from sqlalchemy.orm import Session
from sqlmodel import SQLModel

from contracts.agreement import Agreement, AgreementBook
from contracts.catalogue import Catalogue
from contracts.errors import StoreConflictError
from contracts.fx import FxRate, FxTable
from contracts.identifier import ExternalId
from contracts.importers.native import parse_agreements
from contracts.party import Party
from contracts.tables import (
    AgreementRow,
    AgreementStepRow,
    FxRateRow,
    PartyIdentifierRow,
    PartyRow,
    SourceRow,
    WorkDocumentRow,
    WorkIdentifierRow,
    WorkRow,
    WorkSplitRow,
)
from contracts.work import Source, Work, WorkSplit

_Row = dict[str, Any]
_Value = TypeVar("_Value")
# The first day of the calendar stands for "since ever": a primary key cannot be empty.
SINCE_EVER = date.min
_BATCH_ROWS = 5000


class ContractStore:
    """Parties, works and agreements of one installation.

    Args:
        engine: an engine of the database whose migrations have run.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def save_catalogue(self, catalogue: Catalogue) -> int:
        """Store every source, party, work, split and document of a catalogue.

        Returns:
            How many rows were new.

        Raises:
            StoreConflictError: a stored record differs; nothing was stored.
        """
        works = catalogue.works.values()
        with Session(self._engine) as session, session.begin():
            return (
                self._save(session, SourceRow, [_source_row(s) for s in catalogue.sources.values()])
                + self._save_parties(session, catalogue.parties.values())
                + self._save_works(session, works)
                + self._save(
                    session,
                    WorkDocumentRow,
                    [
                        {"document_id": document, "version": 1, "work_id": work}
                        for document, work in catalogue.work_of.items()
                    ],
                )
            )

    def save_book(self, book: AgreementBook, *, approved_by: str | None = None) -> int:
        """Store every agreement version of a book, with the parties and works it declares.

        Args:
            book: the agreements, as loaded from their files.
            approved_by: who approved them, where they were drafts.

        Returns:
            How many rows were new.

        Raises:
            StoreConflictError: a stored version differs; nothing was stored.
            ValueError: an agreement was built in code and has no text to store.
        """
        for agreement in book.agreements:
            if not agreement.payload:
                raise ValueError(
                    f"{agreement.name} has no text; only agreements read from a file are stored"
                )
        with Session(self._engine) as session, session.begin():
            return (
                self._save_parties(session, book.parties.values())
                + self._save_works(session, book.works.values())
                + self._save(
                    session, AgreementRow, [agreement_row(a, approved_by) for a in book.agreements]
                )
            )

    def save_rates(self, rates: Iterable[FxRate]) -> int:
        """Store exchange rates; a published rate is never changed.

        Returns:
            How many rows were new.

        Raises:
            StoreConflictError: a stored rate of the same source and day differs.
        """
        with Session(self._engine) as session, session.begin():
            return self._save(session, FxRateRow, [_rate_row(rate) for rate in rates])

    def book(self) -> AgreementBook:
        """Read back every agreement version that is in force or was, with all parties.

        A version that was stored as a draft counts from its approval by a second person on.
        """
        with Session(self._engine) as session:
            approved = {
                (row["agreement_id"], row["version"])
                for row in rows_of(session, AgreementStepRow)
                if row["step"] == "approved"
            }
            rows = [
                row
                for row in rows_of(session, AgreementRow)
                if row["status"] != "draft" or (row["agreement_id"], row["version"]) in approved
            ]
            parties = parties_of(session)
        agreements: list[Agreement] = []
        for row in rows:
            # Each text declares one agreement; its parties are in the table, not in the text.
            name = f"agreement {row['agreement_id']} v{row['version']}"
            agreements += parse_agreements({name: row["payload"]}, known_parties=parties).agreements
        return AgreementBook(tuple(agreements), parties)

    def catalogue(self) -> Catalogue:
        """Read back sources, parties, works and the newest home of each document."""
        with Session(self._engine) as session:
            sources = {row["source_id"]: Source(**row) for row in rows_of(session, SourceRow)}
            documents = sorted(rows_of(session, WorkDocumentRow), key=lambda row: row["version"])
            return Catalogue(
                sources,
                parties_of(session),
                _works(session),
                {row["document_id"]: row["work_id"] for row in documents},
            )

    def rates(self) -> FxTable:
        """Read back the exchange rates."""
        with Session(self._engine) as session:
            return FxTable(
                FxRate(
                    row["from_code"],
                    row["to_code"],
                    row["rate_on"],
                    Fraction(row["rate_numerator"], row["rate_denominator"]),
                    row["source"],
                )
                for row in rows_of(session, FxRateRow)
            )

    def _save_parties(self, session: Session, parties: Iterable[Party]) -> int:
        """Store parties and their identifiers."""
        in_order = list(parties)
        rows = [{"party_id": p.party_id, "kind": p.kind, "payee_id": p.payee_id} for p in in_order]
        identifiers = [
            {"party_id": p.party_id, "scheme": i.scheme, "value": i.value}
            for p in in_order
            for i in p.external_ids
        ]
        return self._save(session, PartyRow, rows) + self._save(
            session, PartyIdentifierRow, identifiers
        )

    def _save_works(self, session: Session, works: Iterable[Work]) -> int:
        """Store works, their identifiers and their shares."""
        in_order = list(works)
        rows = [
            {
                "work_id": w.work_id,
                "title": w.title,
                "source_id": w.source_id or None,
                "licence": w.licence,
            }
            for w in in_order
        ]
        identifiers = [
            {"work_id": w.work_id, "scheme": i.scheme, "value": i.value}
            for w in in_order
            for i in w.external_ids
        ]
        splits = [split_row(w.work_id, part) for w in in_order for part in w.splits]
        return (
            self._save(session, WorkRow, rows)
            + self._save(session, WorkIdentifierRow, identifiers)
            + self._save(session, WorkSplitRow, splits)
        )

    def _save(self, session: Session, table: type[SQLModel], rows: Sequence[_Row]) -> int:
        """Insert the rows that are not there, and refuse those that are there and differ."""
        if not rows:
            return 0
        core = table.metadata.tables[str(table.__tablename__)]
        keys = [column.name for column in core.primary_key]
        stored = {tuple(row[key] for key in keys): row for row in rows_of(session, table)}
        new = []
        for row in rows:
            known = stored.get(tuple(row[key] for key in keys))
            if known is None:
                new.append(row)
                continue
            for name, value in row.items():
                unknown_approver = name == "approved_by" and value is None
                if known[name] != value and not unknown_approver:
                    what = f"{core.name} {' '.join(str(row[key]) for key in keys)}"
                    raise StoreConflictError(what, name, known[name], value)
        for start in range(0, len(new), _BATCH_ROWS):
            session.execute(insert(core), new[start : start + _BATCH_ROWS])
        return len(new)


def rows_of(session: Session, table: type[SQLModel]) -> list[_Row]:
    """Read a whole table as mappings, in key order, without the time of recording."""
    core = table.metadata.tables[str(table.__tablename__)]
    columns = [column for column in core.columns if column.name != "recorded_at"]
    query = select(*columns).order_by(*core.primary_key)
    return [dict(row) for row in session.execute(query).mappings()]


def _grouped(
    rows: Iterable[_Row], key: str, make: Callable[[_Row], _Value]
) -> Mapping[str, list[_Value]]:
    """Group what rows make by one of their columns."""
    grouped: dict[str, list[_Value]] = defaultdict(list)
    for row in rows:
        grouped[row[key]].append(make(row))
    return grouped


def parties_of(session: Session) -> dict[str, Party]:
    """Read all parties with their identifiers."""
    identifiers = _grouped(rows_of(session, PartyIdentifierRow), "party_id", _identifier)
    return {
        row["party_id"]: Party(
            row["party_id"],
            row["kind"],
            row["payee_id"],
            tuple(sorted(identifiers.get(row["party_id"], []))),
        )
        for row in rows_of(session, PartyRow)
    }


def _works(session: Session) -> dict[str, Work]:
    """Read all works with their shares and identifiers; of a sheet the newest version counts."""
    identifiers = _grouped(rows_of(session, WorkIdentifierRow), "work_id", _identifier)
    sheets = _grouped(rows_of(session, WorkSplitRow), "work_id", lambda row: row)
    works = {}
    for row in rows_of(session, WorkRow):
        sheet = sheets.get(row["work_id"], [])
        newest = max((part["version"] for part in sheet), default=0)
        works[row["work_id"]] = Work(
            row["work_id"],
            row["title"],
            row["source_id"] or "",
            row["licence"],
            tuple(_split(part) for part in sheet if part["version"] == newest),
            tuple(sorted(identifiers.get(row["work_id"], []))),
        )
    return works


def _identifier(row: _Row) -> ExternalId:
    """Make an identifier from its row."""
    return ExternalId(row["scheme"], row["value"])


def _source_row(source: Source) -> _Row:
    """Make the row of a source."""
    return {
        "source_id": source.source_id,
        "kind": source.kind,
        "title": source.title,
        "version": source.version,
        "licence": source.licence,
    }


def split_row(work_id: str, part: WorkSplit) -> _Row:
    """Make the row of a share, in the first version of its sheet."""
    return {
        "work_id": work_id,
        "right_id": part.right,
        "version": 1,
        "effective_from": part.effective_from or SINCE_EVER,
        "party_id": part.party_id,
        "effective_to": part.effective_to,
        "share_numerator": part.share.numerator,
        "share_denominator": part.share.denominator,
    }


def _split(row: _Row) -> WorkSplit:
    """Make a share from its row."""
    starts = row["effective_from"]
    return WorkSplit(
        row["party_id"],
        Fraction(row["share_numerator"], row["share_denominator"]),
        None if starts == SINCE_EVER else starts,
        row["effective_to"],
        row["right_id"],
    )


def agreement_row(agreement: Agreement, approved_by: str | None) -> _Row:
    """Make the row of an agreement version."""
    return {
        "agreement_id": agreement.agreement_id,
        "version": agreement.version,
        "status": "active",
        "licensor": agreement.licensor,
        "licensee": agreement.licensee,
        "payee_id": agreement.payee_id,
        "currency": agreement.currency,
        "effective_from": agreement.effective_from,
        "effective_to": agreement.effective_to,
        "payload": agreement.payload,
        "payload_sha256": agreement.payload_sha256,
        "signer": agreement.signer or None,
        "signature": agreement.signature or None,
        "approved_by": approved_by,
    }


def _rate_row(rate: FxRate) -> _Row:
    """Make the row of an exchange rate."""
    return {
        "from_code": rate.from_code,
        "to_code": rate.to_code,
        "rate_on": rate.rate_on,
        "source": rate.source,
        "rate_numerator": rate.rate.numerator,
        "rate_denominator": rate.rate.denominator,
    }
