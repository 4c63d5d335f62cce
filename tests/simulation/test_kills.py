"""A night that dies anywhere is finished by the same command, to the same checkpoint root."""

import random

import pytest

from flows.books import open_books
from flows.settle import SCOPE
from flows.workspace import Workspace
from tests.simulation.killing import INTERRUPT, KILL, RAISE, STOPPED, night_in_child
from tests.simulation.tiny import DAYS, copy_of, tiny

DAY = DAYS[0]
SEEDS = range(3)
STEPS = ("ingest", "filter", "sample", "attribute", "estimate", "settle", "seal")


def state_of(workspace: Workspace) -> dict[str, object]:
    """Read what must not depend on how often a night died."""
    with open_books(workspace) as books:
        latest = books.latest_checkpoint()
        assert latest is not None
        keys = [sealed.entry.key for sealed in books.entries() if sealed.entry.scope == SCOPE]
        lines = books.trial_balance("USD/6")
        return {
            "root": latest.root.hex(),
            "size": latest.size,
            "keys": keys,
            "sum": sum(line.balance_units for line in lines),
        }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Settle the night once without any trouble; give its state and its points."""
    workspace = copy_of(tiny(), tmp_path_factory.mktemp("undisturbed") / "home")
    code, points = night_in_child(workspace, DAY)
    assert code == 0
    return state_of(workspace), points


def test_a_night_passes_many_points_where_it_could_die(undisturbed):
    """The points are real: every step, every rename and every commit is among them."""
    _, points = undisturbed
    assert {f"before step {name}" for name in STEPS} <= set(points)
    assert points.count("commit") >= 3
    assert sum(name == "after rename" for name in points) >= 8


@pytest.mark.parametrize("seed", SEEDS)
def test_a_night_killed_again_and_again_ends_as_if_undisturbed(undisturbed, tmp_path, seed):
    """SIGKILL at random points, each run getting further, changes neither root nor book."""
    expected, points = undisturbed
    draw = random.Random(seed)
    workspace = copy_of(tiny(), tmp_path / "home")
    for _ in range(3):
        at = draw.randrange(1, len(points) + 1)
        code, _ = night_in_child(workspace, DAY, strike_at=at, how=KILL)
        # A run with less left to do may end before its point.
        assert code in {STOPPED[KILL], 0}, f"seed {seed}, point {at}"
    assert night_in_child(workspace, DAY)[0] == 0
    assert state_of(workspace) == expected, f"seed {seed}"


@pytest.mark.parametrize("how", [RAISE, INTERRUPT])
def test_an_error_or_ctrl_c_leaves_nothing_half_written(undisturbed, tmp_path, how):
    """After an exception in the middle no temporary file stays, and the same command finishes."""
    expected, points = undisturbed
    workspace = copy_of(tiny(), tmp_path / "home")
    at = points.index("before step attribute") - 1
    code, _ = night_in_child(workspace, DAY, strike_at=at, how=how)
    assert code == STOPPED[how]
    left = [path for path in workspace.home.rglob(".*") if path.is_file() and path.name != ".lock"]
    assert not left, left
    assert night_in_child(workspace, DAY)[0] == 0
    assert state_of(workspace) == expected


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("how", [KILL, RAISE])
def test_a_night_that_dies_at_a_step_boundary_is_finished(undisturbed, tmp_path, step, side, how):
    """Every boundary between two steps is a place to die at."""
    expected, points = undisturbed
    workspace = copy_of(tiny(), tmp_path / "home")
    at = points.index(f"{side} step {step}") + 1
    assert night_in_child(workspace, DAY, strike_at=at, how=how)[0] == STOPPED[how]
    assert night_in_child(workspace, DAY)[0] == 0
    assert state_of(workspace) == expected


@pytest.mark.slow
def test_a_night_killed_at_every_point_in_turn_is_finished(undisturbed, tmp_path):
    """No point is special: a kill at each one, one after another, ends in the same book."""
    expected, points = undisturbed
    for at in range(1, len(points) + 1):
        workspace = copy_of(tiny(), tmp_path / f"home-{at}")
        assert night_in_child(workspace, DAY, strike_at=at, how=KILL)[0] == STOPPED[KILL]
        assert night_in_child(workspace, DAY)[0] == 0
        assert state_of(workspace) == expected, f"point {at}: {points[at - 1]}"
