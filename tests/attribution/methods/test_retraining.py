"""Retraining as a method: its values are those of its truth, and stopping costs nothing."""

import numpy as np
import pytest

from attribution.corpus import Query
from attribution.errors import ScoringError
from attribution.evaluation.truth import load_truth
from attribution.matrix_task import MatrixTask
from attribution.methods.retraining import Retraining, run_of
from attribution.model import load_tokenizer
from attribution.tokens import encode_output
from tests.attribution.toy_training import TOPICS, toy_corpus, toy_model


@pytest.fixture(scope="module")
def task():
    """The toy run as a method gets it, one output a topic."""
    tokenizer = load_tokenizer(toy_model())
    encoded = [
        encode_output(f"In {topic}:", f" {' '.join(words.split()[2:7])}", tokenizer)
        for topic, words in TOPICS.items()
    ]
    queries = tuple(
        Query(topic, None, row.input_ids, row.prompt_length)
        for topic, row in zip(TOPICS, encoded, strict=True)
    )
    start = toy_model() / "checkpoints" / "step-000000"
    return MatrixTask(toy_model(), (start,), toy_corpus(), queries)


def test_removal_pays_a_creator_what_its_absence_costs(task, tmp_path):
    """Summed over its documents, a creator's score is the loss without it."""
    found = Retraining("removal", folder=str(tmp_path)).scores(task).numpy()
    run = run_of(task)
    lost, which = load_truth([tmp_path], run.groups, run.tokens).removal()
    assert which == (0, 1, 2, 3)
    assert found.reshape(4, 4, 6).sum(axis=2) == pytest.approx(lost)


@pytest.mark.parametrize("value", ["banzhaf", "shapley", "datamodel"])
def test_values_from_random_subsets_are_continued_where_they_stopped(task, tmp_path, value):
    """A second call trains nothing and gives the same; more retrains continue the first."""
    method = Retraining(value, retrains=10, folder=str(tmp_path))
    first = method.scores(task).numpy()
    assert np.isfinite(first).all()
    made = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert len(made) == 11
    assert np.array_equal(method.scores(task).numpy(), first)
    Retraining(value, retrains=12, folder=str(tmp_path)).scores(task)
    again = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert {name: again[name] for name in made} == made
    assert len(again) == 13


def test_shapley_values_add_up_to_what_training_gained(task, tmp_path):
    """Everything that training gave the output is somebody's."""
    values = Retraining("shapley", retrains=6, folder=str(tmp_path)).scores(task).numpy()
    run = run_of(task)
    full = load_truth([tmp_path], run.groups, run.tokens).full_loss
    from attribution.evaluation.removal import losses_of
    from attribution.model import load_model

    before = losses_of(load_model(run.start).model, run.queries, 48, 1)
    assert values.sum(axis=1) == pytest.approx(before - full)


def test_without_a_folder_nothing_is_trained(task):
    """A hundred training runs are not begun by accident."""
    with pytest.raises(ScoringError, match="needs a folder that"):
        Retraining().scores(task)
    with pytest.raises(ScoringError, match="give one of removal, banzhaf, shapley, datamodel"):
        Retraining("worth", folder="x").scores(task)
