"""Low-rank rows: exact where the rank suffices, never longer than the row, within their budget."""

import numpy as np
import pytest
import torch

from attribution.errors import GradientIndexError
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.index_verify import verify_index
from attribution.influence import Attributor
from attribution.low_rank import LOW_RANK, LowRankCodec
from attribution.tokens import Encoded
from tests.attribution import toy

SHAPES = ((30, 20), (7, 12), (3, 2))
QUERIES = [Encoded((3, 9, 12, 4, 4), 2), Encoded((7, 8, 9, 10, 11, 12, 13), 1)]


def rows(rank, count=12):
    """Rows whose layers are matrices of a stated rank, in units that differ; one all zero."""
    draw = torch.Generator().manual_seed(1)
    steps = torch.logspace(-1, 1, sum(a * b for a, b in SHAPES))
    parts = [
        torch.randn(count, a, rank, generator=draw) @ torch.randn(count, rank, b, generator=draw)
        for a, b in SHAPES
    ]
    made = torch.cat([part.flatten(1) for part in parts], 1) * steps
    made[5] = 0.0
    return made, steps


@pytest.mark.parametrize("dtype", LOW_RANK)
def test_a_row_of_that_rank_is_kept(dtype):
    """Nothing is lost but what sixteen bits lose."""
    made, steps = rows(LOW_RANK[dtype])
    codec = LowRankCodec(dtype, steps, SHAPES)
    stored = codec.encode(made)
    assert stored.shape == (12, codec.row_bytes)
    back = codec.decode(stored)
    lost = ((back - made) / steps).norm(dim=1)
    assert bool((lost <= 2e-3 * (made / steps).norm(dim=1) + 1e-12).all())
    assert not back[5].any()


def test_the_error_is_orthogonal_and_falls_with_the_rank():
    """A row is neither inflated nor shrunk along itself; more directions lose less."""
    made, steps = rows(20)
    before = torch.full((12,), torch.inf)
    for dtype in LOW_RANK:
        codec = LowRankCodec(dtype, steps, SHAPES)
        back = codec.decode(codec.encode(made))
        error = (made - back) / steps
        along = (error * (back / steps)).sum(1)
        assert float(along.abs().max()) < 2e-3 * float((made / steps).square().sum(1).max())
        lost = error.norm(dim=1)
        assert bool((lost <= before).all())
        before = lost


def test_leading_directions_are_found():
    """Within five percent of the best that rank four can do, on the flattest of spectra."""
    made, steps = rows(20)
    codec = LowRankCodec("lowrank4", steps, SHAPES)
    assert np.array_equal(codec.encode(made), codec.encode(made))
    back = codec.decode(codec.encode(made))
    first = slice(0, 30 * 20)
    units = (made / steps)[:, first].reshape(-1, 30, 20)
    best = torch.linalg.svdvals(units)[:, 4:].square().sum(1).sqrt()
    lost = ((made - back) / steps)[:, first].norm(dim=1)
    assert bool((lost <= 1.05 * best + 1e-2).all())


def test_scoring_is_scoring_the_decoded_rows():
    """The products are those of what was kept."""
    made, steps = rows(6)
    codec = LowRankCodec("lowrank2", steps, SHAPES)
    queries = torch.randn(4, len(steps), generator=torch.Generator().manual_seed(4))
    stored = codec.encode(made)
    torch.testing.assert_close(
        codec.dot(stored, codec.fold(queries)), codec.decode(stored) @ queries.T
    )


def test_an_index_of_low_rank_rows_is_built_scored_and_verified(tmp_path):
    """At a rank that suffices the scores are those of full rows; a budget is kept."""
    space = toy.workspace(tmp_path)
    config = {"checkpoints": (space["start"],), "duplicate_threshold": None, "layers": ("*",)}
    scores = {}
    for dtype, room in (("float32", None), ("lowrank8", None), ("lowrank1", 900)):
        out = tmp_path / dtype
        build_index(
            IndexConfig(
                space["end"],
                space["corpus"],
                out,
                dtype=dtype,
                bytes_per_document=room,
                head=False,
                **config,
            )
        )
        index = GradientIndex.open(out)
        scores[dtype] = Attributor(index).documents(QUERIES).influence
        if room is not None:
            assert sum(index.codec(k).row_bytes for k in range(2)) <= room
        verify_index(out, sample=4)
    whole = scores["float32"]
    assert float((scores["lowrank8"] - whole).norm() / whole.norm()) < 0.01
    assert bool(scores["lowrank1"].isfinite().all())


def test_a_budget_without_room_is_refused(tmp_path):
    """Fewer bytes than one number of each side is no index."""
    space = toy.workspace(tmp_path, 6)
    with pytest.raises(GradientIndexError, match="too few for 2 layers of rank 4"):
        build_index(
            IndexConfig(
                space["end"],
                space["corpus"],
                tmp_path / "i",
                dtype="lowrank4",
                bytes_per_document=12,
            )
        )
