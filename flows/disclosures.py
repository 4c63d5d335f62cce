"""Public drafts about the corpus, the lookup pack of one work, and exports of a closed period.

1. What the corpus register does not say (who the provider is, how a kind of source came in) is
   read from a file of answers that a person writes; a missing origin stops the draft, because
   "none used" would be a lie.
2. What a work earned is read from the statements that were issued, with their numbers.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
import yaml

from contracts.catalogue import Catalogue
from contracts.work import load_catalogue
from flows.artefacts import sha256_file
from flows.books import read_agreements
from flows.errors import FlowError
from flows.publish import ClosedPeriod
from flows.publish_statements import versioned
from flows.workspace import Workspace
from reports.disclosure import california, eu
from reports.disclosure.facts import CorpusFacts, SourceFact, answers_document, answers_json
from reports.disclosure.lookup import LookedUpDocument, WorkEarning, WorkLookup
from reports.exports.audit_data_standard import audit_data_files
from reports.exports.dsr_style import dsr_style_tsv
from reports.files import write_reports
from reports.render.html import render_html
from reports.render.pdf import render_pdf
from reports.statement_reader import read_statement

ORIGINS = ("public_dataset", "licensed", "third_party", "crawled", "user", "synthetic", "own")
KINDS = {"eu": (eu.eu_summary, eu), "california": (california.california_items, california)}
UNREGISTERED = "unregistered"


class DisclosureError(FlowError):
    """A draft would have to say something that nobody has said."""


def write_disclosure(
    workspace: Workspace, kind: str, folder: Path, *, date: str, answers: Path | None
) -> list[Path]:
    """Write a draft of a public disclosure as PDF, HTML and JSON.

    Args:
        workspace: whose corpus and agreements.
        kind: eu or california.
        folder: where the files go.
        date: ISO date of the draft.
        answers: YAML with what only the provider can say; see `CorpusFacts` for its keys, and
            `origins`: how each kind of source came in.

    Raises:
        DisclosureError: an unknown key, or a kind of source without an origin.
    """
    facts = corpus_facts(workspace, date, _read_answers(answers))
    answer, form = KINDS[kind]
    filled = answer(facts)
    document = answers_document(
        filled, title=form.TITLE, subtitle=form.SUBTITLE, facts=facts, form=form.FORMAT
    )
    name = f"disclosure-{kind}"
    return write_reports(
        folder,
        {
            f"{name}.json": answers_json(filled, facts, form.FORMAT),
            f"{name}.html": render_html(document),
            f"{name}.pdf": render_pdf(document),
        },
    )


def corpus_facts(workspace: Workspace, date: str, answers: Mapping[str, Any]) -> CorpusFacts:
    """Read the corpus register, and beside it what only people can say.

    Raises:
        DisclosureError: a kind of source without an origin, or an unknown key.
    """
    given = dict(answers)
    origins = dict(given.pop("origins", {}))
    allowed = {f.name for f in fields(CorpusFacts)} - {"sources", "date"}
    if unknown := sorted(set(given) - allowed):
        close = difflib.get_close_matches(unknown[0], sorted(allowed), n=1)
        raise DisclosureError(
            f"the answers have the key {unknown[0]!r}, which no disclosure asks for"
            f"{f'; the closest is {close[0]}' if close else ''}; nothing was written"
        )
    catalogue = load_catalogue(workspace.catalogue)
    sources = tuple(_sources(workspace, catalogue, origins))
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in given.items()
    }
    values.setdefault("provider", "")
    values.setdefault("model_names", ())
    values.setdefault("version", 1)
    notes = (*values.pop("notes", ()), "sizes are counted in words separated by spaces")
    return CorpusFacts(**values, notes=notes, date=date, sources=sources)


def look_up(workspace: Workspace, work_id: str, *, date: str) -> WorkLookup:
    """Answer for one work: which documents were trained on, under what, and what it earned.

    A work that is not in the catalogue gets the answer "not in the corpus".
    """
    catalogue = load_catalogue(workspace.catalogue)
    work = catalogue.works.get(work_id)
    pool = workspace.settings.pool
    mine = {d for d, owner in catalogue.work_of.items() if owner == work_id}
    documents = tuple(
        LookedUpDocument(row["document_id"], _sha256(row["text"]), len(row["text"].split()))
        for row in _corpus(workspace)
        if row["document_id"] in mine
    )
    owners = {split.party_id for split in work.splits} if work else set()
    covering = [
        f"{a.agreement_id} v{a.version}"
        for a in read_agreements(workspace).agreements
        if a.licensor in owners and a.covers_work(work_id)
    ]
    earnings = tuple(_earned(workspace, work_id))
    return WorkLookup(
        work_id=work_id,
        asked_on=date,
        payer_id=pool.payer,
        corpus_sha256=sha256_file(workspace.corpus),
        currency=pool.currency,
        title=work.title if work else "",
        source_id=work.source_id if work else "",
        licence=work.licence if work else "",
        agreements=tuple(covering),
        model_versions=tuple(sorted(_models(workspace))),
        documents=documents,
        earnings=earnings,
    )


def export_ads(closed: ClosedPeriod, folder: Path) -> list[Path]:
    """Write the general ledger of a closed period as AICPA Audit Data Standard files."""
    files = audit_data_files(closed.books.leaves(0), closed.period, closed.period)
    return write_reports(folder, files)


def export_dsr(closed: ClosedPeriod, folder: Path, recipient: str) -> list[Path]:
    """Write a closed period's statements as one TSV in the style of DDEX royalty reporting."""
    statements = [
        versioned(closed.statements_folder, inputs) for inputs in closed.gathering.statements()
    ]
    data = dsr_style_tsv(
        statements,
        period=closed.period,
        sender_id=closed.workspace.settings.pool.payer,
        recipient_id=recipient,
    )
    return write_reports(folder, {f"dsr-style-{closed.period}.tsv": data})


