"""Numbers made on an accelerator are those made on the CPU, beyond a float's rounding.

Without a card the tests run on a pretended one, which refuses what a real one would: tensors of
two devices that meet. Where there are cards they run on each as well.
"""

import json

import numpy as np
import pytest
import torch

from attribution import index_build, influence, matrix_task, token_budget
from attribution.corpus import write_corpus
from attribution.device import (
    device_name,
    devices_of,
    find_device,
    note_device,
    noted_devices,
    with_devices,
    within_memory,
)
from attribution.errors import DeviceError, DeviceMemoryError, ScoringError
from attribution.gradients import LossModel
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.index_append import append_documents
from attribution.index_refit import Refit, refit_index
from attribution.index_verify import index_info, verify_index
from attribution.influence import Attributor
from attribution.interchange import attribute_files
from attribution.layers import find_layers
from attribution.methods import METHODS, device_for
from attribution.token_budget import SMALLEST, find_token_budget, memory_allowed
from attribution.tokens import Encoded, encode_document
from tests.attribution import toy
from tests.attribution.pretend_card import CARD, Card

CARDS = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
# Rows of a card and of the CPU differ by this share of their length at most.
ROUNDING = 1e-4
STORED = {
    "random": {"projection": "random", "bytes_per_document": 600},
    "lowrank": {"dtype": "lowrank2", "bytes_per_document": 900},
    "int8": {"dtype": "int8", "bytes_per_document": 300},
    "bfloat16": {"compute": "bfloat16", "layers": ("last:1",)},
}


@pytest.fixture(params=[CARD, *CARDS], ids=str)
def card(request, monkeypatch):
    """Name a card; a pretended one is found by the name "card"."""
    if request.param != CARD:
        yield str(request.param)
        return

    def found(wanted="auto"):
        return CARD if str(wanted) in {"card", str(CARD)} else find_device(wanted)

    for module in (index_build, influence, matrix_task):
        monkeypatch.setattr(module, "find_device", found)
    monkeypatch.setattr("attribution.interchange.find_device", found)
    with Card():
        yield "card"


def config(space, folder, **settings):
    """Describe an index of all layers of a toy."""
    return IndexConfig(
        model_dir=space["end"],
        corpus=space["corpus"],
        out=folder,
        checkpoints=(space["start"],),
        decoys=space["decoys"],
        **{"head": True, "layers": ("*",), "token_budget": 256, **settings},
    )


def scores(folder, device):
    """Score every document and work for some outputs."""
    attributor = Attributor(GradientIndex.open(folder), device=device)
    assert (attributor.final.device.type == "cpu") == (device == "cpu"), attributor.final.device
    encoded = [encode_document(document, None) for document in toy.documents(7, seed=5)]
    return attributor.documents(encoded).influence, attributor.groups(encoded).influence


def apart(one, other):
    """Say how far apart two tables are, as a share of the first."""
    return float((one - other).norm() / one.norm())


def test_a_build_and_its_scores_do_not_depend_on_the_device(tmp_path, card):
    """Built here or there, scored here or there: the same influence, and the card is named."""
    space = toy.workspace(tmp_path, 20)
    build_index(config(space, tmp_path / "here"))
    build_index(config(space, tmp_path / "there", device=card))
    by_document, by_work = scores(tmp_path / "here", "cpu")
    for folder, device in (("here", card), ("there", "cpu"), ("there", card)):
        found = scores(tmp_path / folder, device)
        assert apart(by_document, found[0]) < ROUNDING, (folder, device)
        assert apart(by_work, found[1]) < ROUNDING, (folder, device)
    assert index_info(tmp_path / "here")["devices"] == ["cpu"]
    assert "devices" not in json.loads((tmp_path / "here" / "manifest.json").read_bytes())
    (named,) = index_info(tmp_path / "there")["devices"]
    assert named == device_name(CARD if card == "card" else torch.device(card))


