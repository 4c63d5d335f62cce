"""Changing an index: what is removed is never scored again, and nothing else moves."""

import dataclasses
import json
import shutil

import polars as pl
import pytest
import torch

from attribution.corpus import write_corpus
from attribution.errors import GradientIndexError, IndexDamagedError, IndexMismatchError
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.index_append import append_documents
from attribution.index_edit import Removal, compact, remove_documents
from attribution.index_verify import index_info, verify_index
from attribution.influence import Attributor
from attribution.tokens import Encoded
from tests.attribution import toy

QUERIES = [Encoded((3, 9, 12, 4, 4), 2), Encoded((7, 8, 9, 10, 11, 12, 13), 1)]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An index of 24 documents in three works and two sources, one of them a copy."""
    folder = tmp_path_factory.mktemp("edit")
    space = toy.workspace(folder)
    documents = [
        dataclasses.replace(d, source_id=f"s{i % 2}") for i, d in enumerate(toy.documents(24))
    ]
    documents[5] = dataclasses.replace(documents[5], input_ids=documents[0].input_ids)
    write_corpus(space["corpus"], documents)
    build_index(
        IndexConfig(
            space["end"],
            space["corpus"],
            folder / "i",
            checkpoints=(space["start"],),
            decoys=space["decoys"],
            damping=0.1,
            shard_documents=10,
            chunk_bytes=8192,
        )
    )
    return folder


@pytest.fixture
def index(built, tmp_path):
    """A copy of it to change, with the same models and corpus in reach."""
    for name in ("start", "end"):
        (tmp_path / name).symlink_to(built / name)
    shutil.copy(built / "corpus.jsonl", tmp_path)
    shutil.copytree(built / "i", tmp_path / "i")
    return tmp_path / "i"


def scores(folder):
    """Influence of documents and of groups, by name."""
    index = GradientIndex.open(folder)
    attributor = Attributor(index)
    documents = attributor.documents(QUERIES).influence
    groups = attributor.groups(QUERIES).influence
    trained = index.documents["kind"] == "trained"
    ids = index.documents["document_id"].to_list()
    names = list(zip(index.groups["kind"], index.groups["group_id"], strict=True))
    return (
        {name: documents[:, i] for i, name in enumerate(ids) if trained[i]},
        {name: groups[:, i] for i, name in enumerate(names)},
    )


def test_a_removed_document_is_scored_nowhere(index):
    """Neither as evidence nor inside its work; all others keep their influence."""
    before, groups_before = scores(index)
    remove_documents(index, Removal(documents=("d0-003",), reason="opt-out"))
    after, groups_after = scores(index)
    assert not after["d0-003"].any()
    for name in before.keys() - {"d0-003"}:
        torch.testing.assert_close(after[name], before[name])
    lost = groups_before["trained", "g0"] - groups_after["trained", "g0"]
    torch.testing.assert_close(lost, before["d0-003"], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(groups_after["trained", "g1"], groups_before["trained", "g1"])


def test_a_work_and_a_source_can_be_removed_whole(index):
    """Opt-outs come by work and by source; both are counted in the record."""
    remove_documents(index, Removal(groups=("g1",)))
    remove_documents(index, Removal(sources=("s0",)))
    records = sorted((index / "removals").glob("*.json"))
    first, second = (json.loads(path.read_bytes()) for path in records)
    assert len(first["documents"]) == 8
    assert len(second["documents"]) == 8
    assert first["index_after"] == second["index_before"]
    assert second["index_after"] == GradientIndex.open(index).manifest.sha256
    _, groups = scores(index)
    assert ("trained", "g1") not in groups
    assert index_info(index)["removed"] == 16
    assert index_info(index)["documents"] == 8


def test_removing_one_copy_leaves_the_cluster_counted_once(index):
    """The copy that stays takes the whole weight of its evidence."""
    weights = dict(GradientIndex.open(index).documents.select("document_id", "unit_weight").rows())
    assert weights["d0-000"] == weights["d0-005"] == 0.5
    remove_documents(index, Removal(documents=("d0-000",)))
    weights = dict(GradientIndex.open(index).documents.select("document_id", "unit_weight").rows())
    assert weights["d0-005"] == 1.0


def test_removing_twice_is_removing_once(index):
    """The same request again changes nothing."""
    one = remove_documents(index, Removal(documents=("d0-003",)))
    two = remove_documents(index, Removal(documents=("d0-003",)))
    assert one.sha256 == two.sha256
    assert len(list((index / "removals").glob("*.json"))) == 1


def test_removing_what_is_not_there_is_refused(index):
    """A misspelt opt-out must not look honoured."""
    before = (index / "manifest.json").read_bytes()
    with pytest.raises(GradientIndexError, match="no group 'g9' among its 24 documents"):
        remove_documents(index, Removal(documents=("d0-003",), groups=("g9",)))
    assert (index / "manifest.json").read_bytes() == before


def test_compacting_keeps_every_living_score(index):
    """Dead rows leave the disk; nothing that is alive moves."""
    remove_documents(index, Removal(groups=("g1",), documents=("d0-003",)))
    before, groups_before = scores(index)
    compact(index)
    after, groups_after = scores(index)
    assert len(after) == 15
    for name, value in after.items():
        torch.testing.assert_close(value, before[name])
    for name, value in groups_after.items():
        torch.testing.assert_close(value, groups_before[name])
    GradientIndex.open(index).verify()
    assert index_info(index)["removed"] == 0


def test_a_removal_that_dies_leaves_the_index_as_it_was(index, monkeypatch):
    """The manifest is the commit point: before it nothing has happened."""
    from attribution import index_edit

    before, _ = scores(index)

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(index_edit, "write_manifest", die)
    with pytest.raises(KeyboardInterrupt):
        remove_documents(index, Removal(documents=("d0-003",)))
    monkeypatch.undo()
    after, _ = scores(index)
    torch.testing.assert_close(after["d0-003"], before["d0-003"])
    remove_documents(index, Removal(documents=("d0-003",)))
    assert not scores(index)[0]["d0-003"].any()


def test_an_appended_document_scores_as_if_it_had_been_there(built, index, tmp_path):
    """Rows in the old bases; a copy of an old document joins its cluster."""
    added = toy.documents(3, seed=4)
    old = json.loads((tmp_path / "corpus.jsonl").read_text().splitlines()[2])
    added[1] = dataclasses.replace(added[1], input_ids=tuple(old["input_ids"]), group_id="g9")
    write_corpus(tmp_path / "more.jsonl", added)
    before, groups_before = scores(index)
    append_documents(index, tmp_path / "more.jsonl")
    after, groups_after = scores(index)
    assert len(after) == 27
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(after["d4-001"], before[old["document_id"]], rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(
        groups_after["trained", "g9"], after["d4-001"] / 2, rtol=1e-3, atol=1e-5
    )
    GradientIndex.open(index).verify()
    with pytest.raises(GradientIndexError, match="already; nothing was added"):
        append_documents(index, tmp_path / "more.jsonl")
    assert groups_before.keys() < groups_after.keys()


def test_verify_makes_rows_again(index):
    """Stored rows are the gradients of these documents at these weights."""
    report = verify_index(index, sample=5)
    assert report["rows_recomputed"] == 10
    assert report["worst_difference"] < 1e-3


def test_verify_finds_rows_of_other_documents(index, tmp_path):
    """An index whose digests are right and whose rows are not is caught."""
    from attribution.files import sha256_file
    from attribution.index_manifest import write_manifest
    from attribution.index_store import RowWriter, finish_shard

    reader = GradientIndex.open(index)
    shard = index / "shards" / "000000"
    swapped = [stored.copy()[::-1] for _, stored in reader.shards[0].stored(0)]
    losses = reader.shards[0].losses(0)
    for name in ("rows-0.bin", "chunks-0.jsonl"):
        (shard / name).unlink()
    writer = RowWriter(shard, 0, reader.codec(0).row_bytes)
    for part in swapped:
        writer.append(part.copy(), losses[writer.done : writer.done + len(part)].tolist())
    finish_shard(shard, 10, 2)
    content = dict(reader.manifest.content)
    content["shards"][0]["sha256"] = sha256_file(shard / "shard.json")
    write_manifest(index, content)
    verify_index(index, sample=0)
    with pytest.raises(IndexDamagedError, match="was not made from this document"):
        verify_index(index, sample=24)


def test_verify_asks_for_the_corpus_that_was_indexed(index, tmp_path):
    """Another corpus proves nothing."""
    write_corpus(tmp_path / "other.jsonl", toy.documents(4, seed=6))
    with pytest.raises(IndexMismatchError, match="the index was built from"):
        verify_index(index, corpus=tmp_path / "other.jsonl")


def test_info_adds_up(index):
    """What info says is what the tables hold."""
    info = index_info(index)
    table = GradientIndex.open(index).documents
    assert info["documents"] + info["decoys"] == table.height
    assert info["row_bytes_total"] == info["bytes_per_document"] * table.height
    assert info["clusters"] == 1
    assert table.filter(pl.col("kind") == "decoy").height == 6
