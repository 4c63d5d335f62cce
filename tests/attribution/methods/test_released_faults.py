"""The faults of the released bidirectional code, each as a test that it would fail.

1. Its leave-k-out script drops the best documents and then trains on all of them.
2. Its tail-patch starts a sum at 1, so that no change at all counts as e - 1.
3. Its TrackStar divides by the second moment instead of its root: test_gradient_methods.
4. Score and tail-patch are absolute values, so that harm counts as help; for the
   score see test_bidirectional, for the patch here.
"""

from dataclasses import replace

import numpy as np
import pytest

from attribution.evaluation.patch import PatchConfig, tail_patch
from attribution.evaluation.removal import query_losses, setup_of
from attribution.model import load_model
from attribution.tokens import Encoded, encode_document
from tests.attribution import toy
from tests.attribution.toy_training import toy_corpus, toy_model


@pytest.fixture(scope="module")
def run():
    """The toy's training run and two outputs of its own documents."""
    corpus = toy_corpus()
    tokenizer = load_model(toy_model()).tokenizer
    outputs = [encode_document(corpus.documents[place], tokenizer) for place in (0, 9)]
    return setup_of(toy_model(), corpus, outputs)


def test_documents_that_are_left_out_are_never_read(run):
    """Fault 1: whatever stands in their place changes no loss; putting them back does."""
    mask = np.ones(len(run.rows), dtype=bool)
    mask[[0, 1, 2, 9]] = False
    without = query_losses(run, mask)
    other = (Encoded((5, 6, 7, 8, 9, 10), 1),)
    spoiled = tuple(row if kept else other for row, kept in zip(run.rows, mask, strict=True))
    assert np.array_equal(query_losses(replace(run, rows=spoiled), mask), without)
    everything = query_losses(run, np.ones(len(run.rows), dtype=bool))
    assert (without - everything).sum() > 1, "outputs lose by the loss of their own texts"


def patched(scores, length):
    """Return the mean gain of two outputs by a step on the best document of each."""
    rows = [encode_document(document, None) for document in toy.documents(6)]
    config = PatchConfig(documents=1, length=length)
    return tail_patch(toy.gpt2(2), scores, rows, rows[:2], toy.CONTEXT, config).mean


def test_a_patch_that_changes_nothing_gains_nothing():
    """Fault 2: the released metric calls no change 171.8 percent."""
    assert patched(np.ones((2, 6)), 0.0) == 0.0


def test_a_patch_that_harms_counts_as_harm():
    """Fault 4: the same step the other way loses what it gained."""
    own = np.eye(2, 6)
    forth, back = patched(own, 1e-3), patched(own, -1e-3)
    assert forth > 0 > back
    assert back == pytest.approx(-forth, rel=0.2)
