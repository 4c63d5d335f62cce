"""Workers that die, hang, fail or are asked twice: the night ends as if nothing had been."""

import os
import signal
import time

import pytest

from flows import cli, dispatch
from flows.broker import Broker
from flows.errors import ShardError
from flows.shards import ShardStore
from tests.brokers import broker_url
from tests.flows.faults import (
    DAY,
    Watched,
    held,
    opened,
    scored,
    start_worker,
    state_of,
    undisturbed,
    worker,
)
from tests.servers import wait_for

BROKERS = [
    pytest.param("redis", marks=pytest.mark.redis),
    pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
]
__all__ = ["opened", "undisturbed"]  # fixtures
REDELIVERED_S = 60
LIMIT = "BYLINE_BROKER__SHARD_LIMIT_S"


@pytest.mark.parametrize("broker", BROKERS)
def test_a_worker_killed_in_the_middle_of_a_shard_loses_nothing(opened, undisturbed, broker):
    """SIGKILL, settings as they are: the shard is with the next worker within a minute."""
    settings, workspace = opened(broker_url(broker))
    night = Watched(workspace)
    with worker(workspace, settings, "wait") as first:
        night.until(lambda: held(workspace), "a shard at work")
        (shard,) = held(workspace)
        first.kill()
        first.join()
    died = time.monotonic()
    with worker(workspace, settings):
        night.until(lambda: ShardStore(workspace.shards).is_done(shard), "the lost shard")
        assert time.monotonic() - died < REDELIVERED_S
        night.end()
    assert state_of(workspace) == undisturbed
    (line,) = night.lines("died at it")
    assert f"process {first.pid} on" in line
    assert f"shard {shard[:12]}" in line


@pytest.mark.redis
def test_a_worker_that_hangs_ends_itself_and_says_where(opened, undisturbed):
    """Even one that hangs in C and holds the interpreter; another worker finishes."""
    settings, workspace = opened(broker_url("redis"))
    night = Watched(workspace)
    with worker(workspace, {**settings, LIMIT: "1"}, "hang") as first:
        night.until(lambda: held(workspace), "a shard at work")
        first.join(30)
        assert first.exitcode == 1
    with worker(workspace, settings):
        night.end()
    assert state_of(workspace) == undisturbed
    (line,) = night.lines("stopped for taking too long")
    assert "faults.py" in line


@pytest.mark.redis
def test_a_worker_that_is_frozen_is_passed_over(opened, undisturbed):
    """SIGSTOP: no watchdog of its own can help; the flow gives its shard to another."""
    settings, workspace = opened(broker_url("redis"), shard_limit_s=2, attempts=20)
    night = Watched(workspace)
    with worker(workspace, settings, "wait") as frozen:
        night.until(lambda: held(workspace), "a shard at work")
        os.kill(frozen.pid, signal.SIGSTOP)
        with worker(workspace, {**settings, LIMIT: "60"}):
            night.end()
    assert state_of(workspace) == undisturbed
    line = night.lines("without a result")[0]
    assert f"process {frozen.pid} on" in line


@pytest.mark.redis
def test_a_shard_that_kills_its_workers_is_parked_and_the_others_are_kept(
    opened, undisturbed, capsys
):
    """Three workers die of it; the fourth leaves it alone; mended, the same command finishes."""
    settings, workspace = opened(broker_url("redis"), attempts=2)
    night = Watched(workspace)
    for _ in range(2):
        with worker(workspace, settings, "die") as victim:
            victim.join(30)
            assert victim.exitcode == -signal.SIGKILL
    with worker(workspace, settings), pytest.raises(ShardError, match="parked after 2 attempts"):
        night.end()
    store = ShardStore(workspace.shards)
    asked = store.names(".request.json")
    (parked,) = store.names(".error.json")
    assert [shard for shard in asked if not store.is_done(shard)] == [parked]
    assert cli.run(["workers", "status", "--dir", str(workspace.home)]) == 0
    assert f"{parked[:12]} parked after 2 attempts: process" in capsys.readouterr().out
    with worker(workspace, settings):
        Watched(workspace).end()
    assert state_of(workspace) == undisturbed


