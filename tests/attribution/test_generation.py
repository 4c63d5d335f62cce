"""Outputs depend on the seed and the prompt, and on nothing beside them."""

import shutil
from dataclasses import replace

import pytest

from attribution.errors import ModelFolderError
from attribution.generation import Sampling, generate
from tests.attribution.toy_training import TOY, toy_model

PROMPTS = ["In bakery", "In harbour: a", "In orchard: ripe apples", "In library", "the", ""]
SHORT = Sampling(max_new_tokens=12, threads=1)


def test_the_same_seed_writes_the_same_outputs():
    """A log can be made again, byte for byte."""
    first = generate(toy_model(), PROMPTS, seed=4, sampling=SHORT)
    assert generate(toy_model(), PROMPTS, seed=4, sampling=SHORT) == first
    assert generate(toy_model(), PROMPTS, seed=5, sampling=SHORT) != first


def test_an_output_does_not_depend_on_the_batch():
    """What else is written at the same time changes nothing."""
    prompts = PROMPTS * 3
    together = generate(toy_model(), prompts, seed=4, sampling=SHORT)
    alone = generate(toy_model(), prompts, seed=4, sampling=replace(SHORT, batch=1))
    assert together == alone


def test_outputs_come_in_the_order_of_the_prompts_and_without_them():
    """The output is what the model added, beside the prompt it was given."""
    seen = []
    outputs = generate(
        toy_model(), PROMPTS, seed=4, sampling=SHORT, progress=lambda *said: seen.append(said)
    )
    assert len(outputs) == len(PROMPTS)
    assert seen[-1] == (6, 6)
    for output in outputs:
        assert output.output_tokens <= 12
        assert (output.finish_reason == "length") == (output.output_tokens == 12)
        assert "<|endoftext|>" not in output.text


def test_no_temperature_takes_the_likeliest_token_whatever_the_seed():
    """At temperature 0 the seed has nothing to draw; top_k of 1 is the same."""
    cold = replace(SHORT, temperature=0.0)
    first = generate(toy_model(), PROMPTS, seed=1, sampling=cold)
    assert generate(toy_model(), PROMPTS, seed=2, sampling=cold) == first
    assert generate(toy_model(), PROMPTS, seed=3, sampling=replace(SHORT, top_k=1)) == first
    narrow = replace(SHORT, top_p=1e-9)
    assert generate(toy_model(), PROMPTS, seed=3, sampling=narrow) == first


def test_a_prompt_beyond_the_context_is_cut_from_the_left():
    """A long prompt still gets its output, from its last words."""
    output = generate(toy_model(), ["bread " * 200], seed=1, sampling=SHORT)[0]
    assert output.prompt_tokens == TOY.context - 12


def test_no_room_for_a_prompt_is_refused():
    """Asking for more tokens than the context holds is a mistake of the caller."""
    with pytest.raises(ValueError, match="leaves no room for a prompt"):
        generate(toy_model(), ["x"], seed=1, sampling=replace(SHORT, max_new_tokens=TOY.context))


def test_a_model_without_a_tokenizer_cannot_write(tmp_path):
    """The folder and the missing file are named."""
    folder = shutil.copytree(toy_model(), tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFolderError, match="has no tokenizer"):
        generate(folder, ["x"], seed=1)
