"""Methods without gradients, each against a slow plain computation."""

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from attribution.corpus import Document, read_corpus, read_queries, write_corpus
from attribution.errors import ScoringError
from attribution.matrix_task import MatrixTask
from attribution.methods.by_size import BySize, Equal, RandomScores
from attribution.methods.embedding import Embedding
from attribution.methods.hidden_states import HiddenStates
from attribution.methods.tfidf import TfIdf
from tests.attribution import toy

WORDS = ["bread", "oven", "ship", "pier", "apple", "tree", "page", "book"]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Nine documents of three works, one silent, and three queries, one silent."""
    folder = tmp_path_factory.mktemp("baselines")
    paths = toy.workspace(folder)
    write_corpus(paths["corpus"], [*toy.documents(8), Document("silent", "g0", input_ids=(4,))])
    lines = [
        {"output_id": "q0", "input_ids": [3, 9, 12, 4, 4], "prompt_length": 2},
        {"output_id": "q1", "input_ids": list(range(1, 30))},
        {"output_id": "silent", "input_ids": [5]},
    ]
    (folder / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return MatrixTask(
        paths["end"], (), read_corpus(paths["corpus"]), read_queries(folder / "q.jsonl"), seed=3
    )


def scored(row):
    """Return the tokens of a row that are scored."""
    return row.input_ids[row.prompt_length :]


def test_by_size_is_the_number_of_scored_tokens(task):
    """The same row for every output that has anything to score."""
    wanted = [len(scored(row)) for row in task.documents_encoded]
    assert BySize().scores(task).tolist() == [wanted, wanted, [0] * 9]


def test_equal_gives_every_work_one(task):
    """A work's documents with text share its 1; a silent one takes nothing of it."""
    found = Equal().scores(task)
    works = np.array([d.group_id for d in task.corpus])
    for work in ("g0", "g1", "g2"):
        assert found[0, works == work].sum() == pytest.approx(1)
    assert not found[:, 8].any()


def test_random_scores_are_a_function_of_the_seed(task):
    """The same seed gives the same bytes, another one other numbers."""
    from dataclasses import replace

    first = RandomScores().scores(task)
    assert torch.equal(first, RandomScores().scores(task))
    assert not torch.equal(first, RandomScores().scores(replace(task, seed=4)))


def test_tfidf_is_the_cosine_of_weighted_counts(task):
    """Token by token, with dictionaries."""
    documents = [Counter(scored(row)) for row in task.documents_encoded]
    seen = Counter(token for row in documents for token in row)

    def weigh(counts):
        row = {t: n * (math.log((1 + 9) / (1 + seen[t])) + 1) for t, n in counts.items()}
        length = math.sqrt(sum(value**2 for value in row.values()))
        return {t: value / length for t, value in row.items()}

    found = TfIdf().scores(task)
    for q, query in enumerate(task.queries_encoded):
        left = weigh(Counter(scored(query)))
        for n, document in enumerate(documents):
            right = weigh(document)
            wanted = sum(value * right.get(token, 0) for token, value in left.items())
            assert found[q, n] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("layer", [-1, 0, 1])
@pytest.mark.parametrize("pooling", ["mean", "last", "late"])
def test_hidden_states_are_the_pooled_states_of_that_layer(task, layer, pooling):
    """One row at a time, without batches; rows here fit one window or are cut in two."""

    def pooled(row):
        if len(row.input_ids) > toy.CONTEXT:
            return None
        with torch.no_grad():
            ids = torch.tensor(row.input_ids)[None]
            states = task.model.model(input_ids=ids, output_hidden_states=True).hidden_states
        places = list(range(row.prompt_length - 1, len(row.input_ids) - 1))
        # The tuple's last entry is behind the norm, as the trunk's own output is.
        values = states[layer][0][places].double()
        if pooling == "last":
            return values[-1]
        weights = torch.arange(1, len(places) + 1) if pooling == "late" else torch.ones(len(places))
        return (values * weights[:, None]).sum(0) / weights.sum()

    documents = torch.stack([pooled(row) for row in task.documents_encoded[:8]])
    centre = documents.mean(0)
    query = pooled(task.queries_encoded[0]) - centre
    wanted = torch.nn.functional.cosine_similarity(query[None], documents - centre)
    found = HiddenStates(layer, pooling).scores(task)
    np.testing.assert_allclose(found[0, :8], wanted, atol=1e-5)
    assert found[1, :8].isfinite().all()


def test_a_layer_or_pooling_that_is_not_there_is_refused(task):
    """The text lists what there is."""
    with pytest.raises(ScoringError, match="layer is 7; the model has 0 to 1"):
        HiddenStates(layer=7).scores(task)
    with pytest.raises(ScoringError, match=r"pooling is 'max'; choose one of \('mean'"):
        HiddenStates(pooling="max").scores(task)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tiny random encoder that reads 6 tokens at once."""
    folder = tmp_path_factory.mktemp("encoder")
    vocab = {word: place for place, word in enumerate(["[UNK]", "[PAD]", *WORDS])}
    bare = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, unk_token="[UNK]", pad_token="[PAD]", model_max_length=6
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(vocab), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8, max_position_embeddings=6, initializer_range=0.5,
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


def test_embeddings_are_means_over_all_tokens_of_a_text(encoder, tmp_path):
    """Long texts are read in pieces and lose nothing; padding never enters a mean."""
    from tests.attribution.toy_training import toy_model

    texts = ["bread oven bread", "ship pier ship pier apple tree page book", "tree"]
    corpus = [Document(f"d{n}", "g", text) for n, text in enumerate(texts)]
    write_corpus(tmp_path / "c.jsonl", corpus)
    (tmp_path / "q.jsonl").write_text(json.dumps({"output_id": "q", "text": "oven bread"}) + "\n")
    task = MatrixTask(
        toy_model(), (), read_corpus(tmp_path / "c.jsonl"), read_queries(tmp_path / "q.jsonl")
    )
    model = BertModel.from_pretrained(encoder).eval()
    place = {word: 2 + n for n, word in enumerate(WORDS)}

    def embed(text):
        ids = [place[word] for word in text.split()]
        with torch.no_grad():
            states = [
                model(input_ids=torch.tensor([ids[at : at + 6]])).last_hidden_state[0]
                for at in range(0, len(ids), 6)
            ]
        return torch.nn.functional.normalize(torch.cat(states).double().mean(0), dim=0)

    wanted = torch.stack([embed(text) for text in texts]) @ embed("oven bread")
    found = Embedding(folder=str(encoder), batch=2).scores(task)
    assert found.shape == (1, 3)
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)


def test_a_folder_that_is_no_encoder_is_refused(task, tmp_path):
    """Nothing is downloaded instead."""
    with pytest.raises(ScoringError, match=r"no config.json.*nothing is downloaded"):
        Embedding(folder=str(tmp_path)).scores(task)
