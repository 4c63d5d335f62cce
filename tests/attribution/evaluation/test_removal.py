"""Retraining truth on a toy run: complete, resumable, never mixed, and right about who matters."""

import dataclasses

import numpy as np
import pytest

from attribution.corpus import Corpus, Document
from attribution.errors import RecipeError
from attribution.evaluation.lds import evaluate
from attribution.evaluation.removal import (
    Job,
    TruthPlan,
    build_truth,
    jobs_of,
    losses_of,
    make_one,
    masks,
    query_losses,
    setup_of,
)
from attribution.model import load_model, load_tokenizer
from attribution.tokens import encode_output
from attribution.training import train
from tests.attribution.toy_training import TOPICS, TOY, toy_corpus

LONGER = dataclasses.replace(TOY, epochs=6)


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """A toy run of six epochs with one query for each topic."""
    folder = tmp_path_factory.mktemp("run") / "model"
    train(toy_corpus(), folder, LONGER)
    tokenizer = load_tokenizer(folder)
    queries = [
        encode_output(f"In {topic}:", f" {' '.join(words.split()[2:7])}", tokenizer)
        for topic, words in TOPICS.items()
    ]
    return setup_of(folder, toy_corpus(), queries)


@pytest.fixture(scope="module")
def truth(setup, tmp_path_factory):
    """All retrains of the toy run: 1 + 4 removals, and 10 of each random kind."""
    return build_truth(
        setup, tmp_path_factory.mktemp("truth"), TruthPlan(halves=10, coalitions=10, seed=3)
    )


def test_nobody_left_out_is_the_model_as_trained(setup, truth):
    """The first retrain reproduces the model, so every difference is the removal's."""
    trained = load_model(setup.start.parent.parent).model
    expected = losses_of(trained, setup.queries, setup.recipe.context, setup.recipe.threads)
    assert np.array_equal(truth.losses["base"][0], expected)


def test_an_output_loses_most_by_the_creator_of_its_topic(truth):
    """Removal finds the owner: the baker's output suffers without the bakery."""
    lost, which = truth.removal()
    assert truth.creators == tuple(TOPICS)
    assert which == (0, 1, 2, 3)
    assert lost.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert (np.diag(lost) > 0).all()


def test_perfect_scores_misplace_nothing(truth):
    """Scores that equal the removals rank perfectly and pay everybody right."""
    lost, _ = truth.removal()
    per_document = lost @ truth.membership.T / 6
    judged = evaluate(per_document, truth)
    assert judged.removal_rank.mean == pytest.approx(1.0)
    assert judged.misallocated["linear/removal"] == pytest.approx(0.0, abs=1e-9)
    assert judged.lds_creators.mean > 0.5
    random = evaluate(np.random.default_rng(0).normal(size=per_document.shape), truth)
    assert random.misallocated["linear/removal"] > 10
    assert random.lds_creators.mean < judged.lds_creators.mean


def test_coalition_and_removal_agree_where_nobody_replaces_anybody(truth):
    """Four topics without a word in common: both truths point to the same owner."""
    coalition = truth.coalition(ridge=0.05)
    assert coalition.values.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert coalition.retrains == 10
    assert coalition.values.sum() > 0


def test_a_truth_that_was_interrupted_is_finished_by_asking_again(setup, truth, tmp_path):
    """What is there is kept; what is missing is made; the outcome is the same."""
    folder = tmp_path / "truth"
    plan = TruthPlan(halves=0, coalitions=0, seed=3)
    calls = []

    def stop_after_two(done, total):
        calls.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_truth(setup, folder, plan, progress=stop_after_two)
    first = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert len(first) == 2
    again = build_truth(setup, folder, plan)
    assert {name: (folder / name).stat().st_mtime_ns for name in first} == first
    assert np.array_equal(again.losses["loco"], truth.losses["loco"])


