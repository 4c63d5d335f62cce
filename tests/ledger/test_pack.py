"""A pack is one sequence of bytes for one content, and an ordinary ZIP file to everybody else."""

import hashlib
import shutil
import zipfile

import pytest

from ledger.audit import run_verify
from ledger.audit_errors import PackError, VerificationError
from ledger.audit_frame import OpenPack
from ledger.pack import write_book, write_pack
from ledger.pack_format import (
    PACK_FORMATS,
    Member,
    central_header,
    end_record,
    local_header,
    tail,
)
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


def test_a_pack_of_the_first_format_is_verified_as_far_as_it_goes(tmp_path):
    """It brings no draws, and that is said; its two formats cannot be mixed."""
    path = tmp_path / "a.zip"
    note = checkpoint_of(LEAVES)
    members = write_book(tmp_path, LEAVES, checkpoint=note)
    first = PACK_FORMATS[-1]
    write_pack(path, members, period="2026-11", origin=ORIGIN, signer=LOG, form=first)
    report = run_verify(path, KEYS)
    assert report.ok
    assert "a pack of byline-pack/1 brings no draws" in report.lines()[13]
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"byline-pack/1 sha256", b"byline-pack/2 sha256"))
    failure = run_verify(path, KEYS).failure
    assert (failure.step, failure.member) == (2, "manifest.json")


def test_a_pack_of_a_later_format_is_refused_with_the_next_step(tmp_path):
    """An older verifier does not guess."""
    path = tmp_path / "a.zip"
    members = write_book(tmp_path, LEAVES, checkpoint=checkpoint_of(LEAVES))
    write_pack(path, members, period="2026-11", origin=ORIGIN, signer=LOG, form="byline-pack/3")
    failure = run_verify(path, KEYS).failure
    assert (failure.step, failure.place) == (1, "comment")
    assert "byline-pack/3" in failure.found


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../b", "c:x", "a\\b", ".x"])
def test_a_name_that_could_leave_the_folder_is_refused_by_the_reader_too(tmp_path, name):
    """A forger writes his own archive; nothing of it is unpacked."""
    path = tmp_path / "a.zip"
    make_pack(path, LEAVES, extra={"aaa": b"x"})
    raw = path.read_bytes()
    with OpenPack(path) as opened:
        opened.check_frame()
        members = [opened.parts[key].member for key in opened.parts]
        data = {key: opened.read(key) for key in opened.parts}
    named = sorted((name if m.name == "aaa" else m.name, m) for m in members)
    forged = [Member(new, m.crc, m.size, m.sha256) for new, m in named]
    comment = raw[-(len("byline-pack/2 sha256:") + 64) :]
    body = b"".join(local_header(n, m.crc, m.size) + data[m.name] for n, m in named)
    path.write_bytes(body + tail(forged, comment))
    failure = run_verify(path, KEYS).failure
    assert (failure.step, failure.place) == (1, "name")
    assert "outside of the folder" in str(failure)


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


def test_a_pack_whose_signature_was_taken_out_is_refused(tmp_path):
    """The book would still hold, but papers and draws could be anybody's."""
    path = tmp_path / "a.zip"
    make_pack(path, LEAVES, signer=LOG)
    assert "signed by example.com/byline" in run_verify(path, KEYS).lines()[1]
    note = checkpoint_of(LEAVES)
    members = write_book(tmp_path, LEAVES, checkpoint=note)
    write_pack(path, members, period="2026-11", origin=ORIGIN)
    failure = run_verify(path, KEYS).failure
    assert (failure.step, failure.member) == (2, "manifest.note")
    assert "nobody vouches for papers" in str(failure)


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
