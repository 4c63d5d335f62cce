"""Retrains by messages: the truth's folder says what is done, and nobody waits for a worker."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid

import numpy as np
import pytest

from attribution.corpus import write_corpus
from attribution.evaluation.removal import TruthPlan, build_truth, jobs_of
from attribution.evaluation.setup import open_setup
from flows.errors import BrokerError
from flows.retrains import build_by_workers, make_retrain
from flows.settings import BrokerSettings
from flows.setup import make_workspace
from flows.tasks import RETRAIN, retrain_queue
from tests.attribution.toy_training import toy_corpus, toy_model
from tests.brokers import broker_url

PLAN = TruthPlan(halves=2, coalitions=2, removals=False, orders=(5,), seed=3)
PLAIN = {**vars(PLAN), "orders": [5], "repeated": ["base", "loco"]}


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """A set-up around the toy model."""
    folder = tmp_path_factory.mktemp("retrains") / "setup"
    shutil.copytree(toy_model(), folder / "model")
    write_corpus(folder / "docs.jsonl", toy_corpus().documents)
    line = '{"output_id": "q", "text": "In baking: knead the dough", "prompt_length": 4}\n'
    (folder / "queries.jsonl").write_text(line)
    return folder


@pytest.fixture(scope="module")
def alone(setup, tmp_path_factory):
    """The truth made without workers."""
    return build_truth(open_setup(setup).retrains(), tmp_path_factory.mktemp("truth"), PLAN)


def build(setup, out, settings, said):
    """Make the truth as the command does."""
    return build_by_workers(
        setup, out, PLAN, settings, processes=1, progress=lambda *_: None, say=said.append
    )


def test_a_message_makes_the_retrain_that_the_plan_names_once(setup, alone, tmp_path):
    """The same numbers as alone; a message that comes twice makes nothing."""
    names = [job.name for job in jobs_of(open_setup(setup).retrains(), PLAN)]
    assert make_retrain(str(setup), str(tmp_path), PLAIN, "base-000")
    assert not make_retrain(str(setup), str(tmp_path), PLAIN, "base-000")
    for name in names:
        make_retrain(str(setup), str(tmp_path), PLAIN, name)
    said = []
    truth = build(setup, tmp_path, BrokerSettings(), said)
    assert not said
    for kind, losses in alone.losses.items():
        assert np.array_equal(truth.losses[kind], losses)


def test_a_message_of_another_plan_is_refused(setup, tmp_path):
    """An unknown name makes nothing."""
    with pytest.raises(BrokerError, match="none of that name"):
        make_retrain(str(setup), str(tmp_path), PLAIN, "doc-002")
    assert not list(tmp_path.glob("*.npz"))


def test_a_broker_that_is_away_only_costs_a_line(setup, alone, tmp_path):
    """All retrains are made here, and it is said."""
    said = []
    settings = BrokerSettings(url="redis://127.0.0.1:1/0")
    truth = build(setup, tmp_path, settings, said)
    assert len(said) == 1
    assert "made here" in said[0]
    assert np.array_equal(truth.losses["doc"], alone.losses["doc"])


@pytest.mark.redis
def test_a_worker_makes_retrains_from_the_end_of_the_list(setup, alone, tmp_path):
    """Messages that wait in the queue are worked off by a worker that starts later."""
    from flows.broker import Broker

    url = broker_url("redis")
    settings = BrokerSettings(url=url, queue=f"byline-test-{uuid.uuid4().hex[:12]}")
    workspace = make_workspace(
        tmp_path / "home", settings={"broker": {"url": url, "queue": settings.queue}}
    )
    out = tmp_path / "truth"
    out.mkdir()
    broker = Broker(settings)
    for name in ("doc-001", "doc-000"):
        arguments = [str(setup), str(out), vars(PLAN), name]
        broker.ask(RETRAIN, arguments, name, retrain_queue(settings))
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "worker", "--dir", str(workspace.home)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while len(list(out.glob("doc-*.npz"))) < 2 and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        broker.close()
    assert {path.stem for path in out.glob("*.npz")} == {"doc-000", "doc-001"}
    truth = build(setup, out, settings, [])
    assert np.array_equal(truth.losses["doc"], alone.losses["doc"])
