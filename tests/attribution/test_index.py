"""The gradient index: what it must equal, what it must survive, what it must refuse."""

import dataclasses
import gzip
import json
import os
import shutil

import numpy as np
import polars as pl
import pytest
import torch

from attribution.corpus import Document, write_corpus
from attribution.errors import (
    GradientIndexError,
    IndexDamagedError,
    IndexIncompleteError,
    IndexLockedError,
    IndexMismatchError,
)
from attribution.files import sha256_file
from attribution.index import GradientIndex, IndexConfig, build_index, locked
from attribution.index_manifest import write_manifest
from attribution.influence import Attributor
from attribution.layers import find_layers
from attribution.reference import dense_influence
from attribution.tokens import Encoded, encode_document
from tests.attribution import toy

QUERIES = [Encoded((3, 9, 12, 4, 4), 2), Encoded((7, 8, 9, 10, 11, 12, 13), 1)]


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A toy model at two checkpoints, a corpus and decoys."""
    return toy.workspace(tmp_path_factory.mktemp("toy"))


def config(space, out, **changes):
    """A full-rank float32 index over both checkpoints, all documents fitted on."""
    base = IndexConfig(
        model_dir=space["end"],
        corpus=space["corpus"],
        out=out,
        checkpoints=(space["start"],),
        decoys=space["decoys"],
        fit_share=1.0,
        damping=0.1,
        duplicate_threshold=None,
        token_budget=64,
        layers=("*",),
        head=False,
    )
    return dataclasses.replace(base, **changes)


def digests(folder):
    """SHA-256 of every file of a folder."""
    return {
        str(path.relative_to(folder)): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def built(space, tmp_path_factory):
    """One finished full-rank index."""
    out = tmp_path_factory.mktemp("index") / "i"
    build_index(config(space, out))
    return out


@pytest.mark.parametrize("family", [toy.gpt2, toy.llama])
def test_full_rank_equals_an_independent_dense_damped_ekfac(tmp_path, family):
    """The path sum of the index is the weighted sum of dense solves at each checkpoint."""
    space = toy.workspace(tmp_path, family=family)
    build_index(config(space, tmp_path / "i"))
    index = GradientIndex.open(tmp_path / "i")
    found = Attributor(index).documents(QUERIES).influence
    corpus = [encode_document(d, None) for d in toy.documents(24)]
    dense = sum(
        0.5 * dense_influence(m, find_layers(m).layers, corpus, QUERIES, damping=0.1, seed=0)
        for m in (family(1), family(2))
    )
    dense *= index.manifest.content["calibration"]["scale"]
    table = index.documents.filter(pl.col("kind") == "trained")
    trained = (index.documents["kind"] == "trained").to_numpy()
    torch.testing.assert_close(
        found[:, torch.from_numpy(trained)],
        dense[:, table["place"].to_list()],
        rtol=2e-3,
        atol=2e-3 * float(dense.abs().max()),
    )


def test_influence_of_a_work_is_the_sum_of_its_documents(built):
    """The group level pays what the document level shows."""
    index = GradientIndex.open(built)
    attributor = Attributor(index)
    groups, documents = attributor.groups(QUERIES), attributor.documents(QUERIES)
    for column, (group, kind) in enumerate(index.groups.select("group_id", "kind").iter_rows()):
        members = (index.documents["group_id"] == group) & (index.documents["kind"] == kind)
        total = documents.influence[:, torch.from_numpy(members.to_numpy().copy())].sum(1)
        torch.testing.assert_close(groups.influence[:, column], total, rtol=1e-4, atol=1e-6)


def test_splitting_a_work_changes_no_total(space, built, tmp_path):
    """Filing a work under several names moves nothing between works."""
    split = [dataclasses.replace(d, group_id=d.document_id) for d in toy.documents(24)]
    write_corpus(tmp_path / "split.jsonl", split)
    build_index(config(space, tmp_path / "i", corpus=tmp_path / "split.jsonl"))
    one = Attributor(GradientIndex.open(built)).groups(QUERIES).influence
    two = GradientIndex.open(tmp_path / "i")
    many = Attributor(two).groups(QUERIES).influence
    kinds = torch.from_numpy((two.groups["kind"] == "trained").to_numpy().copy())
    whole = torch.from_numpy(
        (GradientIndex.open(built).groups["kind"] == "trained").to_numpy().copy()
    )
    torch.testing.assert_close(many[:, kinds].sum(1), one[:, whole].sum(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("changes", [{"token_budget": 1}, {"shard_documents": 5}])
def test_scores_do_not_depend_on_batches_or_shards(space, built, tmp_path, changes):
    """Another batch plan or another split into shards gives the same influence."""
    build_index(config(space, tmp_path / "i", **changes))
    one, two = GradientIndex.open(built), GradientIndex.open(tmp_path / "i")
    before = Attributor(one).documents(QUERIES).influence
    after = Attributor(two).documents(QUERIES).influence
    place = {name: i for i, name in enumerate(two.documents["document_id"].to_list())}
    order = [place[name] for name in one.documents["document_id"].to_list()]
    scale = float(before.abs().max())
    torch.testing.assert_close(after[:, order], before, rtol=1e-3, atol=1e-3 * scale)


def test_scores_do_not_depend_on_what_is_scored_beside(built):
    """An output attributed alone and in company gets the same numbers."""
    attributor = Attributor(GradientIndex.open(built))
    together = attributor.groups(QUERIES).influence
    for q, query in enumerate(QUERIES):
        alone = attributor.groups([query]).influence[0]
        torch.testing.assert_close(alone, together[q], rtol=1e-4, atol=1e-6)


def test_a_duplicate_adds_nothing(space, tmp_path):
    """Uploading a document twice pays its work as often as once."""
    documents = toy.documents(24)
    twice = [
        *documents,
        *(
            dataclasses.replace(d, document_id=f"{d.document_id}-again")
            for d in documents
            if d.group_id == "g1"
        ),
    ]
    write_corpus(tmp_path / "once.jsonl", documents)
    write_corpus(tmp_path / "twice.jsonl", twice)
    totals = []
    for name in ("once", "twice"):
        out = tmp_path / name
        build_index(
            config(
                space,
                out,
                corpus=tmp_path / f"{name}.jsonl",
                decoys=None,
                duplicate_threshold=0.8,
                fit_documents_min=4,
                fit_share=0.01,
            )
        )
        index = GradientIndex.open(out)
        rows = index.group_rows(0)
        totals.append(rows[index.groups["group_id"].to_list().index("g1")] @ rows.T)
        if name == "twice":
            assert len(index.manifest.content["clusters"]) == 8
    # The bases may differ between the two fits; inner products of full rank do not.
    torch.testing.assert_close(totals[0], totals[1], rtol=1e-3, atol=1e-2)


def test_a_build_killed_anywhere_ends_with_the_same_bytes(space, built, tmp_path):
    """Every prefix of the work is resumed at the next chunk, and no byte differs."""
    chunked = config(space, tmp_path / "whole", chunk_bytes=4096, shard_documents=10)
    build_index(chunked)
    want = digests(tmp_path / "whole")
    for stop in (1, 3, 7, 11, 16, 21):
        out = tmp_path / f"killed-{stop}"
        calls = 0

        def kill(_step, _done, _all, stop=stop):
            nonlocal calls
            calls += 1
            if calls == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build_index(dataclasses.replace(chunked, out=out), kill)
        with pytest.raises(IndexIncompleteError, match="unfinished build"):
            GradientIndex.open(out)
        for torn in out.rglob("rows-*.bin"):
            with torn.open("ab") as stream:
                stream.write(b"half a row")
        build_index(dataclasses.replace(chunked, out=out))
        assert digests(out) == want


def test_the_same_build_twice_is_one_build(space, built):
    """A finished index is returned, not made again."""
    before = {p: p.stat().st_mtime_ns for p in built.rglob("rows-*.bin")}
    build_index(config(space, built))
    assert {p: p.stat().st_mtime_ns for p in built.rglob("rows-*.bin")} == before


def test_an_index_of_a_packed_corpus_has_the_bytes_of_the_unpacked_one(built, space, tmp_path):
    """However documents are read from disk, every row, label and name is the same."""
    packed = tmp_path / "corpus.jsonl.gz"
    packed.write_bytes(gzip.compress(space["corpus"].read_bytes()))
    build_index(config(space, tmp_path / "i", corpus=packed))
    here, there = digests(tmp_path / "i"), digests(built)
    assert here.pop("locations.json") != there.pop("locations.json")
    assert here == there
    assert not [path for path in (tmp_path / "i").iterdir() if path.name.startswith("tmp")]


def test_another_plan_in_the_same_folder_is_refused(space, built):
    """Rows of two plans never stand in one index; the text names the difference."""
    with pytest.raises(IndexMismatchError, match=r"config\.damping = 0\.1, this build has 0\.2"):
        build_index(config(space, built, damping=0.2))


def test_two_builders_on_one_folder_are_refused(space, tmp_path):
    """The second builder is told to wait."""
    with locked(tmp_path / "i"), pytest.raises(IndexLockedError, match="another process"):
        build_index(config(space, tmp_path / "i"))


@pytest.mark.parametrize(
    "victim",
    [
        "manifest.json",
        "bases/000/basis.safetensors",
        "bases/001/curvature.safetensors",
        "groups/000000/rows-0.bin",
        "groups/000000/groups.parquet",
        "shards/000000/shard.json",
        "shards/000000/rows-1.bin",
        "shards/000000/documents.parquet",
        "shards/000001/chunks-0.jsonl",
    ],
)
@pytest.mark.parametrize("damage", ["alter", "cut", "remove"])
def test_an_altered_torn_or_missing_file_is_named(built, tmp_path, victim, damage):
    """No byte is trusted that was not checked; the error names the file."""
    copy = tmp_path / "i"
    shutil.copytree(built, copy)
    path = copy / victim
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        middle = len(data) // 2
        path.write_bytes(
            data[:middle]
            if damage == "cut"
            else data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        )
    with pytest.raises((IndexDamagedError, IndexIncompleteError), match=path.name.split("-")[0]):
        GradientIndex.open(copy).verify()


def test_an_altered_row_is_never_scored(built, tmp_path):
    """Rows are hashed before their first use, not only by verify."""
    copy = tmp_path / "i"
    shutil.copytree(built, copy)
    shutil.copy(built / "locations.json", copy)
    path = copy / "shards" / "000000" / "rows-0.bin"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    index = GradientIndex.open(copy)
    with pytest.raises(IndexDamagedError, match="rows 0 to"):
        list(index.stored(0))


def test_a_model_the_index_was_not_built_from_is_refused(built, space, tmp_path):
    """Scores with other weights would be noise."""
    toy.gpt2(5).save_pretrained(tmp_path / "other")
    folders = [tmp_path / "other", space["end"]]
    attributor = Attributor(GradientIndex.open(built), folders=folders)
    with pytest.raises(IndexMismatchError, match="scores would be noise"):
        attributor.groups(QUERIES)


def test_silent_documents_score_zero_and_are_listed(space, tmp_path):
    """Empty and one-token documents are counted and never become NaN."""
    documents = [
        *toy.documents(6),
        Document("empty", "g0", input_ids=()),
        Document("single", "g1", input_ids=(4,)),
    ]
    write_corpus(tmp_path / "c.jsonl", documents)
    build_index(config(space, tmp_path / "i", corpus=tmp_path / "c.jsonl"))
    index = GradientIndex.open(tmp_path / "i")
    assert [e["document_id"] for e in index.manifest.content["excluded"]] == ["empty", "single"]
    scores = Attributor(index).documents([*QUERIES, Encoded((3,), 1)]).influence
    assert bool(scores.isfinite().all())
    ids = index.documents["document_id"].to_list()
    assert not scores[:, [ids.index("empty"), ids.index("single")]].any()
    assert not scores[2].any()


def test_a_corpus_with_no_scorable_document_is_refused(space, tmp_path):
    """There would be nothing to fit on."""
    write_corpus(tmp_path / "c.jsonl", [Document("a", "g", input_ids=(1,))])
    with pytest.raises(GradientIndexError, match="nothing to fit on"):
        build_index(config(space, tmp_path / "i", corpus=tmp_path / "c.jsonl"))


@pytest.mark.parametrize("dtype", ["float16", "int8", "int4"])
def test_smaller_numbers_keep_the_scores(space, built, tmp_path, dtype):
    """Storing rows in fewer bits moves scores little: a percent at eight bits."""
    build_index(config(space, tmp_path / "i", dtype=dtype))
    before = Attributor(GradientIndex.open(built)).documents(QUERIES).influence
    after = Attributor(GradientIndex.open(tmp_path / "i")).documents(QUERIES).influence
    assert (
        float((after - before).norm() / before.norm())
        < {"float16": 0.001, "int8": 0.02, "int4": 0.3}[dtype]
    )


def test_a_budget_of_bytes_is_kept(space, tmp_path):
    """Rows of all checkpoints together take no more than asked."""
    build_index(config(space, tmp_path / "i", bytes_per_document=800))
    index = GradientIndex.open(tmp_path / "i")
    assert sum(index.codec(k).row_bytes for k in range(2)) <= 800


def test_the_manifest_says_what_was_tracked_and_from_what(built):
    """Coverage, inputs, versions and path are in the manifest."""
    said = json.loads((built / "manifest.json").read_bytes())
    assert said["format"] == "byline-index/2"
    assert said["inputs"].keys() == {"corpus", "decoys", "model"}
    assert said["coverage"]["parameters_tracked"] > 0
    assert said["path_rule"] == "equal/1"
    assert [p["weight"] for p in said["checkpoints"]] == [0.5, 0.5]
    assert said["calibration"]["rule"] in {"decoys/2", "none/1"}


def test_an_index_of_another_format_is_refused_by_both_names(built, tmp_path):
    """A folder that an older build wrote is not read wrongly: both formats are said."""
    shutil.copytree(built, tmp_path / "i")
    content = json.loads((tmp_path / "i" / "manifest.json").read_bytes())
    write_manifest(tmp_path / "i", {**content, "format": "byline-index/1"})
    with pytest.raises(IndexMismatchError, match=r"'byline-index/1'.*'byline-index/2'"):
        GradientIndex.open(tmp_path / "i")


def test_four_bit_rows_of_the_earlier_form_are_refused(space, tmp_path):
    """Their codes would be read as other numbers, and of narrow layers nothing would show it."""
    manifest = build_index(config(space, tmp_path / "i", dtype="int4"))
    assert manifest.content["config"]["row_form"] == 2
    assert GradientIndex.open(tmp_path / "i").shards
    settings = {k: v for k, v in manifest.content["config"].items() if k != "row_form"}
    write_manifest(tmp_path / "i", {**manifest.content, "config": settings})
    with pytest.raises(
        IndexMismatchError, match=r"int4 rows are of form 1, this build reads form 2"
    ):
        GradientIndex.open(tmp_path / "i")


def test_end_alone_is_called_relative(space, tmp_path):
    """With only the final weights the index says that totals have no meaning."""
    manifest = build_index(config(space, tmp_path / "i", checkpoints=()))
    assert manifest.relative_only
    assert manifest.content["calibration"]["rule"] == "none/1"


def test_a_random_projection_is_the_same_whatever_the_rank():
    """Counter-based numbers: a larger basis begins with the smaller one."""
    from attribution.projection import random_signs

    small, large = random_signs("layer", 70, 3, 5), random_signs("layer", 70, 9, 5)
    torch.testing.assert_close(large[:, :3], small)
    assert set(np.unique(small.numpy())) == {-1.0, 1.0}
    assert os.environ.get("CUDA_VISIBLE_DEVICES") is None or small.device.type == "cpu"


@pytest.mark.parametrize("projection", ["eigen", "random"])
def test_projection_at_full_rank_keeps_inner_products(space, tmp_path, projection):
    """Both projections are orthonormal: full rank loses nothing."""
    for name in ("eigen", projection):
        if not (tmp_path / name).exists():
            build_index(config(space, tmp_path / name, projection=name))
    one = GradientIndex.open(tmp_path / "eigen").group_rows(0)
    two = GradientIndex.open(tmp_path / projection).group_rows(0)
    torch.testing.assert_close(one @ one.T, two @ two.T, rtol=1e-3, atol=1e-2)
