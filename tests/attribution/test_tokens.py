"""Rows of tokens: what is scored, how long rows are cut, and which ids are refused."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.corpus import Document, Query
from attribution.errors import TokenizerMismatchError
from attribution.model import load_tokenizer
from attribution.tokens import (
    Encoded,
    EncodedRows,
    check_agreement,
    check_ids,
    encode_document,
    encode_output,
    encode_query,
    lengths_of,
    pick,
    unscorable,
    windows,
)
from tests.attribution.toy_training import toy_corpus, toy_model


@given(st.integers(0, 400), st.integers(1, 60), st.integers(4, 64))
def test_every_scored_token_is_scored_in_exactly_one_window(length, prompt, context):
    """Cutting a long text neither loses a token nor counts one twice."""
    row = Encoded(tuple(range(length)), prompt)
    scored = []
    for window in windows(row, context):
        assert 0 < len(window.input_ids) <= context
        assert window.prompt_length >= 1
        scored += window.input_ids[window.prompt_length :]
    assert scored == list(range(prompt, length))


def test_rows_in_a_file_are_the_rows_they_were_made_of():
    """What saves memory changes no token, empty rows and parts included."""
    rows = [Encoded((5, 6, 70_000), 2), Encoded((), 1), Encoded((9,), 1), Encoded((1, 2), 1)]
    kept = EncodedRows(iter(rows))
    assert list(kept) == rows
    assert list(kept[1:]) == rows[1:]
    assert list(kept[::-2]) == rows[::-2]
    assert list(kept[1:][1:3]) == rows[2:4]
    assert list(kept.picked([2, 0])) == list(pick(rows, [2, 0])) == [rows[2], rows[0]]
    assert kept[-1] == rows[-1]
    for form in (rows, kept):
        lengths, prompts = lengths_of(form)
        assert (lengths.tolist(), prompts.tolist()) == ([3, 0, 1, 2], [2, 1, 1, 1])
    with pytest.raises(IndexError):
        kept[4]


def test_a_row_that_fits_is_one_window_as_it_is():
    """The rule for long rows leaves all others alone."""
    row = Encoded((5, 6, 7, 8), 2)
    assert windows(row, 4) == [row]


def test_a_later_window_reads_a_quarter_context_before_it_scores():
    """No token is scored without anything before it, however long the text is."""
    later = windows(Encoded(tuple(range(30)), 1), 16)[1]
    assert later.prompt_length == 4
    assert later.input_ids[0] == 12


def test_a_document_is_framed_and_an_output_is_masked_up_to_its_prompt():
    """Training reads bos text eos; of an output only what the model wrote is scored."""
    tokenizer = load_tokenizer(toy_model())
    end = tokenizer.eos_token_id
    document = encode_document(Document("a", "a", "bread"), tokenizer)
    assert document.input_ids[0] == document.input_ids[-1] == end
    assert document.prompt_length == 1
    output = encode_output("the baker", " bread", tokenizer)
    assert tokenizer.decode(output.input_ids[output.prompt_length :]) == " bread"
    assert output.input_ids[0] == end


def test_given_ids_are_taken_as_they_are():
    """A corpus that comes tokenized is scored on exactly those tokens."""
    assert encode_document(Document("a", "a", "text", (4, 5)), None).input_ids == (4, 5)
    assert encode_query(Query("q", None, (4, 5, 6), 2), None) == Encoded((4, 5, 6), 2)
    assert encode_query(Query("q", None, (4, 5, 6), None), None).prompt_length == 1


def test_text_without_a_tokenizer_is_refused():
    """Nobody guesses how a text was tokenized."""
    with pytest.raises(TokenizerMismatchError, match="document a has text only"):
        encode_document(Document("a", "a", "text"), None)
    with pytest.raises(TokenizerMismatchError, match="query q has text only"):
        encode_query(Query("q", "text", None, 1), None)


def test_rows_with_nothing_to_score_are_listed():
    """An empty or one-token document is kept and counted, not dropped and not crashed on."""
    rows = [Encoded((), 1), Encoded((3,), 1), Encoded((3, 4), 1), Encoded((3, 4), 2)]
    assert unscorable(rows) == [0, 1, 3]
    assert [windows(rows[place], 8) for place in (0, 1, 3)] == [[], [], []]


def test_ids_beyond_the_vocabulary_are_refused():
    """Ids of another tokenizer would give scores that are noise."""
    with pytest.raises(TokenizerMismatchError, match=r"b holds token id 300 .* below 300"):
        check_ids([Encoded((1, 299), 1), Encoded((300,), 1)], ["a", "b"], 300)
    check_ids([Encoded((), 1)], ["a"], 300)


def test_ids_that_do_not_spell_the_text_are_refused():
    """A corpus encoded with another tokenizer is noticed before anything is scored."""
    tokenizer = load_tokenizer(toy_model())
    documents = [
        Document(row.document_id, row.group_id, row.text, encode_document(row, tokenizer).input_ids)
        for row in toy_corpus()
    ]
    check_agreement(documents, tokenizer)
    other = SimpleNamespace(
        all_special_ids=tokenizer.all_special_ids,
        decode=lambda ids: tokenizer.decode([(token * 7 + 1) % 290 for token in ids]),
    )
    with pytest.raises(TokenizerMismatchError, match="bakery/0"):
        check_agreement(documents, other)
