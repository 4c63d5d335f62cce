"""An audit pack is whole, named member by member, the same bytes every time, and verifies."""

import hashlib
import zipfile

import pytest

from ledger.audit import verify_pack
from ledger.audit_errors import PackError
from ledger.checkpoint import sign_checkpoint
from ledger.merkle import root_of
from reports.audit_pack import AuditPackInputs, paper_members, write_audit_pack
from reports.errors import AuditPackError, UnwritableReportError
from reports.files import write_report, write_reports
from tests.ledger.book_maker import KEYS, LOG, ORIGIN, small_book

EVIDENCE = b'{"format":"byline-estimates/1"}\n'


def pack(**changes):
    """The inputs of a small pack: a real book, one piece of evidence, one statement."""
    leaves = small_book(evidence={"estimates": hashlib.sha256(EVIDENCE).hexdigest()})
    fields = {
        "period": "2026-11",
        "origin": ORIGIN,
        "leaves": leaves,
        "checkpoint": sign_checkpoint(ORIGIN, len(leaves), root_of(leaves), LOG),
        "evidence": {"estimates.json": EVIDENCE},
        "statements": {"s.csv": b"x"},
    }
    return AuditPackInputs(**(fields | changes))


def test_a_pack_with_papers_verifies_offline(tmp_path):
    """Evidence, statements and the book pass every step of the ledger's own verifier."""
    summary = write_audit_pack(tmp_path / "2026-11.byline.zip", pack(), LOG)
    assert verify_pack(summary.path, KEYS).failure is None
    with zipfile.ZipFile(summary.path) as archive:
        assert {"statements/s.csv", "evidence/estimates.json"} <= set(archive.namelist())
    assert summary.papers == 2


def test_the_same_inputs_give_the_same_archive(tmp_path):
    """Two people who pack the same period can compare one SHA-256."""
    first = write_audit_pack(tmp_path / "a.byline.zip", pack(), LOG)
    second = write_audit_pack(tmp_path / "b.byline.zip", pack(), LOG)
    assert first.sha256 == second.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.byline.zip", "b.byline.zip"]


def test_evidence_that_cannot_be_read_is_named(tmp_path):
    """A missing manifest is a missing proof, so there is no pack."""
    gone = tmp_path / "gone.json"
    with pytest.raises(AuditPackError, match=r"evidence/gone\.json cannot be read"):
        write_audit_pack(tmp_path / "p.zip", pack(evidence={"gone.json": gone}))
    assert list(tmp_path.iterdir()) == []


def test_a_book_that_is_not_the_one_signed_makes_no_pack(tmp_path):
    """One leaf less than the checkpoint says: nothing is written."""
    with pytest.raises(PackError, match="no pack was written"):
        write_audit_pack(tmp_path / "p.zip", pack(leaves=small_book()[:-1]))
    assert list(tmp_path.iterdir()) == []


def test_papers_stand_in_their_own_folders():
    """A statement cannot take the place of a part of the book."""
    members = paper_members(pack(statements={"entries.jsonl": b"no"}))
    assert sorted(members) == ["evidence/estimates.json", "statements/entries.jsonl"]


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path):
    """A file where the folder should be: a clear error, no half file."""
    (tmp_path / "reports").write_bytes(b"")
    with pytest.raises(UnwritableReportError, match="could not be written"):
        write_report(tmp_path / "reports" / "s.pdf", b"%PDF")
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]


def test_reports_are_written_in_the_order_of_their_names(tmp_path):
    """A killed run leaves whole files only; the same command writes the rest."""
    paths = write_reports(tmp_path / "2026-11", {"b.csv": b"b", "a.pdf": b"a"})
    assert [path.name for path in paths] == ["a.pdf", "b.csv"]
    assert paths[0].read_bytes() == b"a"
