"""What a build keeps of each document: places and lengths; names are read a shard at a time."""

import pytest

from attribution.corpus_file import CorpusFile
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.index_edit import Removal, remove_documents
from tests.attribution import toy


def config(space, folder, shard, **settings):
    """Describe an index in shards of so many documents."""
    return IndexConfig(
        model_dir=space["end"],
        corpus=space["corpus"],
        out=folder,
        checkpoints=(space["start"],),
        token_budget=64,
        shard_documents=shard,
        **settings,
    )


@pytest.mark.parametrize("decoys", [True, False])
def test_a_build_never_holds_the_names_of_all_documents(tmp_path, monkeypatch, decoys):
    """Summing, calibrating and listing read the table of one shard after another."""
    space = toy.workspace(tmp_path)
    given = {"decoys": space["decoys"]} if decoys else {}

    def refused(_):
        raise AssertionError("the names of the whole corpus were asked for")

    whole = build_index(config(space, tmp_path / "whole", 100, **given))
    monkeypatch.setattr(GradientIndex, "documents", property(refused))
    cut = build_index(config(space, tmp_path / "cut", 5, **given))
    scales = [manifest.content["calibration"]["scale"] for manifest in (whole, cut)]
    assert scales[0] == pytest.approx(scales[1], rel=1e-5)


def test_works_are_the_same_however_the_documents_are_cut_into_shards(tmp_path):
    """A work whose documents lie in several shards has one row, also after a removal."""
    space = toy.workspace(tmp_path)
    tables, rows = [], []
    for shard in (100, 5):
        folder = tmp_path / str(shard)
        build_index(config(space, folder, shard, decoys=space["decoys"]))
        remove_documents(folder, Removal(("d0-003", "d0-004"), (), (), "asked for"))
        index = GradientIndex.open(folder)
        tables.append(index.groups)
        rows.append(index.group_rows(1))
    assert tables[0].equals(tables[1])
    assert (rows[0] - rows[1]).norm() < 1e-5 * rows[0].norm()
    assert tables[0]["documents"].sum() == 28


def test_a_slice_of_a_corpus_keeps_no_list_of_the_whole(tmp_path):
    """A view of five documents holds five places."""
    corpus = CorpusFile(toy.workspace(tmp_path)["corpus"])
    part = corpus[5:10]
    assert [row.document_id for row in part] == [corpus[n].document_id for n in range(5, 10)]
    base = part._places.base
    assert base is None or len(base) == 5
    assert [row.document_id for row in corpus[-2:]] == ["d0-022", "d0-023"]
    assert len(corpus[30:40]) == 0
