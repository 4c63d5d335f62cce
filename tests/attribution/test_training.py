"""Training gives the same bytes again, whole or not at all, and can be replayed."""

import dataclasses
import errno

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from transformers import GPT2LMHeadModel

from attribution import training
from attribution.corpus import Corpus, Document
from attribution.errors import RecipeError, TrainingError
from attribution.model import load_model, load_tokenizer
from attribution.recipe import load_recipe
from attribution.replay import encode_corpus, retrain, summed_loss
from attribution.training import TrainConfig, train
from tests.attribution.toy_training import TOY, toy_corpus, toy_model


def files(folder):
    """Return every file of a folder with its bytes, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def state(model):
    """Return a copy of a model's weights."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    """On one machine a second run differs from the first in no byte of any file."""
    torch.manual_seed(99)
    result = train(toy_corpus(), tmp_path / "model", TOY)
    assert files(tmp_path / "model") == files(toy_model())
    assert result.digest == load_model(toy_model()).digest


def test_another_seed_gives_another_model(tmp_path):
    """The seed draws the weights and the order."""
    train(toy_corpus(), tmp_path / "model", dataclasses.replace(TOY, seed=8))
    assert load_model(tmp_path / "model").digest != load_model(toy_model()).digest


def test_training_lowers_the_loss_and_says_so(tmp_path):
    """The model learns something, and every step is reported with its loss."""
    seen = []
    longer = dataclasses.replace(TOY, epochs=6)
    result = train(toy_corpus(), tmp_path / "model", longer, lambda *said: seen.append(said))
    assert result.last_loss < result.first_loss - 1
    assert [step for step, _, _ in seen] == list(range(1, 37))
    assert {total for _, total, _ in seen} == {36}


def test_checkpoints_run_from_the_start_to_the_end():
    """The first is what the seed drew, the last is the model, and the recipe names them."""
    recipe = load_recipe(toy_model())
    assert recipe.checkpoints[0] == 0
    assert recipe.checkpoints[-1] == recipe.steps
    folders = [toy_model() / "checkpoints" / f"step-{step:06d}" for step in recipe.checkpoints]
    final = state(load_model(toy_model()).model)
    last = state(load_model(folders[-1]).model)
    first = state(load_model(folders[0]).model)
    assert all(torch.equal(final[name], last[name]) for name in final)
    assert not all(torch.equal(final[name], first[name]) for name in final)
    assert not (folders[0] / "exp_avg_sq.safetensors").exists()
    assert (folders[-1] / "exp_avg_sq.safetensors").exists()


@pytest.mark.parametrize(("documents", "batch"), [(1, 4), (24, 4), (100, 8), (131, 8), (64, 8)])
def test_each_epoch_reads_every_document_once_beside_others_of_like_length(documents, batch):
    """Sorting inside small pools saves padding and neither repeats nor forgets a document."""
    draw = np.random.Generator(np.random.PCG64(1))
    lengths = draw.integers(10, 200, documents).tolist()
    order = training._order(lengths, batch, draw)
    assert sorted(order) == list(range(documents))

    def padded(places):
        cut = [places[start : start + batch] for start in range(0, documents, batch)]
        return sum(len(part) * max(lengths[place] for place in part) for part in cut)

    assert padded(order) <= padded(list(range(documents)))
    assert not np.array_equal(order, training._order(lengths, batch, draw)) or documents == 1


def test_replaying_the_recipe_gives_the_same_weights():
    """Training is a function of its recipe: bit for bit on the same machine."""
    model, rows, recipe = start()
    retrain(model, rows, recipe)
    final = load_model(toy_model()).model.state_dict()
    assert all(torch.equal(final[name], value) for name, value in model.state_dict().items())


def test_leaving_a_document_out_changes_the_weights_and_nothing_of_the_schedule():
    """The others keep their places; the model differs only by what it did not read."""
    model, rows, recipe = start()
    steps = []
    retrain(model, rows, recipe, without=[0], progress=lambda *said: steps.append(said))
    final = load_model(toy_model()).model.state_dict()
    assert not all(torch.equal(final[name], value) for name, value in model.state_dict().items())
    assert len(steps) == recipe.steps
    batch_of_0 = [place for place, batch in enumerate(recipe.batches()) if 0 in batch]
    losses = [loss for _, _, loss in steps]
    first = batch_of_0[0]
    assert np.allclose(losses[:first], recipe.losses[:first], rtol=0, atol=0)
    assert losses[first] != recipe.losses[first]


