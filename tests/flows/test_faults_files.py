"""Files that are altered, a disk that fills, a clock set back, a log that grows, two at once."""

import errno
import io
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime

import pytest

from flows import artefacts, cli
from flows.books import open_books
from flows.engine import run_night
from flows.errors import NightError, ShardError
from flows.locks import hold
from flows.logs import reading
from flows.progress import Reporter
from flows.workspace import Workspace
from tests.brokers import broker_url
from tests.flows.faults import (
    DAY,
    NAME,
    Watched,
    opened,
    state_of,
    undisturbed,
    worker,
)
from tests.simulation.tiny import DAYS, copy_of, tiny

__all__ = ["opened", "undisturbed"]  # fixtures
RESULTS = (
    f"outputs/{NAME}.parquet",
    f"outputs/{NAME}.manifest.json",
    f"sample/{NAME}.parquet",
    f"influence/{NAME}.gains.parquet",
    f"influence/{NAME}.manifest.json",
    f"estimates/{NAME}.works.parquet",
    f"checkpoints/{2:08d}.note",
)


@pytest.fixture
def workspace(tmp_path):
    """A fresh installation."""
    return copy_of(tiny(), tmp_path / "home")


@pytest.mark.parametrize("how", ["truncated", "altered"])
def test_a_result_that_is_altered_is_made_again_and_said(workspace, undisturbed, how):
    """Each table and manifest of a finished night in turn; what was found is kept aside."""
    run_night(workspace, DAY)
    for name in RESULTS:
        path = workspace.root / name
        before = path.read_bytes()
        path.write_bytes(before[: len(before) // 2] if how == "truncated" else b"x" + before[1:])
        night = Watched(workspace)
        night.end()
        assert state_of(workspace) == undisturbed, name
        assert path.read_bytes() == before, name
        (line,) = night.lines("altered since it was written: it is made again")
        assert name.partition("/")[0] in line
        # A note is a copy of what the book has; nothing is learned from a damaged one.
        kept = (workspace.root / "damaged" / name).exists()
        assert kept != name.startswith("checkpoints")


def test_an_altered_shard_is_made_again_and_said(workspace, undisturbed):
    """Its digest is not the one in its manifest; the other shards are kept."""
    run_night(workspace, DAY)
    shard = next(workspace.shards.glob("*.gains.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    (workspace.root / f"influence/{NAME}.manifest.json").unlink()
    night = Watched(workspace)
    night.end()
    assert state_of(workspace) == undisturbed
    assert night.lines(f"shard {shard.name[:12]} was altered or truncated; it is made again")


def test_an_altered_table_is_not_made_again_from_other_logs(workspace, undisturbed, capsys):
    """The draw is not repeated on another batch; with the logs restored the night is finished."""
    run_night(workspace, DAY)
    log, table = workspace.logs / f"{NAME}.otel.jsonl", workspace.root / RESULTS[0]
    logged, damaged = log.read_bytes(), table.read_bytes()[:-1]
    log.write_bytes(logged[: logged.rindex(b"\n", 0, -1) + 1])
    table.write_bytes(damaged)
    assert cli.run(["nightly", "--dir", str(workspace.home), "--date", NAME]) == 1
    assert "cannot be made again" in capsys.readouterr().err
    assert table.read_bytes() == damaged
    assert state_of(workspace) == undisturbed
    log.write_bytes(logged)
    run_night(workspace, DAY)
    assert state_of(workspace) == undisturbed


@pytest.mark.parametrize("strike_at", [2, 9, 14])
def test_a_disk_that_fills_is_said_and_the_night_is_finished(
    workspace, undisturbed, monkeypatch, capsys, strike_at
):
    """ENOSPC at one of the night's writes: nothing half-written stays, nothing is posted twice."""
    calls = []

    def full(_path):
        calls.append(1)
        if len(calls) >= strike_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    words = ["nightly", "--dir", str(workspace.home), "--date", NAME]
    with monkeypatch.context() as patch:
        patch.setattr(artefacts, "_sync", full)
        assert cli.run(words) == 1
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("byline:")]
    assert "no space left on the disk" in line
    assert not list(workspace.root.rglob("*.tmp"))
    assert cli.run(words) == 0
    assert state_of(workspace) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("free_kib", [0, 16, 64, 128])
def test_a_disk_that_is_really_full_is_said(tmp_path, undisturbed, capsys, free_kib):
    """A file system of its own with so much room left; the book lies on it too."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root only")
    try:
        workspace = Workspace.open(copy_of(tiny(), disk / "home").home)
        words = ["nightly", "--dir", str(workspace.home), "--date", NAME]
        with (disk / "ballast").open("wb") as file:
            file.write(bytes(shutil.disk_usage(disk).free - free_kib * 1024))
        assert cli.run(words) == 1
        said = capsys.readouterr().err
        # SQLite has its own words where it has no room for its shared memory.
        assert "no space left on the disk" in said or "Make room" in said
        (disk / "ballast").unlink()
        assert cli.run(words) == 0
        assert state_of(workspace) == undisturbed
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.redis
def test_a_workers_full_disk_parks_its_shards_with_the_reason(opened, undisturbed):
    """Three attempts, then the operator reads why; with room again the same command finishes."""
    settings, workspace = opened(broker_url("redis"))
    night = Watched(workspace)
    with (
        worker(workspace, settings, "full"),
        pytest.raises(ShardError, match="No space left on device"),
    ):
        night.end()
    assert len(night.lines("is parked")) == 3
    with worker(workspace, settings):
        Watched(workspace).end()
    assert state_of(workspace) == undisturbed


def test_a_clock_set_back_is_noticed(workspace, undisturbed, monkeypatch):
    """Before the date: refused. Within it: refused too, if a run saw a later time. After: told."""
    midnight = int(datetime.combine(DAY, datetime.min.time(), tzinfo=UTC).timestamp())
    shown = time.time_ns

    def clock_at(hours):
        monkeypatch.setattr(time, "time_ns", lambda: (midnight + hours * 3600) * 10**9)

    clock_at(-1)
    with pytest.raises(NightError, match="has not begun"):
        run_night(workspace, DAY)
    monkeypatch.setattr(time, "time_ns", shown)
    run_night(workspace, DAYS[1])
    clock_at(1)
    with pytest.raises(NightError, match="it was set back"):
        run_night(workspace, DAY)
    assert not (workspace.root / RESULTS[0]).exists()


def test_a_clock_set_back_after_the_date_changes_nothing(workspace, undisturbed, monkeypatch):
    """By the clock the date is over, so no record of it is in the future; the operator is told."""
    run_night(workspace, DAY)
    midnight = int(datetime.combine(DAYS[1], datetime.min.time(), tzinfo=UTC).timestamp())
    monkeypatch.setattr(time, "time_ns", lambda: (midnight + 3600) * 10**9)
    night = Watched(workspace)
    night.end()
    assert state_of(workspace) == undisturbed
    assert night.lines("it was set back; nothing of 2026-10-30 depends on it")


def test_a_log_that_grows_while_it_is_read_loses_and_doubles_nothing(
    workspace, undisturbed, monkeypatch
):
    """What came during the reading, cut within a line, is a late batch of the next run."""
    log = workspace.logs / f"{NAME}.otel.jsonl"
    more = (workspace.logs / "late" / log.name).read_bytes().splitlines(keepends=True)
    size, one, two, grown = reading._plain_size, more[0], more[1], []

    def size_then_more(location):
        found = size(location)
        # The first time is to find out the format, the second to read.
        if location == str(log):
            grown.append(location)
        if location == str(log) and len(grown) == 2:
            with log.open("ab") as file:
                file.write(one + two[: len(two) // 2])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(reading, "_plain_size", size_then_more)
        run_night(workspace, DAY)
    assert len(log.read_bytes().splitlines()) == 42
    assert state_of(workspace) == undisturbed
    with log.open("ab") as file:
        file.write(two[len(two) // 2 :])
    shown = io.StringIO()
    said = run_night(workspace, DAY, approved_by="controller", reporter=Reporter(shown))
    assert len(said) == 2
    assert shown.getvalue().count(f"late records of {NAME}, batch") == 1
    assert run_night(workspace, DAY, approved_by="controller").keys() == said.keys()
    with open_books(workspace) as books:
        kinds = [sealed.entry.kind for sealed in books.entries()]
    assert kinds == ["accrual", "adjustment"]


def test_two_nights_of_one_date_cannot_run_at_once(workspace, capsys):
    """The second is told which process it would have to wait for."""
    with hold(workspace.locks, f"night-{NAME}"):
        assert cli.run(["nightly", "--dir", str(workspace.home), "--date", NAME]) == 1
    assert f"is held by process {os.getpid()} on" in capsys.readouterr().err
