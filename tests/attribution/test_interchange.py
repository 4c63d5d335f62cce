"""Scores between files: every method keeps order, sign, zero rows and one shape."""

import json

import numpy as np
import pytest
import torch

from attribution.corpus import Document, read_corpus, write_corpus
from attribution.errors import IndexMismatchError, ScoringError
from attribution.index import IndexConfig, build_index
from attribution.interchange import attribute_files
from attribution.layers import find_layers
from attribution.methods import METHODS
from attribution.reference import weight_gradients
from attribution.tokens import encode_document
from tests.attribution import toy

QUERIES = [
    {"output_id": "q0", "input_ids": [3, 9, 12, 4, 4], "prompt_length": 2},
    {"output_id": "q1", "input_ids": [7, 8, 9, 10, 11, 12, 13]},
    {"output_id": "silent", "input_ids": [5]},
]


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A toy path, 12 documents of which one is silent, and three queries."""
    folder = tmp_path_factory.mktemp("files")
    paths = toy.workspace(folder)
    documents = [*toy.documents(11), Document("silent", "g0", input_ids=(4,))]
    write_corpus(paths["corpus"], documents)
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in QUERIES))
    return paths | {"queries": folder / "queries.jsonl"}


def score(space, tmp_path, method, **changes):
    """Run a method and read what it wrote."""
    out = tmp_path / "scores.npy"
    given = {
        "model": space["end"],
        "checkpoints": [space["start"]],
        "corpus": space["corpus"],
        "queries": space["queries"],
        "out": out,
    }
    said = attribute_files(method, **given | changes)
    assert said["out"] == str(out)
    return np.load(out)


# Those with other needs are tested where those needs are met.
ANYWHERE = [n for n, m in METHODS.items() if not {"encoder", "recipe"} & set(m.declared.needs)]


@pytest.mark.parametrize("method", ANYWHERE)
def test_every_method_writes_a_finite_float32_matrix_in_file_order(space, tmp_path, method):
    """Silent documents and queries score zero, never NaN."""
    scores = score(space, tmp_path, method)
    assert scores.dtype == np.float32
    assert scores.shape == (3, 12)
    assert np.isfinite(scores).all()
    assert not scores[:, 11].any()
    assert not scores[2].any()
    assert scores[:2, :11].any()


def test_the_index_and_the_stream_agree(space, tmp_path):
    """Reading stored rows gives what multiplying fresh gradients gives, up to scale."""
    streamed = score(space, tmp_path, "ekfac_index")
    indexed = score(space, tmp_path, "ekfac_index", index=tmp_path / "i")
    streamed, indexed = streamed / np.abs(streamed).max(), indexed / np.abs(indexed).max()
    np.testing.assert_allclose(indexed, streamed, atol=2e-3)


def test_gradient_dot_is_the_weighted_sum_of_plain_inner_products(space, tmp_path):
    """Without curvature nothing stands between two gradients."""
    # An untied head, so that its gradient stands apart from that of the embedding.
    paths = toy.workspace(tmp_path, 11, family=toy.llama)
    queries = {"queries": space["queries"]}
    found = score(paths | queries, tmp_path, "grad_dot")
    encoded = [encode_document(d, None) for d in read_corpus(paths["corpus"])]
    wanted_query = [
        encode_document(Document("q", "q", input_ids=tuple(QUERIES[1]["input_ids"])), None)
    ]
    total = torch.zeros(1, 11, dtype=torch.float64)
    for seed in (1, 2):
        model = toy.llama(seed)
        layers = find_layers(model, ("last:1",), head=True).layers
        rows = [
            torch.cat([g.reshape(-1) for g in weight_gradients(model, layers, row)])
            for row in (*wanted_query, *encoded)
        ]
        total += 0.5 * (rows[0][None] @ torch.stack(rows[1:]).T)
    wanted = total[0].numpy()
    scale = found[1, :11] @ wanted / (wanted @ wanted)
    np.testing.assert_allclose(found[1, :11], scale * wanted, atol=1e-3 * np.abs(found).max())


def test_a_score_is_positive_for_the_text_itself(space, tmp_path):
    """A document helps most the output that repeats it."""
    repeated = read_corpus(space["corpus"]).documents[4].input_ids
    query = tmp_path / "same.jsonl"
    query.write_text(json.dumps({"output_id": "q", "input_ids": list(repeated)}) + "\n")
    scores = score(space, tmp_path, "ekfac_index", queries=query)
    assert scores[0].argmax() == 4
    assert scores[0, 4] > 0


def test_an_unknown_method_is_refused_with_the_known_ones(space, tmp_path):
    """The text lists what there is."""
    with pytest.raises(ScoringError, match=r"no attribution method 'tarot'.*ekfac_index"):
        score(space, tmp_path, "tarot")
    assert not (tmp_path / "scores.npy").exists()


def test_an_index_of_another_corpus_is_refused(space, tmp_path):
    """Its rows are of other documents."""
    write_corpus(tmp_path / "other.jsonl", toy.documents(12, seed=8))
    build_index(IndexConfig(space["end"], tmp_path / "other.jsonl", tmp_path / "i"))
    with pytest.raises(IndexMismatchError, match="rows are of other documents"):
        score(space, tmp_path, "ekfac_index", index=tmp_path / "i")
