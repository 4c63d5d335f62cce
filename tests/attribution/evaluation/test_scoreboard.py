"""Methods side by side on a toy set-up: cached, complete, and honest about what cannot run."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from attribution.corpus import write_corpus
from attribution.errors import ScoringError
from attribution.evaluation.patch import PatchConfig, tail_patch
from attribution.evaluation.probes import TRICKS, gains, middle_creator, probe_corpus
from attribution.evaluation.removal import TruthPlan, build_truth
from attribution.evaluation.scoreboard import BoardConfig, judge_methods
from attribution.evaluation.setup import open_setup
from attribution.evaluation.top_removal import TopRemoval
from attribution.methods import Declaration, MatrixTask
from attribution.methods.choice import methods_by_name
from attribution.model import load_model
from attribution.training import train
from tests.attribution.toy_training import TOPICS, TOY, toy_corpus, toy_model


def quiet(_method, _done, _total):
    """Show nothing."""


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """The toy model with one output a topic, decoys, and a small truth."""
    folder = tmp_path_factory.mktemp("setup")
    shutil.copytree(toy_model(), folder / "model")
    write_corpus(folder / "docs.jsonl", toy_corpus().documents)
    write_corpus(folder / "decoys.jsonl", toy_corpus(2, seed=9).documents)
    queries = [
        {"output_id": topic, "text": f"In {topic}: {words}", "prompt_length": 4}
        for topic, words in TOPICS.items()
    ]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    plan = TruthPlan(halves=4, coalitions=10, drops=2)
    build_truth(open_setup(folder).retrains(), folder / "truth", plan)
    return open_setup(folder)


@dataclasses.dataclass
class Counting:
    """A method that counts how often it was run."""

    value: float = 1.0

    name = "counting"
    declared = Declaration((), "nothing", "everything")
    runs = 0

    def scores(self, task):
        """Score by position, so that probes get something too."""
        Counting.runs += 1
        return self.value * torch.arange(1.0, len(task.corpus) + 1).expand(len(task.queries), -1)


def test_a_table_holds_every_measure_of_every_method(setup, tmp_path):
    """One row a method, in order, each judged by the same truth."""
    methods = methods_by_name(["bm25", "ekfac_index", "by_size"])
    said = judge_methods(setup, methods, setup.truth(), BoardConfig(tmp_path), quiet)
    assert json.loads(json.dumps(said)) == said
    rows = {row["name"]: row for row in said["rows"]}
    assert list(rows) == ["bm25", "ekfac_index", "by_size"]
    for row in rows.values():
        assert {"linear/removal", "positive/coalition"} <= set(row["misallocated"])
        assert row["lds_documents"] is not None
        assert row["lds_drops"] is not None
        assert set(row["gains"]["linear"]) == {*TRICKS, "rename"}
        assert row["decoys"]["separation"]["mean"] >= 0
        assert row["tail_patch"]["mean"] != said["controls"]["tail_patch_random"]["mean"]
    assert "end" in rows["ekfac_index"]
    assert "end" not in rows["bm25"]
    assert rows["ekfac_index"]["stored_bytes"] > 0 == rows["bm25"]["stored_bytes"]
    assert rows["bm25"]["removal_rank"]["mean"] > rows["by_size"]["removal_rank"]["mean"]
    assert said["pass_cpu_seconds"] > 0


def test_a_table_says_what_each_creator_would_be_paid(setup, tmp_path):
    """By every method and rule, in the order of the creators, beside what the truths would pay."""
    config = BoardConfig(tmp_path, probes=False, patch=None)
    said = judge_methods(setup, methods_by_name(["by_size"]), setup.truth(), config, quiet)
    creators = said["truth"]["creator_ids"]
    assert creators == list(TOPICS)
    (row,) = said["rows"]
    for paid in (*row["shares"].values(), *said["truth"]["shares"].values()):
        assert len(paid) == len(creators)
        assert sum(paid) == pytest.approx(1)
    assert set(row["shares"]) == {"linear", "normalised"}
    assert set(said["truth"]["shares"]) == {"removal", "coalition"}
    task = MatrixTask(setup.model, (), setup.corpus, setup.queries)
    tokens = [row.scored for row in task.documents_encoded[:6]]
    whole = sum(row.scored for row in task.documents_encoded)
    assert row["shares"]["linear"][0] == pytest.approx(sum(tokens) / whole)
    gap = np.abs(np.subtract(row["shares"]["linear"], said["truth"]["shares"]["removal"]))
    assert 50 * gap.sum() == pytest.approx(row["misallocated"]["linear/removal"])


def test_scores_are_made_once_for_the_same_digest(setup, tmp_path):
    """The second table reads what the first computed; other options are other scores."""
    config = BoardConfig(tmp_path, probes=False, patch=None)
    Counting.runs = 0
    first = judge_methods(setup, [Counting()], setup.truth(), config, quiet)
    again = judge_methods(setup, [Counting()], setup.truth(), config, quiet)
    assert Counting.runs == 1
    assert first == again
    judge_methods(setup, [Counting(2.0)], setup.truth(), config, quiet)
    assert Counting.runs == 2


def test_a_method_that_cannot_run_is_a_row_that_says_why(setup, tmp_path):
    """Nothing is dropped silently."""
    methods = methods_by_name(["embedding"])
    said = judge_methods(setup, methods, setup.truth(), BoardConfig(tmp_path, patch=None), quiet)
    assert "sentence-embedding model" in said["rows"][0]["skipped"]
    with pytest.raises(ScoringError, match="no attribution method 'nothing'"):
        methods_by_name(["nothing"])
    with pytest.raises(ScoringError, match="sets no option of a method"):
        methods_by_name(["bm25"], ["k1=2"])
    assert methods_by_name(["bm25", "tfidf"], ["bm25.k1=2"])[0].k1 == 2.0


def test_a_path_method_that_needs_checkpoints_has_an_end_point_too(setup, tmp_path):
    """The column of differences holds it: there it is the gradient product of the final weights."""
    config = BoardConfig(tmp_path, path=1, probes=False, patch=None)
    methods = methods_by_name(["tracin", "grad_dot", "by_size"])
    rows = judge_methods(setup, methods, setup.truth(), config, quiet)["rows"]
    assert rows[0]["lds_documents"] is not None
    assert rows[0]["end"]["per_query"] == rows[1]["end"]["per_query"]
    assert rows[0]["per_query"] != rows[0]["end"]["per_query"]
    assert "end" not in rows[2]


def test_two_readings_of_one_measurement_are_made_once(setup, tmp_path):
    """They stand as two rows, named by what differs, and each costs what the measurement did."""
    config = BoardConfig(tmp_path, probes=False, patch=None)
    names = ["bidirectional", "bidirectional:mode=paper", "bidirectional:mode=paper:steps=2"]
    methods = methods_by_name([*names, "equal"], ["bidirectional.steps=1"])
    said = judge_methods(setup, methods, setup.truth(), config, quiet)
    signed, absolute, other, _ = said["rows"]
    assert [row["name"] for row in said["rows"]] == [
        "bidirectional steps=1",
        "bidirectional mode=paper steps=1",
        "bidirectional mode=paper steps=2",
        "equal",
    ]
    assert len(list(tmp_path.glob("bidirectional-*.npz"))) == 2
    assert signed["cpu_seconds"] == absolute["cpu_seconds"] != other["cpu_seconds"]
    assert signed["shares"] != absolute["shares"]
    assert said["seconds"] == pytest.approx(sum(row["seconds"] for row in said["rows"][1:]))
    with pytest.raises(ScoringError, match="no attribution method 'bm25:k1'"):
        methods_by_name(["bm25:k1"])


def test_several_processes_give_the_table_that_one_gives(setup, tmp_path):
    """Figure for figure, but for what it cost; readings of one measurement are made once."""
    names = ["bidirectional", "bidirectional:mode=paper", "bm25", "embedding"]
    methods = methods_by_name(names, ["bidirectional.steps=1"])
    tables = []
    for processes in (1, 2):
        cache = tmp_path / str(processes)
        config = BoardConfig(cache, top=3, top_of=("bm25",), processes=processes)
        said = judge_methods(setup, methods, setup.truth(), config, quiet)
        assert len(list(cache.glob("bidirectional-*.npz"))) == 2  # the corpus, and with tricks
        assert said["cpu_seconds"] == pytest.approx(
            sum(float(np.load(path)["cost"][1]) for path in cache.glob("b*-*.npz"))
        )
        for row in said["rows"]:
            for cost in ("seconds", "cpu_seconds", "passes"):
                row.pop(cost, None)
        for cost in ("seconds", "cpu_seconds", "pass_cpu_seconds"):
            said.pop(cost)
        tables.append(said)
    assert tables[0] == tables[1]


def test_the_path_and_the_probes_can_be_cut_short(setup, tmp_path):
    """Fewer checkpoints are other scores, and what was not probed says why."""
    config = BoardConfig(
        tmp_path, path=1, probe_limit=0.0, probe_of=("ekfac",), patch=None, ends=False
    )
    methods = methods_by_name(["ekfac"])
    short = judge_methods(setup, methods, setup.truth(), config, quiet)["rows"][0]
    whole = dataclasses.replace(config, path=0)
    long = judge_methods(setup, methods, setup.truth(), whole, quiet)["rows"][0]
    assert "above the limit of 0" in short["probe_skipped"]
    other = judge_methods(setup, methods_by_name(["equal"]), setup.truth(), config, quiet)
    assert other["rows"][0]["probe_skipped"] == "asked were probes of ekfac alone"
    assert short["gains"] is None
    assert len(list(tmp_path.glob("ekfac-*.npz"))) == 2
    assert short["per_query"] != long["per_query"]


def test_tricks_gain_what_arithmetic_says(setup, tmp_path):
    """Linear scores pay a copy twice; cutting and renaming change nothing."""
    task = MatrixTask(setup.model, (), setup.corpus, setup.queries)
    encoded = task.documents_encoded
    groups = [document.group_id for document in setup.corpus]
    assert middle_creator(groups, [1] * len(groups)) == "harbour"
    probe = probe_corpus(setup.corpus, encoded, [], tmp_path / "probe.jsonl")
    whole = dataclasses.replace(task, corpus=probe.corpus)
    sizes = np.array([[float(row.scored) for row in whole.documents_encoded]])
    found = gains(np.repeat(sizes, 3, axis=0), probe)["linear"]
    share = sum(
        row.scored for row, group in zip(encoded, groups, strict=True) if group == probe.creator
    ) / sum(row.scored for row in encoded)
    assert found["copy"] == pytest.approx(2 / (1 + share))
    assert found["cut"] == pytest.approx(1.0)
    assert found["rename"] == pytest.approx(1.0)
    assert found["pad"] > 1.5
    assert gains(np.zeros_like(sizes), probe)["linear"]["copy"] is None


def test_renaming_pays_where_a_name_can_hold_the_harm(setup, tmp_path):
    """The floor at zero is per name: harm that is filed under another name is forgiven."""
    task = MatrixTask(setup.model, (), setup.corpus, setup.queries)
    probe = probe_corpus(setup.corpus, task.documents_encoded, [], tmp_path / "probe.jsonl")
    scores = np.ones((2, len(probe.corpus)))
    own = [p for p, d in enumerate(setup.corpus) if d.group_id == probe.creator]
    scores[:, own[1::2]] = -0.9
    assert gains(scores, probe)["linear"]["rename"] > 1.5


def test_a_patch_from_the_query_itself_helps_and_its_opposite_harms(setup):
    """One step on the text of the output raises its likelihood; the weights come back."""
    loaded = load_model(setup.model)
    queries = setup.queries_encoded
    before = [parameter.detach().clone() for parameter in loaded.model.parameters()]
    config = PatchConfig(documents=1)
    helped = tail_patch(loaded.model, np.eye(4), queries, queries, 48, config)
    other = tail_patch(loaded.model, np.roll(np.eye(4), 1, axis=1), queries, queries, 48, config)
    assert helped.low > 0
    assert helped.mean > other.mean
    after = list(loaded.model.parameters())
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_leaving_out_the_best_documents_hurts_more_than_the_controls(setup, tmp_path):
    """Removing a topic's documents costs its output; controls leave out as many others."""
    top = TopRemoval(setup, tmp_path, 6)
    scores = np.zeros((4, 24))
    scores[:, :6] = 1
    found = top.of_scores(scores)
    assert found["top"]["mean"] > 0
    best = np.arange(6)
    assert len(set(top.random()) | set(best)) > 6
    assert not set(top.same(best)) & set(best)
    made = sorted(path.name for path in tmp_path.glob("kept_*"))
    top.of_scores(scores)
    assert sorted(path.name for path in tmp_path.glob("kept_*")) == made


