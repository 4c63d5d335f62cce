"""Near-duplicates are one piece of evidence, however the corpus is ordered."""

import random

import pytest
from datasketch import MinHash, MinHashLSH

from attribution.corpus import Document
from attribution.duplicates import evidence_clusters, similarity

WORDS = [f"word{number}" for number in range(400)]


def passage(seed, length=120):
    """Draw a passage of random words."""
    return random.Random(seed).choices(WORDS, k=length)


def document(name, words):
    """Make a document of words."""
    return Document(name, name, " ".join(words))


def clusters(documents, threshold=0.8):
    """Return the clusters with more than one member, as tuples of ids."""
    return [row.members for row in evidence_clusters(documents, threshold) if len(row.members) > 1]


def test_equal_texts_are_one_cluster_whatever_spacing_and_case():
    """A copy with other line breaks is still a copy."""
    assert clusters([Document("b", "x", "One  fine\nDay"), Document("a", "y", "one fine day")]) == [
        ("a", "b")
    ]


def test_a_passage_with_a_few_words_changed_is_found():
    """Two changed words in 120 leave the texts one piece of evidence."""
    changed = passage(1)
    changed[10], changed[70] = "other", "another"
    both = [document("a", passage(1)), document("b", changed)]
    assert similarity(*both) > 0.8
    assert clusters([*both, document("c", passage(2))]) == [("a", "b")]


def test_unlike_passages_stay_apart():
    """Every document is in exactly one cluster, alone when it is like no other."""
    documents = [document(f"d{place}", passage(place)) for place in range(40)]
    names = sorted(row.document_id for row in documents)
    found = evidence_clusters(documents)
    assert [row.members for row in found] == [(name,) for name in names]
    assert all(row.cluster_id == row.members[0] for row in found)


def test_the_order_of_the_corpus_does_not_change_the_clusters():
    """Who is filed first neither joins nor names a cluster."""
    documents = []
    for place in range(12):
        documents.append(document(f"d{place}", passage(place)))
        near = passage(place)
        near[place] = "changed"
        documents.append(document(f"copy{place}", near))
    straight = evidence_clusters(documents)
    for seed in range(3):
        shuffled = documents.copy()
        random.Random(seed).shuffle(shuffled)
        assert evidence_clusters(shuffled) == straight
    assert len([row for row in straight if len(row.members) == 2]) == 12


def proposed_by_the_library(documents, threshold=0.8):
    """Cluster with the library's own table of signatures, every proposal compared."""
    blank = MinHash(num_perm=128, seed=1)
    table = MinHashLSH(threshold=threshold - 0.25, num_perm=128)
    clusters = [{row.document_id} for row in documents]
    for place, row in enumerate(documents):
        words = row.text.encode().split()
        signature = blank.copy()
        signature.update_batch({b" ".join(words[i : i + 5]) for i in range(len(words) - 4)})
        for other in table.query(signature):
            if similarity(documents[other], row) >= threshold:
                joined = clusters[other] | clusters[place]
                for name in joined:
                    clusters[int(name)] = joined
        table.insert(place, signature)
    return sorted({tuple(sorted(row)) for row in clusters if len(row) > 1})


def test_clusters_from_columns_on_disk_are_those_of_the_librarys_own_table():
    """Keeping signatures out of memory proposes the same pairs."""
    draw = random.Random(4)
    documents = []
    for kind in range(20):
        for _ in range(5):
            near = passage(kind, 60)
            for place in draw.sample(range(60), draw.choice([0, 1, 1, 2, 3, 6])):
                near[place] = f"changed{draw.random()}"
            documents.append(document(f"{len(documents):03d}", near))
    found = clusters(documents)
    assert found == proposed_by_the_library(documents)
    assert {len(row) for row in found} >= {2, 3, 4}


def test_clusters_are_closed_under_joining():
    """A chain of near copies is one cluster even where its ends are unlike."""
    first = passage(5)
    chain = [document("c0", first)]
    for step in range(1, 6):
        first = first.copy()
        first[step * 20 - 10] = f"changed{step}"
        chain.append(document(f"c{step}", first))
    assert clusters(chain, threshold=0.85) == [tuple(f"c{step}" for step in range(6))]


def test_a_pair_is_joined_on_its_real_similarity_only():
    """The estimate proposes; a pair below the threshold is never joined."""
    for changes in range(2, 14, 2):
        near = passage(9)
        for place in range(changes):
            near[place * 9] = f"new{place}"
        both = [document("a", passage(9)), document("b", near)]
        assert bool(clusters(both)) == (similarity(*both) >= 0.8)


def test_token_ids_are_compared_where_there_is_no_text():
    """A tokenized corpus has duplicates too."""
    ids = tuple(range(100, 160))
    assert clusters(
        [Document("a", "x", None, ids), Document("b", "y", None, ids), Document("c", "z", None, ())]
    ) == [("a", "b")]


def test_a_threshold_out_of_range_is_refused():
    """A threshold near zero would join everything."""
    with pytest.raises(ValueError, match="threshold must be in"):
        evidence_clusters([], threshold=0.1)
