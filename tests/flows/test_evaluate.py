"""The evaluation commands: a truth that is continued, a table, and a page that stands alone."""

import json
import re
import shutil

import pytest

from attribution.corpus import write_corpus
from flows.cli import run
from tests.attribution.toy_training import TOPICS, toy_corpus, toy_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set-up around the toy model, and its truth made by the command."""
    root = tmp_path_factory.mktemp("evaluate")
    shutil.copytree(toy_model(), root / "setup" / "model")
    write_corpus(root / "setup" / "docs.jsonl", toy_corpus().documents)
    queries = [
        {"output_id": topic, "text": f"In {topic}: {words}", "prompt_length": 4}
        for topic, words in TOPICS.items()
    ]
    lines = "".join(json.dumps(row) + "\n" for row in queries)
    (root / "setup" / "queries.jsonl").write_text(lines)
    return root


def build(folder, *more):
    """Run the command that makes the truth."""
    return run(
        ["evaluate", "build", "--setup", str(folder / "setup"), "--out", str(folder / "truth"),
         "--halves", "2", "--coalitions", "10", "--order", "5", *more]
    )  # fmt: skip


def test_the_truth_is_built_and_then_continued(folder, capsys):
    """The second command makes only what is missing."""
    assert build(folder, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    wanted = {"base": 1, "base5": 1, "creator": 10, "doc": 2, "loco": 4, "loco5": 4}
    assert said["retrains"] == wanted
    made = {p.name: p.stat().st_mtime_ns for p in (folder / "truth").glob("*.npz")}
    (folder / "truth" / "doc-001.npz").unlink()
    assert build(folder) == 0
    again = {p.name: p.stat().st_mtime_ns for p in (folder / "truth").glob("*.npz")}
    assert {name for name in made if made[name] != again[name]} == {"doc-001.npz"}
    assert build(folder, "--seed", "9") != 0
    assert "mixing them would be noise" in capsys.readouterr().err


def test_a_further_order_repeats_what_it_is_asked_to(folder, tmp_path, capsys):
    """Halves in another order are the ceiling of LDS, and the page says it."""
    words = ["evaluate", "build", "--setup", str(folder / "setup"), "--out", str(tmp_path / "t"),
             "--halves", "3", "--coalitions", "0", "--order", "5", "--repeat", "doc"]  # fmt: skip
    assert run([*words, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["retrains"]
    assert made == {"base": 1, "base5": 1, "doc": 3, "doc5": 3, "loco": 4}
    words = ["evaluate", "run", "--setup", str(folder / "setup"), "--truth", str(tmp_path / "t"),
             "--methods", "by_size", "--no-probes", "--out", str(tmp_path / "out")]  # fmt: skip
    assert run(words) == 0
    assert "Halves of the documents (3) in the recipe's order rank" in capsys.readouterr().out


def test_the_table_is_printed_and_written(folder, capsys):
    """Terminal, JSON and page hold the same figures; the page loads nothing."""
    build(folder)
    capsys.readouterr()
    words = ["evaluate", "run", "--setup", str(folder / "setup"), "--truth", str(folder / "truth"),
             "--methods", "bm25,by_size,embedding", "--out", str(folder / "out"),
             "--date", "2026-11-22", "--top", "2", "--top-of", "bm25"]  # fmt: skip
    assert run(words) == 0
    printed = capsys.readouterr().out
    result = json.loads((folder / "out" / "evaluation.json").read_text())
    page = (folder / "out" / "evaluation.html").read_text()
    money = result["rows"][0]["misallocated"]["linear/removal"]
    assert f"{money:.1f} [" in printed
    assert f"{money:.1f} [" in page
    assert "embedding: skipped, method embedding needs the folder" in printed
    assert "embedding could not run" in page
    same = result["rows"][0]["top_removal"]["same"]["mean"]
    for text in (f"{same:.3f} [", "without random ones: ", "processor seconds"):
        assert text in printed
        assert text in page
    assert "A second training order (order5, 4 creators)" in page
    assert page.count("<svg") == 3
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == result["rows"]


def test_an_unknown_method_and_a_folder_without_a_model_are_refused(folder, tmp_path, capsys):
    """What is wrong is named, and nothing is written."""
    common = ["evaluate", "run", "--out", str(tmp_path / "out"), "--setup"]
    assert run([*common, str(folder / "setup"), "--methods", "none"]) != 0
    assert "no attribution method 'none'" in capsys.readouterr().err
    assert run([*common, str(tmp_path)]) != 0
    assert "has no model (the final model)" in capsys.readouterr().err
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_when_nothing_could_be_judged_the_command_fails(folder, capsys):
    """Exit code 0 only when there is a table."""
    build(folder)
    words = ["evaluate", "run", "--setup", str(folder / "setup"), "--truth", str(folder / "truth"),
             "--methods", "embedding", "--no-probes", "--out", str(folder / "none")]  # fmt: skip
    assert run(words) != 0
    assert "no method could run here" in capsys.readouterr().err
