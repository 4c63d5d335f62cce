"""Model classes and adapters: an index at full rank is the dense computation on each of them."""

import json
import shutil

import pytest
import torch

from attribution.adapters import AdaptedLinear
from attribution.corpus import write_corpus
from attribution.errors import GradientIndexError, ModelFolderError
from attribution.gradients import LossModel
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.influence import Attributor
from attribution.layers import find_layers
from attribution.model import load_model, model_digest
from attribution.reference import dense_influence
from attribution.tokens import Encoded, encode_document
from tests.attribution import toy

QUERIES = [Encoded((3, 9, 12, 4, 4), 2), Encoded((7, 8, 9, 10, 11, 12, 13), 1)]
DOCUMENTS = toy.documents(14)


def built(folder, model, **changes):
    """Build a full-rank float32 index of one checkpoint, all documents fitted on."""
    write_corpus(folder / "corpus.jsonl", DOCUMENTS)
    settings = {"layers": ("*",), "head": False, **changes}
    config = IndexConfig(
        model,
        folder / "corpus.jsonl",
        folder / "index",
        fit_share=1.0,
        damping=0.1,
        duplicate_threshold=None,
        **settings,
    )
    build_index(config)
    return GradientIndex.open(folder / "index")


def equals_dense(index, model):
    """Compare every score with the dense computation on the same layers."""
    coverage = find_layers(model, [layer.name for layer in index.layers])
    wanted = {layer.name: layer for layer in index.layers}
    layers = [layer for layer in coverage.layers if layer.name in wanted]
    layers += [layer for layer in index.layers if layer.head]
    assert len(layers) == len(wanted)
    corpus = [encode_document(document, None) for document in DOCUMENTS]
    dense = dense_influence(model, layers, corpus, QUERIES, damping=0.1, seed=0)
    found = Attributor(index).documents(QUERIES).influence
    places = index.documents["place"].to_list()
    torch.testing.assert_close(
        found, dense[:, places], rtol=2e-3, atol=2e-3 * float(dense.abs().max())
    )


@pytest.mark.parametrize("name", toy.FAMILIES)
def test_an_index_of_every_class_equals_the_dense_computation(tmp_path, name):
    """Rotary and grouped heads, biases, soft caps, sliding windows and experts change nothing."""
    model = toy.family(name)
    model.save_pretrained(tmp_path / "model")
    index = built(tmp_path, tmp_path / "model")
    skipped = index.manifest.content["coverage"]["parameters_skipped"]
    assert any("norm" in part for part in skipped)
    assert any("embed" in part for part in skipped)
    equals_dense(index, model)


def test_the_default_layers_equal_the_dense_computation_too(tmp_path):
    """The last layer and an untied output head, its outputs taken to be independent."""
    model = toy.family("mistral")
    model.save_pretrained(tmp_path / "model")
    index = built(tmp_path, tmp_path / "model", layers=("last:1",), head=True)
    assert [layer.head for layer in index.layers] == [False, True]
    equals_dense(index, model)


def test_fused_experts_and_routers_are_named_as_skipped():
    """A mixture of experts keeps most of its numbers where no linear layer is: said, not hidden."""
    found = find_layers(toy.family("mixtral"))
    assert {"model.layers.0.mlp.experts", "model.layers.0.mlp.gate"} <= found.skipped.keys()
    assert sum(found.skipped.values()) + found.tracked_parameters == found.total_parameters


def test_a_layer_whose_tokens_were_shuffled_is_refused():
    """A routed expert sees tokens of all documents in one heap: there are no rows to make."""
    from attribution.batches import collate
    from attribution.gradients import recording
    from attribution.recorders import CovarianceRecorder

    model = toy.llama(1)
    layer = model.model.layers[0].mlp.down_proj
    real = layer.forward
    layer.forward = lambda x: real(x.flatten(0, 1))
    layers = find_layers(model, ("*down_proj",)).layers
    recorder = CovarianceRecorder(layers, torch.device("cpu"))
    batch = collate([Encoded((1, 2, 3), 1)], [0], toy.CONTEXT)
    with recording(model, layers, recorder):
        recorder.start(batch)
        with pytest.raises(GradientIndexError, match=r"down_proj gives .* routed expert"):
            layer(torch.zeros(1, 3, 12))