@pytest.mark.parametrize("kind", STORED)
def test_every_kind_of_index_can_be_built_on_a_card(tmp_path, card, kind):
    """No way to make or store rows leaves a tensor behind on the processor."""
    space = toy.workspace(tmp_path, 12, family=toy.llama)
    build_index(config(space, tmp_path / "here", **STORED[kind]))
    build_index(config(space, tmp_path / "there", device=card, **STORED[kind]))
    here, there = scores(tmp_path / "here", "cpu")[0], scores(tmp_path / "there", card)[0]
    assert apart(here, there) < {"bfloat16": 0.05, "int8": 0.02}.get(kind, 1e-3)


@pytest.mark.parametrize("name", sorted(toy.FAMILIES))
def test_every_class_of_model_runs_on_a_card(tmp_path, card, name):
    """The models' own code keeps to one device."""
    if name == "mixtral" and card == "card":
        pytest.skip("its router counts in whole numbers on cards, which the processor cannot")
    toy.family(name, 2).save_pretrained(tmp_path / "model")
    write_corpus(tmp_path / "corpus.jsonl", toy.documents(6))
    for folder, device in (("here", "cpu"), ("there", card)):
        build_index(
            IndexConfig(
                tmp_path / "model",
                tmp_path / "corpus.jsonl",
                tmp_path / folder,
                token_budget=256,
                device=device,
            )
        )
    here, there = scores(tmp_path / "here", "cpu")[0], scores(tmp_path / "there", card)[0]
    assert apart(here, there) < 1e-3


def test_append_refit_and_verify_run_on_a_card(tmp_path, card):
    """Whatever changes or checks an index may do so there, and is named."""
    space = toy.workspace(tmp_path, 8)
    folder = tmp_path / "index"
    build_index(config(space, folder))
    write_corpus(tmp_path / "more.jsonl", toy.documents(5, seed=3))
    append_documents(folder, tmp_path / "more.jsonl", device=card)
    refit_index(folder, Refit(share=1.0), device=card)
    report = verify_index(folder, sample=6, device=card)
    assert report["worst_difference"] < ROUNDING
    assert report["rows_recomputed"] == 12
    assert index_info(folder)["devices"][0] == "cpu"
    assert len(index_info(folder)["devices"]) == 2


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.declared.on_card])
def test_methods_that_say_so_follow_the_device(tmp_path, card, name):
    """Every method that declares it gives the same matrix on a card."""
    space = toy.workspace(tmp_path, 9)
    queries = tmp_path / "queries.jsonl"
    outputs = [{"output_id": d.document_id, "input_ids": d.input_ids} for d in toy.documents(4)]
    queries.write_text("".join(json.dumps(output) + "\n" for output in outputs))
    made = []
    for device in ("cpu", card):
        out = tmp_path / f"{len(made)}.npy"
        attribute_files(
            name, space["end"], [space["start"]], space["corpus"], queries, out, device=device
        )
        made.append(torch.from_numpy(np.load(out)))
    assert apart(*made) < 1e-3


def test_the_pretended_card_refuses_two_devices():
    """A test on it can fail, also through views, in place and in the middle of a model."""
    with Card():
        there, here = torch.ones(3, 2, device=CARD), torch.ones(3, 2)
        for mixed in (
            lambda: there + here,
            lambda: there[1:].add_(here[1:]),
            lambda: torch.cat([there, here]),
            lambda: there.index_add_(0, torch.tensor([0, 1, 2]), there),
            lambda: LossModel(toy.gpt2(1).to(CARD)).top(torch.ones(1, 4, dtype=torch.int64)),
        ):
            with pytest.raises(RuntimeError, match="one device"):
                mixed()
        assert torch.equal((there + 1).cpu(), here + 1)


def test_a_card_that_is_not_there_is_an_error(tmp_path):
    """Never a quiet fall back; nothing is written."""
    count = torch.cuda.device_count()
    space = toy.workspace(tmp_path, 6)
    missing = f"cuda:{count + 7}"
    with pytest.raises(DeviceError, match=rf"{missing} was asked for and {count} cards are there"):
        build_index(config(space, tmp_path / "index", device=missing))
    assert not (tmp_path / "index").exists()
    assert find_device("auto") == (torch.device("cuda", 0) if count else torch.device("cpu"))
    assert find_device("cpu") == torch.device("cpu")
    for wrong in ("gpu", "cuda:", "cuda:x", "cuda:-1", "mps"):
        with pytest.raises(DeviceError, match="not one attribution knows"):
            find_device(wrong)


