"""A pack is one sequence of bytes for one content, and an ordinary ZIP file to everybody else."""

import hashlib
import shutil
import zipfile

import pytest

from ledger.audit import run_verify
from ledger.audit_errors import PackError, VerificationError
from ledger.pack import write_book, write_pack
from ledger.pack_format import central_header, end_record, local_header
from tests.ledger.book_maker import (
    KEYS,
    LOG,
    ORIGIN,
    changed,
    checkpoint_of,
    make_pack,
    small_book,
)

LEAVES = small_book(4)


def test_the_same_content_gives_the_same_bytes(tmp_path):
    """Written twice, from memory and from files: one pack."""
    make_pack(tmp_path / "a.zip", LEAVES, earlier=[3], extra={"statements/b.json": b"{}"})
    (tmp_path / "file").write_bytes(b"{}")
    make_pack(
        tmp_path / "b.zip", LEAVES, earlier=[3], extra={"statements/b.json": tmp_path / "file"}
    )
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_every_zip_tool_can_open_a_pack(tmp_path):
    """Names, sizes, dates and checksums are those that other programs read."""
    path = tmp_path / "a.zip"
    make_pack(path, LEAVES, extra={"reports/x.csv": b"a,b\n"})
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(archive.namelist())
        assert {item.date_time for item in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {item.compress_type for item in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("reports/x.csv") == b"a,b\n"
        manifest = archive.read("manifest.json")
        assert archive.comment.decode().endswith(hashlib.sha256(manifest).hexdigest())
        assert b"verify.py PACK" in archive.read("README.txt")


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../b", "a//b", "", "a b", "caf\u00e9", ".x", "a\\b"]
)
def test_names_that_could_leave_the_folder_are_refused(tmp_path, name):
    """Who unpacks a pack gets files in one folder and nowhere else; nothing is written."""
    with pytest.raises(PackError, match="not of the form"):
        make_pack(tmp_path / "a.zip", LEAVES, extra={name: b"x"})
    assert not list(tmp_path.iterdir())


def test_a_pack_without_its_book_is_not_written(tmp_path):
    """The writer says which files are missing."""
    with pytest.raises(PackError, match=r"lacks .*entries\.jsonl"):
        write_pack(tmp_path / "a.zip", {}, period="2026-11", origin=ORIGIN)


def test_no_pack_is_written_from_a_book_that_is_not_the_one_signed(tmp_path):
    """Leaves that do not lead to the checkpoint's root, or break a rule, stop the writer."""
    note = checkpoint_of(LEAVES)
    other = [*LEAVES[:-1], changed(LEAVES[-1], description="x")]
    for leaves in (other, LEAVES[:-1]):
        with pytest.raises(PackError, match="no pack was written"):
            write_book(tmp_path, leaves, checkpoint=note)
    with pytest.raises(VerificationError, match="debits and credits differ"):
        write_book(
            tmp_path,
            [*LEAVES[:-1], LEAVES[-1].replace(b'"9"', b'"8"')],
            checkpoint=note,
        )


def test_leaves_after_the_checkpoint_are_left_out(tmp_path):
    """The book goes on growing (accesses are leaves too) while a pack is written."""
    note = checkpoint_of(LEAVES, 6)
    make_pack(tmp_path / "a.zip", LEAVES, checkpoint=note)
    report = run_verify(tmp_path / "a.zip", KEYS)
    assert (report.ok, report.size) == (True, 6)


def test_an_unsigned_manifest_is_verified_and_said_to_be_unsigned(tmp_path):
    """Without the log's signature the book still holds, but nobody stands behind the papers."""
    path = tmp_path / "a.zip"
    make_pack(path, LEAVES, signer=LOG)
    assert "signed by example.com/byline" in run_verify(path, KEYS).lines()[1]
    note = checkpoint_of(LEAVES)
    members = write_book(tmp_path, LEAVES, checkpoint=note)
    write_pack(path, members, period="2026-11", origin=ORIGIN)
    report = run_verify(path, KEYS)
    assert report.ok
    assert "nobody vouches" in report.lines()[1]


def test_an_empty_book_can_be_packed(tmp_path):
    """The first checkpoint of a new log is over nothing."""
    path = tmp_path / "a.zip"
    make_pack(path, [])
    report = run_verify(path, KEYS)
    assert (report.ok, report.size, report.entries) == (True, 0, 0)


def test_headers_of_members_beyond_four_gib_are_the_ones_zip_tools_write():
    """Large packs use the 64-bit fields; sizes and offsets are read back from them."""
    big, far = 5 << 30, 6 << 30
    local = local_header("a", 1, big)
    assert local[18:26] == b"\xff" * 8
    assert int.from_bytes(local[-16:-8], "little") == big
    central = central_header("a", 1, big, far)
    assert [int.from_bytes(central[-24 + 8 * n :][:8], "little") for n in range(3)] == [
        big,
        big,
        far,
    ]
    end = end_record(1, len(central), far, b"")
    assert end.startswith(b"PK\x06\x06")
    assert int.from_bytes(end[48:56], "little") == far


@pytest.mark.slow
def test_a_pack_beyond_four_gib_verifies_and_opens(tmp_path):
    """The 64-bit fields work as a whole: other tools list it, we verify it, a flip is found."""
    if shutil.disk_usage(tmp_path).free < 12 << 30:
        pytest.skip("needs 12 GiB of disk")
    path, big = tmp_path / "a.zip", tmp_path / "big"
    with big.open("wb") as file:
        file.truncate((4 << 30) + 5)
    make_pack(path, LEAVES, extra={"reports/a.bin": big, "zz.txt": b"last"})
    assert run_verify(path, KEYS).ok
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("reports/a.bin").file_size == (4 << 30) + 5
        assert archive.read("zz.txt") == b"last"
    size = path.stat().st_size
    for at in (size - 150, size - 90, size - 200):
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 4]))
            file.flush()
            assert not run_verify(path, KEYS).ok
            file.seek(at)
            file.write(bytes([byte]))
