"""Bidirectional, against steps taken by hand, and the faults its released code has."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from attribution.corpus import Document, read_corpus, read_queries, write_corpus
from attribution.errors import ScoringError
from attribution.matrix_task import MatrixTask
from attribution.methods.bidirectional import Bidirectional, by_group, in_mode
from attribution.methods.ekfac_index import EkfacIndex
from attribution.methods.perturbation import Movable, Steps, fisher_diagonal
from attribution.methods.token_maps import token_maps
from attribution.replay import summed_loss
from attribution.tokens import windows
from tests.attribution import toy

DOCUMENTS = 9


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Nine documents of three works and a silent one, two queries and a silent one."""
    folder = tmp_path_factory.mktemp("bidirectional")
    paths = toy.workspace(folder)
    silent = Document("silent", "g0", input_ids=(4,))
    write_corpus(paths["corpus"], [*toy.documents(DOCUMENTS, longest=24), silent])
    lines = [
        {"output_id": "q0", "input_ids": [3, 9, 12, 4, 4], "prompt_length": 2},
        {"output_id": "q1", "input_ids": list(range(3, 25)), "prompt_length": 3},
        {"output_id": "silent", "input_ids": [5]},
    ]
    (folder / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return MatrixTask(
        paths["end"], (), read_corpus(paths["corpus"]), read_queries(folder / "q.jsonl"), seed=3
    )


def loss_of(model, row):
    """Return the summed loss of a row, in its windows."""
    return summed_loss(model, windows(row, toy.CONTEXT)).sum()


def gradient_of(model, row):
    """Return the gradient of the mean loss, one vector."""
    parts = torch.autograd.grad(loss_of(model, row) / row.scored, list(model.parameters()))
    return torch.cat([part.reshape(-1) for part in parts]).double()


def fisher_of(model, task):
    """Return the mean squared gradient over the documents, one vector."""
    rows = task.documents_encoded[:DOCUMENTS]
    return torch.stack([gradient_of(model, row).square() for row in rows]).mean(0)


def test_the_fisher_is_the_mean_squared_gradient_of_single_documents(task):
    """Of mean losses, the silent document not counted."""
    model = toy.gpt2(2)
    found = fisher_diagonal(model, task.documents_encoded, toy.CONTEXT)
    found = torch.cat([part.reshape(-1) for part in found])
    np.testing.assert_allclose(found, fisher_of(model, task), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("query", [0, 1])
def test_small_signed_scores_are_twice_the_step_times_diagonal_fisher_influence(task, query):
    """To first order, within five percent, over every document and for several steps."""
    method = Bidirectional(steps=3, lr=3e-5, corpus_min=1, fisher_eps=0.001)
    model = toy.gpt2(2)
    output = task.queries_encoded[query]
    inverse = 1 / (fisher_of(model, task) + method.fisher_eps)
    influence = (
        torch.stack(
            [
                (gradient_of(model, row) * row.scored) @ (inverse * gradient_of(model, output))
                for row in task.documents_encoded[:DOCUMENTS]
            ]
        ).double()
        * output.scored
    )
    step = method.steps * method.lr / DOCUMENTS
    found = method.scores(task)[query, :DOCUMENTS]
    wanted = 2 * step * influence
    assert float((found - wanted).norm() / wanted.norm()) < 0.05
    flat = float(inverse.std() / inverse.mean())
    assert flat > 0.5, "the Fisher must matter here, or a plain gradient step would pass"
    assert bool((found.sign() == wanted.sign())[wanted.abs() > 0.05 * wanted.abs().max()].all())


@pytest.mark.parametrize("sign", [1, -1])
def test_adamw_moves_are_adam_on_the_loss_with_a_penalty_that_pulls_back(task, sign):
    """By hand, with autograd through the whole objective, on both sides."""
    steps = Steps("adamw", steps=4, lr=1e-2, penalty=3.0, weight_decay=0.1, clip=0.5)
    moved = Movable(toy.gpt2(2), task.documents_encoded, toy.CONTEXT, steps)
    moved.move(task.queries_encoded[1], sign)
    model = toy.gpt2(2)
    base = [parameter.detach().clone() for parameter in model.parameters()]
    fisher = fisher_diagonal(model, task.documents_encoded, toy.CONTEXT)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        row = task.queries_encoded[1]
        far = sum(
            (f * (p - b) ** 2).sum()
            for f, p, b in zip(fisher, model.parameters(), base, strict=True)
        )
        (-sign * loss_of(model, row) / row.scored + 3.0 * far).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    for found, wanted in zip(moved.parameters, model.parameters(), strict=True):
        np.testing.assert_allclose(found.detach(), wanted.detach(), atol=2e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_penalty_holds_the_model_near_its_base_on_both_sides(task, sign):
    """The released code maximises the penalty in ascent: there more penalty moves further."""
    moved = {}
    for penalty in (0.0, 1e4):
        steps = Steps("adamw", steps=20, lr=1e-2, penalty=penalty, weight_decay=0.0)
        model = Movable(toy.gpt2(2), task.documents_encoded, toy.CONTEXT, steps)
        model.move(task.queries_encoded[0], sign)
        away = zip(model.fisher, model.parameters, model.base, strict=True)
        moved[penalty] = sum(float((f * (p.detach() - b) ** 2).sum()) for f, p, b in away)
    assert moved[1e4] < 0.5 * moved[0.0]


@pytest.mark.parametrize("variant", ["natural", "adamw"])
def test_moves_go_up_and_down_and_leave_the_given_model_alone(task, variant):
    """Ascent raises the output's loss, descent lowers it, rest puts the weights back."""
    given = toy.gpt2(2)
    before = {name: value.clone() for name, value in given.state_dict().items()}
    model = Movable(given, task.documents_encoded, toy.CONTEXT, Steps(variant))
    row = task.queries_encoded[0]
    with torch.no_grad():
        base = float(loss_of(given, row))
        up = float(loss_of(model.move(row, 1).model, row))
        down = float(loss_of(model.move(row, -1).model, row))
        model.rest()
        assert float(loss_of(model.losses.model, row)) == base
    assert down < base < up
    assert all(torch.equal(before[name], value) for name, value in given.state_dict().items())


def test_the_prompt_is_read_and_never_stepped_on(task):
    """Only continuation tokens have a loss: another prompt's labels change nothing."""
    model = toy.gpt2(2)
    row = task.queries_encoded[0]
    logits = model(torch.tensor([row.input_ids])).logits[0]
    masked = torch.nn.functional.cross_entropy(logits[1:-1], torch.tensor(row.input_ids[2:]))
    by_hand = torch.autograd.grad(masked, list(model.parameters()))
    from attribution.methods.perturbation import mean_gradient

    for found, wanted in zip(mean_gradient(model, row, toy.CONTEXT), by_hand, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_paper_mode_is_the_absolute_change_of_mean_losses(task):
    """Both modes come from the same change; only the ledger keeps its sign."""
    method = Bidirectional(variant="adamw", steps=2)
    changes = method.changes(task)
    sizes = torch.tensor([max(1, row.scored) for row in task.documents_encoded])
    paper = replace(method, mode="paper").scores(task)
    np.testing.assert_allclose(paper, (changes / sizes).abs(), rtol=1e-12)
    ledger = method.scores(task)
    assert bool((ledger[:2, :DOCUMENTS] < 0).any()), "the toy has texts that hurt"
    assert bool((paper >= 0).all())
    np.testing.assert_allclose(ledger[1], changes[1] * 19, rtol=1e-12)
    assert not ledger[2].any()
    assert not ledger[:, DOCUMENTS].any()


def test_a_text_that_hurts_is_negative_in_the_ledger_and_paid_by_the_paper(task):
    """Fault 4 of the released code: the absolute value ranks harm like help."""
    changes = Bidirectional(lr=1e-2).changes(task)
    worst = int(changes[0, :DOCUMENTS].argmin())
    assert changes[0, worst] < 0
    assert in_mode(changes, task, "ledger")[0, worst] < 0
    assert in_mode(changes, task, "paper")[0, worst] > 0


def test_ledger_scores_of_a_group_are_sums_and_paper_scores_are_not(task):
    """Fault 5: mean losses pay a text cut in two more than the text."""
    changes = torch.tensor([[3.0, 1.0, -2.0]]).double()
    names, ledger = by_group(changes, [6, 2, 2], ["a", "a", "b"], "ledger")
    assert (names, ledger.tolist()) == (("a", "b"), [[4.0, -2.0]])
    _, paper = by_group(changes, [6, 2, 2], ["a", "a", "b"], "paper")
    assert paper.tolist() == [[0.5, 1.0]]
    whole = by_group(changes, [6, 2, 2], ["all"] * 3, "paper")[1]
    cut = (changes.abs() / torch.tensor([6, 2, 2])).sum()
    assert whole.item() == pytest.approx(0.2)
    assert cut == pytest.approx(2.0), "cut into pieces the paper's score grows tenfold"


def test_candidates_are_the_best_of_the_index_and_the_others_get_zero(task):
    """What is read is scored as if everything were."""
    method = Bidirectional(steps=2)
    everything = method.scores(task)
    few = replace(method, candidates=3).scores(task)
    best = EkfacIndex().scores(task).argsort(dim=1, descending=True)[:, :3]
    for query in range(2):
        np.testing.assert_allclose(
            few[query, best[query]], everything[query, best[query]], atol=1e-4
        )
        assert int((few[query] != 0).sum()) <= 3
    assert torch.equal(replace(method, candidates=50).scores(task), everything)


def test_token_maps_add_up_to_the_change_and_tell_fact_from_style(task):
    """A document of two windows is mapped whole; rare tokens are counted apart."""
    method = Bidirectional(steps=2)
    changes = method.changes(task)
    longest = max(range(DOCUMENTS), key=lambda n: task.documents_encoded[n].scored)
    maps = token_maps(task, method, 1, [longest, 0, DOCUMENTS], rare=0.3)
    assert [len(found.change) for found in maps] == [
        task.documents_encoded[n].scored for n in (longest, 0, DOCUMENTS)
    ]
    for found, place in zip(maps, (longest, 0, DOCUMENTS), strict=True):
        assert float(found.change.sum()) == pytest.approx(float(changes[1, place]), abs=1e-4)
        assert found.factual + found.stylistic == pytest.approx(float(found.change.sum()))
    ids = [set(row.input_ids[1:]) for row in task.documents_encoded]
    for token, rare in zip(maps[0].input_ids, maps[0].rare.tolist(), strict=True):
        assert rare == (sum(token in row for row in ids) <= 3)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Bidirectional(variant="sgd"), r"variant is 'sgd'; choose one of \('natural', 'adamw'\)"),
        (Bidirectional(mode="both"), r"mode is 'both'; choose one of \('ledger', 'paper'\)"),
        (Bidirectional(candidates=-1), "candidates is -1"),
        (Bidirectional(lr=0.0), "must be above zero"),
    ],
)
def test_options_that_mean_nothing_are_refused(task, method, said):
    """Before any pass over the corpus."""
    with pytest.raises(ScoringError, match=said):
        method.scores(task)
