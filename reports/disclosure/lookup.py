"""The lookup pack of one work: was it trained on, under which agreement, what did it earn.

For a rights holder who asks, or a court. The rules:

1. It answers for one work and its documents, by id and by digest of the text, so
   that the asker can compare without being sent anything else.
2. "Not in the corpus" is an answer of its own and names the corpus searched.
3. What it earned is what the statements say, period by period, with the statement
   cited; nothing is estimated anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from contracts.money import format_units
from reports.render.document import (
    Block,
    Cell,
    Column,
    Document,
    Facts,
    Heading,
    Row,
    Table,
    Text,
)
from reports.render.text import amount, count, interval, percent
from reports.statement import plain

FORMAT: Final = "byline-work-lookup/1"


@dataclass(frozen=True)
class LookedUpDocument:
    """One document of the work, by id and SHA-256 of its text."""

    document_id: str
    text_sha256: str
    tokens: int


@dataclass(frozen=True)
class WorkEarning:
    """What the work earned in a period, as a statement says."""

    period: str
    share_ppt: int
    low_ppt: int | None
    high_ppt: int | None
    amount_units: int
    statement_number: str


@dataclass(frozen=True)
class WorkLookup:
    """The answer about one work. `documents` empty: it is not in the corpus searched."""

    work_id: str
    asked_on: str
    payer_id: str
    corpus_sha256: str
    currency: str
    title: str = ""
    source_id: str = ""
    licence: str = ""
    agreements: tuple[str, ...] = ()
    model_versions: tuple[str, ...] = ()
    documents: tuple[LookedUpDocument, ...] = ()
    earnings: tuple[WorkEarning, ...] = ()

    @property
    def found(self) -> bool:
        """Whether any document of the work is in the corpus."""
        return bool(self.documents)


def lookup_document(lookup: WorkLookup) -> Document:
    """Lay the answer out as a paper."""
    blocks: list[Block] = [
        Text(
            f"Documents of this work in the training corpus: {count(len(lookup.documents))}."
            if lookup.found
            else "No document of this work is in the training corpus that was searched.",
            "warning",
        ),
        Facts(
            (
                ("Work", Cell(lookup.work_id, sub=lookup.title)),
                ("Source", Cell(lookup.source_id or "none")),
                ("Licence given", Cell(lookup.licence or "none")),
                ("Agreements", Cell(", ".join(lookup.agreements) or "none")),
                ("Models trained on it", Cell(", ".join(lookup.model_versions) or "none")),
                ("Corpus searched", Cell(lookup.corpus_sha256, tone="code")),
            ),
            columns=1,
        ),
    ]
    if lookup.documents:
        rows = tuple(
            Row((Cell(d.document_id), Cell(d.text_sha256, tone="code"), Cell(count(d.tokens))))
            for d in lookup.documents
        )
        columns = (Column("Document", width="1fr"), Column("SHA-256"), Column("Tokens", "right"))
        blocks += [Heading("Documents"), Table(columns, rows, small=True)]
    if lookup.earnings:
        blocks += [Heading("Earned"), _earned(lookup)]
    blocks.append(
        Text("Influence is an estimate. It neither proves nor disproves copying.", "note")
    )
    return Document(
        title="Work lookup",
        subtitle=lookup.title or lookup.work_id,
        running=(lookup.payer_id, lookup.work_id, lookup.asked_on),
        footer=FORMAT,
        date=lookup.asked_on,
        author=lookup.payer_id,
        facts=(("Asked on", lookup.asked_on), ("Found", "yes" if lookup.found else "no")),
        blocks=tuple(blocks),
    )


def _earned(lookup: WorkLookup) -> Table:
    rows = [
        Row(
            (
                Cell(e.period),
                Cell(e.statement_number),
                Cell(percent(e.share_ppt), sub=interval(e.low_ppt, e.high_ppt)),
                amount(e.amount_units, lookup.currency),
            )
        )
        for e in lookup.earnings
    ]
    total = sum(e.amount_units for e in lookup.earnings)
    rows.append(Row((Cell("Total"), Cell(""), Cell(""), amount(total, lookup.currency)), "total"))
    columns = (
        Column("Period"),
        Column("Statement", width="1fr"),
        Column("Share, 95 % interval", "right"),
        Column(f"Amount, {lookup.currency.partition('/')[0]}", "right"),
    )
    return Table(columns, tuple(rows))


def lookup_json(lookup: WorkLookup) -> bytes:
    """Write the answer as canonical JSON."""
    total = sum(e.amount_units for e in lookup.earnings)
    document = {
        "format": FORMAT,
        "found": lookup.found,
        "lookup": plain(lookup),
        "earned": format_units(total, lookup.currency),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"
