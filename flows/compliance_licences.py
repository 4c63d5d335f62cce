"""Agreements, coverage of the corpus and rights reservations, as the compliance report has them.

1. What is in force is the version that the period is settled under; the whole register is a file
   beside the report, because ten thousand lines are no section.
2. Standing is what the period's accruals say of a work: licensed, not under contract, owner not
   known. The licence beside it is what the catalogue says the work was published under.
3. Reservations are what was imported as evidence. Whether one was honoured is a person's answer.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import timedelta
from enum import Enum

import orjson

from contracts.agreement import Agreement
from contracts.catalogue import Catalogue
from contracts.period import Period
from contracts.store_desk import AgreementDesk
from contracts.terms import Term
from contracts.work import Work, load_catalogue
from flows.close_plan import agreements_of
from flows.publish import ClosedPeriod
from reports.compliance_inputs import (
    AgreementFact,
    CoverageFact,
    FactTable,
    Figure,
    ReservationFact,
)
from reports.compliance_sections import SHOWN, register_source
from reports.render.csv import csv_bytes
from reports.render.text import amount, amount_text, count

EXPIRES_WITHIN_DAYS = 180
AGREEMENTS = "agreements/*.yaml"
REGISTER_COLUMNS = (
    "agreement_id", "version", "licensor", "effective_from", "effective_to", "works", "change",
)  # fmt: skip


def agreement_facts(closed: ClosedPeriod) -> tuple[AgreementFact, ...]:
    """List the agreements a period is settled under, with how many works each covers."""
    period = Period(closed.period)
    owned: dict[str, set[str]] = defaultdict(set)
    for work_id, work in load_catalogue(closed.workspace.catalogue).works.items():
        for party in work.shares_on(period.end):
            owned[party].add(work_id)
    return tuple(
        AgreementFact(
            a.agreement_id,
            a.version,
            a.licensor,
            a.effective_from.isoformat(),
            a.effective_to.isoformat() if a.effective_to else "",
            sum(a.covers_work(work) for work in owned[a.licensor]),
            _change(a, period),
        )
        for a in agreements_of(closed.book, period)
    )


def register_csv(agreements: Sequence[AgreementFact]) -> bytes:
    """Write the whole register of agreements, one line a version in force."""
    rows = [tuple(getattr(a, name) for name in REGISTER_COLUMNS) for a in agreements]
    return csv_bytes(REGISTER_COLUMNS, rows)


def register_figure(closed: ClosedPeriod, agreements: Sequence[AgreementFact]) -> Figure:
    """Cite the file of the whole register by its digest."""
    digest = hashlib.sha256(register_csv(agreements)).hexdigest()
    return Figure("Whole register", f"sha256 {digest[:16]}", register_source(closed.period))


def licence_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """Show what the agreements pay for, what ends soon, and what was used outside their terms."""
    period = Period(closed.period)
    agreements = agreements_of(closed.book, period)
    kinds: dict[tuple[str, str], set[str]] = defaultdict(set)
    for agreement in agreements:
        for term in agreement.terms:
            kinds[term.basis.value.replace("_", " "), _limits(term)].add(agreement.agreement_id)
    rows = [(basis, limits, count(len(ids))) for (basis, limits), ids in sorted(kinds.items())]
    heads = ("Basis", "=Only for", ">Agreements")
    yield FactTable("What their terms pay for", heads, tuple(rows), AGREEMENTS)
    last = period.end + timedelta(days=EXPIRES_WITHIN_DAYS)
    ending = sorted(
        (a.effective_to.isoformat(), a.name, a.licensor)
        for a in agreements
        if a.effective_to is not None and a.effective_to <= last
    )
    label = f"Ended, or ending within {EXPIRES_WITHIN_DAYS} days: {count(len(ending))}"
    yield FactTable(label, ("Ends", "=Agreement", "Licensor"), tuple(ending[:SHOWN]), AGREEMENTS)
    yield _outside(closed, agreements)


def _limits(term: Term) -> str:
    """Name what a term is limited to."""
    parts = []
    for item in fields(term.condition):
        chosen = getattr(term.condition, item.name)
        found = sorted(_in_words(one) for one in chosen)
        if found:
            parts.append(f"{item.name.replace('_', ' ')} {', '.join(found)}"[:60])
    return "; ".join(parts) or "everything"


def _in_words(item: object) -> str:
    """Write what is one of a fixed list in words; what people named stays as it is."""
    return str(item.value).replace("_", " ") if isinstance(item, Enum) else str(item)


def _outside(closed: ClosedPeriod, agreements: Sequence[Agreement]) -> FactTable:
    """Show what creators under agreement accrued for uses that no term of theirs covers."""
    currency = closed.plan.accruals.currency
    under = {agreement.licensor for agreement in agreements}
    found = sorted(
        (-claim.units, claim.creator_id)
        for claim in closed.plan.accruals.claims
        if claim.standing.value == "unlicensed" and claim.creator_id in under and claim.units
    )
    total = amount_text(-sum(units for units, _ in found), currency)
    rows = tuple((creator, amount(-units, currency)) for units, creator in found[:SHOWN])
    label = f"Used outside the terms of an agreement: {count(len(found))} creators, {total}"
    return FactTable(label, ("=Creator", ">Accrued"), rows, "estimates/*.works.parquet")


def coverage_facts(closed: ClosedPeriod) -> tuple[CoverageFact, ...]:
    """Count the corpus's documents and words by standing and licence of their work."""
    end = Period(closed.period).end
    catalogue = load_catalogue(closed.workspace.catalogue)
    licensed = {
        part.work_id
        for night in closed.plan.accruals.nights
        for part in night.parts
        if part.agreement is not None
    }
    words = _words(closed)
    documents: Counter[tuple[str, str]] = Counter()
    tokens: Counter[tuple[str, str]] = Counter()
    for document, work_id in catalogue.work_of.items():
        work = catalogue.works[work_id]
        owned = bool(work.shares_on(end))
        standing = "under agreement" if work_id in licensed else "no agreement"
        standing = standing if owned or work_id in licensed else "owner not known"
        key = (standing, _licence(catalogue, work))
        documents[key] += 1
        tokens[key] += words.get(document, 0)
    # Licences with few words are added up, so that the table stays one that can be read.
    shown = {key for key, _ in tokens.most_common(SHOWN)}
    rest = {standing: "other licences" for standing, _ in tokens}
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for (standing, licence), number in documents.items():
        is_shown = (standing, licence) in shown
        row = sums[standing, licence if is_shown else rest[standing]]
        row[0] += number
        row[1] += tokens[standing, licence]
    return tuple(
        CoverageFact(standing, number, size, standing == "under agreement", licence)
        for (standing, licence), (number, size) in sorted(sums.items())
    )


