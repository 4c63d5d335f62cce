"""The harvest of the very environment the tests run in: real, bounded, and naming nobody."""

import json
import re

import pytest

from attribution.corpus import read_corpus
from attribution.duplicates import evidence_clusters
from attribution.files import sha256_file
from contracts.work import load_catalogue
from flows.demo.harvest import HarvestError, harvest
from flows.demo.harvest_passages import HarvestLimits
from flows.demo.harvest_prose import people
from flows.demo.harvest_source import installed

LIMITS = HarvestLimits()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One harvest for all tests of this file."""
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def done(folder):
    """The harvest, made once."""
    return harvest(folder)


def test_there_are_creators_and_passages_enough(done):
    """At least 40 packages and 800 trained passages, skewed but capped."""
    assert len(done.creators) >= 40
    assert len(done.corpus) >= 800
    sizes = list(done.creators.values())
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == len(done.corpus)
    assert sizes[0] <= LIMITS.package_max
    assert sizes[0] >= 4 * sizes[-1]


def test_every_passage_has_60_to_200_words(done):
    """A passage is long enough to mean something and short enough for the model."""
    for corpus in (done.corpus, done.held_back, done.decoys):
        for document in corpus:
            assert 60 <= len(document.text.split()) <= 200


def test_no_address_no_handle_and_no_markup_is_left(done):
    """Nothing that points to a person or to the network, and nothing of a page's layout."""
    for document in (*done.corpus, *done.held_back, *done.decoys):
        wrong = re.search(
            r"@|https?:|www\.|```|>>>|<[a-z]+>|\]\(|\bcopyright\b", document.text, re.IGNORECASE
        )
        assert not wrong, (document.document_id, wrong)


def test_no_name_from_any_packages_authorship_fields_is_left(done):
    """The people behind the packages are not in the corpus."""
    names = installed(exclude=frozenset()).names
    assert len(names) > 20
    text = "\n".join(row.text for row in (*done.corpus, *done.held_back, *done.decoys))
    assert people(names).search(text) is None


def test_decoys_and_held_back_passages_are_never_trained_on(done):
    """Neither their ids nor their texts, nor near copies of these, are in the corpus."""
    decoy_packages = {row.source_id for row in done.decoys}
    assert not decoy_packages & {row.source_id for row in done.corpus}
    assert all(row.document_id.startswith("decoy:") for row in done.decoys)
    assert all(row.document_id.startswith("heldback:") for row in done.held_back)
    assert len(done.decoys) >= 50
    assert len(done.held_back) >= 50
    trained = {row.document_id for row in done.corpus}
    both = [*done.corpus, *done.decoys, *done.held_back]
    for cluster in evidence_clusters(both, threshold=0.5):
        inside = trained & set(cluster.members)
        assert not inside or inside == set(cluster.members)


def test_the_catalogue_says_who_owns_every_trained_document(done, folder):
    """Each document belongs to a work, each work to a package with version and licence."""
    catalogue = load_catalogue(folder / "catalogue.json")
    assert set(done.creators) == set(catalogue.parties)
    written = json.loads((folder / "catalogue.json").read_text())
    assert {row["document_id"]: row["work_id"] for row in written["documents"]} == {
        row.document_id: row.group_id for row in done.corpus
    }
    assert all(row["version"] and row["licence"] for row in written["sources"])


def test_the_manifest_has_the_digest_of_every_file(done, folder):
    """Whoever holds the manifest can check what was trained on."""
    manifest = json.loads(done.manifest.read_text())
    assert manifest["format"] == "byline-corpus/1"
    for said in manifest["files"].values():
        path = folder / said["file"]
        assert said["sha256"] == sha256_file(path)
        assert said["corpus_digest"] == read_corpus(path).digest
    assert len(manifest["inputs"]) >= len(done.creators)
    assert "byline" not in {name.split(":")[1].split("@")[0] for name in manifest["inputs"]}


def test_the_same_environment_gives_the_same_corpus(tmp_path):
    """Nothing depends on the disk's order or on the clock."""
    small = HarvestLimits(
        creators_min=2, creators=3, passages_min=5, passages=20, decoy_packages=1, decoys=4,
        package_max=8, bytes_max=60_000,
    )  # fmt: skip
    for name in ("one", "two"):
        harvest(tmp_path / name, small)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_an_environment_with_too_little_is_refused(tmp_path):
    """The demo says what is missing instead of training on nothing."""
    with pytest.raises(HarvestError, match=r"this environment holds \d packages .* needs 40"):
        harvest(tmp_path / "out", HarvestLimits(creators=3, passages=20, bytes_max=30_000))
    assert not (tmp_path / "out").exists()
