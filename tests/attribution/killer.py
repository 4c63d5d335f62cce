"""A program that builds an index in children and kills them, or lets their disk fill.

    python -m tests.attribution.killer FOLDER TIMES

It forks, so that the libraries are loaded once. Writes `said.json` into the folder.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

import torch

from attribution.errors import IndexDiskFullError
from attribution.files import sha256_file
from attribution.index import IndexConfig, build_index
from tests.attribution import toy


def settings(folder: Path, out: Path) -> IndexConfig:
    """Many small chunks and shards, so that a kill finds many places."""
    return IndexConfig(
        folder / "end",
        folder / "corpus.jsonl",
        out,
        checkpoints=(folder / "start",),
        decoys=folder / "decoys.jsonl",
        chunk_bytes=4096,
        shard_documents=10,
        token_budget=64,
        layers=("*",),
        head=False,
    )


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of an index."""
    return {
        str(path.relative_to(folder)): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def in_child(config: IndexConfig, *, kill_after: float | None = None, room: int = -1) -> int:
    """Build in a child; return its exit status: -9 killed, 3 the disk was full."""
    child = os.fork()
    if child == 0:
        if room >= 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        try:
            build_index(config)
        except IndexDiskFullError:
            os._exit(3)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(folder: Path, times: int, want: dict[str, str], lasted: float) -> dict[str, object]:
    """Kill builds at random moments until one was killed so often, then finish them.

    Args:
        folder: where model and corpus are.
        times: how often a build must have been killed.
        want: digests of an undisturbed build.
        lasted: how long that took, seconds.
    """
    draw, killed, same = random.Random(7), 0, True
    out = folder / "killed"
    for _ in range(20 * times):
        # What was done stays, so every try comes further than the last.
        status = in_child(settings(folder, out), kill_after=draw.uniform(0.05, 0.9) * lasted)
        killed += status == -signal.SIGKILL
        if (out / "manifest.json").is_file():
            # A kill after the manifest may leave a temporary file: the same command clears it.
            assert in_child(settings(folder, out)) == 0
            same = same and digests(out) == want
            out = folder / f"killed-{killed}"
        if killed >= times:
            break
    assert in_child(settings(folder, out)) == 0
    return {"killed": killed, "same": same and digests(out) == want}


def fill(folder: Path, times: int, want: dict[str, str]) -> dict[str, object]:
    """Let builds of one index meet a full disk at rising sizes, then finish it with room."""
    largest = max(path.stat().st_size for path in (folder / "whole").rglob("*") if path.is_file())
    out = settings(folder, folder / "filled")
    statuses, whole_looking = [], 0
    for number in range(times):
        statuses.append(in_child(out, room=largest * (number + 1) // (times + 1)))
        whole_looking += (out.out / "manifest.json").is_file()
    assert in_child(out) == 0
    return {"same": digests(out.out) == want, "statuses": statuses, "whole": whole_looking}


def main(folder: Path, times: int) -> None:
    """Build once undisturbed, then disturb."""
    toy.workspace(folder)
    begun = time.monotonic()
    assert in_child(settings(folder, folder / "whole")) == 0
    lasted = time.monotonic() - begun
    want = digests(folder / "whole")
    said = {"kill": kill(folder, times, want, lasted), "fill": fill(folder, times, want)}
    (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    # Forking is safe only before torch has started threads.
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]))
