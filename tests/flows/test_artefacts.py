"""Files appear whole or not at all, have the same bytes for the same content, and are checked."""

import errno
import json

import polars as pl
import pytest

from flows import artefacts
from flows.artefacts import (
    atomic_path,
    canonical_json,
    is_complete,
    manifest_path,
    read_manifest,
    sink_parquet,
    verify_data,
    write_bytes,
    write_manifest,
    write_parquet,
)
from flows.data_errors import ArtefactAlteredError, ArtefactFormatError, ArtefactMissingError
from flows.errors import DiskFullError

FORM = "byline-test/1"


def night(folder):
    """Write a small table with its manifest."""
    path = folder / "2026-11-20.parquet"
    digest = write_parquet(path, pl.DataFrame({"event_id": ["a", "b"], "units": [1, 2]}))
    write_manifest(
        manifest_path(path), FORM, inputs={"x": "00"}, files={path.name: digest}, body={}
    )
    return path


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    """A step killed while writing must not leave half a file under the final name."""
    path = tmp_path / "a.json"
    write_bytes(path, b"old")

    def killed():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    """No room is the operator's problem to solve, so the text says where and what next."""

    def fills():
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_bytes(b"x")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match="no space left"):
        fills()
    assert not list(tmp_path.iterdir())


def test_canonical_json_has_one_form_only():
    """Two manifests of the same content have the same bytes."""
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}\n'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


@pytest.mark.parametrize("rows", [0, 1, 120_001])
def test_equal_tables_have_equal_bytes_however_they_are_written(tmp_path, rows):
    """In pieces or at once, the file and its digest are the same."""
    frame = pl.DataFrame({"k": range(rows), "t": [f"text {i}" for i in range(rows)]})
    first = write_parquet(tmp_path / "a.parquet", frame)
    pieces = pl.concat([frame[: rows // 3].lazy(), frame[rows // 3 :].lazy()])
    assert sink_parquet(tmp_path / "b.parquet", pieces) == first
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_an_altered_file_is_not_read(tmp_path):
    """One changed byte is found before anything is computed from it."""
    path = night(tmp_path)
    verify_data(path, FORM)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ArtefactAlteredError, match="altered or truncated"):
        verify_data(path, FORM)
    assert not is_complete(path, FORM)


def test_a_truncated_file_is_not_read(tmp_path):
    """A result cut short by a crash of the machine counts as missing."""
    path = night(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    assert not is_complete(path, FORM)


def test_data_without_its_manifest_is_not_complete(tmp_path):
    """The manifest comes last, so its absence means that the step did not end."""
    path = night(tmp_path)
    manifest_path(path).unlink()
    assert not is_complete(path, FORM)
    with pytest.raises(ArtefactMissingError, match=r"`byline ingest` writes it"):
        verify_data(path, FORM, step="`byline ingest`")


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"format": "byline-test/2"})])
def test_a_manifest_of_another_format_is_refused(tmp_path, content):
    """A newer or foreign manifest is named, not guessed at."""
    path = tmp_path / "m.json"
    path.write_text(content)
    with pytest.raises(ArtefactFormatError, match="expected 'byline-test/1'"):
        read_manifest(path, FORM)


def test_manifests_of_late_batches_and_parts_stand_beside_their_data(tmp_path):
    """The manifest's name follows from the data's name alone."""
    late = tmp_path / "2026-11-20.late-0123456789ab.parquet"
    assert manifest_path(late).name == "2026-11-20.late-0123456789ab.manifest.json"
    assert artefacts.manifest_path(tmp_path / "x.parquet").name == "x.manifest.json"
