"""A period's shares beside the recorded training run, differentiated from end to start."""

import json
from collections import Counter
from dataclasses import replace

import polars as pl
import pytest

from attribution.corpus import read_corpus
from attribution.evaluation.removal import setup_of
from attribution.model import load_model
from attribution.recipe import load_recipe
from attribution.tokens import encode_output
from attribution.unrolling import Unrolling
from flows import cli
from flows.close import close_period
from flows.engine import run_night
from flows.publish import publish_period
from flows.reperform_unrolled import check_unrolled
from tests.flows.papers import PEOPLE
from tests.simulation.tiny import DAYS, copy_of, tiny


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """A month of two nights with a real model, closed and published."""
    workspace = copy_of(tiny(), tmp_path_factory.mktemp("unrolled") / "home")
    for day in DAYS:
        run_night(workspace, day)
    close_period(workspace, "2026-10", **PEOPLE)
    return workspace, publish_period(workspace, "2026-10").pack


@pytest.fixture(scope="module")
def checked(month):
    """The comparison, without the metasmoothness."""
    return check_unrolled(month[1], month[0], smoothness=False)


def byline(capsys, *words):
    """Run a command in this process; return exit code, stdout, stderr."""
    capsys.readouterr()
    code = cli.run([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_both_sides_are_shares_and_the_booked_side_is_what_the_book_accrued(month, checked):
    """They add up to one; the unrolled weights themselves add up to nothing."""
    assert sum(booked for _, booked, _, _ in checked.shares) == pytest.approx(1)
    assert sum(unrolled for _, _, unrolled, _ in checked.shares) == pytest.approx(1)
    units = Counter()
    for day in DAYS:
        works = pl.read_parquet(month[0].root / "estimates" / f"{day}.works.parquet")
        units.update(dict(works["work_id", "accrual_units"].iter_rows()))
    for work, booked, _, _ in checked.shares:
        assert booked == pytest.approx(units[work] / units.total(), abs=1e-12)
    moved = sum(abs(value) for value in checked.run.units.values())
    assert abs(sum(checked.run.units.values())) < 1e-4 * moved
    assert checked.run.loss_apart < 1e-5


def test_the_unrolled_side_weighs_each_output_by_what_it_pays_for_a_nat(month, checked):
    """The pool divided by weighted values, then by the nats that influence found in each."""
    workspace, _ = month
    final = load_model(workspace.model)
    values, encoded, booked = [], [], 0
    for day in DAYS:
        manifest = json.loads((workspace.root / "estimates" / f"{day}.manifest.json").read_bytes())
        assert manifest["unexplained_outputs"] == 0
        booked += manifest["pool_units"]
        gains = pl.read_parquet(workspace.root / "influence" / f"{day}.gains.parquet")
        nats = dict(gains["output_id", "total_nanonats"].iter_rows())
        sample = pl.read_parquet(workspace.root / "sample" / f"{day}.parquet")
        whole = sample["weighted_value_units"].sum()
        for row in sample.iter_rows(named=True):
            money = manifest["pool_units"] * row["weighted_value_units"] / whole
            values.append(1e9 * money / nats[row["event_id"]])
            encoded.append(encode_output(row["prompt_text"], row["output_text"], final.tokenizer))
    corpus = read_corpus(workspace.corpus)
    setup = setup_of(workspace.model, corpus, encoded)
    run = Unrolling(load_model(setup.start).model, setup.rows, setup.recipe, encoded, values)
    units = Counter()
    for document, value in zip(corpus, run.influence().influence, strict=True):
        units[document.group_id] += value
    for work, _, unrolled, size in checked.shares:
        assert unrolled - size == pytest.approx(units[work] / booked, abs=1e-6)


def test_the_command_says_how_far_the_money_is_apart_and_fails_above_a_limit(month, capsys):
    """Exit 0 without a limit, 1 above it; the metasmoothness is printed."""
    workspace, pack = month
    words = ["audit", "reperform", pack, "--workspace", workspace.home, "--method", "unrolled"]
    code, out, err = byline(capsys, *words, "--apart-max", "0.001", "--json")
    assert code == 1, err
    said = json.loads(out)
    assert said["holds"] is False
    found = said["unrolled"]
    assert found["apart_percent"] > 0.001
    assert -1 <= found["metasmoothness"] <= 1
    assert found["steps"] == load_recipe(workspace.model).steps
    code, out, err = byline(capsys, *words, "--apart-max", "100")
    assert code == 0, err
    assert "of the money lies elsewhere" in out
    assert "unroll " in err


@pytest.mark.parametrize(("smooth", "warned"), [(-0.35, True), (0.49, True), (0.5, False)])
def test_a_run_that_is_not_smooth_is_said_to_judge_nothing(checked, smooth, warned):
    """Below the limit of the method the shares are shown, and the reader is told."""
    run = replace(checked.run, metasmoothness=smooth)
    told = "\n".join(replace(checked, run=run).lines())
    assert ("SAYS LITTLE" in told) is warned
    assert "of the money lies elsewhere" in told


def test_a_recipe_that_does_not_lead_to_the_model_is_refused(month, capsys, tmp_path):
    """Another starting point gives other losses than the weights that were paid for."""
    workspace, pack = month
    mine = copy_of(workspace, tmp_path / "home")
    start = mine.model / "checkpoints" / "step-000000" / "model.safetensors"
    start.write_bytes((mine.model / "model.safetensors").read_bytes())
    words = ["audit", "reperform", pack, "--workspace", mine.home, "--method", "unrolled"]
    code, _, err = byline(capsys, *words)
    assert code == 1
    assert "does not lead to that model" in err


def test_without_a_workspace_nothing_can_be_replayed(month, capsys):
    """The command says what to give."""
    code, _, err = byline(capsys, "audit", "reperform", month[1], "--method", "unrolled")
    assert code == 2
    assert "--workspace" in err
