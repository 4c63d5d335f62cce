"""Disclosures answer from the register, or leave a field open and say why."""

import io
import json

import pytest
from pypdf import PdfReader

from reports.disclosure import california, eu
from reports.disclosure.facts import (
    Answer,
    CorpusFacts,
    SourceFact,
    answers_document,
    answers_json,
    size_range,
)
from reports.disclosure.lookup import (
    LookedUpDocument,
    WorkEarning,
    WorkLookup,
    lookup_document,
    lookup_json,
)
from reports.render.pdf import render_pdf

SOURCES = (
    SourceFact("src:numkit", "numkit 2.1", "package", "public_dataset", "licensed", 40, 4_000),
    SourceFact("src:httpkit", "httpkit 1.0", "package", "public_dataset", "open", 400, 60_000),
    SourceFact("src:tiny", "tiny 0.1", "package", "public_dataset", "open", 2, 100),
)
BARE = CorpusFacts("org:example-models", ("tiny-gpt2@2026-11-02",), "2026-12-08", 1, SOURCES)

EU_NUMBERS = [
    "0.1", "0.2", "0.3", "1.1", "1.2", "1.2", "1.2", "1.3", "1.3", "1.3", "1.3", "1.3",
    "2.1", "2.1", "2.1", "2.2.1", "2.2.2", "2.3", "2.3", "2.3", "2.3", "2.4", "2.4", "2.5", "2.6",
    "3.1", "3.1", "3.2", "3.3",
]  # fmt: skip


def test_every_section_of_the_eu_template_is_there_in_order():
    """A field that is not answered is open; none is left out."""
    answers = eu.eu_summary(BARE)
    assert [item.number for item in answers] == EU_NUMBERS
    by_question = {item.question: item for item in answers}
    assert by_question["Crawled and scraped data used"].answer == "No, none in the register"
    assert by_question["Prompts and outputs of this model used"].open_because
    assert "numkit" in by_question["Large public datasets"].answer
    assert by_question["Other public datasets"].answer == "1 smaller ones"


def test_the_twelve_items_of_california_are_there():
    """Unknown is open, never no."""
    items = california.california_items(BARE)
    assert [item.number for item in items] == [str(n) for n in range(1, 13)]
    assert items[6].open_because == california.PROVIDER_MUST
    assert items[2].answer == "442 documents; less than 1 billion tokens"
    assert items[4].answer == "licensed: 40 documents; open: 402 documents"


@pytest.mark.parametrize(
    ("make", "module"),
    [(eu.eu_summary, eu), (california.california_items, california)],
)
def test_disclosures_are_drafts_as_paper_and_json(make, module):
    """Marked as drafts; the number of answered fields is on the first page."""
    answers = make(BARE)
    document = answers_document(
        answers, title=module.TITLE, subtitle=module.SUBTITLE, facts=BARE, form=module.FORMAT
    )
    assert document.watermark == "draft"
    text = PdfReader(io.BytesIO(render_pdf(document))).pages[0].extract_text()
    assert "for a person to complete and sign" in " ".join(text.split())
    data = json.loads(answers_json(answers, BARE, module.FORMAT))
    assert len(data["answers"]) == len(answers)


def test_an_answer_is_given_with_its_source_or_open_with_a_reason():
    """Neither a claim without source nor an empty field can be made."""
    with pytest.raises(AssertionError):
        Answer("1", "h", "q", answer="yes")
    with pytest.raises(AssertionError):
        Answer("1", "h", "q")


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (10**9 - 1, "less than 1 billion tokens"),
        (10**9, "1 billion to 10 trillion tokens"),
        (10**13, "more than 10 trillion tokens"),
    ],
)
def test_sizes_are_the_ranges_of_the_template(tokens, words):
    """The template asks for ranges."""
    assert size_range(tokens) == words


def test_a_work_that_was_never_trained_on_gets_that_answer():
    """Not found names the corpus that was searched."""
    lookup = WorkLookup("work:x", "2026-12-08", "org:example-models", "ab" * 32, "USD/6")
    assert json.loads(lookup_json(lookup))["found"] is False
    text = PdfReader(io.BytesIO(render_pdf(lookup_document(lookup)))).pages[0].extract_text()
    assert "No document of this work" in text
    assert "ab" * 32 in text


def test_a_work_that_was_trained_on_is_shown_with_what_it_earned():
    """Documents by digest, earnings by statement, total to the unit."""
    lookup = WorkLookup(
        "work:x", "2026-12-08", "org:example-models", "ab" * 32, "USD/6",
        documents=(LookedUpDocument("doc:1", "cd" * 32, 120),),
        earnings=(
            WorkEarning("2026-10", 10**10, 9 * 10**9, 11 * 10**9, 1_000_001, "S-1"),
            WorkEarning("2026-11", 10**10, None, None, 2_000_002, "S-2"),
        ),
    )  # fmt: skip
    assert json.loads(lookup_json(lookup))["earned"] == "3.000003"
    text = PdfReader(io.BytesIO(render_pdf(lookup_document(lookup)))).pages[0].extract_text()
    assert "3.000003" in text.replace("\n", "")