def test_leaving_everything_out_leaves_the_start():
    """A step without a document moves nothing, not even by weight decay."""
    model, rows, recipe = start()
    before = state(model)
    retrain(model, rows, recipe, without=range(len(rows)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_recipe_of_another_corpus_is_refused():
    """A replay with fewer documents would silently be another run."""
    model, rows, recipe = start()
    with pytest.raises(RecipeError, match="orders 24 documents but the corpus has 23"):
        retrain(model, rows[:-1], recipe)


def test_the_summed_loss_does_not_depend_on_the_neighbours():
    """A document's loss is its own: padding and neighbours add nothing."""
    model, rows, _ = start()
    windows = [window for row in rows[:5] for window in row]
    with torch.no_grad():
        together = summed_loss(model, windows)
        alone = torch.cat([summed_loss(model, [window]) for window in windows])
    assert torch.allclose(together, alone, rtol=1e-5)


def test_a_document_longer_than_the_context_is_trained_in_windows(tmp_path):
    """Long texts are cut by a stated rule, and every token is still learned."""
    long = Document("long", "long", " ".join(document.text for document in toy_corpus()))
    corpus = Corpus((*toy_corpus().documents, long))
    result = train(corpus, tmp_path / "model", TOY)
    rows = encode_corpus(corpus.documents, load_tokenizer(tmp_path / "model"), TOY.context)
    assert len(rows[-1]) > 5
    assert result.tokens == sum(window.scored for row in rows for window in row)


def test_documents_with_nothing_to_learn_are_kept_and_listed(tmp_path):
    """A document without a token to predict is counted by name, and breaks nothing."""
    nothing = (Document("none", "g", None, ()), Document("one", "g", None, (5,)))
    assert encode_corpus(nothing, None, 8) == [[], []]
    corpus = Corpus((Document("blank", "g", ""), *toy_corpus().documents))
    assert train(corpus, tmp_path / "model", TOY).unscorable == ("blank",)


def test_training_needs_text(tmp_path):
    """A tokenizer cannot be trained from token ids."""
    corpus = Corpus((Document("ids", "g", None, (1, 2)),))
    with pytest.raises(TrainingError, match="1 documents have no text"):
        train(corpus, tmp_path / "model", TOY)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("moment", ["first step", "saving"])
def test_a_training_that_dies_leaves_nothing_behind(tmp_path, monkeypatch, moment):
    """The model's folder is whole or absent, and an older model is still there."""

    def die(*_args, **_kwargs):
        raise KeyboardInterrupt

    if moment == "saving":
        monkeypatch.setattr(training, "save_recipe", die)
    progress = die if moment == "first step" else None
    old = tmp_path / "model"
    old.mkdir()
    (old / "config.json").write_text("older")
    with pytest.raises(KeyboardInterrupt):
        train(toy_corpus(), old, TOY, progress)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (old / "config.json").read_text() == "older"


def test_a_full_disk_is_named_as_such_and_leaves_nothing_behind(tmp_path, monkeypatch):
    """The weights library has an error of its own for it; callers look for the usual one."""

    def full(*_args, **_kwargs):
        raise SafetensorError("Error while serializing: No space left on device (os error 28)")

    monkeypatch.setattr(training, "save_file", full)
    with pytest.raises(OSError, match="No space left") as refused:
        train(toy_corpus(), tmp_path / "model", TOY)
    assert refused.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_training_leaves_the_callers_random_state_and_threads_alone(tmp_path):
    """A library that trains does not decide what its caller draws next."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    train(toy_corpus(per_group=1), tmp_path / "model", TOY)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "heads must divide width"),
        ({"vocab": 200}, "vocab must be above 256"),
        ({"checkpoints": 1}, "checkpoints must be >= 2"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"context": 4}, "context must be at least 8"),
    ],
)
def test_an_impossible_configuration_is_refused(change, message):
    """The error names the value before anything is trained."""
    with pytest.raises(TrainingError, match=message):
        TrainConfig(**change)


def start():
    """Return the starting weights, the encoded corpus and the recipe of the toy run."""
    folder = toy_model()
    model = GPT2LMHeadModel.from_pretrained(folder / "checkpoints" / "step-000000")
    rows = encode_corpus(toy_corpus().documents, load_tokenizer(folder), TOY.context)
    return model, rows, load_recipe(folder)
