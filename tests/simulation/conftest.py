"""What simulations share."""

import pytest

from tests.simulation.paper import paper_workspace


@pytest.fixture
def workspace(tmp_path):
    """An installation on paper: nights are given, nothing is measured."""
    return paper_workspace(tmp_path / "home")
