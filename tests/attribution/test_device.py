"""Rows made on an accelerator are those made on the CPU, beyond a float's rounding."""

import pytest
import torch

from attribution.batches import collate, plan
from attribution.gradients import LossModel, backward, recording
from attribution.layers import find_layers
from attribution.preconditioner import FitConfig, fit
from attribution.recorders import RowRecorder
from attribution.tokens import encode_document
from tests.attribution import toy

HERE = [torch.device("cpu")]
DEVICES = HERE + [torch.device("cuda", i) for i in range(torch.cuda.device_count())]


def rows_on(device, encoded, bases):
    """Rows of all documents made on a device."""
    model = toy.gpt2(1).to(device)
    layers = find_layers(model, ("*",), head=True).layers
    recorder = RowRecorder(layers, bases, device)
    out = torch.zeros(len(encoded), recorder.width)
    with recording(model, layers, recorder):
        for members in plan(encoded, toy.CONTEXT, 64):
            batch = collate(encoded, members, toy.CONTEXT)
            recorder.start(batch)
            backward(LossModel(model), batch, recorder=recorder)
            out[members] = recorder.rows.cpu()
    return out


@pytest.mark.skipif(len(DEVICES) == 1, reason="no accelerator on this machine")
@pytest.mark.parametrize("device", DEVICES[1:], ids=str)
def test_rows_do_not_depend_on_the_device(device):
    """An index built on a card is scored on a machine without one."""
    encoded = [encode_document(document, None) for document in toy.documents(20)]
    model = toy.gpt2(1)
    layers = find_layers(model, ("*",), head=True).layers
    config = FitConfig(share=1.0)
    bases, _ = fit(LossModel(model), layers, encoded, config, context=toy.CONTEXT, token_budget=64)
    here, there = rows_on(HERE[0], encoded, bases), rows_on(device, encoded, bases)
    assert (there - here).norm(dim=1).max() <= 1e-4 * here.norm(dim=1).max()


def test_the_test_above_can_fail():
    """Rows of other weights are told apart by the bound that devices are held to."""
    encoded = [encode_document(document, None) for document in toy.documents(6)]
    model = toy.gpt2(1)
    layers = find_layers(model, ("*",), head=True).layers
    config = FitConfig(share=1.0)
    bases, _ = fit(LossModel(model), layers, encoded, config, context=toy.CONTEXT, token_budget=64)
    here = rows_on(HERE[0], encoded, bases)
    assert torch.equal(here, rows_on(HERE[0], encoded, bases))
    turned = [type(basis)(basis.p_in.flip(0), basis.p_out) for basis in bases]
    assert (rows_on(HERE[0], encoded, turned) - here).norm(dim=1).max() > 1e-4