def test_a_method_without_a_card_refuses_one_by_name():
    """`auto` takes the processor instead; a card asked for by name is refused."""
    assert device_for(METHODS["bm25"], "auto") == "cpu"
    assert device_for(METHODS["ekfac_index"], "auto") == "auto"
    with pytest.raises(ScoringError, match="bm25 runs on the processor only"):
        device_for(METHODS["bm25"], "cuda:1")


def test_the_processor_alone_leaves_no_trace(tmp_path):
    """Manifests of the processor keep their bytes; others name every device that took part."""
    assert with_devices({"a": 1}, ["cpu"]) == {"a": 1}
    named = with_devices({"a": 1}, {"cuda B", "cpu"})
    assert named == {"a": 1, "devices": ["cpu", "cuda B"]}
    assert with_devices(named, ["cpu"]) == {"a": 1}
    assert (devices_of({"a": 1}), devices_of(named)) == ({"cpu"}, {"cpu", "cuda B"})
    note_device(tmp_path / "0", torch.device("cpu"), begun=False)
    assert not (tmp_path / "0").exists()
    note_device(tmp_path / "1", CARD, begun=True)
    assert noted_devices(tmp_path / "1") == {"cpu", "lazy"}
    note_device(tmp_path / "2", CARD, begun=False)
    assert noted_devices(tmp_path / "2") == {"lazy"}
    note_device(tmp_path / "2", torch.device("cpu"), begun=True)
    assert noted_devices(tmp_path / "2") == {"cpu", "lazy"}


def test_a_build_may_be_finished_on_another_device(tmp_path, card):
    """The device is no part of the plan, and both are named."""
    space = toy.workspace(tmp_path, 8)

    def kill(step, _done, _all):
        if step == "rows 0":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(config(space, tmp_path / "index"), kill)
    build_index(config(space, tmp_path / "index", device=card))
    build_index(config(space, tmp_path / "whole"))
    named = index_info(tmp_path / "index")["devices"]
    assert named[0] == "cpu"
    assert len(named) == 2
    one, other = (scores(tmp_path / name, "cpu")[0] for name in ("index", "whole"))
    assert apart(other, one) < ROUNDING


def test_a_full_card_says_what_to_do():
    """The error names the device, the batch and the setting; other errors pass."""
    for tokens, said in ((4096, r"batches of 4096 tokens.*token_budget"), (None, "End what else")):
        with (
            pytest.raises(DeviceMemoryError, match=said),
            within_memory(torch.device("cpu"), tokens),
        ):
            raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(KeyError), within_memory(torch.device("cpu"), None):
        raise KeyError


def test_the_search_for_a_batch_ends_at_a_full_card(monkeypatch):
    """A batch without room is never the one that is taken."""
    sizes = []

    def full(_model, batch, **_):
        sizes.append(batch.input_ids.numel())
        if len(sizes) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.zeros(1)

    monkeypatch.setattr(token_budget, "backward", full)
    monkeypatch.setattr(token_budget.time, "perf_counter", iter(range(100)).__next__)
    model = toy.gpt2(1)
    documents = [Encoded(tuple(range(1, 15)), 1)] * 30_000
    found = find_token_budget(
        LossModel(model),
        find_layers(model).layers,
        documents,
        context=toy.CONTEXT,
        memory_bytes=1 << 60,
    )
    assert found == 2 * SMALLEST
    assert len(sizes) == 5


def test_memory_of_a_card_is_what_is_free_of_it(monkeypatch):
    """A quarter of the card, and no more than half of what the model left."""
    for free, wanted in ((70 << 30, 20 << 30), (10 << 30, 5 << 30)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 80 << 30))
        assert memory_allowed(torch.device("cuda", 0)) == wanted
