"""Gradients without weight gradients: the hooks give what autograd gives, however batched."""

import pytest
import torch

from attribution.batches import collate, plan
from attribution.gradients import LossModel, backward, label_draws, losses, recording
from attribution.layers import find_layers
from attribution.projection import LayerBasis
from attribution.recorders import RowRecorder, gram
from attribution.reference import sampled_labels, weight_gradients
from attribution.tokens import Encoded, encode_document
from tests.attribution import toy

FAMILIES = pytest.mark.parametrize("family", [toy.gpt2, toy.llama])


def whole(layers):
    """Bases that change nothing."""
    return [LayerBasis(torch.eye(y.rows), torch.eye(y.outputs)) for y in layers]


def rows_of(model, encoded, budget, bases=None, order=None):
    """Rows and losses of documents, through batches of the given budget."""
    lm = LossModel(model)
    layers = find_layers(model).layers
    recorder = RowRecorder(layers, bases or whole(layers), torch.device("cpu"))
    order = list(range(len(encoded))) if order is None else order
    shuffled = [encoded[i] for i in order]
    rows = torch.zeros(len(encoded), recorder.width)
    loss = torch.zeros(len(encoded), dtype=torch.float64)
    with recording(model, layers, recorder):
        for members in plan(shuffled, toy.CONTEXT, budget):
            batch = collate(shuffled, members, toy.CONTEXT)
            recorder.start(batch)
            found = backward(lm, batch, recorder=recorder)
            for place, member in enumerate(members):
                rows[order[member]] = recorder.rows[place]
                loss[order[member]] = found[place]
    return rows, loss


@FAMILIES
def test_a_row_at_full_rank_is_the_gradient_autograd_gives(family):
    """The hooks must give the same numbers as differentiating the weights."""
    model = family(1)
    layers = find_layers(model).layers
    encoded = [encode_document(d, None) for d in toy.documents(5)]
    rows, _ = rows_of(model, encoded, 64)
    for row, text in zip(rows, encoded, strict=True):
        dense = torch.cat([g.reshape(-1) for g in weight_gradients(model, layers, text)])
        torch.testing.assert_close(row.double(), dense, rtol=1e-4, atol=1e-5)


@FAMILIES
def test_a_row_does_not_depend_on_batch_size_order_or_padding(family):
    """Alone, padded beside longer documents or in another order: the same row."""
    model = family(1)
    encoded = [encode_document(d, None) for d in toy.documents(9)]
    alone, loss_alone = rows_of(model, encoded, 1)
    together, loss_together = rows_of(model, encoded, 10_000, order=[8, 3, 1, 0, 2, 7, 5, 4, 6])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss_alone, loss_together, rtol=1e-6, atol=1e-6)


def test_windows_of_a_long_document_add_up_in_one_row():
    """A document longer than the context has one row: the sum over its windows."""
    model = toy.gpt2(1)
    long = Encoded(tuple(1 + i % 30 for i in range(50)), 1)
    rows, loss = rows_of(model, [long], 10_000)
    batch = collate([long], [0], toy.CONTEXT)
    assert len(batch.rows) > 1
    assert int(batch.scored.sum()) == long.scored
    parts = [
        Encoded(tuple(ids[: int(live.sum()) + 1].tolist()), int((~scored).long().cumprod(0).sum()))
        for ids, live, scored in zip(batch.input_ids, batch.live, batch.scored, strict=True)
    ]
    apart, apart_loss = rows_of(model, parts, 1)
    torch.testing.assert_close(rows[0], apart.sum(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss[0], apart_loss.sum())


def test_prompt_tokens_are_read_but_not_scored():
    """The loss of an output is over its own tokens."""
    model = toy.gpt2(1)
    ids = (0, 5, 6, 7, 8, 9)
    whole_loss = losses(LossModel(model), collate([Encoded(ids, 1)], [0], toy.CONTEXT))
    tail = losses(LossModel(model), collate([Encoded(ids, 4)], [0], toy.CONTEXT))
    head = losses(LossModel(model), collate([Encoded(ids[:4], 1)], [0], toy.CONTEXT))
    torch.testing.assert_close(whole_loss, head + tail, rtol=1e-5, atol=1e-6)


def test_sampled_labels_depend_on_the_document_and_not_on_the_batch():
    """The curvature must not change with the batch plan."""
    encoded = [encode_document(d, None) for d in toy.documents(6)]
    one = label_draws([10, 11], collate(encoded, [0, 1], toy.CONTEXT), 7)
    two = label_draws([11, 10], collate([encoded[1], encoded[0]], [0, 1], toy.CONTEXT), 7)
    cut = encoded[0].scored
    torch.testing.assert_close(one[:cut], two[encoded[1].scored :])
    model = toy.gpt2(1)
    assert len(sampled_labels(model, encoded[0], 10, 7)) == encoded[0].scored


def test_no_weight_gets_a_gradient():
    """Weight gradients are a third of the work and are never made."""
    model = toy.gpt2(1)
    rows_of(model, [encode_document(d, None) for d in toy.documents(3)], 64)
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())


