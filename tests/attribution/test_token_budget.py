"""The token budget: found by trying, bounded by memory, kept by a build that goes on."""

import json

import pytest
import torch

from attribution import token_budget
from attribution.gradients import LossModel
from attribution.index import IndexConfig, build_index
from attribution.layers import find_layers
from attribution.token_budget import USUAL, find_token_budget, memory_allowed
from attribution.tokens import Encoded
from tests.attribution import toy

DOCUMENTS = [Encoded(tuple(range(1, 15)), 1)] * 30_000


def found(monkeypatch, speeds, takes, encoded=DOCUMENTS):
    """The budget for tokens a second and bytes that depend on a batch's size."""
    tried = []

    def measure(_model, _layers, batch):
        tokens = int(batch.live.sum())
        place = len(tried)
        tried.append(batch.input_ids.numel())
        return tokens / speeds[min(place, len(speeds) - 1)], takes[min(place, len(takes) - 1)]

    monkeypatch.setattr(token_budget, "_try", measure)
    model = toy.gpt2(1)
    layers = find_layers(model).layers
    budget = find_token_budget(
        LossModel(model), layers, encoded, context=toy.CONTEXT, memory_bytes=1000
    )
    return budget, tried


def test_a_larger_batch_is_taken_while_it_is_faster(monkeypatch):
    """Two doublings that gain nothing end the search; the smallest of the fastest is taken."""
    budget, tried = found(monkeypatch, [100, 200, 300, 305, 306], [0])
    assert budget == 4096
    assert len(tried) == 5
    assert all(size <= 1024 << n for n, size in enumerate(tried))


def test_memory_bounds_the_search(monkeypatch):
    """A batch that takes more than allowed is not taken, however fast it is."""
    assert found(monkeypatch, [100, 200, 400, 800], [0, 0, 2000])[0] == 2048


def test_a_small_corpus_takes_the_usual_budget(monkeypatch):
    """The search would cost more than it saves."""
    budget, tried = found(monkeypatch, [100], [0], DOCUMENTS[:50])
    assert (budget, tried) == (USUAL, [])


def test_a_real_trial_measures_something():
    """Without any replacement the search ends in a budget it tried."""
    model = toy.gpt2(1)
    layers = find_layers(model).layers
    budget = find_token_budget(
        LossModel(model), layers, DOCUMENTS, context=toy.CONTEXT, memory_bytes=1 << 30
    )
    assert budget in {1024 << n for n in range(8)}
    assert memory_allowed(torch.device("cpu")) > 1 << 26


def test_a_build_that_goes_on_keeps_the_budget_that_was_found(tmp_path, monkeypatch):
    """Bytes do not depend on how fast the machine was the second time."""
    from attribution import index_build

    space = toy.workspace(tmp_path, 8)
    config = IndexConfig(space["end"], space["corpus"], tmp_path / "i")
    monkeypatch.setattr(index_build, "find_token_budget", lambda *_, **__: 2048)

    def kill(_step, _done, _all):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(config, kill)
    monkeypatch.setattr(index_build, "find_token_budget", lambda *_, **__: 8192)
    manifest = build_index(config)
    assert manifest.content["config"]["token_budget"] == 2048
    assert build_index(config).sha256 == manifest.sha256
    assert (
        json.loads((tmp_path / "i" / "build.json").read_bytes())["config"]["token_budget"] == 2048
    )
