"""A recipe says what was run, survives the disk, and refuses what it cannot replay."""

import json
import shutil

import numpy as np
import pytest

from attribution.errors import RecipeError
from attribution.recipe import load_recipe, save_recipe
from tests.attribution.toy_training import TOY, toy_corpus, toy_model


@pytest.fixture
def folder(tmp_path):
    """A folder with a copy of the toy recipe."""
    for name in ("recipe.json", "recipe.npz"):
        shutil.copy(toy_model() / name, tmp_path / name)
    return tmp_path


def test_a_recipe_is_read_back_as_it_was_run(folder):
    """Order, rates, tokens and digests survive the way through the disk."""
    recipe = load_recipe(folder)
    assert recipe.steps == TOY.epochs * 6
    assert recipe.corpus_digest == toy_corpus().digest
    assert sorted(recipe.order[0]) == sorted(recipe.order[1]) == list(range(24))
    assert recipe.tokens.min() > 0
    assert recipe.losses.shape == recipe.grad_norm.shape == recipe.lr.shape
    before = (folder / "recipe.npz").read_bytes()
    said = json.loads((folder / "recipe.json").read_text())
    save_recipe(folder, recipe, {key: said[key] for key in ("config", "inputs", "versions")})
    assert (folder / "recipe.npz").read_bytes() == before
    assert json.loads((folder / "recipe.json").read_text()).items() <= said.items()


def test_every_document_is_in_one_batch_of_each_epoch(folder):
    """Nothing is read twice in an epoch and nothing is left out."""
    recipe = load_recipe(folder)
    batches = recipe.batches()
    assert len(batches) == recipe.steps
    for epoch in range(TOY.epochs):
        read = np.concatenate(batches[epoch * 6 : (epoch + 1) * 6])
        assert sorted(read) == list(range(24))


@pytest.mark.parametrize("missing", ["recipe.json", "recipe.npz"])
def test_a_missing_half_is_named(folder, missing):
    """A model of somebody else's training has no recipe; the error says what that costs."""
    (folder / missing).unlink()
    with pytest.raises(RecipeError, match=f"has no {missing}: this training run cannot be"):
        load_recipe(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer", "Lion", "only 'AdamW' can be replayed"),
        ("dropout", 0.1, "only 0 can be replayed"),
        ("batch_size", 5, "do not belong together"),
        ("betas", None, "is damaged"),
    ],
)
def test_what_cannot_be_replayed_is_refused(folder, key, value, message):
    """A recipe that says something else is not run as if it said what we know."""
    said = json.loads((folder / "recipe.json").read_text())
    said[key] = value
    (folder / "recipe.json").write_text(json.dumps(said))
    with pytest.raises(RecipeError, match=message):
        load_recipe(folder)
