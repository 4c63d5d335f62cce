"""SOURCE against dense matrix exponentials, segment by segment."""

import json
from shutil import copytree

import numpy as np
import pytest
import torch

from attribution.corpus import Document, read_corpus, read_queries, write_corpus
from attribution.gradients import LossModel
from attribution.layers import find_layers
from attribution.matrix_task import MatrixTask
from attribution.methods.source import Source, turn
from attribution.preconditioner import FitConfig, fit
from attribution.reference import weight_gradients
from tests.attribution import toy

DOCUMENTS = 6
LR = [0.5, 0.25, 0.125, 0.125]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Two checkpoints of a run of four steps, six documents and a silent one, two queries."""
    folder = tmp_path_factory.mktemp("source")
    paths = toy.workspace(folder, family=toy.llama)
    silent = Document("silent", "g0", input_ids=(4,))
    write_corpus(paths["corpus"], [*toy.documents(DOCUMENTS), silent])
    lines = [
        {"output_id": "q0", "input_ids": [3, 9, 12, 4, 4], "prompt_length": 2},
        {"output_id": "q1", "input_ids": [7, 8, 9, 10, 11, 12, 13]},
    ]
    (folder / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    model = copytree(paths["end"], folder / "run" / "model")
    np.savez(folder / "run" / "recipe.npz", lr=np.array(LR))
    corpus, queries = read_corpus(paths["corpus"]), read_queries(folder / "q.jsonl")
    return MatrixTask(model, (paths["start"],), corpus, queries, seed=3)


def gradients(layers, model, rows):
    """Return per layer dense gradients [rows, I * O], float64."""
    found = [weight_gradients(model, layers, row) for row in rows]
    return [torch.stack([g[k].reshape(-1) for g in found]) for k in range(len(layers))]


def segment(task, seed, layers, rate, sides):
    """Return a segment's scores and the queries before it, by exponentials of dense matrices."""
    model = toy.llama(seed)
    documents = task.documents_encoded[:DOCUMENTS]
    tokens = sum(row.scored for row in documents) / DOCUMENTS
    bases, curvature = fit(
        LossModel(toy.llama(seed)), layers, task.documents_encoded,
        FitConfig(share=1.0, seed=task.seed), context=toy.CONTEXT, token_budget=4096,
    )  # fmt: skip
    eigenvalues = torch.split(curvature.eigenvalues.double(), [b.width for b in bases])
    scores, before = 0.0, []
    rows = gradients(layers, model, documents)
    for basis, values, side, row in zip(bases, eigenvalues, sides, rows, strict=True):
        axes = torch.kron(basis.p_in.double(), basis.p_out.double())
        hessian = axes @ torch.diag(values / tokens) @ axes.T
        size = len(hessian)
        # exp([[-t H, t], [0, 0]]) holds exp(-t H) and the integral of it at once.
        both = torch.zeros(2 * size, 2 * size).double()
        both[:size, :size] = -rate * hessian
        both[:size, size:] = rate * torch.eye(size)
        both = torch.matrix_exp(both)
        scores = scores + side @ both[:size, size:] @ row.T / (DOCUMENTS * tokens)
        before.append(side @ both[:size, :size])
    return scores, before


def test_source_follows_gradient_descent_through_the_segments(task):
    """Both segments dense: what the second leaves of the first, and what each learned."""
    names = ("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj")
    layers = find_layers(toy.llama(2), names).layers
    sides = gradients(layers, toy.llama(2), task.queries_encoded)
    # Start and end stand for half of the run each.
    late, sides = segment(task, 2, layers, sum(LR) / 2, sides)
    early, _ = segment(task, 1, layers, sum(LR) / 2, sides)
    found = Source(layers=",".join(names), head=False, adam=False).scores(task)
    np.testing.assert_allclose(found[:, :DOCUMENTS], late + early, rtol=2e-3, atol=1e-5)
    assert not found[:, DOCUMENTS].any()


def test_where_curvature_does_nothing_only_gradient_products_are_left(task):
    """With steps too small for any curvature; the output's gradient is that of the end."""
    run = task.model_dir.parent
    copytree(run, run.parent / "slow")
    np.savez(run.parent / "slow" / "recipe.npz", lr=1e-6 * np.ones(2))
    slow = MatrixTask(run.parent / "slow" / "model", task.checkpoints, task.corpus, task.queries)
    documents = task.documents_encoded[:DOCUMENTS]
    layers = find_layers(toy.llama(2), ("model.layers.0.mlp.*",)).layers
    left = torch.cat(gradients(layers, toy.llama(2), task.queries_encoded), 1)
    right = sum(torch.cat(gradients(layers, toy.llama(seed), documents), 1) for seed in (1, 2))
    wanted = 1e-6 * left @ right.T / sum(row.scored for row in documents)
    found = Source(layers="model.layers.0.mlp.*", head=False, adam=False).scores(slow)
    np.testing.assert_allclose(found[:, :DOCUMENTS], wanted, rtol=1e-3)


def test_adam_takes_longer_steps_where_gradients_are_small(task):
    """A layer's rate grows with the inverse root mean square of its gradients."""
    layers = find_layers(toy.llama(2), ("model.layers.0.mlp.*",)).layers
    sizes = [layer.rows * layer.outputs for layer in layers]
    values = torch.cat([torch.full((size,), 4.0**k) for k, size in enumerate(sizes)]).double()
    rates = Source(batch=4)._rates(values, layers, 0.1, tokens=10.0)
    wanted = [0.1 * 20 / 2.0**k for k in range(len(sizes))]
    firsts = [float(part[0]) for part in torch.split(rates, sizes)]
    assert firsts == pytest.approx(wanted)


def test_turning_there_and_back_changes_nothing(task):
    """The basis is orthonormal; of the head the order of tokens is undone too."""
    model = LossModel(toy.llama(2))
    layers = find_layers(model.model, ("*",), head=True).layers
    bases, _ = fit(
        model, layers, task.documents_encoded, FitConfig(share=1.0),
        context=toy.CONTEXT, token_budget=4096,
    )  # fmt: skip
    rows = torch.randn(2, sum(basis.width for basis in bases)).double()
    there = turn(rows, layers, bases)
    assert not torch.allclose(there, rows, atol=1e-2)
    np.testing.assert_allclose(turn(there, layers, bases, back=True), rows, atol=1e-4)