def test_top_removal_is_made_for_the_methods_it_was_asked_for(setup, tmp_path):
    """It retrains twice a method; what was not asked for is left out, and the time is told."""
    config = BoardConfig(tmp_path, probes=False, patch=None, top=3, top_of=("bm25",))
    methods = methods_by_name(["bm25", "by_size"])
    said = judge_methods(setup, methods, setup.truth(), config, quiet)
    assert set(said["rows"][0]["top_removal"]) == {"top", "random", "same"}
    assert "top_removal" not in said["rows"][1]
    assert said["seconds"] > sum(row["seconds"] for row in said["rows"])


@pytest.mark.slow
def test_unrolled_influence_foretells_small_removals_best(tmp_path):
    """A few documents left out of a smooth run: the derivative ranks above every other method."""
    corpus = toy_corpus(12)
    train(corpus, tmp_path / "model", dataclasses.replace(TOY, epochs=4, batch=24, lr=3e-3))
    write_corpus(tmp_path / "docs.jsonl", corpus.documents)
    queries = [
        {"output_id": f"{topic}{start}", "text": f"{head}{words}", "prompt_length": 4}
        for topic, words in TOPICS.items()
        for start, head in enumerate((f"In {topic}: ", ""))
    ]
    lines = "".join(json.dumps(row) + "\n" for row in queries)
    (tmp_path / "queries.jsonl").write_text(lines)
    small = open_setup(tmp_path)
    plan = TruthPlan(halves=0, coalitions=0, drops=40, drop_share=0.05)
    truth = build_truth(small.retrains(), tmp_path / "truth", plan)
    names = ["unrolled", "ekfac", "grad_dot", "trackstar", "bm25", "hidden_states", "by_size"]
    config = BoardConfig(tmp_path / "cache", ends=False, probes=False, patch=None)
    methods = methods_by_name(names, ["unrolled.outputs=each"])
    rows = {row["name"]: row for row in judge_methods(small, methods, truth, config, quiet)["rows"]}
    best = rows["unrolled"]["lds_drops"]
    assert rows["unrolled"]["notes"]["metasmoothness"] > 0.9
    assert best["mean"] > 0.6
    others = [row["lds_drops"]["mean"] for name, row in rows.items() if name != "unrolled"]
    assert best["low"] > max(others)
