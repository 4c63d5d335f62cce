"""The protocol: what a method declares, how its options are set, what is refused before work."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from attribution.corpus import read_corpus, read_queries
from attribution.errors import ScoringError
from attribution.matrix_task import MatrixTask
from attribution.methods import METHODS, NEEDS, check_needs, with_options
from attribution.methods.hidden_states import HiddenStates
from flows.cli import cli
from tests.attribution import toy


def task_of(tmp_path, **changes):
    """Return a task on the toy path with one query."""
    paths = toy.workspace(tmp_path, 4)
    queries = tmp_path / "q.jsonl"
    queries.write_text(json.dumps({"output_id": "q", "input_ids": [3, 4, 5, 6]}) + "\n")
    given = {"checkpoints": (paths["start"],)} | changes
    return MatrixTask(
        paths["end"],
        corpus=read_corpus(paths["corpus"]),
        queries=read_queries(queries),
        **given,
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_needs_costs_and_cannot_do(name):
    """A method without a declaration would be chosen blindly."""
    declared = METHODS[name].declared
    assert set(declared.needs) <= NEEDS.keys()
    assert len(declared.cost) >= 4
    assert len(declared.limits) > 10


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_needs_is_refused_by_name_with_the_way_to_get_it(name, tmp_path):
    """A task without checkpoints, recipe or encoder is refused by exactly those who need them."""
    method, task = METHODS[name], task_of(tmp_path, checkpoints=())
    if set(method.declared.needs) <= {"gradients"}:
        check_needs(method, task)
        return
    with pytest.raises(ScoringError, match=rf"method {name} needs .*(Give|Train)"):
        check_needs(method, task)


def test_options_are_read_as_the_kind_of_their_default():
    """Text from a command line becomes a number, a truth value or stays text."""
    method = with_options(HiddenStates(), {"layer": "2", "pooling": "last"})
    assert method == HiddenStates(layer=2, pooling="last")
    assert with_options(METHODS["ekfac"], {"head": "false"}).head is False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": "2"}, r"no option 'depth'; it has: layer=-1, pooling=mean"),
        ({"layer": "two"}, r"option layer of method hidden_states is 'two'"),
    ],
)
def test_an_option_that_is_not_there_or_not_of_its_kind_is_refused(options, said):
    """The text lists what there is."""
    with pytest.raises(ScoringError, match=said):
        with_options(HiddenStates(), options)


def test_the_command_lists_every_method():
    """`byline methods` is the list that `byline attribute --method` takes from."""
    ran = CliRunner().invoke(cli, ["methods", "--json"])
    assert ran.exit_code == 0, ran.output
    listed = {one["name"]: one for one in json.loads(ran.stdout)["methods"]}
    assert list(listed) == list(METHODS)
    assert listed["hidden_states"]["options"] == {"layer": -1, "pooling": "mean"}


def test_the_command_sets_options_and_candidates(tmp_path):
    """`--set` and `--candidates` reach the method; what is no option exits with a reason."""
    task = task_of(tmp_path)
    out = tmp_path / "s.npy"
    given = [
        "attribute", "--method", "bidirectional", "--model", str(task.model_dir), "--corpus",
        str(task.corpus.path), "--queries", str(tmp_path / "q.jsonl"), "--out", str(out), "--json",
    ]  # fmt: skip
    options = ["--set", "steps=1", "--set", "mode=paper", "--candidates", "1"]
    ran = CliRunner().invoke(cli, [*given, *options])
    assert ran.exit_code == 0, ran.output
    scores = np.load(out)
    assert scores.shape == (1, 4)
    assert (scores > 0).sum() == 1
    for wrong in (["--set", "steps"], ["--set", "tarot=1"]):
        assert CliRunner().invoke(cli, [*given, *wrong]).exit_code != 0