def _licence(catalogue: Catalogue, work: Work) -> str:
    """Name the licence that a work, or its source, was published under."""
    source = catalogue.sources.get(work.source_id)
    text = work.licence or (source.licence if source else "")
    line = " ".join(text.split())
    return (line[:57] + "...") if len(line) > 60 else line or "licence not known"


def _words(closed: ClosedPeriod) -> dict[str, int]:
    found = {}
    if closed.workspace.corpus.exists():
        with closed.workspace.corpus.open("rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                found[row["document_id"]] = len(row["text"].split())
    return found


def reservation_facts(closed: ClosedPeriod) -> tuple[ReservationFact, ...]:
    """List what was imported as evidence: RSL, robots.txt and AIPREF, with their digests."""
    return tuple(
        ReservationFact(
            one.location,
            f"{one.kind}, {one.vocabulary}",
            one.acquired_at[:10],
            hashlib.sha256(one.payload.encode()).hexdigest(),
            f"kept; {count(len(one.drafts))} drafts for a person",
        )
        for one in AgreementDesk(closed.books.engine).evidence()
    )


def removal_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """List documents taken out of the index, on whose request and why."""
    folder = closed.workspace.index / "removals"
    if not closed.workspace.index.exists():
        return
    rows = []
    for path in sorted(folder.glob("*.json")):
        said = json.loads(path.read_bytes())
        documents = count(len(said["documents"]))
        rows.append((path.stem, said["requested_on"], documents, said["reason"]))
    heads = ("Removal", "Requested", ">Documents", "=Reason")
    label = f"Documents removed from the index on request: {count(len(rows))} removals"
    yield FactTable(label, heads, tuple(rows[-SHOWN:]), "index/removals/*.json")


def _change(agreement: Agreement, period: Period) -> str:
    begun = period.start <= agreement.effective_from <= period.end
    if agreement.effective_to is not None and agreement.effective_to <= period.end:
        return "ended"
    if not begun:
        return ""
    return "new" if agreement.version == 1 else "changed"
