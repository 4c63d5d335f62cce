"""Log files are found and read the same wherever they lie and however they are packed."""

import gzip

import fsspec
import pytest
import zstandard

from flows.data_errors import LogError, LogMissingError
from flows.logs.reading import LineReader, LogFile, find_logs, reader_of
from flows.logs.record import RejectedError, amount, time_us, whole
from tests.flows.nights import otel, run_ingest, write_log

TEXT = b'{"a":1}\n\n  \n{"a":2}\r\n{"a":3}'
LINES = [(1, b'{"a":1}'), (4, b'{"a":2}\r'), (5, b'{"a":3}')]


@pytest.mark.parametrize(
    ("name", "pack"),
    [("a.jsonl", bytes), ("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstandard.compress)],
)
def test_lines_and_digest_do_not_depend_on_packing(tmp_path, name, pack):
    """Empty lines are skipped, numbers stay, and the digest is of the unpacked bytes."""
    (tmp_path / name).write_bytes(pack(TEXT))
    reader = LineReader(LogFile(str(tmp_path / name), name))
    assert list(reader) == LINES
    plain = LineReader(LogFile(str(tmp_path / name), name))
    assert reader.sha256 != plain.sha256
    assert list(plain) == LINES
    assert plain.sha256 == reader.sha256


def test_several_zstandard_frames_and_gzip_members_are_one_log(tmp_path):
    """Log shippers append whole frames; all of them are read."""
    (tmp_path / "a.zst").write_bytes(zstandard.compress(b"1\n") + zstandard.compress(b"2\n"))
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"1\n") + gzip.compress(b"2\n"))
    for name in ("a.zst", "a.gz"):
        assert [line for _, line in LineReader(LogFile(str(tmp_path / name), name))] == [b"1", b"2"]


def test_a_file_that_grows_is_read_up_to_its_size_at_the_start(tmp_path):
    """What is written while we read belongs to the next ingest."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"1\n2\n")
    lines = []
    for _, line in LineReader(LogFile(str(path), "a")):
        lines.append(line)
        with path.open("ab") as file:
            file.write(b"more\n")
    assert lines == [b"1", b"2"]


def test_a_line_cut_by_a_growing_file_is_read_whole_the_next_time(tmp_path):
    """Half a record is quarantined now and an output after the writer has finished."""
    path = write_log(tmp_path / "logs/a.jsonl", [otel(1), otel(2)])
    whole_text = path.read_text()
    path.write_text(whole_text[:-40])
    assert run_ingest(tmp_path).manifest["counts"]["rejected"] == {"not_json": 1}
    path.write_text(whole_text)
    counts = run_ingest(tmp_path).manifest["counts"]
    assert (counts["outputs"], counts["rejected"]) == (2, {})


def test_folders_globs_files_and_urls_name_logs_each_once(tmp_path):
    """However a file is named, and however often, it is read once."""
    for name in ("b.jsonl", "a.jsonl.gz", "c.parquet", "notes.txt", ".hidden.jsonl"):
        (tmp_path / name).write_bytes(b"")
    labels = ["a.jsonl.gz", "b.jsonl", "c.parquet"]
    assert [f.label for f in find_logs([tmp_path])] == labels
    assert [f.label for f in find_logs([tmp_path, tmp_path / "b.jsonl"])] == labels
    assert [f.label for f in find_logs([f"{tmp_path}/*.jsonl*"])] == labels[:2]
    assert [f.label for f in find_logs([f"file://{tmp_path}/b.jsonl"])] == ["b.jsonl"]
    with pytest.raises(LogMissingError):
        find_logs([tmp_path, f"file://{tmp_path}/nothing.jsonl"])


def test_object_stores_are_read_through_fsspec():
    """Any URL fsspec understands: folders, globs and packed files."""
    system = fsspec.filesystem("memory")
    system.pipe("/bucket/day/a.jsonl", TEXT)
    system.pipe("/bucket/day/b.jsonl.gz", gzip.compress(TEXT))
    for url in ("memory://bucket/day", "memory://bucket/day/*.jsonl*"):
        files = find_logs([url])
        assert [f.label for f in files] == ["a.jsonl", "b.jsonl.gz"]
        assert [list(reader_of(f)) for f in files] == [LINES, LINES]


def test_two_logs_of_one_name_are_told_apart_by_their_folder(tmp_path):
    """Records name their file, so the names must differ."""
    for folder in ("x/day", "y/day", "z/night"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.jsonl").write_bytes(b"")
    labels = [f.label for f in find_logs([tmp_path / "x/day", tmp_path / "z/night"])]
    assert labels == ["a.jsonl", "night/a.jsonl"]
    with pytest.raises(LogError, match=r"would both be called day/a\.jsonl"):
        find_logs([tmp_path / "z/night", tmp_path / "x/day", tmp_path / "y/day"])


def test_a_file_that_is_not_parquet_is_named(tmp_path):
    """The error says which file; nothing is ingested."""
    (tmp_path / "a.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(LogError, match=r"a\.parquet: cannot be read as parquet"):
        list(reader_of(LogFile(str(tmp_path / "a.parquet"), "a.parquet")))


def test_numbers_are_read_exactly_or_rejected():
    """Epoch seconds keep their microseconds, money its digits; anything else is a reject."""
    assert time_us(1795219200.123456, "t") == 1795219200123456
    assert str(amount(0.1, "v")) == "0.1"
    assert whole("7", "n") == whole(7.0, "n") == 7
    for wrong in ("x", 1.5, True, [1]):
        with pytest.raises(RejectedError):
            whole(wrong, "n")
    for wrong in ("x", "NaN", "inf"):
        with pytest.raises(RejectedError):
            amount(wrong, "v")
    for wrong in (None, "", True, "yesterday"):
        with pytest.raises(RejectedError):
            time_us(wrong, "t")
