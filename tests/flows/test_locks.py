"""A lock has one living holder, who is named; a dead one is taken over."""

import os
import subprocess
import sys

import pytest

from flows.errors import LockHeldError
from flows.locks import hold, look

HOLD_FOR_EVER = """
import sys, time
from pathlib import Path
from flows.locks import hold, look
with hold(Path(sys.argv[1]), "night"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_refused_and_the_first_is_named(tmp_path):
    """Whoever waits learns which process to wait for."""
    named = f"process {os.getpid()} on"
    with (
        hold(tmp_path, "night"),
        pytest.raises(LockHeldError, match=named),
        hold(tmp_path, "night"),
    ):
        pass


def test_a_lock_is_free_after_its_block_and_after_an_error(tmp_path):
    """Nobody has to remove a lock file by hand, and nobody is called dead who ended well."""
    with pytest.raises(ValueError, match="inside"), hold(tmp_path, "night"):
        raise ValueError("inside")
    with hold(tmp_path, "night") as died:
        assert died is None


def test_locks_of_different_names_do_not_meet(tmp_path):
    """Two nights of two dates may run at once."""
    with hold(tmp_path, "night-1"), hold(tmp_path, "night-2"):
        pass


def test_a_killed_holder_is_taken_over_and_named(tmp_path):
    """SIGKILL leaves no lock behind, only the name of who held it."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    with pytest.raises(LockHeldError, match=f"process {holder.pid} on"), hold(tmp_path, "night"):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with hold(tmp_path, "night") as died:
        assert died is not None
        assert f"process {holder.pid} on" in died


def test_whoever_looks_sees_the_living_the_dead_and_nobody(tmp_path):
    """Looking takes nothing away from whoever wants the lock."""
    assert look(tmp_path, "night") is None
    with hold(tmp_path, "night"):
        found = look(tmp_path, "night")
        assert found is not None
        assert found.alive
        assert f"process {os.getpid()} on" in found.text
    assert look(tmp_path, "night") is None
    (tmp_path / "night.lock").write_text('{"pid": 1, "host": "h", "since": "s", "command": "c"}')
    found = look(tmp_path, "night")
    assert found is not None
    assert not found.alive
    assert found.text == "process 1 on h since s (c)"