@pytest.mark.redis
def test_a_shard_that_fails_once_is_tried_again_and_said(opened, undisturbed):
    """A passing error costs one more attempt and one line."""
    settings, workspace = opened(broker_url("redis"))
    night = Watched(workspace)
    with worker(workspace, settings, "raise"):
        night.end()
    assert state_of(workspace) == undisturbed
    (line,) = night.lines("a cosmic ray")
    assert "attempt 1 of 3" in line


@pytest.mark.parametrize("broker", BROKERS)
def test_a_shard_delivered_twice_at_once_is_scored_once(opened, undisturbed, monkeypatch, broker):
    """Every message comes twice, to two workers; the second finds the first at work or done."""
    settings, workspace = opened(broker_url(broker))
    once = Broker.send

    def twice(self, store, shards, **how):
        once(self, store, [shard for shard in shards for _ in range(2)], **how)

    monkeypatch.setattr(Broker, "send", twice)
    with worker(workspace, settings), worker(workspace, settings):
        marks = ShardStore(workspace.shards).workers
        wait_for(lambda: len(list(marks.glob("*.lock"))) == 2, "two workers")
        night = Watched(workspace)
        night.end()
        assert state_of(workspace) == undisturbed
        assert scored(workspace) == 3
        # Nothing went wrong, so there is nothing to tell but the step itself.
        (line,) = night.lines("attribute ")
        assert "3 shards" in line


@pytest.mark.redis
def test_a_message_that_the_broker_loses_is_sent_again(opened, undisturbed, monkeypatch):
    """What is in no queue and with nobody is found missing; nobody waits for a timeout."""
    from redis import Redis

    monkeypatch.setattr(dispatch, "LOST_AFTER_S", 1.0)
    monkeypatch.setattr(dispatch, "QUEUE_LOOK_S", 0.2)
    settings, workspace = opened(broker_url("redis"))
    queue = workspace.settings.broker.queue
    with Redis.from_url(workspace.settings.broker.url) as redis:
        night = Watched(workspace)
        night.until(lambda: redis.llen(queue) == 3, "three messages")
        redis.delete(queue)
    with worker(workspace, settings):
        night.end()
    assert state_of(workspace) == undisturbed
    assert night.lines("3 shards were in no queue and with nobody; sent again")


@pytest.mark.redis
def test_a_flow_killed_with_workers_at_work_is_taken_over(opened, undisturbed):
    """SIGKILL of the flow: its workers go on, and the same command takes what they made."""
    from tests.simulation.killing import night_in_child

    settings, workspace = opened(broker_url("redis"))
    with worker(workspace, settings):
        code, _ = night_in_child(workspace, DAY, strike_at=14, environment=settings)
        assert code == -signal.SIGKILL
        night = Watched(workspace)
        night.end()
    assert state_of(workspace) == undisturbed
    assert night.lines("taking over from process")


@pytest.mark.redis
def test_status_shows_the_living_the_dead_and_the_queue(opened, capsys):
    """Also while a worker is too busy to answer."""
    settings, workspace = opened(broker_url("redis"))
    night = Watched(workspace)
    with worker(workspace, settings, "wait"):
        night.until(lambda: held(workspace), "a shard at work")
        assert cli.run(["workers", "status", "--dir", str(workspace.home)]) == 0
        said = capsys.readouterr().out
        assert "2 messages wait" in said
        assert "1 alive, 0 died" in said
        assert "0 of 3 done, 1 at work, 0 parked" in said
    assert cli.run(["workers", "status", "--dir", str(workspace.home)]) == 0
    assert "0 alive, 1 died" in capsys.readouterr().out
    last = start_worker(workspace, settings)
    night.end()
    os.kill(last.pid, signal.SIGTERM)
    last.join(20)
    assert last.exitcode == 0
    assert cli.run(["workers", "status", "--dir", str(workspace.home)]) == 0
    assert "0 alive, 0 died" in capsys.readouterr().out
