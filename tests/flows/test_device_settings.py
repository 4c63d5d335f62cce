"""`[attribution] device` and `--device` reach whatever loads a model, and name what is missing."""

import json
import threading

import pytest
import torch
from click.testing import CliRunner

import flows.worker
from attribution import device
from attribution.errors import DeviceError
from flows.cli import cli
from flows.errors import SettingValueError, ShardError
from flows.settings import load_settings
from flows.shards import ShardStore, Trial
from tests.attribution import toy

MISSING = f"cuda:{torch.cuda.device_count() + 7}"


def build_options(folder):
    """Write a toy and return the options that build an index of it."""
    space = toy.workspace(folder, 8)
    given = ["--model", space["end"], "--corpus", space["corpus"], "--out", folder / "index"]
    return ["index", "build", "--dir", str(folder), *map(str, given)]


def test_the_setting_and_the_option_both_reach_a_build(tmp_path):
    """A card that is not there is refused from either; the option wins over the setting."""
    options = build_options(tmp_path)
    said = CliRunner().invoke(cli, [*options, "--device", MISSING])
    assert said.exit_code != 0
    assert MISSING in str(said.exception)
    (tmp_path / "byline.toml").write_text(f'[attribution]\ndevice = "{MISSING}"\n')
    said = CliRunner().invoke(cli, options)
    assert said.exit_code != 0
    assert "Give --device cpu or auto" in str(said.exception)
    assert not (tmp_path / "index" / "manifest.json").exists()
    said = CliRunner().invoke(cli, [*options, "--device", "cpu", "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout.splitlines()[-1])["checkpoints"] == 1


def test_a_matrix_is_made_on_the_device_asked_for(tmp_path):
    """`byline attribute` refuses a missing card, and says where it computed."""
    space = toy.workspace(tmp_path, 6)
    queries = tmp_path / "queries.jsonl"
    queries.write_text(json.dumps({"output_id": "o", "input_ids": [1, 2, 3]}) + "\n")
    given = ["--method", "grad_dot", "--model", space["end"], "--corpus", space["corpus"]]
    given += ["--queries", queries, "--out", tmp_path / "scores.npy", "--json"]
    command = ["attribute", *map(str, given)]
    said = CliRunner().invoke(cli, [*command, "--device", MISSING])
    assert said.exit_code != 0
    assert MISSING in str(said.exception)
    said = CliRunner().invoke(cli, [*command, "--device", "cpu"])
    assert json.loads(said.stdout.splitlines()[-1])["device"] == "cpu"


@pytest.mark.parametrize("wrong", ["gpu", "cuda:", "CPU", ""])
def test_a_device_of_another_kind_is_refused_with_its_line(tmp_path, wrong):
    """A misspelt device stops before any model is read."""
    (tmp_path / "byline.toml").write_text(f'[attribution]\ndevice = "{wrong}"\n')
    with pytest.raises(SettingValueError, match="line 2"):
        load_settings(tmp_path)


def test_a_worker_without_its_card_takes_no_shard(tmp_path, monkeypatch):
    """It ends before it listens to the queue."""
    (tmp_path / "byline.toml").write_text('[broker]\nurl = "memory://"\n')
    listened = threading.Event()
    monkeypatch.setattr("celery.Celery.worker_main", lambda *_: listened.set())
    home = flows.worker.Workspace.open(tmp_path)
    with pytest.raises(DeviceError, match=MISSING):
        flows.worker.run_worker(home, device=MISSING)
    assert not listened.is_set()
    flows.worker.run_worker(home, device="cpu")
    assert listened.is_set()


def test_a_shard_that_finds_no_card_may_be_tried_elsewhere(tmp_path, monkeypatch):
    """Trouble with a card counts as an attempt; the shard is not parked for good at once."""
    store = ShardStore(tmp_path)
    asked = []

    def score(_self, _request, wanted):
        asked.append(wanted)
        device.find_device(wanted)

    monkeypatch.setattr(ShardStore, "_score", score)
    store.put("ab" * 32, tmp_path / "index", "cd" * 32, ())
    with pytest.raises(ShardError, match=MISSING):
        store.run("ab" * 32, Trial(device=MISSING))
    assert asked == [MISSING]
    found = store.failure("ab" * 32)
    assert (found.attempts, found.final) == (1, False)
