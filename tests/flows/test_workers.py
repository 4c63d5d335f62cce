"""Workers: the same shards by messages, whoever dies on the way."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager

import pytest

from flows.attribute import size_advice
from flows.broker import Broker
from flows.engine import run_night
from flows.errors import BrokerError, SettingValueError, ShardError
from flows.settings import FILE_NAME, BrokerSettings
from flows.shards import ShardStore, open_attributor
from flows.tasks import app_settings, describe, make_app
from flows.workspace import Workspace
from tests.brokers import broker_url
from tests.simulation.tiny import DAYS, copy_of, tiny

DAY = DAYS[0]
NAME = DAY.isoformat()


@contextmanager
def worker(workspace, settings):
    """Run one worker process with the given settings in its environment."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "worker", "--dir", str(workspace.home)],
        env={**os.environ, **settings, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def through(monkeypatch, workspace, url, **more):
    """Point settings at a broker with a queue of the test's own; give environment, workspace."""
    settings = {
        "BYLINE_BROKER__URL": url,
        "BYLINE_BROKER__QUEUE": f"byline-test-{uuid.uuid4().hex[:12]}",
        **{f"BYLINE_BROKER__{key.upper()}": str(value) for key, value in more.items()},
    }
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    return settings, Workspace.open(workspace.home)


@pytest.mark.parametrize(
    "broker",
    [
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ],
)
def test_a_night_by_workers_ends_in_the_same_root_as_in_process(tmp_path, monkeypatch, broker):
    """Where the work happens changes nothing in the book."""
    url = broker_url(broker)
    alone = copy_of(tiny(), tmp_path / "alone")
    expected = run_night(alone, DAY)[NAME]["seal"].values
    settings, shared = through(monkeypatch, copy_of(tiny(), tmp_path / "shared"), url, stall_s=60)
    with worker(shared, settings):
        said = run_night(shared, DAY)[NAME]
    assert said["seal"].values == expected
    assert broker[:4] in said["attribute"].text or "amqp" in said["attribute"].text


@pytest.mark.slow
@pytest.mark.redis
def test_a_worker_killed_in_the_middle_loses_no_shard(tmp_path, monkeypatch):
    """SIGKILL of the only worker, by commands; the next one gets its shard from the flow."""
    url = broker_url("redis")
    settings, shared = through(
        monkeypatch,
        copy_of(tiny(), tmp_path / "home"),
        url,
        shard_limit_s=200,
        visibility_timeout_s=300,
        stall_s=200,
    )
    night = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "nightly", "--dir", str(shared.home), "--date", NAME],
        env={**os.environ, **settings, "OMP_NUM_THREADS": "1"},
    )
    try:
        with worker(shared, settings):
            until(lambda: list(shared.shards.glob("*.manifest.json")) or night.poll() is not None)
        with worker(shared, settings):
            assert night.wait(timeout=400) == 0
    finally:
        night.kill()
        night.wait()


def test_a_poison_shard_is_parked_with_its_error_and_the_others_are_kept(tmp_path):
    """A shard that cannot heal ends the step at once; its error lies beside it."""
    store = ShardStore(tmp_path)
    with pytest.raises(ShardError, match="does not exist on this machine"):
        store.run("0" * 64)
    workspace = copy_of(tiny(), tmp_path / "home")
    (workspace.model / "model.safetensors").unlink()
    with pytest.raises(ShardError, match="failed"):
        run_night(workspace, DAY)
    (error,) = workspace.shards.glob("*.error.json")
    failure = ShardStore(workspace.shards).failure(error.name.removesuffix(".error.json"))
    assert failure is not None
    assert (failure.attempts, failure.final) == (1, True)


def test_an_altered_shard_result_is_made_again(tmp_path):
    """A truncated or changed file is not taken for a result."""
    workspace = copy_of(tiny(), tmp_path / "home")
    before = run_night(workspace, DAY)[NAME]
    file = next(workspace.shards.glob("*.gains.parquet"))
    name = file.name.removesuffix(".gains.parquet")
    assert ShardStore(workspace.shards).is_done(name)
    file.write_bytes(file.read_bytes()[:-1])
    assert not ShardStore(workspace.shards).is_done(name)
    assert run_night(workspace, DAY)[NAME]["seal"].values == before["seal"].values


def test_a_broker_that_does_not_answer_is_named_without_its_password(tmp_path, monkeypatch):
    """The message says which broker, and that no shard is lost."""
    url = "redis://someone:secret@127.0.0.1:1/0"
    _, workspace = through(monkeypatch, copy_of(tiny(), tmp_path / "home"), url)
    with pytest.raises(BrokerError, match=r"redis://127\.0\.0\.1:1/0") as raised:
        run_night(workspace, DAY)
    assert "secret" not in str(raised.value)


def test_no_broker_means_no_app():
    """Asking for an app without a broker says how to set one."""
    with pytest.raises(BrokerError, match=r"\[broker\] url"):
        make_app(BrokerSettings())
    assert describe(BrokerSettings()) == "in this process"


def test_redis_gives_a_dead_workers_message_back_after_the_visibility_timeout():
    """Both hidden timers are set; the defaults would wait a hundred seconds more."""
    settings = app_settings(
        BrokerSettings(url="redis://x", visibility_timeout_s=30, shard_limit_s=20)
    )
    assert settings["broker_transport_options"] == {
        "visibility_timeout": 30,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
    }
    assert settings["task_acks_late"]
    assert settings["worker_prefetch_multiplier"] == 1


def test_a_shard_may_not_outlast_the_visibility_of_its_message(tmp_path):
    """Otherwise Redis would give a shard that is being worked on to a second worker."""
    file = copy_of(tiny(), tmp_path / "home").home / FILE_NAME
    text = file.read_text()
    file.write_text(text.replace("visibility_timeout_s = 3600", "visibility_timeout_s = 1500"))
    with pytest.raises(SettingValueError, match="must be more than shard_limit_s = 1500"):
        Workspace.open(file.parent)


def test_shards_carry_references_and_the_model_is_loaded_once(tmp_path):
    """A message is two names; three shards of one process open the index once."""
    open_attributor.cache_clear()
    run_night(copy_of(tiny(), tmp_path / "home"), DAY)
    found = open_attributor.cache_info()
    assert (found.misses, found.hits) == (1, 2)
    sent = []
    broker = Broker(BrokerSettings(url="memory://"))
    broker._app.send_task = lambda name, args, **_: sent.append((name, args))
    broker.send(ShardStore(tmp_path), ["ab" * 32])
    broker.close()
    assert sent == [("byline.attribute_shard", [str(tmp_path), "ab" * 32, False])]


@pytest.mark.parametrize(
    ("seconds", "advice"),
    [([100.0, 130.0, 250.0], ""), ([20.0] * 40, "shard_outputs = 48"), ([600.0], "= 2 would")],
)
def test_shards_that_are_too_short_or_too_long_come_with_advice(tmp_path, seconds, advice):
    """One to five minutes are wanted; the size itself is left to a person."""
    store = ShardStore(tmp_path)
    names = [str(number) for number in range(len(seconds))]
    store.claims.mkdir()
    for name, took in zip(names, seconds, strict=True):
        (store.claims / f"{name}.took.json").write_text(json.dumps({"seconds": took}))
    assert advice in size_advice(store, names, 8)
    assert bool(size_advice(store, names, 8)) == bool(advice)


def until(condition, seconds=300):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
