"""What attribution is used for: leaked texts found again, and documents chosen to train on."""

from dataclasses import replace

import numpy as np
import pytest

from attribution.corpus import Document
from attribution.errors import RecipeError, ScoringError
from attribution.evaluation.contamination import FORMS, contamination, plant, recall, replicas_found
from attribution.evaluation.data_selection import choose, selection_effect
from attribution.evaluation.removal import setup_of
from attribution.methods import METHODS
from attribution.model import load_model
from attribution.tokens import encode_document
from attribution.training import train
from tests.attribution.toy_training import TOY, toy_corpus

LEAKED = [
    Document("leak/0", "leak", "Seven times eleven makes seventy and seven."),
    Document("leak/1", "leak", "The cosine of nothing equals one exactly."),
]


def test_recall_of_all_replicas_still_says_how_many_could_be_missed():
    """Wilson's interval, by its published figures for 81 of 263, and at the bound."""
    assert recall([True] * 16).low == pytest.approx(0.806, abs=1e-3)
    assert recall([True] * 16).high == 1.0
    some = recall([True] * 81 + [False] * 182)
    assert (some.low, some.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)


@pytest.mark.parametrize(("share", "replicas"), [(0.005, 2), (0.2, 6), (0.5, 24)])
def test_replicas_are_planted_at_the_share_asked_for(share, replicas):
    """Each text as often as any other, ids unique, every document kept."""
    planted = plant(toy_corpus().documents, LEAKED, share, 3)
    assert planted.replicas == replicas
    assert (planted.item == 0).sum() == (planted.item == 1).sum()
    assert len({d.document_id for d in planted.documents}) == 24 + replicas
    for document, item in zip(planted.documents, planted.item, strict=True):
        assert item == -1 or document.text == LEAKED[item].text


def test_what_cannot_be_planted_is_refused():
    """The text says why."""
    corpus = toy_corpus().documents
    with pytest.raises(ScoringError, match="bakery/0 is leaked and in the corpus already"):
        plant(corpus, [corpus[0]], 0.1, 0)
    with pytest.raises(ScoringError, match=r"0 texts at a share of 0\.1 cannot be planted"):
        plant(corpus, [], 0.1, 0)


def test_replicas_take_their_forms_in_turn():
    """Parts are shorter, rewording keeps some words, a buried part stands inside a host's text."""
    corpus = toy_corpus().documents
    planted = plant(corpus, LEAKED, 0.25, 3, FORMS)
    assert sorted(form for form in planted.form if form) == sorted(2 * FORMS)
    clean = {document.document_id for document in corpus}
    assert len(clean & {d.document_id for d in planted.documents}) == 24 - 2
    for document, item, form in zip(planted.documents, planted.item, planted.form, strict=True):
        if item < 0:
            continue
        own, words = LEAKED[item].text.split(), document.text.split()
        kept = set(own) & set(words)
        assert (form == "exact") == (document.text == LEAKED[item].text)
        if form == "partial":
            assert " ".join(words) in LEAKED[item].text
            assert len(words) == round(0.4 * len(own))
        elif form == "reworded":
            assert kept < set(own)
        elif form == "buried":
            assert len(words) > len(own)
            assert kept
    with pytest.raises(ScoringError, match="rhymed is no form of a replica"):
        plant(corpus, LEAKED, 0.2, 0, ["rhymed"])


def test_found_are_replicas_among_as_many_documents_as_were_planted():
    """Perfect scores find all, one text alone finds its own, the opposite finds none."""
    planted = plant(toy_corpus().documents, LEAKED, 0.2, 3)
    perfect = np.stack([planted.item == 0, planted.item == 1]).astype(float)
    assert recall(replicas_found(perfect, planted)).mean == 1.0
    nowhere = np.tile(-perfect.max(axis=0), (2, 1))
    assert recall(replicas_found(nowhere, planted)).mean == 0.0
    blind = np.stack([planted.item == 0, np.full(len(planted.item), -1.0)])
    own = planted.item[planted.item >= 0] == 0
    assert replicas_found(blind, planted)[own].all()


def test_leaked_texts_are_found_by_methods_that_look(tmp_path):
    """Trained from scratch on the contaminated toy corpus."""
    methods = [METHODS[name] for name in ("bm25", "ekfac_index", "equal")]
    said = contamination(toy_corpus(), LEAKED, 0.2, methods, TOY, tmp_path / "leak")
    assert said.chance == pytest.approx(0.2)
    assert recall(said.found["bm25"]).mean == 1.0
    assert recall(said.found["ekfac_index"]).mean > 0.6
    assert said.forms == ("exact",) * 6


def heldout(tokenizer):
    """Return two texts of each of two topics, in the corpus's form and not in it, as outputs."""
    others = toy_corpus(per_group=2, seed=5).documents
    return [encode_document(document, tokenizer) for document in others[:4]]


def test_the_chosen_documents_are_the_best_over_all_outputs():
    """An output with large scores does not choose for the others."""
    scores = np.array([[900.0, 100, 0, 0], [0.0, 0.1, 0.9, -5]])
    assert choose(scores, 2).tolist() == [0, 2]


def test_training_on_chosen_documents_beats_random_ones_of_equal_number(tmp_path):
    """Scores that name the outputs' own topics; the opposite scores do worse than random."""
    # The toy of the other tests spells; with whole words and ten epochs a topic is learnt.
    model = train(toy_corpus(), tmp_path / "model", replace(TOY, vocab=600, epochs=10)).folder
    setup = setup_of(model, toy_corpus(), heldout(load_model(model).tokenizer))
    topics = np.array([group in {"bakery", "harbour"} for group in setup.groups])
    scores = np.tile(topics.astype(float), (4, 1))
    good = selection_effect(setup, scores, 12)
    assert set(good.chosen) == set(np.flatnonzero(topics))
    assert good.gain.low > 0
    assert good.selected < min(good.random)
    assert selection_effect(setup, -scores, 12).gain.mean < 0
    with pytest.raises(RecipeError, match="cannot choose 24 of 24 documents"):
        selection_effect(setup, scores, 24)
