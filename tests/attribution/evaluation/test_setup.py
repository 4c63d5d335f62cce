"""A set-up folder is found part by part, and replays to the model that lies in it."""

import json
import shutil

import numpy as np
import pytest

from attribution.corpus import write_corpus
from attribution.errors import RecipeError
from attribution.evaluation.removal import TruthPlan, build_truth
from attribution.evaluation.setup import open_setup
from tests.attribution.toy_training import toy_corpus, toy_model


@pytest.fixture
def folder(tmp_path):
    """A set-up around the toy model."""
    shutil.copytree(toy_model(), tmp_path / "model")
    write_corpus(tmp_path / "docs.jsonl", toy_corpus().documents)
    query = {"output_id": "o1", "text": "In bakery: the oven bakes", "prompt_length": 2}
    (tmp_path / "queries.jsonl").write_text(json.dumps(query) + "\n")
    return tmp_path


def test_parts_are_found_where_the_trainer_leaves_them(folder):
    """Start and checkpoints lie inside the model; the final step is not a checkpoint."""
    setup = open_setup(folder)
    assert setup.start.name == "step-000000"
    assert [path.name for path in setup.checkpoints] == ["step-000000", "step-000004"]
    assert setup.retrains().tokens.tolist() == [setup.queries_encoded[0].scored]


def test_retrains_made_in_the_set_up_are_read_with_it(folder):
    """`truth/` and `retrain/` belong to the set-up; other folders are added."""
    setup = open_setup(folder)
    plan = TruthPlan(halves=0, coalitions=0, removals=False)
    build_truth(setup.retrains(), folder / "truth", plan)
    found = open_setup(folder)
    assert found.truths == (folder / "truth",)
    once, twice = found.truth(), setup.truth([folder / "truth", folder / "truth"])
    assert np.array_equal(once.losses["base"], twice.losses["base"])


@pytest.mark.parametrize("part", ["model", "docs.jsonl", "queries.jsonl", "model/recipe.json"])
def test_a_missing_part_is_named(folder, part):
    """The message says what is missing and what for."""
    path = folder / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(RecipeError, match=part.removeprefix("model/")):
        open_setup(folder)


def test_without_the_starting_weights_nothing_can_be_replayed(folder):
    """The recipe alone does not tell where training began."""
    shutil.rmtree(folder / "model" / "checkpoints")
    with pytest.raises(RecipeError, match="neither base/ nor checkpoints/step-0"):
        open_setup(folder)