def test_a_retrain_does_not_depend_on_what_was_made_before(setup, truth, tmp_path):
    """Any worker may make any retrain alone."""
    mask = masks(setup, "doc", 10, seed=3)[5]
    assert np.array_equal(query_losses(setup, mask), truth.losses["doc"][5])
    path = make_one(Job("doc-005", setup, mask), tmp_path)
    before = path.read_bytes()
    assert make_one(Job("doc-005", setup, mask), tmp_path).read_bytes() == before
    with pytest.raises(RecipeError, match="kept other documents than this plan wants"):
        make_one(Job("doc-005", setup, ~mask), tmp_path)


def test_retrains_of_two_set_ups_never_mix(setup, tmp_path):
    """A folder remembers what its losses depend on."""
    plan = TruthPlan(halves=0, coalitions=0, removals=False, seed=3)
    build_truth(setup, tmp_path, plan)
    with pytest.raises(RecipeError, match="mixing them would be noise"):
        build_truth(setup, tmp_path, dataclasses.replace(plan, seed=4))
    with pytest.raises(RecipeError, match="mixing them would be noise"):
        build_truth(setup.reordered(1), tmp_path, plan)


def test_another_order_is_another_truth_of_the_same_run(setup, truth):
    """A second training order shows the noise of the first; each epoch reads all documents."""
    other = setup.reordered(5)
    assert not np.array_equal(other.recipe.order, setup.recipe.order)
    assert [sorted(epoch) for epoch in other.recipe.order] == [list(range(24))] * 6
    losses = query_losses(other, np.ones(24, dtype=bool))
    assert not np.array_equal(losses, truth.losses["base"][0])
    assert np.allclose(losses, truth.losses["base"][0], rtol=0.2)


def test_halves_are_of_documents_and_coins_are_of_creators(setup):
    """Half of the documents is kept, or whole creators by coin; the seed draws which."""
    documents = masks(setup, "doc", 5, seed=1)
    creators = masks(setup, "creator", 40, seed=1)
    assert (documents.sum(axis=1) == 12).all()
    assert set(creators.reshape(40, 4, 6).sum(axis=2).ravel()) == {0, 6}
    assert len(set(creators.sum(axis=1))) > 2
    assert np.array_equal(documents, masks(setup, "doc", 5, seed=1))
    assert not np.array_equal(documents, masks(setup, "doc", 5, seed=2))


def test_a_plan_names_every_retrain_once_and_can_be_extended(setup):
    """Further orders repeat the removals under their own names; more draws continue the first."""
    plan = TruthPlan(halves=2, coalitions=3, drops=2, orders=(5,), seed=1)
    jobs = jobs_of(setup, plan)
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names) == 1 + 4 + 2 + 3 + 2 + 1 + 4
    assert {"base5-000", "loco5-003", "drop-001"} <= set(names)
    assert next(job for job in jobs if job.name == "loco5-000").setup.digest != setup.digest
    assert [int((~job.mask).sum()) for job in jobs if job.name.startswith("drop")] == [1, 1]
    more = {job.name: job.mask for job in jobs_of(setup, dataclasses.replace(plan, coalitions=9))}
    assert all(np.array_equal(more[job.name], job.mask) for job in jobs)


@pytest.mark.slow
def test_two_processes_make_the_truth_of_one(setup, truth, tmp_path):
    """Where retrains are made changes nothing in them."""
    plan = TruthPlan(halves=0, coalitions=0, seed=3)
    beside = build_truth(setup, tmp_path, plan, processes=2)
    assert np.array_equal(beside.losses["loco"], truth.losses["loco"])


def test_a_recipe_of_another_corpus_makes_no_truth(setup):
    """Retraining on other texts would measure another run."""
    other = Corpus((*toy_corpus().documents[:-1], Document("x", "x", "Other.")))
    with pytest.raises(RecipeError, match="retraining would measure another run"):
        setup_of(setup.start.parent.parent, other, [])
