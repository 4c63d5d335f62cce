"""Runs: what the nightly settlement is handed, whole, sorted and the same however it was cut."""

import dataclasses
import shutil

import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from attribution import run_tables
from attribution.corpus import Document, write_corpus
from attribution.errors import IndexDamagedError, ScoringError
from attribution.index import IndexConfig, build_index
from attribution.index_refit import Refit, refit_index
from attribution.influence import Attributor
from attribution.run import (
    AttributionRequest,
    QueryText,
    attribute_outputs,
    merge_shards,
    trace,
)
from attribution.trace import lexical_overlap
from tests.attribution import toy

WORDS = [f"w{i}" for i in range(1, toy.VOCAB)]
OUTPUTS = tuple(
    QueryText(f"o{i}", None if i == 0 else "w1 w2", " ".join(WORDS[i : i + 5])) for i in range(6)
)


def tokenizer():
    """One token a word: `w7` is token 7."""
    known = {"<s>": 0} | {word: i for i, word in enumerate(WORDS, start=1)}
    plain = Tokenizer(models.WordLevel(known, unk_token="<s>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token="<s>")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """An index of word documents with decoys, two checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    space = toy.workspace(folder)
    tokenizer().save_pretrained(space["end"])
    for name, seed in (("corpus", 0), ("decoys", 9)):
        words = [
            Document(d.document_id, d.group_id, text=" ".join(f"w{t}" for t in d.input_ids))
            for d in toy.documents(20, seed=seed)
        ]
        write_corpus(folder / f"{name}.jsonl", words)
    build_index(
        IndexConfig(
            space["end"],
            space["corpus"],
            folder / "index",
            checkpoints=(space["start"],),
            decoys=space["decoys"],
            damping=0.1,
        )
    )
    return folder / "index"


def test_a_run_holds_every_output_and_group_in_order(index, tmp_path):
    """One line per output and group, decoys labelled, numbers whole."""
    result = attribute_outputs(AttributionRequest(index, OUTPUTS, tmp_path))
    table = pl.read_parquet(result.influence_path)
    assert table.columns == ["output_id", "group_id", "kind", "influence_nanonats"]
    assert table.height == len(OUTPUTS) * 6
    assert set(table["kind"]) == {"trained", "decoy"}
    assert table.equals(table.sort("output_id", "kind", "group_id"))
    gains = pl.read_parquet(result.gains_path)
    assert gains["tokens_scored"].to_list() == [5] * 6
    trained = table.filter(pl.col("kind") == "trained")
    sums = trained.group_by("output_id").agg(pl.col("influence_nanonats").sum()).sort("output_id")
    assert sums["influence_nanonats"].to_list() == gains["total_nanonats"].to_list()
    assert result.manifest["format"] == "byline-influence/1"
    assert result.manifest["outputs"] == 6


def test_a_shard_that_is_whole_is_not_made_again(index, tmp_path):
    """A task that runs twice does its work once; a damaged shard is made again."""
    request = AttributionRequest(index, OUTPUTS, tmp_path)
    first = attribute_outputs(request)
    made = first.influence_path.stat().st_mtime_ns
    assert attribute_outputs(request) == first
    assert first.influence_path.stat().st_mtime_ns == made
    before = first.influence_path.read_bytes()
    first.influence_path.write_bytes(before[:-1])
    attribute_outputs(request)
    assert first.influence_path.read_bytes() == before


def test_the_order_of_outputs_does_not_matter(index, tmp_path):
    """The same outputs in another order are the same shard."""
    request = AttributionRequest(index, OUTPUTS, tmp_path)
    turned = dataclasses.replace(request, outputs=OUTPUTS[::-1])
    assert attribute_outputs(request) == attribute_outputs(turned)


def test_merging_does_not_depend_on_the_order_of_shards(index, tmp_path):
    """Who made which shard first leaves no trace in the merged files."""
    shards = [
        attribute_outputs(AttributionRequest(index, part, tmp_path / "shards"))
        for part in (OUTPUTS[:2], OUTPUTS[2:5], OUTPUTS[5:])
    ]
    one = merge_shards(shards, tmp_path / "a", "2026-11-01")
    two = merge_shards(shards[::-1], tmp_path / "b", "2026-11-01")
    for path in (one.influence_path, one.gains_path, one.manifest_path):
        assert path.read_bytes() == (two.influence_path.parent / path.name).read_bytes()
    assert pl.read_parquet(one.influence_path).height == len(OUTPUTS) * 6


def assert_same_rows(one, two):
    """Two results hold the same rows in the same order, influence up to a float's rounding."""
    left, right = (pl.read_parquet(row.influence_path) for row in (one, two))
    names = ["output_id", "group_id", "kind"]
    assert left.select(names).equals(right.select(names))
    apart = (left["influence_nanonats"] - right["influence_nanonats"]).abs()
    assert apart.max() <= 1e-6 * right["influence_nanonats"].abs().max()
    for key in ("outputs", "inputs", "groups", "outputs_without_score"):
        assert one.manifest[key] == two.manifest[key]
    decoys = [one.manifest["decoy_nanonats"], two.manifest["decoy_nanonats"]]
    assert decoys[0] == pytest.approx(decoys[1], rel=1e-5)


@pytest.mark.parametrize("held", [1, 20])
def test_a_table_too_large_to_hold_is_streamed_into_the_same_rows(
    index, tmp_path, monkeypatch, held
):
    """Ten thousand outputs of a hundred thousand works are a table nobody's memory holds."""
    whole = attribute_outputs(AttributionRequest(index, OUTPUTS, tmp_path / "whole"))
    cut = [OUTPUTS[0::2], OUTPUTS[1::2]]
    shards = [attribute_outputs(AttributionRequest(index, c, tmp_path / "s")) for c in cut]
    merged = merge_shards(shards, tmp_path / "merged", "night")
    asked = []
    groups = Attributor.groups
    monkeypatch.setattr(
        Attributor, "groups", lambda self, e, p=None: asked.append(len(e)) or groups(self, e, p)
    )
    monkeypatch.setattr(run_tables, "ROWS_HELD", held)
    streamed = attribute_outputs(AttributionRequest(index, OUTPUTS, tmp_path / "streamed"))
    assert len(asked) > 1, "all outputs were scored together"
    assert sum(asked) == len(OUTPUTS)
    assert_same_rows(streamed, whole)
    again = merge_shards(shards, tmp_path / "again", "night")
    assert pl.read_parquet(again.influence_path).equals(pl.read_parquet(merged.influence_path))
    assert again.manifest["decoy_nanonats"] == merged.manifest["decoy_nanonats"]
    assert not list(tmp_path.rglob("tmp*")), "parts are left over"


def test_an_output_in_two_shards_is_refused(index, tmp_path):
    """It would be paid for twice."""
    shards = [
        attribute_outputs(AttributionRequest(index, part, tmp_path))
        for part in (OUTPUTS[:3], OUTPUTS[2:])
    ]
    with pytest.raises(ScoringError, match="o2 is in two shards"):
        merge_shards(shards, tmp_path, "night")
    with pytest.raises(ScoringError, match="given twice"):
        attribute_outputs(AttributionRequest(index, (*OUTPUTS, OUTPUTS[0]), tmp_path))


def test_a_damaged_shard_is_not_merged(index, tmp_path):
    """A shard's file must be the one its manifest names."""
    shard = attribute_outputs(AttributionRequest(index, OUTPUTS, tmp_path))
    shutil.copy(shard.gains_path, shard.influence_path)
    with pytest.raises(IndexDamagedError, match="attribute its outputs again"):
        merge_shards([shard], tmp_path, "night")


def test_trace_names_the_strongest_sources_with_their_doubts(index):
    """Signed influence and lexical overlap side by side, never mixed."""
    found = trace(index, "w5 w6 w7 w8 w9", prompt="w1", k=3, passage_characters=5)
    assert len(found.sources) == 3
    values = [source.influence_nanonats for source in found.sources]
    assert values == sorted(values, reverse=True)
    assert all(len(source.passage or "") == 5 for source in found.sources)
    plain = trace(index, "w5 w6 w7 w8 w9", prompt="w1", k=3)
    assert all(source.passage is None for source in plain.sources)
    assert [source.document_id for source in plain.sources] == [
        source.document_id for source in found.sources
    ]
    assert "few_tokens" in found.flags
    assert all(0 <= source.lexical_overlap <= 1 for source in found.sources)
    assert "relative" not in found.flags
    assert found.as_json()["tokens_scored"] == 5
    with pytest.raises(ScoringError, match="no token to score"):
        trace(index, "")


def test_trace_and_a_run_give_the_same_numbers_on_any_number_of_threads(index, tmp_path):
    """What is shown is what is paid: both score on one thread, whatever the process has."""
    text = " ".join(WORDS[3:23])
    before = torch.get_num_threads()
    totals = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found = trace(index, text, k=99)
        request = AttributionRequest(index, (QueryText("o", None, text),), tmp_path / str(threads))
        table = pl.read_parquet(attribute_outputs(request).influence_path)
        totals.append((found.sources, table["influence_nanonats"].to_list()))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert totals[0] == totals[1]


def test_an_older_version_of_the_preconditioner_gives_its_bytes_again(index, tmp_path):
    """A run that was paid by can be computed again after a refit, byte for byte."""
    copy = index.with_name("refitted")
    shutil.copytree(index, copy)
    request = AttributionRequest(copy, OUTPUTS, tmp_path / "paid")
    paid = attribute_outputs(request)
    said = paid.manifest["preconditioner"]
    refit_index(copy, Refit(damping=0.7))
    now = attribute_outputs(dataclasses.replace(request, out_dir=tmp_path / "now"))
    again = attribute_outputs(
        dataclasses.replace(request, out_dir=tmp_path / "again", preconditioner=said["version"])
    )
    assert again.manifest["preconditioner"] == said
    assert again.influence_path.read_bytes() == paid.influence_path.read_bytes()
    assert now.influence_path.read_bytes() != paid.influence_path.read_bytes()
    assert now.manifest["preconditioner"]["version"] == 1
    with pytest.raises(ScoringError, match="2 versions of the preconditioner"):
        merge_shards([now, again], tmp_path, "night")


def test_lexical_overlap_is_the_share_of_word_triples():
    """Case and punctuation do not count."""
    assert lexical_overlap("A b, c d", "x a B c!") == 0.5
    assert lexical_overlap("a b", "a b") == 0.0