def test_a_soft_cap_is_part_of_the_loss():
    """A capped head is not cut off, however small the logits of the probe are."""
    assert not LossModel(toy.family("gemma2")).split
    assert LossModel(toy.family("gemma")).split


@pytest.fixture
def adapted(tmp_path):
    """A toy Llama and an adapter for it."""
    toy.llama(1).save_pretrained(tmp_path / "base")
    return toy.adapter(tmp_path / "adapter", tmp_path / "base", 3)


def test_an_adapter_is_its_base_with_a_low_rank_addition(adapted):
    """Logits equal those of a model whose weights hold `scale * B A`."""
    worn, merged = load_model(adapted).model, toy.llama(1)
    block = worn.model.layers[0]
    for one, two in (
        (block.self_attn.q_proj, merged.model.layers[0].self_attn.q_proj),
        (block.mlp.down_proj, merged.model.layers[0].mlp.down_proj),
    ):
        assert isinstance(one, AdaptedLinear)
        two.weight.data += 3.0 * one.lora_B.weight.data @ one.lora_A.weight.data
    ids = torch.tensor([[1, 5, 9, 13]])
    torch.testing.assert_close(worn(ids).logits, merged(ids).logits, rtol=1e-4, atol=1e-5)


def test_an_index_of_an_adapter_tracks_it_alone_and_equals_the_dense_computation(tmp_path, adapted):
    """By default what was trained is tracked; the frozen layers are named as skipped."""
    index = built(tmp_path, adapted, layers=("last:1",), head=True)
    assert {layer.name.rpartition(".")[2] for layer in index.layers} == {"lora_A", "lora_B"}
    assert len(index.layers) == 4
    assert "lm_head" in index.manifest.content["coverage"]["parameters_skipped"]
    equals_dense(index, load_model(adapted).model)


def test_an_index_may_hold_the_base_too(tmp_path, adapted):
    """Adapters and base layers side by side, where both are asked for."""
    index = built(tmp_path, adapted, layers=("*",))
    assert len(index.layers) == 7 + 4
    equals_dense(index, load_model(adapted).model)


def test_an_adapter_at_its_start_scores_without_a_number_that_is_none(tmp_path, adapted):
    """B begins at zero, so A has no gradient and no curvature there: zero, never NaN."""
    start = toy.adapter(tmp_path / "start", tmp_path / "base", 3, zero=True)
    for dtype in ("float32", "int8"):
        shutil.rmtree(tmp_path / "index", ignore_errors=True)
        index = built(tmp_path, adapted, layers=("last:1",), checkpoints=(start,), dtype=dtype)
        scores = Attributor(index).documents(QUERIES).influence
        assert bool(scores.isfinite().all())
        assert bool(scores.any())


def test_another_base_is_another_model(tmp_path, adapted):
    """An adapter says nothing without its base: both are in the digest."""
    before = model_digest(adapted)
    toy.llama(2).save_pretrained(tmp_path / "base")
    assert model_digest(adapted) != before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "of the kind 'IA3'"),
        ({"use_dora": True}, "uses use_dora"),
        ({"bias": "all"}, "trained biases too"),
        ({"modules_to_save": ["lm_head"]}, "uses modules_to_save"),
        ({"base_model_name_or_path": "acme/llama"}, "'acme/llama', which is no local folder"),
    ],
)
def test_what_is_not_plain_lora_is_refused_by_name(adapted, change, said):
    """An index that misses part of what was trained would pay wrongly."""
    path = adapted / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelFolderError, match=said):
        load_model(adapted)


def test_an_adapter_without_weights_is_refused(adapted):
    """The configuration alone is not an adapter."""
    (adapted / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"has no adapter_model\.safetensors"):
        load_model(adapted)
