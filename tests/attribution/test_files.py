"""Files and folders are whole or absent, whatever dies in between."""

import subprocess
import sys
from pathlib import Path

import pytest

from attribution.files import canonical_json, folder_when_complete, sha256_file, write_atomically


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    """A full disk costs the new file, never the old one."""
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_when_its_block_ends_well(tmp_path):
    """Until then the older folder is what readers see."""
    final = tmp_path / "deep" / "folder"
    with folder_when_complete(final) as building:
        (building / "a").write_text("1")
        assert not final.exists()
    with folder_when_complete(final) as building:
        (building / "b").write_text("2")
        assert (final / "a").exists()
    assert [path.name for path in final.iterdir()] == ["b"]
    assert [path.name for path in final.parent.iterdir()] == ["folder"]


def test_what_a_killed_builder_left_is_swept_away_by_the_next(tmp_path):
    """A kill -9 leaves rubbish once, not for ever; a living builder's folder is left alone."""
    script = (
        "import os, sys; from pathlib import Path; from attribution.files import "
        "folder_when_complete\n"
        "with folder_when_complete(Path(sys.argv[1])) as b:\n"
        "    (b / 'half').write_text('x'); os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[2]
    died = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "final")], cwd=root, check=False
    )
    assert died.returncode == -9
    assert not (tmp_path / "final").exists()
    assert len(list(tmp_path.iterdir())) == 1
    with folder_when_complete(tmp_path / "final"):
        with folder_when_complete(tmp_path / "final") as inner:
            (inner / "whole").write_text("x")
        assert len(list(tmp_path.iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_canonical_json_is_one_form_for_equal_values(tmp_path):
    """Equal content has an equal digest, whoever wrote it and in whichever order."""
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}\n'.encode()
    write_atomically(tmp_path / "x", b"")
    assert sha256_file(tmp_path / "x").startswith("e3b0c442")
