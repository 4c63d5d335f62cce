"""Metagradients are the derivative of real retraining, for every document, in one backward run."""

import dataclasses

import numpy as np
import pytest
import torch

from attribution.corpus import Query
from attribution.errors import RecipeError, ScoringError
from attribution.evaluation.removal import losses_of
from attribution.matrix_task import MatrixTask
from attribution.methods.retraining import run_of
from attribution.methods.unrolled import UnrolledInfluence
from attribution.model import load_model, load_tokenizer
from attribution.recipe import load_recipe
from attribution.replay import encode_corpus, retrain
from attribution.tokens import encode_output
from attribution.unrolling import Unrolling
from tests.attribution.toy_training import TOPICS, toy_corpus, toy_model

START = "checkpoints/step-000000"


def parts(epochs=None):
    """Return rows, recipe and queries of the toy run, cut to its first epochs."""
    recipe = load_recipe(toy_model())
    tokenizer = load_tokenizer(toy_model())
    rows = encode_corpus(toy_corpus().documents, tokenizer, recipe.context)
    queries = [
        encode_output(f"In {topic}:", f" {' '.join(words.split()[2:7])}", tokenizer)
        for topic, words in TOPICS.items()
    ]
    if epochs is not None:
        recipe = dataclasses.replace(
            recipe, order=recipe.order[:epochs], lr=recipe.lr[: 6 * epochs]
        )
    return rows, recipe, queries


def unrolling(values=None, *, double=True, **changes):
    """Return the toy run, ready to go forwards and backwards."""
    rows, recipe, queries = parts()
    recipe = dataclasses.replace(recipe, **changes)
    model = load_model(toy_model() / START).model
    return Unrolling(model, rows, recipe, queries, values, double=double)


def finite_difference(run, place, step=1e-5):
    """Train twice, a document's weight a little up and a little down."""
    up, down = np.ones(24), np.ones(24)
    up[place] += step
    down[place] -= step
    return (run.train(up) - run.train(down)) / (2 * step)


@pytest.mark.parametrize("clip", [0.0, 0.05, 1.0], ids=["never clipped", "always", "at times"])
def test_influence_is_the_derivative_of_real_retraining(clip):
    """To one percent, in float64, through AdamW, decay, clipping and the batch's mean."""
    rows, recipe, _ = parts()
    del rows
    run = unrolling(optimizer=dataclasses.replace(recipe.optimizer, clip_grad_norm=clip))
    found = run.influence().influence
    for place in (0, 7, 13, 23):
        assert -found[place] == pytest.approx(finite_difference(run, place), rel=0.01)


def test_running_forwards_is_the_recorded_run():
    """With all weights 1 the outcome is that of the replay; with one at 0 it is left out."""
    rows, recipe, _ = parts()
    run = unrolling(double=False)
    for without in ([], [3]):
        weights = np.ones(24)
        weights[without] = 0
        run.train(weights)
        model = load_model(toy_model() / START).model
        retrain(model, rows, recipe, without=without)
        for mine, theirs in zip(run.parameters, model.parameters(), strict=True):
            assert torch.allclose(mine, theirs, atol=2e-5)


def test_one_backward_run_serves_a_whole_period():
    """The outcome is linear in the outputs' values: the sum of runs is the run of the sum."""
    values = [3.0, 0.0, 1.0, 0.5]
    together = unrolling(values).influence()
    alone = [unrolling(list(np.eye(4)[q])).influence() for q in range(4)]
    added = sum(v * one.influence for v, one in zip(values, alone, strict=True))
    assert together.influence == pytest.approx(added, rel=1e-6, abs=1e-9)
    assert together.loss == pytest.approx(
        sum(v * one.loss for v, one in zip(values, alone, strict=True))
    )


def test_checkpointing_changes_nothing_but_memory():
    """Twelve steps keep four states and make three again: the stated memory holds them."""
    result = unrolling().influence()
    parameters = sum(p.numel() for p in unrolling().parameters)
    assert result.steps == 12
    assert result.memory_bytes == 3 * 8 * parameters * (3 + 4 + 1)


def test_a_gentle_run_is_smoother_than_a_rough_one():
    """Metasmoothness falls when the learning rate makes training jump."""
    rate = load_recipe(toy_model()).lr
    gentle = unrolling(lr=rate / 50).metasmoothness()
    rough = unrolling(lr=rate * 40).metasmoothness()
    assert gentle > 0.9
    assert rough < gentle - 0.2


def task(tmp_path, corpus=None):
    """Return the toy set-up as a method gets it."""
    queries = tuple(
        Query(topic, None, row.input_ids, row.prompt_length)
        for topic, row in zip(TOPICS, parts()[2], strict=True)
    )
    corpus = corpus or toy_corpus()
    return MatrixTask(toy_model(), (toy_model() / START,), corpus, queries, tmp_path)


def test_one_run_an_output_tells_outputs_apart_and_one_for_all_gives_their_sum(tmp_path):
    """Both forms of the method agree on what a period pays."""
    each = UnrolledInfluence(outputs="each", smoothness=False).scores(task(tmp_path)).numpy()
    assert abs(np.corrcoef(each)[0, 1]) < 0.99
    summed = UnrolledInfluence().scores(task(tmp_path)).numpy()
    assert summed.sum(axis=0) == pytest.approx(each.sum(axis=0), rel=0.02, abs=1e-3)
    assert '"metasmoothness":' in (tmp_path / "notes.json").read_text()


def test_on_the_level_of_tokens_an_output_pays_what_it_gained(tmp_path):
    """The weights sum to zero; with the level every output's sum is its measured gain."""
    asked = task(tmp_path)
    method = UnrolledInfluence(smoothness=False, double=True)
    bare = method.scores(asked).numpy()
    level = dataclasses.replace(method, level="tokens").scores(asked).numpy()
    run = run_of(asked)
    before, after = (
        losses_of(load_model(folder).model, run.queries, run.recipe.context, 1)
        for folder in (asked.checkpoints[0], asked.model_dir)
    )
    assert bare.sum(axis=1) == pytest.approx(0, abs=1e-3 * np.abs(bare).sum(axis=1).max())
    assert level.sum(axis=1) == pytest.approx(before - after, rel=1e-3)
    tokens = np.array([row.scored for row in asked.documents_encoded])
    added = level - bare
    assert added == pytest.approx(np.outer(added.sum(axis=1), tokens / tokens.sum()))
    with pytest.raises(ScoringError, match="option level of method unrolled is 'size'"):
        UnrolledInfluence(level="size").scores(asked)


def test_a_poor_metasmoothness_is_said_aloud(tmp_path, caplog, monkeypatch):
    """Whoever reads the scores is told that they may mean little."""
    monkeypatch.setattr(Unrolling, "metasmoothness", lambda _run: 0.1)
    UnrolledInfluence().scores(task(tmp_path))
    assert "metasmoothness 0.10 is below 0.5" in caplog.text


def test_another_corpus_than_the_recorded_one_is_refused(tmp_path):
    """What was never trained cannot be unrolled."""
    with pytest.raises(RecipeError, match="only the run as it was recorded"):
        UnrolledInfluence().scores(task(tmp_path, toy_corpus(5)))
    with pytest.raises(ScoringError, match="give sum or each"):
        UnrolledInfluence(outputs="all").scores(task(tmp_path))
