"""Logs decoded by several processes: the same outcome, and nothing left by one that dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import decoding
from flows.logs import reading
from flows.quarantine import read_quarantine
from tests.flows.nights import DAY, otel, run_ingest, write_log


@pytest.mark.parametrize("processes", [1, 2])
def test_however_many_processes_read_a_log_the_outcome_is_the_same(
    tmp_path, monkeypatch, processes
):
    """Pieces of a few lines, with rejects whose date only an earlier piece says: the same bytes."""
    lines = ["{first", *[otel(i) for i in range(30)], "{second", otel(31, days=1), "{third"]
    lines += ["{fourth", *[otel(i) for i in range(20, 60)], otel(5)]
    for folder in ("whole", "cut"):
        write_log(tmp_path / folder / "logs/a.jsonl", lines)
        write_log(tmp_path / folder / "logs/b.jsonl", ["{of b", otel(70, days=1), otel(71)])
        (tmp_path / folder / "logs/c.jsonl").write_bytes(b"\n  \n")
    whole = run_ingest(tmp_path / "whole")
    monkeypatch.setattr(reading, "_CHUNK_BYTES", 700)
    monkeypatch.setattr(decoding, "HERE_PIECES", 3)
    monkeypatch.setattr(decoding, "TASK_PIECES", 2)
    cut = run_ingest(tmp_path / "cut", processes=processes)
    assert cut.outputs.read_bytes() == whole.outputs.read_bytes()
    assert cut.manifest == whole.manifest
    quarantines = [tmp_path / name / f"quarantine/{DAY}.jsonl" for name in ("whole", "cut")]
    assert quarantines[0].read_bytes() == quarantines[1].read_bytes()
    raws = [reject.raw for reject in read_quarantine(quarantines[0])]
    assert raws == ["{first", "{second"]


KILLED = """
import sys
from pathlib import Path
from flows import decoding
from flows.logs import reading
from tests.flows.nights import run_ingest

if __name__ == "__main__":
    reading._CHUNK_BYTES, decoding.HERE_PIECES, decoding.TASK_PIECES = 2_000, 1, 1
    run_ingest(Path(sys.argv[1]), processes=2)
"""


def children_of(process):
    """List the processes that one has started."""
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def is_there(process):
    """Say whether a process runs still."""
    path = Path(f"/proc/{process}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, seconds=60):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def begun(folder):
    """Start an ingest of many lines in a process; return it when others decode for it."""
    write_log(folder / "logs/a.jsonl", [otel(i, seconds=2) for i in range(20_000)])
    (folder / "killed.py").write_text(KILLED)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    words = [sys.executable, str(folder / "killed.py"), str(folder)]
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list((folder / "outputs").glob(".*/process-*.blocks")))
    return process


def test_a_process_that_dies_while_it_decodes_ends_the_ingest_in_words(tmp_path):
    """Kill -9 of one of them, as for want of memory: nothing is ingested, and again it is."""
    process = begun(tmp_path)
    decoders = [
        child
        for child in children_of(process.pid)
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    os.kill(decoders[0], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "a process that decodes logs died" in said
    assert "nothing was ingested" in said
    assert not [p for p in (tmp_path / "outputs").iterdir() if not p.name.startswith(".")]
    assert run_ingest(tmp_path).manifest["counts"]["outputs"] == 20_000
    assert not list((tmp_path / "outputs").glob(".*"))


def test_an_ingest_killed_while_others_decode_for_it_leaves_nothing_that_lasts(tmp_path):
    """Kill -9: its processes end themselves, its folder goes with the next run, same bytes."""
    process = begun(tmp_path)
    blocks = tmp_path / "outputs"
    helpers = children_of(process.pid)
    process.kill()
    process.communicate()
    assert len(helpers) >= 2
    wait_for(lambda: not any(is_there(helper) for helper in helpers))
    (left,) = blocks.glob(".*")
    result = run_ingest(tmp_path)
    assert result.manifest["counts"]["outputs"] == 20_000
    assert not left.exists()
    assert not list(blocks.glob(".*"))
