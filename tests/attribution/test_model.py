"""Model folders are used whole or refused with what is missing."""

import json
import shutil

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from attribution.errors import ModelFolderError
from attribution.model import load_model, load_tokenizer, model_digest
from tests.attribution.toy_training import TOY, toy_model


@pytest.fixture
def folder(tmp_path):
    """A copy of the toy model's folder that a test may damage."""
    return shutil.copytree(toy_model(), tmp_path / "model")


def test_a_whole_folder_loads_in_float32_for_evaluation(folder):
    """Scores are computed on the weights as trained, without dropout."""
    loaded = load_model(folder)
    assert loaded.context == TOY.context
    assert loaded.vocab_size == len(loaded.tokenizer)
    assert not loaded.model.training
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no weights"),
        ("tokenizer.json", "has no tokenizer"),
    ],
)
def test_a_missing_file_is_named(folder, missing, message):
    """The error says what is not there and how to get it there."""
    (folder / missing).unlink()
    with pytest.raises(ModelFolderError, match=message):
        load_model(folder, need_tokenizer=True)


def test_a_folder_that_is_not_there_is_refused_and_nothing_is_downloaded(tmp_path):
    """A hub name is not a folder."""
    with pytest.raises(ModelFolderError, match=r"does not exist; .* nothing is downloaded"):
        load_model("openai-community/gpt2")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFolderError, match="is a file"):
        model_digest(tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{broken", "config.json that is not JSON"),
        ("config.json", b'{"model_type": "nobody"}', "could not be loaded"),
        ("model.safetensors", b"\x00" * 64, "could not be loaded"),
        ("tokenizer.json", b"{broken", "tokenizer that could not be read"),
    ],
)
def test_a_damaged_file_is_refused(folder, name, content, message):
    """A half-copied folder never gives half-right scores."""
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=message):
        load_model(folder, need_tokenizer=True)


def test_the_digest_covers_weights_and_tokenizer_and_no_notes(folder):
    """A remark beside the weights is not another model; a changed byte is."""
    before = model_digest(folder)
    assert before == model_digest(toy_model())
    (folder / "README.md").write_text("a note")
    assert model_digest(folder) == before
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1))
    assert model_digest(folder) != before


def test_a_checkpoint_borrows_the_tokenizer_of_its_model(folder):
    """Weights along the way are saved without a tokenizer of their own."""
    start = folder / "checkpoints" / "step-000000"
    assert load_model(start).tokenizer is None
    with pytest.raises(ModelFolderError, match="has no tokenizer"):
        load_tokenizer(start)
    assert load_model(start, tokenizer_from=folder, need_tokenizer=True).tokenizer is not None


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (
            LlamaConfig(
                vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32,
            ),
            LlamaForCausalLM,
        ),
        (
            GPTNeoXConfig(
                vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                num_attention_heads=2, max_position_embeddings=32,
            ),
            GPTNeoXForCausalLM,
        ),
    ],
)  # fmt: skip
def test_other_causal_models_load_too(tmp_path, config, kind):
    """Any causal model of the library is as good as GPT-2, with or without a tokenizer."""
    kind(config).save_pretrained(tmp_path / "other")
    loaded = load_model(tmp_path / "other")
    assert loaded.context == 32
    assert loaded.vocab_size == 64
    assert loaded.tokenizer is None
