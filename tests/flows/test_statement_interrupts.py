"""`byline statements` is stopped while several processes write: what is there is whole."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import cli
from tests.flows.papers import closed_months

PERIOD, CREATORS = "2026-01", 40
# One statement a message, so that most are still to be written when the first is there.
RUN = (
    "import sys; from flows import cli, publish_statements as p; p.CHUNK = 1; "
    "sys.exit(cli.run(sys.argv[1:]))"
)
WAIT_S = 120


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A closed month of many creators, and what an undisturbed run writes."""
    folder = tmp_path_factory.mktemp("interrupts")
    with pytest.MonkeyPatch.context() as patch:
        closed_months(patch, folder / "home", 1, creators=CREATORS)
    shutil.copytree(folder / "home", folder / "undisturbed")
    assert cli.run(words(folder / "undisturbed")) == 0
    return folder / "home", files(folder / "undisturbed")


def words(home, processes=1):
    """The command, with the formats that take long."""
    formats = ("--format", "pdf", "--format", "csv", "--format", "json")
    named = ("--dir", str(home), "--period", PERIOD, "--processes", str(processes))
    return ["statements", *named, *formats, "--json"]


def files(home):
    """Everything in the folder of statements."""
    folder = home / "reports" / PERIOD / "statements"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def writes(process):
    """Say whether another process has been started to write, were it still importing."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return any(b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes() for c in children)


@pytest.mark.parametrize("to", ["parent", "group", "group at the beginning"])
def test_an_interrupted_run_leaves_whole_statements_and_goes_on(closed, tmp_path, capsys, to):
    """SIGINT to the parent alone, as from `kill`, and to all of them, as Ctrl-C sends it."""
    early = to == "group at the beginning"
    original, whole = closed
    home = shutil.copytree(original, tmp_path / "home")
    command = [sys.executable, "-c", RUN, *words(home, processes=2)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        until = time.monotonic() + WAIT_S
        while not (writes(process) if early else any(n.endswith(".json") for n in files(home))):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.01)
        (os.kill if to == "parent" else os.killpg)(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "Give the same command to finish" in err
    assert "Traceback" not in err
    left = files(home)
    records = {name for name in left if name.endswith(".json")}
    assert len(records) < CREATORS
    assert records or early
    assert {name: whole.get(name) for name in left} == left
    capsys.readouterr()
    assert cli.run(words(home)) == 0
    assert json.loads(capsys.readouterr().out)["written"] == CREATORS - len(records)
    assert files(home) == whole
