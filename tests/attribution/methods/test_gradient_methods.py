"""Methods on whole gradients, each against dense gradients and plain loops."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from attribution.corpus import Document, read_corpus, read_queries, write_corpus
from attribution.gradients import LossModel
from attribution.layers import find_layers
from attribution.matrix_task import MatrixTask
from attribution.methods.ekfac_index import Ekfac
from attribution.methods.gradient_rows import all_rows
from attribution.methods.tracin import GradientCosine, TracIn
from attribution.methods.trackstar import TrackStar, inverse_root, mixing, projections
from attribution.reference import dense_influence, weight_gradients
from tests.attribution import toy

DOCUMENTS = 7


@pytest.fixture(scope="module", params=[toy.gpt2, toy.llama], ids=["gpt2", "llama"])
def task(request, tmp_path_factory):
    """A path of two toy models, seven documents and a silent one, two queries and a silent one."""
    folder = tmp_path_factory.mktemp("gradients")
    paths = toy.workspace(folder, family=request.param)
    silent = Document("silent", "g0", input_ids=(4,))
    write_corpus(paths["corpus"], [*toy.documents(DOCUMENTS), silent])
    lines = [
        {"output_id": "q0", "input_ids": [3, 9, 12, 4, 4], "prompt_length": 2},
        {"output_id": "q1", "input_ids": [7, 8, 9, 10, 11, 12, 13]},
        {"output_id": "silent", "input_ids": [5]},
    ]
    (folder / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = MatrixTask(
        paths["end"],
        (paths["start"],),
        read_corpus(paths["corpus"]),
        read_queries(folder / "q.jsonl"),
        seed=3,
    )
    return found, request.param


def dense(family, seed, rows):
    """Return the model, its layers and dense gradients [rows, D], float64, of all linear layers."""
    model = family(seed)
    # The dense gradient of a tied head holds the embedding's too: leave it out.
    layers = find_layers(model, ("*",), head=False).layers
    vectors = [
        torch.cat([g.reshape(-1) for g in weight_gradients(model, layers, row)])
        for row in rows
        if row.scored
    ]
    return model, layers, torch.stack(vectors)


def halves(task):
    """Return the rows of queries and of documents that can be scored."""
    return task.queries_encoded[:2], task.documents_encoded[:DOCUMENTS]


def test_whole_rows_are_dense_gradients(task):
    """Every layer, the bias as the last row of its layer."""
    task, family = task
    _, layers, wanted = dense(family, 2, task.documents_encoded)
    found = all_rows(LossModel(task.model.model), layers, task.documents_encoded, task)
    np.testing.assert_allclose(found[:DOCUMENTS], wanted, atol=2e-5)
    assert not found[DOCUMENTS].any()


def test_gradient_cosine_is_the_mean_cosine_along_the_path(task):
    """Both checkpoints count half."""
    task, family = task
    queries, documents = halves(task)
    wanted = 0.0
    for seed in (1, 2):
        _, _, left = dense(family, seed, queries)
        _, _, right = dense(family, seed, documents)
        wanted = wanted + 0.5 * torch.cosine_similarity(left[:, None], right[None], dim=2)
    found = GradientCosine(layers="*", head=False).scores(task)
    np.testing.assert_allclose(found[:2, :DOCUMENTS], wanted, atol=1e-5)
    assert not found[2].any()
    assert not found[:, DOCUMENTS].any()


def test_tracin_weighs_each_checkpoint_by_the_learning_rate_there(task, tmp_path):
    """The first step's rate at the start, the last step's at the end, nothing rescaled."""
    task, family = task
    from shutil import copytree

    model = copytree(task.model_dir, tmp_path / "run" / "model")
    np.savez(tmp_path / "run" / "recipe.npz", lr=np.array([0.5, 0.25, 0.125]))
    moved = replace(task, model_dir=model)
    queries, documents = halves(task)
    wanted = 0.0
    for seed, rate in ((1, 0.5), (2, 0.125)):
        _, _, left = dense(family, seed, queries)
        _, _, right = dense(family, seed, documents)
        wanted = wanted + rate * left @ right.T
    found = TracIn(layers="*", head=False).scores(moved)
    np.testing.assert_allclose(found[:2, :DOCUMENTS], wanted, rtol=1e-4, atol=1e-4)
    unknown = TracIn(layers="*", head=False).scores(task)
    assert not np.allclose(unknown, found)


def test_ekfac_recomputed_is_dense_influence_up_to_scale(task):
    """At the end point, over every linear layer, the curvature inverted densely."""
    task, family = task
    end = replace(task, checkpoints=())
    queries, documents = halves(task)
    model = family(2)
    layers = find_layers(model, ("*",), head=False).layers
    wanted = dense_influence(model, layers, documents, queries, damping=task.damping, seed=3)
    found = Ekfac(layers="*", head=False).scores(end)
    np.testing.assert_allclose(found[:2, :DOCUMENTS], wanted, rtol=2e-2, atol=1e-2)


def trackstar_by_hand(method, task, family, seed):
    """TrackStar at one checkpoint, document by document and layer by layer."""
    queries, documents = halves(task)
    _, layers, left = dense(family, seed, queries)
    _, _, right = dense(family, seed, documents)
    left = torch.stack([g / row.scored for g, row in zip(left, queries, strict=True)])
    right = torch.stack([g / row.scored for g, row in zip(right, documents, strict=True)])
    root = right.square().mean(0).sqrt()
    begin, of_queries, of_documents = 0, [], []
    for k, layer in enumerate(layers):
        size = layer.rows * layer.outputs
        into, out = (p.double() for p in projections(layer, method.side, task.seed + k))
        for vectors, kept in ((left, of_queries), (right, of_documents)):
            part = root[begin : begin + size]
            dead = part <= 1e-5 * part.max()
            scaled = (vectors[:, begin : begin + size] / part).masked_fill(dead, 0.0)
            matrices = [into.T @ v.view(layer.rows, layer.outputs) @ out for v in scaled]
            kept.append(torch.stack([m.reshape(-1) for m in matrices]))
        begin += size
    # The method's means are over all rows, silent ones included.
    moments_q = [z.T @ z / len(task.queries) for z in of_queries]
    moments_d = [z.T @ z / len(task.corpus) for z in of_documents]
    t = mixing(moments_q, moments_d, method.downweighted)
    for k, (a, b) in enumerate(zip(moments_q, moments_d, strict=True)):
        mixed = inverse_root(t * a + (1 - t) * b, method.damping)
        of_queries[k], of_documents[k] = of_queries[k] @ mixed, of_documents[k] @ mixed
    whole_q, whole_d = torch.cat(of_queries, 1), torch.cat(of_documents, 1)
    return torch.cosine_similarity(whole_q[:, None], whole_d[None], dim=2)


def test_trackstar_is_the_cosine_of_scaled_projected_preconditioned_gradients(task):
    """By hand, both checkpoints half."""
    task, family = task
    method = TrackStar(layers="*", head=False, side=5)
    wanted = sum(0.5 * trackstar_by_hand(method, task, family, seed) for seed in (1, 2))
    found = method.scores(task)
    np.testing.assert_allclose(found[:2, :DOCUMENTS], wanted, atol=2e-3)
    assert not found[2].any()
    assert not found[:, DOCUMENTS].any()


def test_trackstar_divides_by_the_root_of_the_second_moment(task, monkeypatch):
    """A weight measured in another unit changes no score; dividing by V itself would.

    The released bidirectional code's own baseline divides by V in the blocks.
    """
    task, _ = task
    import attribution.methods.trackstar as module

    method = TrackStar(layers="*", head=False, side=5)
    end = replace(task, checkpoints=())
    before = method.scores(end)
    plain, several = module.rows_of, module.all_rows
    units = None

    def stretched(rows):
        nonlocal units
        if units is None:
            units = 10.0 ** torch.randint(-1, 2, rows.shape[1:]).float()
        return rows * units

    def rows_of(*args):
        return ((members, stretched(rows)) for members, rows in plain(*args))

    monkeypatch.setattr(module, "rows_of", rows_of)
    monkeypatch.setattr(module, "all_rows", lambda *args: stretched(several(*args)))
    np.testing.assert_allclose(method.scores(end), before, atol=2e-3)


def test_mixing_lets_the_queries_rule_the_leading_share():
    """At the chosen place both spectra weigh the same."""
    query, train = (
        torch.diag(torch.tensor([8.0, 1, 1, 1])),
        torch.diag(torch.tensor([2.0, 2, 2, 2])),
    )
    t = mixing([query.double()], [train.double()], 0.25)
    assert t * 8 == pytest.approx((1 - t) * 2)
    assert inverse_root(4 * torch.eye(2).double(), 0.0).diagonal().tolist() == [0.5, 0.5]
