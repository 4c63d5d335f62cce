"""A draft of the training-data documentation of California AB 2013 (Civil Code 3110-3111).

Twelve items in the order of the law. Numbers may be ranges. The documentation is to
be posted on a website and renewed with every substantial modification.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from reports.disclosure.facts import REGISTER, Answer, CorpusFacts, size_range, yes_no
from reports.render.text import count

FORMAT: Final = "byline-ab2013/1"
TITLE: Final = "Training data documentation"
SUBTITLE: Final = "California AB 2013, Civil Code section 3111, twelve items"
PROVIDER_MUST: Final = "Only the developer can say."
SHOWN: Final = 25


def california_items(facts: CorpusFacts) -> tuple[Answer, ...]:
    """Answer the twelve items, or leave them open with the reason."""
    standing = Counter[str]()
    for source in facts.sources:
        standing[source.standing] += source.documents
    legal = "; ".join(
        f"{name.replace('_', ' ')}: {count(number)} documents"
        for name, number in sorted(standing.items())
    )
    licensed = [s for s in facts.sources if s.origin == "licensed" or s.standing == "licensed"]
    synthetic = facts.of_origin("synthetic")
    kinds = ", ".join(sorted({source.kind for source in facts.sources}))
    period = ""
    if facts.acquired_from and facts.acquired_to:
        period = f"{facts.acquired_from} to {facts.acquired_to}"
        if facts.continuous is not None:
            period += ", ongoing" if facts.continuous else ", ended"
    items = (
        ("Sources or owners of the datasets", _owners(facts)),
        ("How the datasets further the intended purpose", facts.purpose),
        (
            "Number of data points",
            f"{count(facts.documents)} documents; {size_range(facts.tokens)}",
        ),
        ("Types of data points and labels", f"Text, unlabelled: {kinds}" if kinds else ""),
        ("Protected by copyright, trademark or patent, or public domain", legal),
        (
            "Purchased or licensed",
            f"Licensed: {count(len(licensed))} of {count(len(facts.sources))} sources",
        ),
        ("Personal information", yes_no(facts.personal)),
        ("Aggregate consumer information", yes_no(facts.aggregate_consumer)),
        ("Cleaning, processing or modification, and its purpose", facts.cleaning),
        ("Period of collection, and whether it goes on", period),
        ("Dates of first use in development", facts.first_used_on),
        (
            "Synthetic data generation",
            f"Yes: {count(len(synthetic))} sources" if synthetic else "None in the register",
        ),
    )
    return tuple(
        Answer(str(number), "Items", question, answer, REGISTER)
        if answer
        else Answer(str(number), "Items", question, open_because=PROVIDER_MUST)
        for number, (question, answer) in enumerate(items, start=1)
    )


def _owners(facts: CorpusFacts) -> str:
    ordered = sorted(facts.sources, key=lambda s: (-s.tokens, s.source_id))
    names = "; ".join(source.title or source.source_id for source in ordered[:SHOWN])
    rest = len(ordered) - SHOWN
    return f"{names}; and {count(rest)} more in the register" if rest > 0 else names
