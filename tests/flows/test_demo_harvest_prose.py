"""Prose keeps whole sentences and drops code, markup, addresses and people."""

import pytest

from flows.demo.harvest_passages import HarvestLimits, passages
from flows.demo.harvest_prose import drop_unknown_names, people, prose, words

KEPT = "This function returns the number of words in a text."


def sentences(text, **options):
    """Return all sentences that prose keeps, in order."""
    return [sentence for paragraph in prose(text, **options) for sentence in paragraph]


@pytest.mark.parametrize(
    "markup",
    [
        "[![Build](https://img.example/x.svg)](https://ci.example/x)",
        "```python\nThis line of code = looks(like) a sentence here.\n```",
        "~~~\nThis fenced block should not be read at all.\n~~~",
        "::\n\n    This literal block should not be read at all.\n",
        ".. note::\n   This directive has an indented text that goes.\n",
        ".. code-block:: python\n\n    This is code which should not be read.\n",
        ">>> print('This example should not be read.')\nThis output should not be read either.\n",
        "| Column one | This is a table cell here. |\n| --- | --- |",
        "=====  =====\nThis is a table as well.  Cell\n=====  =====",
        "<!-- This comment should not be read by anyone. -->",
        "<table><tr><td>This cell should not be read at all.</td></tr></table>",
        "![This image has a long text as its name.](picture.png)",
        "x = compute_the_value(of_something) and then {return} it.",
    ],
)
def test_code_and_markup_are_dropped_around_a_sentence(markup):
    """What a machine reads is not what the model shall learn to write."""
    assert sentences(f"{KEPT}\n\n{markup}\n\n{KEPT}") == [KEPT, KEPT]


@pytest.mark.parametrize(
    "sentence",
    [
        "Please read the manual at https://docs.example.org for more about it.",
        "Write to someone@example.org when you find a problem with it.",
        "Many thanks go to the people who helped with this release.",
        "This fix was made by @somebody in the last release of it.",
        "This package is maintained by the people of that project.",
        "Copyright (c) 2019 by the people of that project, all rights.",
        "The algorithm is due to J. Doe and was improved by others later.",
        "The method follows Doe et al. and is described in their paper.",
        "It was first described in the paper (Doe, 1998) and then here.",
        "This is a port of the library by Jane Doe to another language.",
        "It uses the method that somebody wrote, see issue #1234 for it.",
    ],
)
def test_a_sentence_with_a_person_or_an_address_is_dropped(sentence):
    """Nobody is named and nowhere is linked to, whatever the package wrote."""
    assert sentences(f"{KEPT} {sentence} {KEPT}") == [KEPT, KEPT]


def test_a_name_known_from_metadata_is_dropped_in_any_case():
    """Authorship fields are used once: to know whose names to leave out."""
    text = f"{KEPT} The first version came from jane doe in one weekend. {KEPT}"
    assert sentences(text, names=people({"jane doe"})) == [KEPT, KEPT]
    assert len(sentences(text)) == 3


def test_two_capitalised_words_that_nobody_writes_small_may_be_a_name():
    """A surname is not a word; a transform is."""
    paragraphs = [("The Fast Fourier Transform is linear.", "Ask Jane Doe about the rest of it.")]
    assert drop_unknown_names(paragraphs, frozenset({"fast", "transform"})) == [
        ("The Fast Fourier Transform is linear.",)
    ]


@pytest.mark.parametrize(
    "heading",
    [
        "## Authors", "# License", "### Changelog", "## Credits and thanks", "## 2.1.0 (2024)",
        "Authors\n-------", "Release history\n===============", "**Acknowledgements**",
    ],
)  # fmt: skip
def test_sections_about_people_and_releases_are_dropped_to_their_end(heading):
    """The section ends at the next heading of its own level."""
    mark = "## Usage" if heading.startswith("#") else "Usage\n-----"
    if heading.startswith("Release"):
        mark = "Usage\n====="
    if heading.startswith("#"):
        mark = f"{heading.split()[0]} Usage"
    text = f"{KEPT}\n\n{heading}\n\nThis sentence is about people and releases.\n\n{mark}\n\n{KEPT}"
    assert sentences(text) == [KEPT, KEPT]


def test_inline_markup_is_taken_off_and_its_words_are_kept():
    """A reader of the passage sees the words the page would show."""
    text = (
        "Use **the** `Reader` class, see :class:`~package.Writer` and "
        "[the guide](https://x.example/y), or "
        "``read_all`` and `the manual <https://x.example/z>`_ [1]_."
    )
    assert sentences(text) == [
        "Use the Reader class, see package.Writer and the guide, or read_all and the manual."
    ]


def test_parameter_descriptions_are_kept_without_their_names():
    """Docstring sections give sentences; their names and types are code."""
    text = """Count the words of a text in one pass.

    Parameters
    ----------
    text : str
        The text whose words are to be counted here.

    Args:
        other (int): The number of words that are expected here.

    :param mode: The mode in which the words are counted here.
    """
    assert sentences(text) == [
        "Count the words of a text in one pass.",
        "The text whose words are to be counted here.",
        "The number of words that are expected here.",
        "The mode in which the words are counted here.",
    ]


def test_passages_keep_their_bounds_and_their_order():
    """Whole sentences in order, never fewer words than the minimum or more than the maximum."""
    limits = HarvestLimits(words_min=20, words_target=30, words_max=40)
    paragraphs = [
        tuple(f"Sentence {i} of {j} has exactly nine words in it." for i in range(j % 4 + 1))
        for j in range(40)
    ]
    found = list(passages(paragraphs, limits))
    assert all(20 <= words(passage) <= 40 for passage in found)
    flat = [sentence for paragraph in paragraphs for sentence in paragraph]
    assert " ".join(flat).startswith(" ".join(" ".join(found).split())[:200])
    assert sum(words(passage) for passage in found) >= 9 * len(flat) - 40 * 3
