"""Sixteen-bit computation: within its stated bound of float32, or refused."""

import pytest
import torch

from attribution import half
from attribution.errors import GradientIndexError
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.index_verify import verify_index
from attribution.influence import Attributor
from attribution.tokens import Encoded
from tests.attribution import toy

QUERIES = [Encoded((3, 9, 12, 4, 4), 2), Encoded((7, 8, 9, 10, 11, 12, 13), 1)]


def built(space, out, **changes):
    """An index of two checkpoints at full rank."""
    settings = {"checkpoints": (space["start"],), "duplicate_threshold": None, **changes}
    build_index(IndexConfig(space["end"], space["corpus"], out, **settings))
    return GradientIndex.open(out)


@pytest.mark.parametrize("family", [toy.gpt2, toy.llama])
def test_bfloat16_is_within_its_bound_of_float32(tmp_path, family):
    """Influence differs by no more than rows may, and the manifest says by how much they do."""
    space = toy.workspace(tmp_path, family=family)
    exact = Attributor(built(space, tmp_path / "one")).documents(QUERIES).influence
    index = built(space, tmp_path / "two", compute="bfloat16")
    rough = Attributor(index).documents(QUERIES).influence
    assert 0 < float((rough - exact).norm() / exact.norm()) <= half.BOUND
    errors = index.manifest.content["bfloat16_error"]
    assert len(errors) == 2
    assert all(0 < error <= half.BOUND for error in errors)
    assert verify_index(tmp_path / "two")["worst_difference"] > 0


def test_a_build_in_bfloat16_has_one_outcome(tmp_path):
    """A second build of the same corpus gives the same manifest."""
    space = toy.workspace(tmp_path, 12)
    one = built(space, tmp_path / "one", compute="bfloat16").manifest.sha256
    assert built(space, tmp_path / "two", compute="bfloat16").manifest.sha256 == one


def test_bfloat16_is_refused_where_it_is_noise(tmp_path):
    """Two large weights that cancel leave only rounding: the build ends, and says by how much."""
    space = toy.workspace(tmp_path, 12, family=toy.llama)
    model = toy.llama(2)
    block = model.model.layers[0].mlp
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        block.up_proj.weight[1] = block.up_proj.weight[0]
        block.gate_proj.weight[1] = block.gate_proj.weight[0]
        # Their sum is small and each is large: bfloat16 cannot tell it from nothing.
        block.down_proj.weight[:, 0] = 3e4 * torch.randn(8, generator=draw)
        block.down_proj.weight[:, 1] = -block.down_proj.weight[:, 0] * (1 + 1e-4)
    model.save_pretrained(space["end"])
    built(space, tmp_path / "fine", checkpoints=(), layers=("*",))
    with pytest.raises(GradientIndexError, match=r"by .* of its length, 0\.1 is allowed"):
        built(space, tmp_path / "noise", checkpoints=(), layers=("*",), compute="bfloat16")
    assert not (tmp_path / "noise" / "manifest.json").exists()


def test_another_kind_of_number_is_refused(tmp_path):
    """Only what was measured is offered."""
    space = toy.workspace(tmp_path, 6)
    with pytest.raises(GradientIndexError, match="compute is 'float16'"):
        built(space, tmp_path / "i", compute="float16")
