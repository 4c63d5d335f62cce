"""A book read in parts has the verdict of a book read in one go."""

import pickle

import pytest

from ledger import audit
from ledger.audit import run_verify
from ledger.audit_book import Book
from ledger.audit_errors import VerificationError
from ledger.audit_frame import OpenPack
from ledger.audit_parallel import cut_book, read_part
from ledger.merkle import root_of
from tests.ledger.book_maker import KEYS, changed, forge_pack, make_pack, small_book

LEAVES = small_book(9)


def in_parts(pack, part_bytes, sizes=()):
    """Read the book of a pack in parts, one after the other, in this process."""
    with OpenPack(pack) as opened:
        opened.check_frame()
        start = opened.parts["entries.jsonl"].offset
        parts = cut_book(pack, start, opened.lines("entries.jsonl"), part_bytes)
        book = Book(sizes)
        for part in parts:
            book.absorb(*read_part(part))
        book.finish(lambda offset, size: opened.read_at("entries.jsonl", offset, size))
    return book, len(parts)


@pytest.mark.parametrize("part_bytes", [1, 300, 700, 1500, 4000, 10**9])
def test_parts_of_any_size_give_the_same_book(tmp_path, part_bytes):
    """Sums, roots, names, periods and reversals do not depend on where the book was cut."""
    pack = tmp_path / "p.zip"
    make_pack(pack, LEAVES)
    whole = Book([4, 7])
    whole.feed(leaf + b"\n" for leaf in LEAVES)
    whole.flush()
    book, count = in_parts(pack, part_bytes, [4, 7])
    assert (count == 1) == (part_bytes == 10**9)
    for name in ("leaves", "entries", "postings", "accesses", "debits", "credits", "periods"):
        assert getattr(book, name) == getattr(whole, name), name
    assert book.evidence == whole.evidence
    for size in (4, 7, len(LEAVES)):
        assert book.root_at(size) == whole.root_at(size) == root_of(LEAVES[:size])


@pytest.mark.parametrize("row", range(2, len(LEAVES)))
def test_a_broken_rule_is_found_in_whatever_part_it_is(tmp_path, row):
    """An entry in a period that was never opened, in every place of the book in turn."""
    leaf = LEAVES[row - 1]
    if b'"format":"byline-entry/1"' not in leaf:
        return
    pack = tmp_path / "p.zip"
    forge_pack(pack, [*LEAVES[: row - 1], changed(leaf, period="2027-01"), *LEAVES[row:]])
    with pytest.raises(VerificationError) as caught:
        in_parts(pack, 700)
    assert (caught.value.step, caught.value.place) == (7, f"row {row}, period")


def test_processes_give_the_same_report(tmp_path, monkeypatch):
    """With real processes: the same lines for a good pack, the same first difference for a bad."""
    monkeypatch.setattr(audit, "PART_BYTES_MIN", 1500)
    pack = tmp_path / "p.zip"
    make_pack(pack, LEAVES, earlier=[3])
    assert run_verify(pack, KEYS, workers=2).lines() == run_verify(pack, KEYS).lines()
    forge_pack(pack, [*LEAVES[:7], changed(LEAVES[7], approved_by="system"), *LEAVES[8:]])
    one, two = run_verify(pack, KEYS), run_verify(pack, KEYS, workers=2)
    assert str(one.failure) == str(two.failure)
    assert one.failure.step == 5


def test_a_difference_survives_the_way_between_processes():
    """The error a worker hands over has all its parts."""
    error = VerificationError(4, "entries.jsonl", "row 1, key", "a", "b", "it was changed")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.step, again.expected, again.found) == (4, "a", "b")
