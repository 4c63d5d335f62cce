"""A corpus read from its file a document at a time is the corpus that was read whole."""

import gzip
import os
import tracemalloc

import numpy as np
import pytest

from attribution.corpus import Document, read_corpus, write_corpus
from attribution.corpus_file import CorpusFile, Joined, Picked
from attribution.duplicates import joined_clusters
from attribution.errors import CorpusError
from attribution.tokens import Encoded, EncodedRows

GOOD = '{"document_id": "a", "group_id": "g", "text": "Words."}\n'
DOCUMENTS = [
    Document("a", "g", "Words — and more."),
    Document("b", "g", None, (1, 2, 3), "source"),
    Document("c", "h", "", ()),
    Document("d", "d", "Last."),
]


@pytest.fixture
def path(tmp_path):
    """A corpus file with a blank line in it."""
    write_corpus(tmp_path / "corpus.jsonl", DOCUMENTS)
    lines = (tmp_path / "corpus.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "corpus.jsonl").write_text("".join([*lines[:2], "\n", *lines[2:]]), "utf-8")
    return tmp_path / "corpus.jsonl"


def test_the_documents_and_their_digest_are_those_of_the_corpus_read_whole(path):
    """However a corpus is read, an index of it is of the same inputs."""
    packed = path.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for kept in (CorpusFile(path), CorpusFile(packed, path.parent)):
        assert list(kept) == DOCUMENTS
        assert [kept[i] for i in (3, 0, -1)] == [DOCUMENTS[i] for i in (3, 0, -1)]
        assert list(kept[1:3]) == DOCUMENTS[1:3]
        assert kept.digest == read_corpus(path).digest
        with pytest.raises(IndexError):
            kept[4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + '{"document_id": "b"}\n', r"jsonl:2: the line has neither text nor input_ids"),
        (GOOD + "\n" + '{"document_id": "b", "te\n', r"jsonl:3: the line is not JSON"),
        (GOOD + "\n" + GOOD, r"jsonl:3: document_id 'a' was already used in line 1"),
        ("\n  \n", "the corpus holds no document"),
    ],
)
def test_a_fault_is_refused_with_file_and_line(tmp_path, text, message):
    """What reading the whole corpus refuses is refused here, in the same words."""
    path = tmp_path / "corpus.jsonl"
    path.write_text(text, encoding="utf-8")
    for read in (read_corpus, CorpusFile):
        with pytest.raises(CorpusError, match=message):
            read(path)


def test_a_document_is_found_by_its_id(path):
    """Copies of an evidence cluster are looked up by name."""
    kept = CorpusFile(path)
    assert [kept.place_of(row.document_id) for row in DOCUMENTS] == [0, 1, 2, 3]
    with pytest.raises(KeyError):
        kept.place_of("e")


def test_a_file_altered_while_it_is_open_is_refused(path):
    """Documents of two versions of a file must not stand in one index."""
    kept = CorpusFile(path)
    assert kept[0] == DOCUMENTS[0]
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Words", b"Wards"))
    os.utime(path, ns=(1, 1))
    with pytest.raises(CorpusError, match="was altered while it was read"):
        kept[0]


def test_views_read_the_documents_they_name(path):
    """A part of a corpus and two corpora in a row are read like a list of documents."""
    kept = CorpusFile(path)
    some = Picked(kept, np.array([3, 1]))
    assert list(some) == [DOCUMENTS[3], DOCUMENTS[1]]
    assert list(some[1:]) == [DOCUMENTS[1]]
    both = Joined(some, kept)
    assert list(both) == [DOCUMENTS[3], DOCUMENTS[1], *DOCUMENTS]
    assert list(both[1:3]) == [DOCUMENTS[1], DOCUMENTS[0]]
    assert both[-1] == DOCUMENTS[3]


def _held(path, scratch):
    """Return the most that was held, bytes, while a corpus was opened, encoded and compared."""
    tracemalloc.start()
    try:
        corpus = CorpusFile(path, scratch)
        EncodedRows((Encoded(tuple((row.text or "").encode()), 1) for row in corpus), scratch)
        joined_clusters(corpus, scratch=scratch)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_is_held_a_document_does_not_grow_with_its_text(tmp_path):
    """Ten times the text takes no more memory: a corpus of any size can be indexed."""
    held = []
    for words in (20, 200):
        path = tmp_path / f"{words}.jsonl"
        draw = np.random.default_rng(0)
        texts = (" ".join(map(str, draw.integers(0, 10**6, words))) for _ in range(1500))
        write_corpus(path, [Document(f"d{i}", "g", text) for i, text in enumerate(texts)])
        held.append(_held(path, tmp_path))
    bytes_of_text = 1500 * 180 * 7
    assert held[1] - held[0] < bytes_of_text / 8, held
