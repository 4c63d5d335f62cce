"""Laws of influence that stand in no other test: order of the corpus, decoys at the start.

The others: batches, padding, shards, company and splitting in `test_index`; rows alone and
together in `test_gradients`; the dense computation in `test_families`; inner products in
`test_projection`; eight bits and fewer in `test_codec`; sixteen bits in `test_half`.
"""

import dataclasses
import math
import random

import pytest
import torch

from attribution.corpus import Corpus, write_corpus
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.influence import Attributor
from attribution.run import AttributionRequest, QueryText, attribute_outputs
from attribution.tokens import Encoded, encode_output
from attribution.training import train
from tests.attribution import toy
from tests.attribution.toy_training import TOPICS, TOY, toy_corpus

QUERIES = [Encoded((3, 9, 12, 4, 4), 2), Encoded((7, 8, 9, 10, 11, 12, 13), 1)]


def test_the_order_of_the_corpus_changes_nothing(tmp_path):
    """Sampled labels, the sample of the fit and the calibration follow texts, not their places."""
    space = toy.workspace(tmp_path)
    by_id = []
    for name in ("straight", "shuffled"):
        for kind, made in (("corpus", toy.documents(90)), ("decoys", toy.documents(80, seed=9))):
            if name == "shuffled":
                random.Random(3).shuffle(made)
            write_corpus(tmp_path / f"{name}-{kind}.jsonl", made)
        config = IndexConfig(
            space["end"],
            tmp_path / f"{name}-corpus.jsonl",
            tmp_path / name,
            checkpoints=(space["start"],),
            decoys=tmp_path / f"{name}-decoys.jsonl",
            fit_documents_min=20,
            fit_share=0.1,
            layers=("*",),
        )
        build_index(config)
        index = GradientIndex.open(tmp_path / name)
        scores = Attributor(index).documents(QUERIES).influence
        ids = index.documents["document_id"].to_list()
        by_id.append(scores[:, sorted(range(len(ids)), key=ids.__getitem__)])
    scale = float(by_id[0].abs().max())
    torch.testing.assert_close(by_id[1], by_id[0], rtol=1e-3, atol=1e-3 * scale)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model trained on half of the documents of four topics; the other half are decoys."""
    folder = tmp_path_factory.mktemp("decoys")
    documents = list(toy_corpus(per_group=24).documents)
    random.Random(5).shuffle(documents)
    half = len(documents) // 2
    for name, part in (("corpus", documents[:half]), ("decoys", documents[half:])):
        kept = [dataclasses.replace(d, group_id=f"{name}-{d.group_id}") for d in part]
        write_corpus(folder / f"{name}.jsonl", kept)
    result = train(Corpus(tuple(documents[:half])), folder / "model", TOY)
    return folder, result


def built(folder, result, weights):
    """An index of the run's start and end with stated weights."""
    out = folder / f"index-{weights[0]}"
    build_index(
        IndexConfig(
            folder / "model",
            folder / "corpus.jsonl",
            out,
            checkpoints=(result.checkpoints[0],),
            checkpoint_weights=weights,
            decoys=folder / "decoys.jsonl",
            layers=("*",),
            duplicate_threshold=None,
            fit_share=1.0,
        )
    )
    return out


def gap(folder, result, weights):
    """How far trained documents stand above decoys of their topics, in standard errors."""
    out = built(folder, result, weights)
    attributor = Attributor(GradientIndex.open(out))
    outputs = [
        encode_output(None, f"In {topic}: {sentence}.", attributor.tokenizer)
        for topic, sentence in TOPICS.items()
    ]
    mean = attributor.documents(outputs).influence.mean(0)
    one = mean[torch.tensor((attributor.index.documents["kind"] == "trained").to_list())]
    two = mean[torch.tensor((attributor.index.documents["kind"] == "decoy").to_list())]
    error = math.sqrt(float(one.var() / len(one) + two.var() / len(two)))
    return float(one.mean() - two.mean()) / error, float(two.mean()), float(one.mean())


def test_decoys_score_like_documents_of_their_kind_at_the_start(trained):
    """Before the first step nothing was learned: who will be trained on cannot be told."""
    distance, decoys, documents = gap(*trained, (1.0, 0.0))
    assert decoys > 0
    assert documents > 0
    assert abs(distance) < 3


def test_decoys_are_reported_as_the_generic_part_and_never_paid(trained, tmp_path):
    """A run labels them, sums them apart, and leaves them out of every output's total."""
    folder, result = trained
    out = built(folder, result, (1.0, 0.0))
    request = AttributionRequest(out, (QueryText("o", None, TOPICS["bakery"]),), tmp_path)
    run = attribute_outputs(request)
    scores = Attributor(GradientIndex.open(out))
    groups = scores.index.groups
    encoded = encode_output(None, TOPICS["bakery"], scores.tokenizer)
    found = scores.groups([encoded]).influence[0]
    decoys = torch.tensor((groups["kind"] == "decoy").to_list())
    assert run.manifest["decoy_nanonats"] == pytest.approx(1e9 * float(found[decoys].sum()))
    total = run.manifest["completeness"]["total_nanonats"]
    assert total == pytest.approx(1e9 * float(found[~decoys].sum()), rel=1e-6)