def _sources(
    workspace: Workspace, catalogue: Catalogue, origins: Mapping[str, str]
) -> Iterator[SourceFact]:
    words = {row["document_id"]: len(row["text"].split()) for row in _corpus(workspace)}
    documents: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    licences: dict[str, set[str]] = {}
    licensors = set(read_agreements(workspace).licensors)
    licensed: dict[str, bool] = {}
    for document, work_id in sorted(catalogue.work_of.items()):
        work = catalogue.works[work_id]
        source = work.source_id or work_id
        documents[source] += 1
        tokens[source] += words.get(document, 0)
        licences.setdefault(source, set()).add(work.licence)
        owned = bool(licensors & {split.party_id for split in work.splits})
        licensed[source] = licensed.get(source, True) and owned
    for source_id in sorted(documents):
        known = catalogue.sources.get(source_id)
        kind = known.kind if known else UNREGISTERED
        origin = origins.get(kind, "")
        if origin not in ORIGINS:
            raise DisclosureError(
                f"source {source_id} is of kind {kind!r}, and the answers do not say how that "
                f"kind came in ({origin or 'nothing'}); nothing was written. Add to the answers: "
                f"origins: {{{kind}: one of {', '.join(ORIGINS)}}}"
            )
        licence = known.licence if known else ", ".join(sorted(licences[source_id] - {""}))
        yield SourceFact(
            source_id,
            known.title if known else source_id,
            kind,
            origin,
            "licensed" if licensed[source_id] else "open" if licence else "unknown",
            documents[source_id],
            tokens[source_id],
            licence,
            known.version if known else "",
        )


def _read_answers(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise DisclosureError(f"{path} is not a YAML mapping of answers; nothing was written")
    return content


def _corpus(workspace: Workspace) -> Iterator[dict[str, str]]:
    workspace.require(workspace.corpus, "whoever provides the corpus")
    with workspace.corpus.open("rb") as lines:
        for line in lines:
            yield orjson.loads(line)


def _models(workspace: Workspace) -> set[str]:
    """Name the models trained on the corpus, as periods have logged them."""
    found: set[str] = set()
    for path in sorted((workspace.root / "reports").glob("????-??/facts.json")):
        found |= set(orjson.loads(path.read_bytes())["model_versions"])
    return found


def _earned(workspace: Workspace, work_id: str) -> Iterator[WorkEarning]:
    needle = b'"work_id":' + orjson.dumps(work_id)
    for path in sorted((workspace.root / "reports").glob("????-??/statements/*.json")):
        data = path.read_bytes()
        if needle not in data:
            continue
        statement = read_statement(data, path.name)
        if _superseded(path, statement.inputs.header.version):
            continue
        for line in statement.work_summary:
            if line.work_id == work_id:
                yield WorkEarning(
                    statement.inputs.header.period,
                    line.share_ppt,
                    line.low_ppt,
                    line.high_ppt,
                    line.amount_units,
                    statement.number,
                )


def _superseded(path: Path, version: int) -> bool:
    mark = f".v{version}.json"
    return path.with_name(path.name.removesuffix(mark) + f".v{version + 1}.json").exists()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
