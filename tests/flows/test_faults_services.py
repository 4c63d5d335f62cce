"""Redis, RabbitMQ and PostgreSQL killed and started again while a night needs them."""

import signal

import pytest
import sqlalchemy

from flows import cli, dispatch, engine
from flows.engine import run_night
from flows.shards import ShardStore
from flows.workspace import Workspace
from ledger.store import upgrade
from tests.brokers import broker_url
from tests.flows.faults import (
    DAY,
    NAME,
    Watched,
    held,
    opened,
    state_of,
    undisturbed,
    worker,
)
from tests.servers import Line, postgresql_server, rabbitmq_server, redis_server
from tests.simulation.tiny import copy_of, tiny

__all__ = ["opened", "undisturbed"]  # fixtures


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Look at the queue more often than a real night does."""
    monkeypatch.setattr(dispatch, "LOST_AFTER_S", 1.0)
    monkeypatch.setattr(dispatch, "QUEUE_LOOK_S", 0.2)


@pytest.mark.redis
def test_redis_killed_and_started_empty_costs_no_shard(opened, undisturbed):
    """SIGKILL of Redis with a shard at work and two waiting; it comes back without them."""
    with redis_server() as redis:
        settings, workspace = opened(f"redis://127.0.0.1:{redis.port}/0")
        night = Watched(workspace)
        with worker(workspace, settings, "slow"):
            night.until(lambda: held(workspace), "a shard at work")
            redis.kill()
            night.until(lambda: night.lines("does not answer; waiting for it"), "the line")
            redis.start()
            night.end()
    assert state_of(workspace) == undisturbed
    assert night.lines("answers again")
    assert night.lines("in no queue and with nobody; sent again")


@pytest.mark.rabbitmq
def test_a_broken_line_to_rabbitmq_costs_no_shard(opened, undisturbed):
    """Every connection breaks with a shard at work, and the queue is gone when it is back."""
    import amqp

    line = Line(broker_url("rabbitmq"))
    settings, workspace = opened(line.url)
    night = Watched(workspace)
    with worker(workspace, settings, "slow"):
        night.until(lambda: held(workspace), "a shard at work")
        line.cut()
        night.until(lambda: night.lines("does not answer; waiting for it"), "the line")
        line.mend()
        with amqp.Connection(f"127.0.0.1:{line.port}") as connection:
            connection.channel().queue_purge(workspace.settings.broker.queue)
        night.end()
    line.close()
    assert state_of(workspace) == undisturbed
    assert night.lines("answers again")


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_rabbitmq_killed_and_started_again_costs_no_shard(opened, undisturbed):
    """SIGKILL of a node of the test's own, with a shard at work and two waiting."""
    with rabbitmq_server() as rabbitmq:
        settings, workspace = opened(f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}//")
        night = Watched(workspace)
        with worker(workspace, settings, "slow"):
            night.until(lambda: held(workspace), "a shard at work")
            rabbitmq.kill()
            night.until(lambda: night.lines("does not answer; waiting for it"), "the line")
            rabbitmq.start()
            night.end()
    assert state_of(workspace) == undisturbed
    assert night.lines("answers again")


@pytest.fixture(scope="module")
def postgresql():
    """Run a PostgreSQL that only this module uses."""
    with postgresql_server() as (server, url):
        upgrade(url)
        yield server, url


def test_postgresql_stopped_at_once_is_said_and_the_night_is_finished(
    postgresql, undisturbed, tmp_path, monkeypatch, capsys
):
    """It dies opening the period, posting, and between posting and sealing."""
    server, url = postgresql
    monkeypatch.setenv("BYLINE_LEDGER__URL", url)
    workspace = Workspace.open(copy_of(tiny(), tmp_path / "home").home)
    words = ["nightly", "--dir", str(workspace.home), "--date", NAME]

    def stop(*_anything):
        server.kill(signal.SIGQUIT)

    for _ in ("opening the period", "posting"):
        with monkeypatch.context() as patch:
            patch.setitem(engine.STEPS, "settle", _with_commit(engine.STEPS["settle"], stop))
            assert cli.run(words) == 1
        _one_line(capsys.readouterr().err)
        server.start()
    with monkeypatch.context() as patch:
        patch.setitem(engine.STEPS, "seal", lambda *given: (stop(), _SEAL(*given))[1])
        assert cli.run(words) == 1
    _one_line(capsys.readouterr().err)
    server.start()
    assert cli.run(words) == 0
    assert state_of(workspace) == undisturbed
    run_night(workspace, DAY)
    assert state_of(workspace) == undisturbed
    assert all(ShardStore(workspace.shards).failure(s) is None for s in workspace.shards.iterdir())


_SEAL = engine.STEPS["seal"]


def _with_commit(step, strike):
    """Strike within the first commit of a step, before the database hears of it."""

    def run(night, shown):
        sqlalchemy.event.listen(sqlalchemy.Engine, "commit", strike)
        try:
            return step(night, shown)
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "commit", strike)

    return run


def _one_line(err):
    """Check that the operator was told once, and what."""
    said = [line for line in err.splitlines() if line.startswith("byline:")]
    assert len(said) == 1, err
    assert "cannot be reached" in said[0]
    assert "again" in said[0].rpartition("Check")[2]
