"""STRIDE: sparse weights found again, steering against plain loops, and what it needs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from attribution.corpus import read_corpus, read_queries
from attribution.errors import ScoringError
from attribution.gradients import LossModel
from attribution.matrix_task import MatrixTask
from attribution.methods.recovery import hat_of_sketch, least_squares, left_regular, recover
from attribution.methods.steering import Operators, SteerConfig, blocks_of, drops, train_operators
from attribution.methods.stride import Stride
from attribution.tokens import Encoded, windows
from tests.attribution import toy


def planted(columns, subsets, sparse, seed):
    """Return a design, sparse signed weights and their exact responses at some level."""
    draw = np.random.default_rng(seed)
    design = left_regular(columns, subsets, 8, seed)
    weights = np.zeros(columns)
    places = draw.permutation(columns)[:sparse]
    weights[places] = draw.choice([-1, 1], sparse) * draw.uniform(1, 3, sparse)
    return design, weights, (design @ weights + 5.0)[None]


def test_every_column_is_in_exactly_degree_subsets():
    """The design is left-regular, balanced about its mean, and a function of the seed."""
    design = left_regular(300, 60, 7, 1)
    assert (design.sum(0) == 7).all()
    assert abs(design.sum(1).mean() - 35) < 1e-9
    assert np.array_equal(design, left_regular(300, 60, 7, 1))
    assert not np.array_equal(design, left_regular(300, 60, 7, 2))


@pytest.mark.parametrize("seed", range(6))
def test_planted_sparse_weights_are_recovered_where_theory_says_so(seed):
    """400 columns, 4 weights: 4 log 100 = 18; with five times as many subsets, exactly."""
    design, weights, responses = planted(400, 92, 4, seed)
    found = recover(design, responses, 1e-4)[0]
    np.testing.assert_allclose(found, weights, atol=2e-2)
    assert set(np.flatnonzero(np.abs(found) > 0.5)) == set(np.flatnonzero(weights))


def test_below_the_bound_nothing_is_recovered():
    """With fewer subsets than s log(n / s) the same solver fails: the design decides."""
    missed = 0
    for seed in range(6):
        design, weights, responses = planted(400, 14, 4, seed)
        missed += np.abs(recover(design, responses, 1e-2)[0] - weights).max() > 0.5
    assert missed == 6


def test_with_fewer_columns_than_subsets_least_squares_is_exact_without_sparsity():
    """The variant whose columns are works; weights no lasso would find."""
    design = left_regular(20, 80, 8, 3)
    weights = np.random.default_rng(3).standard_normal(20)
    # Every subset count differs, so that the level is told apart from the weights.
    found = least_squares(design, (design @ weights + 2.0)[None])[0]
    np.testing.assert_allclose(found - found.mean(), weights - weights.mean(), atol=1e-9)


def test_weights_do_not_change_with_the_unit_of_the_responses():
    """The penalty is a share of the largest, so nats or bits rank the same."""
    design, _, responses = planted(100, 60, 3, 0)
    one, ten = recover(design, responses, 0.05), recover(design, 10 * responses, 0.05)
    np.testing.assert_allclose(ten, 10 * one, rtol=1e-4, atol=1e-6)
    assert not recover(design, np.zeros((1, 60)), 0.05).any()


def test_the_smoother_keeps_what_is_linear_in_the_sketch():
    """Nearly a projection: its own range stays, and there is less of it than of responses."""
    design = left_regular(50, 40, 5, 0)
    hat = hat_of_sketch(design, 10, 1e-6, 4)
    np.testing.assert_allclose(hat @ hat, hat, atol=1e-4)
    assert np.trace(hat) == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("family", [toy.gpt2, toy.llama], ids=["gpt2", "llama"])
def test_drops_are_what_steering_one_subset_at_a_time_gives(family):
    """By hand: the block's output edited for one subset, the whole model run each time."""
    model = family(2)
    operators = Operators(LossModel(model), 5, SteerConfig(rank=3))
    torch.manual_seed(0)
    operators.edits.data = torch.randn_like(operators.edits) * 0.3
    row = Encoded(tuple(range(2, 25)), 4)
    found = drops(operators, row, toy.CONTEXT, chunk=2)
    block = blocks_of(LossModel(model))[0]

    def loss(edit):
        def hook(_, __, output):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = hidden + hidden @ operators.basis @ edit
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle, total = block.register_forward_hook(hook), 0.0
        for piece in windows(row, toy.CONTEXT):
            ids = torch.tensor([piece.input_ids])
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, piece.prompt_length - 1 : -1]
            total += float(
                torch.nn.functional.cross_entropy(
                    logits, ids[0, piece.prompt_length :], reduction="sum"
                )
            )
        handle.remove()
        return total

    plain = loss(torch.zeros(3, 8))
    for subset in range(5):
        assert float(found[subset]) == pytest.approx(
            plain - loss(operators.edits[subset]), abs=2e-3
        )
    assert operators.unit > 0


