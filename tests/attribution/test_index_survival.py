"""What an index survives: kill -9, a full disk, another builder, documents that are not finite."""

import dataclasses
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from attribution.corpus import Document, write_corpus
from attribution.errors import (
    GradientIndexError,
    IndexDiskFullError,
    IndexLockedError,
    TokenizerMismatchError,
)
from attribution.index import GradientIndex, IndexConfig, build_index, locked
from attribution.index_refit import Refit, refit_index
from attribution.influence import Attributor
from attribution.tokens import Encoded
from tests.attribution import toy

ROOT = Path(__file__).resolve().parents[2]
POISON = 7
QUERIES = [Encoded((3, 9, 12, 4, 4), 2), Encoded((8, 9, 10, 11, 12, 13), 1)]


TIMES = 5


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    """What the killing program said: the libraries are loaded once for all of it."""
    folder = tmp_path_factory.mktemp("disturbed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.attribution.killer", str(folder), str(TIMES)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "said.json").read_text())


def test_a_build_killed_with_signal_nine_ends_with_the_same_bytes(disturbed):
    """At random moments, several times over, in the middle of whatever it was doing."""
    assert disturbed["kill"]["killed"] >= TIMES
    assert disturbed["kill"]["same"]


def test_a_disk_that_fills_leaves_no_index_and_loses_nothing(disturbed):
    """The error says so, no manifest appears, and with room the same bytes come out."""
    assert disturbed["fill"] == {"same": True, "statuses": [3] * TIMES, "whole": 0}


def test_a_full_disk_is_named_with_the_next_step(tmp_path):
    """The system's own error would not say that nothing is lost."""
    with (
        pytest.raises(IndexDiskFullError, match=r"bytes are free .* Make room"),
        locked(tmp_path),
        Path("/dev/full").open("wb") as stream,
    ):
        stream.write(b"x" * 10_000)


def test_a_second_builder_in_another_process_is_refused(tmp_path):
    """The lock is the kernel's: it is held by a process and dies with it."""
    space = toy.workspace(tmp_path, 6)
    config = IndexConfig(space["end"], space["corpus"], tmp_path / "i")
    (tmp_path / "i").mkdir()
    with (tmp_path / "i" / ".lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(IndexLockedError, match="another process"):
            build_index(config)
        with pytest.raises(IndexLockedError, match="another process"):
            refit_index(tmp_path / "i", Refit(damping=0.2))
    build_index(config)


def poisoned(tmp_path, documents, **changes):
    """An index of a model in which one token's embedding is not a number."""
    model = toy.llama(1)
    model.model.embed_tokens.weight.data[POISON] = torch.nan
    model.save_pretrained(tmp_path / "model")
    write_corpus(tmp_path / "c.jsonl", documents)
    base = IndexConfig(
        tmp_path / "model",
        tmp_path / "c.jsonl",
        tmp_path / "i",
        fit_share=1.0,
        layers=("*",),
        duplicate_threshold=None,
        token_budget=10_000,
    )
    build_index(dataclasses.replace(base, **changes))
    return GradientIndex.open(tmp_path / "i")


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_documents_with_a_loss_that_is_no_number_score_zero_and_are_listed(tmp_path, dtype):
    """They are left out of the fit, stored as zeros, named, and spoil nobody else's score."""
    documents = [
        *(d for d in toy.documents(12) if POISON not in d.input_ids),
        Document("poisoned", "g0", input_ids=(3, POISON, 5, 9)),
    ]
    index = poisoned(tmp_path, documents, dtype=dtype)
    assert index.manifest.content["excluded"] == [
        {"document_id": "poisoned", "reason": "loss or gradient not finite at checkpoint 0"}
    ]
    assert index.curvature(0).documents == len(documents) - 1
    poison = Encoded((3, POISON, 4), 1)
    scores = Attributor(index).documents([*QUERIES, poison]).influence
    assert bool(scores.isfinite().all())
    column = index.documents["document_id"].to_list().index("poisoned")
    assert not scores[:, column].any()
    assert not scores[2].any()
    assert bool(scores[0].any())
    refit_index(tmp_path / "i", Refit(share=1.0, seed=5))
    assert bool(Attributor(GradientIndex.open(tmp_path / "i")).groups(QUERIES).influence.any())


def test_a_corpus_of_nothing_finite_is_refused(tmp_path):
    """There would be nothing but zeros to pay by."""
    documents = [Document(f"d{i}", "g", input_ids=(3, POISON, i + 1)) for i in range(3)]
    with pytest.raises(GradientIndexError, match="not one of 3 documents has a finite loss"):
        poisoned(tmp_path, documents)


def test_ids_the_model_does_not_know_are_refused_before_anything_is_written(tmp_path):
    """A corpus encoded with another tokenizer would score as noise."""
    space = toy.workspace(tmp_path, 6)
    write_corpus(tmp_path / "c.jsonl", [Document("far", "g", input_ids=(1, toy.VOCAB, 2))])
    with pytest.raises(TokenizerMismatchError, match="far holds token id 40"):
        build_index(IndexConfig(space["end"], tmp_path / "c.jsonl", tmp_path / "i"))
    assert not (tmp_path / "i" / "build.json").exists()


def test_a_document_longer_than_the_context_has_one_row_and_all_its_tokens(tmp_path):
    """It is read in windows; every token is scored once and none is lost."""
    space = toy.workspace(tmp_path, 6)
    long = Document("long", "g", input_ids=tuple(1 + i % 30 for i in range(5 * toy.CONTEXT)))
    write_corpus(tmp_path / "c.jsonl", [*toy.documents(6), long])
    build_index(IndexConfig(space["end"], tmp_path / "c.jsonl", tmp_path / "i"))
    table = GradientIndex.open(tmp_path / "i").documents
    scored = dict(table.select("document_id", "tokens_scored").iter_rows())
    assert scored["long"] == 5 * toy.CONTEXT - 1
    assert table.height == 7
