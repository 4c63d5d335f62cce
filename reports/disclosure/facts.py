"""What is known about the training corpus for public disclosures, and how an answer looks.

1. Everything is a draft for people to complete and sign; nothing here is legal advice.
2. A question is answered from the corpus register, or left open with the reason.
   None means not known and is never turned into "no".
3. Every answer names its source.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from reports.render.document import Block, Cell, Column, Document, Heading, Row, Table, Text
from reports.statement import plain

TEXT_RANGES: Final = (
    (10**9, "less than 1 billion tokens"),
    (10**13, "1 billion to 10 trillion tokens"),
)
REGISTER: Final = "corpus register"


@dataclass(frozen=True)
class SourceFact:
    """One source of the corpus.

    `kind` is what it is (package, book, site, repository, dataset); `origin` how it
    came: "public_dataset", "licensed", "third_party", "crawled", "user", "synthetic"
    or "own". `standing` is "licensed", "open", "public_domain", "reserved" or
    "unknown"; `licence` the text or SPDX id given.
    """

    source_id: str
    title: str
    kind: str
    origin: str
    standing: str
    documents: int
    tokens: int
    licence: str = ""
    version: str = ""
    location: str = ""


@dataclass(frozen=True)
class CorpusFacts:
    """What the register says about a model's training data. None: not known.

    Args:
        provider: name and contact, as the provider gives them.
        model_names: versioned names of the models trained on it.
        date: ISO date of the draft.
        version: version of the document, 1, 2, ...
        previous: where the version before can be found, or "".
        sources: every source.
        languages: language tags of the text.
        acquired_from: ISO date of the first acquisition.
        acquired_to: ISO date of the latest acquisition.
        first_used_on: ISO date of first use in development.
        cleaning: what was done to the data, in words.
        purpose: how the data furthers the purpose of the model.
        personal: whether it holds personal information.
        aggregate_consumer: whether it holds aggregate consumer information.
    """

    provider: str
    model_names: tuple[str, ...]
    date: str
    version: int
    sources: tuple[SourceFact, ...]
    previous: str = ""
    base_models: tuple[str, ...] | None = None
    market_date: str = ""
    languages: tuple[str, ...] = ()
    acquired_from: str = ""
    acquired_to: str = ""
    continuous: bool | None = None
    first_used_on: str = ""
    cleaning: str = ""
    purpose: str = ""
    personal: bool | None = None
    aggregate_consumer: bool | None = None
    user_prompts: bool | None = None
    other_user_data: bool | None = None
    crawlers: tuple[str, ...] | None = None
    reservations: str = ""
    illegal_content: str = ""
    code_signatory: bool | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def documents(self) -> int:
        """All documents of the corpus."""
        return sum(source.documents for source in self.sources)

    @property
    def tokens(self) -> int:
        """All tokens of the corpus."""
        return sum(source.tokens for source in self.sources)

    def of_origin(self, origin: str) -> tuple[SourceFact, ...]:
        """Return the sources that came in one way."""
        return tuple(source for source in self.sources if source.origin == origin)


@dataclass(frozen=True)
class Answer:
    """One field of a disclosure: answered with a source, or open with a reason.

    `heading` opens a new part of the document where it changes.
    """

    number: str
    heading: str
    question: str
    answer: str = ""
    source: str = ""
    open_because: str = ""

    def __post_init__(self) -> None:
        """A field is answered with a source, or open with a reason; never both or neither."""
        assert bool(self.answer) != bool(self.open_because), self
        assert not self.answer or self.source, self


def size_range(tokens: int) -> str:
    """Return the range that the EU template asks for."""
    for limit, words in TEXT_RANGES:
        if tokens < limit:
            return words
    return "more than 10 trillion tokens"


def yes_no(known: bool | None) -> str:  # noqa: FBT001 - the answer itself.
    """Write a known answer; "" where it is not known."""
    return "" if known is None else ("Yes" if known else "No")


def answers_document(
    answers: Sequence[Answer], *, title: str, subtitle: str, facts: CorpusFacts, form: str
) -> Document:
    """Lay a disclosure out as a paper, open fields marked.

    Args:
        answers: in the order of the form.
        title: of the paper.
        subtitle: which law and which version of its form.
        facts: for the head.
        form: format name and version.
    """
    blocks: list[Block] = [
        Text(
            "Draft made from the corpus register for a person to complete and sign. Fields that "
            "the register cannot answer are marked open, with the reason.",
            "warning",
        )
    ]
    heading = ""
    rows: list[Row] = []
    columns = (
        Column("No."),
        Column("Field", width="48mm"),
        Column("Answer", width="1fr"),
        Column("Source", width="38mm"),
    )
    for item in answers:
        if item.heading != heading:
            if rows:
                blocks.append(Table(columns, tuple(rows), small=True))
            heading, rows = item.heading, []
            blocks.append(Heading(heading))
        said = (
            Cell(item.answer) if item.answer else Cell("open", sub=item.open_because, tone="muted")
        )
        rows.append(
            Row((Cell(item.number), Cell(item.question), said, Cell(item.source, tone="muted")))
        )
    blocks.append(Table(columns, tuple(rows), small=True))
    left = sum(not item.answer for item in answers)
    return Document(
        title=title,
        subtitle=subtitle,
        running=(facts.provider, ", ".join(facts.model_names), f"draft, version {facts.version}"),
        footer=form,
        date=facts.date,
        author=facts.provider,
        facts=(
            ("Version", str(facts.version)),
            ("Date", facts.date),
            ("Answered", f"{len(answers) - left} of {len(answers)}"),
        ),
        blocks=tuple(blocks),
        watermark="draft",
    )


def answers_json(answers: Sequence[Answer], facts: CorpusFacts, form: str) -> bytes:
    """Write a disclosure as canonical JSON."""
    document = {
        "format": form,
        "models": list(facts.model_names),
        "version": str(facts.version),
        "date": facts.date,
        "answers": [plain(item) for item in answers],
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"