def test_operators_help_their_own_documents_more_than_the_others():
    """Fidelity, told apart from a change that helps everybody."""
    model = LossModel(toy.gpt2(2))
    rows = [Encoded(tuple(d.input_ids), 1) for d in toy.documents(16, longest=12)]
    members = torch.from_numpy(left_regular(16, 8, 2, 0))
    hat = torch.eye(8)
    config = SteerConfig(rank=6, epochs=30, batch=4, lr=2e-2, positions=8, linear_every=50)
    before = [parameter.clone() for parameter in model.model.parameters()]
    operators = train_operators(model, rows, members, hat, toy.CONTEXT, config)
    found = torch.stack([drops(operators, row, toy.CONTEXT) for row in rows])  # [N, K]
    inside = found[members.T].mean()
    assert inside > found[~members.T].mean() + 0.5
    assert inside > 0.5
    assert all(torch.equal(a, b) for a, b in zip(before, model.model.parameters(), strict=True))


def test_the_stability_loss_keeps_foreign_documents_where_they_were():
    """With it the predictions on documents outside a subset move less."""
    model = LossModel(toy.gpt2(2))
    rows = [Encoded(tuple(d.input_ids), 1) for d in toy.documents(12, longest=12)]
    members = torch.from_numpy(left_regular(12, 6, 2, 0))
    moved = {}
    for weight in (0.0, 5.0):
        config = SteerConfig(rank=4, epochs=15, batch=4, lr=2e-2, positions=8,
                             stability=weight, linearity=0.0)  # fmt: skip
        operators = train_operators(model, rows, members, torch.eye(6), toy.CONTEXT, config)
        found = torch.stack([drops(operators, row, toy.CONTEXT) for row in rows])
        moved[weight] = float(found[~members.T].abs().mean())
    assert moved[5.0] < 0.7 * moved[0.0]


def task_of(tmp_path, count=24):
    """Return a toy task whose first output repeats a document."""
    paths = toy.workspace(tmp_path, count)
    corpus = read_corpus(paths["corpus"])
    lines = [
        {"output_id": "q0", "input_ids": list(corpus.documents[4].input_ids)},
        {"output_id": "silent", "input_ids": [5]},
    ]
    queries = tmp_path / "q.jsonl"
    queries.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return MatrixTask(paths["end"], (), corpus, read_queries(queries), seed=1)


def test_an_output_is_traced_to_the_document_it_repeats(tmp_path):
    """The whole way: design, operators, drops, sparse weights."""
    method = Stride(degree=4, subset_min=4, epochs=25, rank=6, lr=2e-2, sparsity=0.2)
    found = method.scores(task_of(tmp_path))
    assert int(found[0].argmax()) == 4
    assert not found[1].any()
    assert int((found[0] != 0).sum()) < 24


def test_columns_may_be_works_and_divide_by_tokens(tmp_path):
    """A work's weight is the sum over its documents, each by its tokens."""
    task = task_of(tmp_path)
    method = Stride(columns="works", degree=4, epochs=2)
    membership, owner = method.design(task)
    assert membership.shape == (12, 3)
    found = method.scores(task)[0]
    responses = method.responses(task, membership[:, owner])
    wanted = method.weights(membership, responses)[0]
    tokens = np.array([row.scored for row in task.documents_encoded])
    for work in range(3):
        own = owner == work
        assert float(found[own].sum()) == pytest.approx(wanted[work], rel=1e-6)
        np.testing.assert_allclose(found[own], wanted[work] * tokens[own] / tokens[own].sum())


def test_the_design_scales_down_by_its_rules(tmp_path):
    """Subsets hold at least subset_min documents; degree is at most half of them."""
    task = task_of(tmp_path)
    assert Stride().design(task)[0].shape == (15, 24)
    assert (Stride().design(task)[0].sum(0) == 7).all()
    assert Stride(subsets=6).design(task)[0].shape == (6, 24)
    with pytest.raises(ScoringError, match="24 documents make 2 subsets; stride needs at least"):
        replace(Stride(), subset_min=100).design(task)
    with pytest.raises(ScoringError, match="columns is 'authors'"):
        Stride(columns="authors").design(task)
