"""Projections: orthonormal, holding the mass, given out by a budget."""

import numpy as np
import pytest
import torch

from attribution.projection import (
    allocate_ranks,
    decompose,
    eigen_basis,
    leading,
    random_signs,
    spectrum_of,
)


def factor(size, seed, decay=1.5):
    """A positive matrix whose eigenvalues fall off as those of activations do."""
    draw = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=draw, dtype=torch.float64))
    values = torch.arange(1, size + 1, dtype=torch.float64) ** -decay
    return basis @ torch.diag(values) @ basis.T


def test_projection_keeps_inner_products_at_full_rank():
    """An orthonormal basis on both sides changes no dot product of gradients."""
    spectrum = spectrum_of(factor(9, 1), factor(7, 2))
    basis = eigen_basis(spectrum, 9, 7)
    one, two = torch.randn(2, 9, 7, generator=torch.Generator().manual_seed(0)).unbind()
    turned = [basis.p_in.T @ g @ basis.p_out for g in (one, two)]
    torch.testing.assert_close((turned[0] * turned[1]).sum(), (one * two).sum())


def test_a_smaller_budget_keeps_a_part_of_a_larger_one():
    """Leading eigenvectors are nested: a smaller index is a cut of the larger."""
    spectra = [spectrum_of(factor(20, 1), factor(30, 2)), spectrum_of(factor(12, 3), factor(8, 4))]
    before = [(0, 0), (0, 0)]
    for numbers in (2, 10, 50, 200, 500, 696):
        ranks = allocate_ranks(spectra, numbers, [0.1, 0.1])
        assert sum(a * b for a, b in ranks) <= numbers
        assert all(a >= c and b >= d for (a, b), (c, d) in zip(ranks, before, strict=True))
        before = ranks
    assert allocate_ranks(spectra, None, [0.1, 0.1]) == [(20, 30), (12, 8)]


def test_the_budget_goes_where_the_energy_is():
    """A layer with a flat spectrum gets more numbers than one with a steep spectrum."""
    flat = spectrum_of(factor(20, 1, 0.1), factor(20, 2, 0.1))
    steep = spectrum_of(factor(20, 3, 6.0), factor(20, 4, 6.0))
    (a, b), (c, d) = allocate_ranks([flat, steep], 200, [0.1, 0.1])
    assert a * b > 5 * c * d


def test_leading_eigenvectors_hold_the_mass_that_exact_ones_hold():
    """Subspace iteration loses a hundredth of the mass at most."""
    matrix = factor(200, 5)
    values, vectors = leading(matrix, 20)
    exact, _ = decompose(matrix)
    assert float(values.sum()) >= 0.99 * float(exact[:20].sum())
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(20, dtype=torch.float64))
    again, _ = leading(matrix, 20)
    assert torch.equal(values, again)


def test_an_eigenvector_has_one_sign():
    """The largest entry is positive, so that equal factors give equal bytes."""
    _, vectors = decompose(factor(15, 6))
    largest = vectors.abs().argmax(0)
    assert bool((vectors[largest, torch.arange(15)] > 0).all())


@pytest.mark.parametrize("rows", [1, 64, 70])
def test_random_numbers_come_from_a_counter(rows):
    """A larger basis begins with the smaller one; another name or seed is another basis."""
    small, large = random_signs("layer", rows, 3, 5), random_signs("layer", rows, 9, 5)
    assert torch.equal(large[:, :3], small)
    assert set(np.unique(small.numpy())) <= {-1.0, 1.0}
    if rows > 1:
        assert not torch.equal(small, random_signs("other", rows, 3, 5))
        assert not torch.equal(small, random_signs("layer", rows, 3, 6))


def test_random_numbers_are_the_known_ones():
    """Pinned: an index built elsewhere must be readable here."""
    assert random_signs("layer", 8, 2, 5).T.tolist() == [
        [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0],
        [-1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0],
    ]
