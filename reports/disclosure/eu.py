"""A draft of the public summary of training content, EU AI Act Article 53(1)(d).

The sections and their order are those of the AI Office's template of 24 July 2025;
the wording of the fields is shortened. The template asks for ranges and kinds, not
for single works; where a kind was not used the answer is "No", said aloud.
"""

from __future__ import annotations

from typing import Final

from reports.disclosure.facts import REGISTER, Answer, CorpusFacts, SourceFact, size_range, yes_no
from reports.render.text import count

FORMAT: Final = "byline-eu-summary/1"
TITLE: Final = "Public summary of training content"
SUBTITLE: Final = "Regulation (EU) 2024/1689, Article 53(1)(d), template of 24 July 2025"
PROVIDER_MUST: Final = "Only the provider can say."
# A public dataset is large above 3 % of all publicly available data of its kind (template).
LARGE_PERCENT: Final = 3


def eu_summary(facts: CorpusFacts) -> tuple[Answer, ...]:
    """Answer every field of the template, or leave it open with the reason."""
    return (*_general(facts), *_sources(facts), *_processing(facts))


def _field(
    number: str, heading: str, question: str, answer: str, why_open: str = PROVIDER_MUST
) -> Answer:
    if answer:
        return Answer(number, heading, question, answer, REGISTER)
    return Answer(number, heading, question, open_because=why_open)


def _general(facts: CorpusFacts) -> tuple[Answer, ...]:
    head, part = "Version", "1 General information"
    base = None if facts.base_models is None else ", ".join(facts.base_models) or "None"
    kinds = ", ".join(sorted({source.kind for source in facts.sources}))
    size = f"Text: {size_range(facts.tokens)}; {count(facts.documents)} documents"
    latest = facts.acquired_to
    if latest and facts.continuous is not None:
        latest += "; trained on continuously" if facts.continuous else "; not continued since"
    return (
        _field("0.1", head, "Version of the summary", str(facts.version)),
        _field("0.2", head, "Last update", facts.date),
        _field("0.3", head, "Previous version", facts.previous or _first(facts)),
        _field("1.1", part, "Provider, contact, authorised representative", facts.provider),
        _field("1.2", part, "Versioned model names", ", ".join(facts.model_names)),
        _field("1.2", part, "Model dependencies (base models)", base or ""),
        _field("1.2", part, "Date of placement on the Union market", facts.market_date),
        _field("1.3", part, "Modalities and size", size),
        _field("1.3", part, "Types of content", kinds),
        _field("1.3", part, "Latest date of data acquisition", latest),
        _field("1.3", part, "Linguistic characteristics", ", ".join(facts.languages)),
        _field("1.3", part, "Other characteristics", "; ".join(facts.notes)),
    )


def _first(facts: CorpusFacts) -> str:
    return "None: this is the first version" if facts.version == 1 else ""


def _sources(facts: CorpusFacts) -> tuple[Answer, ...]:
    part = "2 List of data sources"
    public = facts.of_origin("public_dataset")
    total = sum(source.tokens for source in public)
    large = [s for s in public if s.tokens * 100 > total * LARGE_PERCENT]
    small = len(public) - len(large)
    crawled = facts.of_origin("crawled")
    top = sorted(crawled, key=lambda s: (-s.tokens, s.source_id))
    top = top[: max(1, -(-len(top) // 10))]
    crawlers = None if facts.crawlers is None else ", ".join(facts.crawlers) or "No"
    collected = _between(facts)
    third = facts.of_origin("third_party")
    synthetic = facts.of_origin("synthetic")
    own = facts.of_origin("own")
    return (
        _field("2.1", part, "Publicly available datasets used", _used(public)),
        _field("2.1", part, "Large public datasets", _names(large) or _none_if(public)),
        _field("2.1", part, "Other public datasets", f"{count(small)} smaller ones"),
        _field(
            "2.2.1", part, "Datasets commercially licensed by rightsholders",
            _used(_licensed(facts)),
        ),
        _field("2.2.2", part, "Private datasets of other third parties", _used(third)),
        _field("2.3", part, "Crawled and scraped data used", _used(crawled)),
        _field("2.3", part, "Crawlers: names, purposes, behaviour", crawlers or ""),
        _field("2.3", part, "Period of collection", collected if crawled else _none_if(crawled)),
        _field("2.3", part, "Top domains (top 10 % by size)", _names(top) or _none_if(crawled)),
        _field("2.4", part, "Prompts and outputs of this model used", yes_no(facts.user_prompts)),
        _field("2.4", part, "Data of users of other products", yes_no(facts.other_user_data)),
        _field("2.5", part, "Synthetic data used", _used(synthetic)),
        _field("2.6", part, "Other sources", _names(own) or "None in the register"),
    )  # fmt: skip


def _processing(facts: CorpusFacts) -> tuple[Answer, ...]:
    part = "3 Relevant data processing aspects"
    return (
        _field("3.1", part, "Signatory of the Code of Practice", yes_no(facts.code_signatory)),
        _field("3.1", part, "Measures for rights reservations (TDM)", facts.reservations),
        _field("3.2", part, "Removal of illegal content", facts.illegal_content),
        _field("3.3", part, "Other (optional)", facts.cleaning),
    )


def _between(facts: CorpusFacts) -> str:
    if not (facts.acquired_from and facts.acquired_to):
        return ""
    return f"{facts.acquired_from} to {facts.acquired_to}"


def _used(sources: tuple[SourceFact, ...]) -> str:
    if not sources:
        return "No, none in the register"
    documents = sum(source.documents for source in sources)
    number = "1 source" if len(sources) == 1 else f"{count(len(sources))} sources"
    return f"Yes, text: {number}, {count(documents)} documents"


def _licensed(facts: CorpusFacts) -> tuple[SourceFact, ...]:
    """A source under agreement is licensed, however its text came in."""
    return tuple(s for s in facts.sources if "licensed" in {s.origin, s.standing})


def _names(sources: list[SourceFact] | tuple[SourceFact, ...]) -> str:
    return "; ".join(
        " ".join(part for part in (s.title or s.source_id, s.version, s.location) if part)
        for s in sources
    )


def _none_if(sources: tuple[SourceFact, ...]) -> str:
    return "" if sources else "Not applicable: none used"
