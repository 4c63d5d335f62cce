"""The prefilter: approximate in whom it looks at, exact in what it says, recall measured."""

import shutil

import numpy as np
import pytest
import torch

from attribution.corpus import Document, write_corpus
from attribution.errors import GradientIndexError, IndexDamagedError, IndexMismatchError
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.index_edit import Removal, remove_documents
from attribution.index_prefilter import build_prefilter, open_prefilter
from attribution.influence import Attributor, exact_scores
from attribution.tokens import Encoded
from attribution.trace import trace
from tests.attribution import toy
from tests.attribution.test_run import tokenizer

QUERIES = [Encoded((3, 9, 12, 4, 4), 2), Encoded((7, 8, 9, 10, 11, 12, 13), 1)]
TEXT = "w5 w6 w7 w8 w9 w10 w11 w12 w13"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Three hundred documents over four shards, with decoys, at two checkpoints."""
    folder = tmp_path_factory.mktemp("prefilter")
    space = toy.workspace(folder)
    tokenizer().save_pretrained(space["end"])
    for name, count, seed in (("corpus", 300, 0), ("decoys", 20, 9)):
        words = [
            Document(d.document_id, d.group_id, text=" ".join(f"w{t}" for t in d.input_ids))
            for d in toy.documents(count, seed=seed)
        ]
        write_corpus(folder / f"{name}.jsonl", words)
    out = folder / "built"
    build_index(
        IndexConfig(
            space["end"],
            space["corpus"],
            out,
            checkpoints=(space["start"],),
            decoys=space["decoys"],
            dtype="int8",
            shard_documents=80,
            chunk_bytes=4096,
        )
    )
    build_prefilter(out, width=512, candidates=60)
    return out


def test_some_rows_are_the_same_rows(built):
    """Reading a few rows gives the bytes that reading all gives, across shards and chunks."""
    index = GradientIndex.open(built)
    whole = np.concatenate([part for _, part in index.stored(1)])
    rows = np.array([0, 1, 79, 80, 159, 200, 319])
    assert np.array_equal(GradientIndex.open(built).take(1, rows), whole[rows])
    assert index.take(0, np.array([], dtype=int)).shape == (0, index.codec(0).row_bytes)


def test_what_is_shown_is_exact(built):
    """Candidates are scored from their stored rows: the same numbers as scoring everybody."""
    attributor = Attributor(GradientIndex.open(built))
    queries, _ = attributor.queries(QUERIES)
    rows = np.array([3, 90, 301])
    found = exact_scores(attributor.index, queries, rows)
    whole = attributor.documents(QUERIES).influence[:, rows]
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-7)


def test_the_recall_that_is_printed_is_the_recall(built):
    """Counted again with queries of its own, it is near what was measured at the build."""
    prefilter = open_prefilter(GradientIndex.open(built))
    facts = prefilter.facts
    assert facts["recall_queries_are"] == "decoys"
    assert facts["recall"] >= 0.8
    assert facts["recall_least"] <= facts["recall"] <= 1
    attributor = Attributor(GradientIndex.open(built))
    trained = (attributor.index.documents["kind"] == "trained").to_numpy()
    hits = 0
    outputs = [Encoded(tuple(range(i, i + 9)), 1) for i in range(1, 25)]
    scores = attributor.documents(outputs).influence.numpy()
    scores[:, ~trained] = -np.inf
    for q, output in enumerate(outputs):
        near = prefilter.candidates(attributor.index, attributor.queries([output])[0])
        hits += len(set(np.argsort(-scores[q])[:10].tolist()).intersection(near.tolist()))
    assert abs(hits / (10 * len(outputs)) - facts["recall"]) < 0.2


def test_fewer_candidates_find_less(built, tmp_path):
    """Recall is measured and not assumed: with next to nothing it is next to nothing."""
    copy = built.with_name("narrow")
    shutil.copytree(built, copy)
    assert build_prefilter(copy, width=2, candidates=10)["recall"] < 0.5


def test_an_approximate_trace_says_so_and_agrees(built):
    """The same strongest sources with the same influence, and the flag with the recall."""
    attributor = Attributor(GradientIndex.open(built))
    exact = trace(attributor, TEXT, k=3)
    near = trace(attributor, TEXT, k=3, prefilter=open_prefilter(attributor.index))
    assert "approximate" in near.flags
    assert "approximate" not in exact.flags
    assert exact.recall is None
    assert near.recall == open_prefilter(attributor.index).facts["recall"]
    assert near.gain_nanonats == exact.gain_nanonats
    assert near.total_nanonats == pytest.approx(exact.total_nanonats, rel=1e-3)
    assert near.sources[0].document_id == exact.sources[0].document_id
    values = {s.document_id: s.influence_nanonats for s in exact.sources}
    for source in near.sources:
        if source.document_id in values:
            assert source.influence_nanonats == pytest.approx(values[source.document_id], rel=1e-4)


def test_a_prefilter_of_an_earlier_index_is_refused(built):
    """After a removal it could still name what was removed."""
    copy = built.with_name("changed")
    shutil.copytree(built, copy)
    victim = trace(copy, TEXT, k=1).sources[0].document_id
    remove_documents(copy, Removal(documents=(victim,)))
    with pytest.raises(IndexMismatchError, match="would miss what changed since"):
        open_prefilter(GradientIndex.open(copy))
    build_prefilter(copy, width=512, candidates=60)
    attributor = Attributor(GradientIndex.open(copy))
    near = trace(attributor, TEXT, k=5, prefilter=open_prefilter(attributor.index))
    assert victim not in {source.document_id for source in near.sources}


def test_a_missing_or_altered_prefilter_is_named(built):
    """A sketch that was changed would look in the wrong places."""
    copy = built.with_name("damaged")
    shutil.copytree(built, copy)
    path = copy / "prefilter" / "sketch.faiss"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexDamagedError, match=r"sketch\.faiss"):
        open_prefilter(GradientIndex.open(copy))
    shutil.rmtree(copy / "prefilter")
    with pytest.raises(IndexMismatchError, match="has no prefilter"):
        open_prefilter(GradientIndex.open(copy))


def test_a_prefilter_without_decoys_measures_itself_on_documents(tmp_path):
    """A document asked about itself would find itself: it is left out of its own answer."""
    space = toy.workspace(tmp_path, 30)
    out = tmp_path / "i"
    build_index(IndexConfig(space["end"], space["corpus"], out, duplicate_threshold=None))
    facts = build_prefilter(out, candidates=30)
    assert (facts["recall_queries_are"], facts["recall"]) == ("documents", 1.0)
    remove_documents(out, Removal(groups=("g0", "g1", "g2")))
    with pytest.raises(GradientIndexError, match="nothing to find"):
        build_prefilter(out)
