"""Corpora are read whole, or refused with the file and the line."""

import gzip
import json

import pytest

from attribution.corpus import (
    Corpus,
    Document,
    corpus_digest,
    corpus_manifest,
    read_corpus,
    read_queries,
    write_corpus,
)
from attribution.errors import CorpusError


def write(path, *lines):
    """Write lines to a file and return its path."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


GOOD = '{"document_id": "a", "group_id": "g", "text": "Words."}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"document_id": "b", "text": "cut sho', r"corpus\.jsonl:2: the line is not JSON"),
        ('["b"]', r":2: the line is a list, not an object"),
        ('{"text": "Nobody."}', r":2: the line has no document_id"),
        ('{"document_id": "b"}', r":2: the line has neither text nor input_ids"),
        ('{"document_id": "b", "text": null}', r":2: the line has neither text nor input_ids"),
        ('{"document_id": "b", "text": 3}', r":2: text is a int, not a string"),
        ('{"document_id": 3, "text": "x"}', r":2: document_id is 3"),
        ('{"document_id": "  ", "text": "x"}', r":2: document_id is '  '"),
        ('{"document_id": "b", "input_ids": [1, -2]}', r":2: input_ids is not a list"),
        ('{"document_id": "b", "input_ids": [true]}', r":2: input_ids is not a list"),
        ('{"document_id": "b", "group_id": 1, "text": "x"}', r":2: group_id is 1"),
        (GOOD, r":2: document_id 'a' was already used in line 1"),
    ],
)
def test_a_wrong_line_is_refused_with_file_and_line(tmp_path, line, message):
    """Whoever made the file finds the fault without searching, and nothing was read."""
    with pytest.raises(CorpusError, match=message) as refused:
        read_corpus(write(tmp_path / "corpus.jsonl", GOOD, line))
    assert refused.value.line == 2
    assert "nothing was read" in str(refused.value)


def test_an_empty_corpus_is_refused(tmp_path):
    """A file without a document is a mistake, not a small corpus."""
    with pytest.raises(CorpusError, match="holds no document"):
        read_corpus(write(tmp_path / "corpus.jsonl", "", "  "))


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path):
    """A file in another encoding is named as such, at the line where it shows."""
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(GOOD.encode() + b'\n{"document_id": "b", "text": "caf\xe9"}\n')
    with pytest.raises(CorpusError, match=r":2: the line is not JSON"):
        read_corpus(path)


def test_a_damaged_gzip_file_is_refused(tmp_path):
    """A download that broke off is noticed, not read half."""
    path = tmp_path / "corpus.jsonl.gz"
    whole = gzip.compress("\n".join(
        json.dumps({"document_id": str(i), "text": f"w{i * 7919}"}) for i in range(500)
    ).encode())  # fmt: skip
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorpusError, match="gzip data is damaged"):
        read_corpus(path)


def test_documents_keep_their_order_and_a_group_defaults_to_the_document(tmp_path):
    """File order is the order of every matrix made from the corpus."""
    corpus = read_corpus(
        write(
            tmp_path / "c.jsonl",
            '{"document_id": "z", "text": "One.", "note": "ignored"}',
            "",
            '{"document_id": "a", "group_id": "g", "input_ids": [3, 4]}',
        )
    )
    assert [row.document_id for row in corpus] == ["z", "a"]
    assert corpus.group_ids == ("z", "g")
    assert corpus.documents[1].input_ids == (3, 4)


def test_what_is_written_is_read_back_with_the_same_digest(tmp_path):
    """The digest belongs to the content, not to the file it happens to lie in."""
    documents = [Document("a", "g", "Grüße.", None, "s"), Document("b", "g", None, (1, 2))]
    written = write_corpus(tmp_path / "c.jsonl", documents)
    read = read_corpus(tmp_path / "c.jsonl")
    assert read.documents == tuple(documents)
    assert read.digest == written.digest == corpus_digest(documents)
    assert read.digest != corpus_digest(reversed(documents))


def test_writing_a_repeated_id_leaves_the_old_file_alone(tmp_path):
    """A refused write changes nothing on disk."""
    path = tmp_path / "c.jsonl"
    write_corpus(path, [Document("a", "g", "Old.")])
    before = path.read_bytes()
    with pytest.raises(CorpusError, match="also that of document 1"):
        write_corpus(path, [Document("b", "g", "x"), Document("b", "g", "y")])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["c.jsonl"]


def test_the_manifest_names_the_digest_of_every_file(tmp_path):
    """A manifest ties the harvest to the bytes that were trained on."""
    corpus = write_corpus(tmp_path / "c.jsonl", [Document("a", "g", "Text.")])
    manifest = corpus_manifest({"corpus": corpus}, inputs={"pypi:x@1": "00"}, notes={"seed": 1})
    assert manifest["format"] == "byline-corpus/1"
    assert manifest["files"]["corpus"]["corpus_digest"] == corpus.digest
    assert manifest["inputs"] == {"pypi:x@1": "00"}
    with pytest.raises(AssertionError):
        corpus_manifest({"corpus": Corpus(corpus.documents)}, inputs={}, notes={})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"output_id": "q", "input_ids": [1, 2], "prompt_length": 3}', r"prompt_length 3 > 2"),
        ('{"output_id": "q", "text": "x", "prompt_length": "2"}', r"not a whole number"),
        ('{"output_id": "q", "text": "x", "prompt_length": -1}', r"prompt_length -1 < 0"),
        ('{"text": "x"}', r":1: the line has no output_id"),
    ],
)
def test_a_wrong_query_is_refused_with_file_and_line(tmp_path, line, message):
    """A query that cannot be scored as stated is not scored some other way."""
    with pytest.raises(CorpusError, match=message):
        read_queries(write(tmp_path / "q.jsonl", line))


def test_queries_keep_their_order(tmp_path):
    """Row q of a score matrix is line q of the query file."""
    queries = read_queries(
        write(
            tmp_path / "q.jsonl",
            '{"output_id": "b", "text": "x y", "prompt_length": 1}',
            '{"output_id": "a", "input_ids": [1, 2]}',
        )
    )
    assert [query.output_id for query in queries] == ["b", "a"]
    assert queries[0].prompt_length == 1
    assert queries[1].prompt_length is None
