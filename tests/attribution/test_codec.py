"""Stored rows: sizes, what rounding may cost, and what it must keep exactly."""

import numpy as np
import pytest
import torch

from attribution.codec import BITS, Codec, numbers_for, row_bytes
from attribution.errors import GradientIndexError

WIDTHS = (300, 41, 7)


def rows(count=20):
    """Rows whose coordinates differ a thousandfold in size, one of them all zero."""
    draw = torch.Generator().manual_seed(3)
    steps = torch.logspace(-2, 1, sum(WIDTHS))
    made = torch.randn(count, sum(WIDTHS), generator=draw) * steps
    made[5] = 0.0
    return made, steps


@pytest.mark.parametrize("dtype", BITS)
def test_a_row_has_the_size_it_is_budgeted_for(dtype):
    """The budget dial speaks of real bytes."""
    made, steps = rows()
    stored = Codec(dtype, steps, WIDTHS).encode(made)
    assert stored.dtype == np.uint8
    codec = Codec(dtype, steps, WIDTHS)
    assert stored.shape == (20, codec.row_bytes)
    assert codec.row_bytes == row_bytes(dtype, sum(WIDTHS), len(codec.parts))
    for budget in (200, 201, 2000, codec.row_bytes):
        numbers = numbers_for(dtype, budget, 3)
        for widths in ((numbers - 2, 1, 1), (numbers - 130, 1, 129), (numbers - 256, 128, 128)):
            if min(widths) > 0:
                assert Codec(dtype, torch.ones(numbers), widths).row_bytes <= budget


@pytest.mark.parametrize("dtype", ["float16", "int8", "int4"])
def test_a_catalogue_keeps_its_sum_where_few_numbers_are_large(dtype):
    """Many small numbers of one sign, as an output head has them, do not add up to a drift."""
    draw = torch.Generator().manual_seed(6)
    common = torch.full((4000,), -0.02)
    common[::97] = 3.0
    made = common * torch.rand(200, 1, generator=draw).add(0.5)
    made += 0.01 * torch.randn(200, 4000, generator=draw)
    codec = Codec(dtype, torch.ones(4000), (4000,))
    kept, whole = codec.decode(codec.encode(made)).sum(0), made.sum(0)
    assert float((kept - whole).norm() / whole.norm()) < 0.1


@pytest.mark.parametrize(
    ("dtype", "error"),
    [
        ("float32", 0),
        ("float16", 1e-3),
        ("int8", 0.02),
        ("int4", 0.15),
        ("int2", 0.5),
        ("int1", 0.9),
    ],
)
def test_rounding_error_is_bounded_in_units_of_the_expected_size(dtype, error):
    """What each number of bits costs, as a share of the row's length."""
    made, steps = rows()
    codec = Codec(dtype, steps, WIDTHS)
    back = codec.decode(codec.encode(made))
    lost = ((back - made) / steps).norm(dim=1)
    assert bool((lost <= error * (made / steps).norm(dim=1) + 1e-12).all())
    assert not back[5].any()


@pytest.mark.parametrize("dtype", ["int8", "int4", "int2", "int1"])
def test_the_length_along_its_own_gradient_is_kept(dtype):
    """Rounding neither inflates nor shrinks a row: its error is orthogonal to it."""
    made, steps = rows()
    codec = Codec(dtype, steps, WIDTHS)
    back = codec.decode(codec.encode(made))
    first = 0
    for width in codec.parts:
        part = slice(first, first + width)
        one, two = (made / steps)[:, part], (back / steps)[:, part]
        torch.testing.assert_close((one * two).sum(1), one.square().sum(1), rtol=1e-4, atol=1e-5)
        first += width


@pytest.mark.parametrize("dtype", BITS)
def test_scoring_codes_is_scoring_the_decoded_rows(dtype):
    """Folding the steps into the query changes nothing."""
    made, steps = rows()
    codec = Codec(dtype, steps, WIDTHS)
    queries = torch.randn(4, sum(WIDTHS), generator=torch.Generator().manual_seed(4))
    stored = codec.encode(made)
    torch.testing.assert_close(
        codec.dot(stored, codec.fold(queries)),
        codec.decode(stored) @ queries.T,
        rtol=1e-3,
        atol=1e-2,
    )


def test_a_gradient_too_large_for_float16_is_refused():
    """An infinite row would poison every score."""
    with pytest.raises(GradientIndexError, match="above what float16 holds"):
        Codec("float16", torch.ones(2), (2,)).encode(torch.tensor([[1.0, 1e6]]))


def test_a_budget_without_room_is_refused():
    """Fewer bytes than one number a layer is no index."""
    with pytest.raises(GradientIndexError, match="too few for 48 layers"):
        numbers_for("int8", 100, 48)
    with pytest.raises(GradientIndexError, match="choose one of"):
        row_bytes("int3", 1, 1)


@pytest.mark.parametrize("dtype", BITS)
def test_what_was_stored_does_not_change_with_the_buffer(dtype):
    """Rows come from a buffer that the next batch fills: storing must not share it."""
    made, steps = rows()
    stored = Codec(dtype, steps, WIDTHS).encode(made)
    before = stored.copy()
    made.zero_()
    assert np.array_equal(stored, before)