def test_what_is_not_tracked_is_named():
    """Embeddings, norms and the head are in the coverage by name, with their size."""
    found = find_layers(toy.gpt2(1))
    assert len(found.layers) == 4
    assert {"transformer.wte", "transformer.ln_f", "lm_head"} <= found.skipped.keys()
    assert 0 < found.tracked_parameters < found.total_parameters


def test_the_row_of_the_head_is_the_gradient_of_its_weight():
    """From the forward pass alone, for all tokens or for those that are kept."""
    model = toy.llama(1)
    layers = find_layers(model, ("last:1",), head=True).layers
    assert [layer.head for layer in layers] == [False, True]
    encoded = [encode_document(d, None) for d in toy.documents(5)]
    kept = torch.tensor([7, 3, 30, 12])
    bases = [*whole(layers[:1]), LayerBasis(torch.eye(8), kept)]
    lm = LossModel(model)
    recorder = RowRecorder(layers, bases, torch.device("cpu"))
    with recording(model, layers, recorder):
        batch = collate(encoded, range(5), toy.CONTEXT)
        recorder.start(batch)
        backward(lm, batch, recorder=recorder)
        rows = recorder.rows.clone()
    for row, text in zip(rows, encoded, strict=True):
        dense = weight_gradients(model, layers, text)
        found = row[recorder.spans[1]].reshape(8, 4).double()
        torch.testing.assert_close(found, dense[1][:, kept], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            row[recorder.spans[0]].double(), dense[0].reshape(-1), rtol=1e-4, atol=1e-5
        )


def test_the_backward_pass_ends_at_the_lowest_tracked_layer():
    """Nothing below it is differentiated, whatever the model's depth."""
    model = toy.gpt2(1)
    layers = find_layers(model, ("last:1",)).layers
    assert [layer.name for layer in layers] == ["transformer.h.0.mlp.c_proj"]
    lm = LossModel(model)
    reached = []
    handle = model.transformer.h[0].attn.c_attn.register_forward_hook(
        lambda _m, _i, output: reached.append(output.requires_grad)
    )
    recorder = RowRecorder(layers, whole(layers), torch.device("cpu"))
    with recording(model, layers, recorder):
        batch = collate([Encoded((1, 2, 3, 4), 1)], [0], toy.CONTEXT)
        recorder.start(batch)
        backward(lm, batch, recorder=recorder)
    handle.remove()
    assert not any(reached)
    assert bool(recorder.rows.any())


@pytest.mark.parametrize("width", [7, 1023, 1024, 1030, 2049])
def test_a_covariance_made_in_stripes_is_the_whole_product(width):
    """Half of a symmetric product is enough, and it stays symmetric to the bit."""
    seen = torch.randn(5, width, generator=torch.Generator().manual_seed(width))
    made = gram(seen)
    assert torch.equal(made, made.T)
    assert torch.allclose(made, seen.T @ seen, atol=1e-5)
