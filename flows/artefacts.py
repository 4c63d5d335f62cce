"""Files that a night leaves behind: written whole or not at all, and read only when unaltered.

1. A file appears under its final name only when all its bytes are on the disk: temporary file
   in the same folder, fsync, `os.replace`, fsync of the folder. A killed step leaves nothing.
2. A manifest is written after the data it describes. It is canonical JSON (sorted keys, no
   spaces, UTF-8, one trailing newline), names its `format` with a version, the sha256 of every
   input (`inputs`) and of every data file (`sha256`, by file name).
3. The same content gives the same bytes: parquet is written with fixed row groups, zstd level 3
   and without statistics.
4. Whoever reads a data file verifies it against its manifest first.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from flows.data_errors import ArtefactAlteredError, ArtefactFormatError, ArtefactMissingError
from flows.errors import DiskFullError

RETENTION_FORMAT = "byline-retention/1"
ROW_GROUP_ROWS = 50_000
_CHUNK_BYTES = 1 << 20


def sha256_bytes(data: bytes) -> str:
    """Give the sha256 of bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Give the sha256 of a file as 64 hex digits, reading it in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Lend a temporary path that becomes `path` when the block ends without an error.

    Args:
        path: the final name; its folder is made if it is missing.

    Yields:
        A path in the same folder to write to. It is removed when the block raises.

    Raises:
        DiskFullError: the disk has no room; nothing stays behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> str:
    """Write a whole file atomically.

    Returns:
        The sha256 of the data, as hex.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return sha256_bytes(data)


def canonical_json(value: object) -> bytes:
    """Write a value as canonical JSON: sorted keys, no spaces, UTF-8, a trailing newline.

    Raises:
        ValueError: a number is not finite; JSON has no word for it.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8") + b"\n"


def write_parquet(path: Path, frame: pl.DataFrame) -> str:
    """Write a table so that equal tables give equal bytes.

    Args:
        path: the final name.
        frame: the rows, already sorted by their key.

    Returns:
        The sha256 of the file, as hex.
    """
    with atomic_path(path) as temporary:
        frame.write_parquet(
            temporary,
            compression="zstd",
            compression_level=3,
            statistics=False,
            row_group_size=ROW_GROUP_ROWS,
        )
        return sha256_file(temporary)


def sink_parquet(path: Path, frame: pl.LazyFrame) -> str:
    """Write a lazy table in pieces, with the bytes `write_parquet` would give.

    Args:
        path: the final name.
        frame: the rows, already in the order of their key.

    Returns:
        The sha256 of the file, as hex.
    """
    with atomic_path(path) as temporary:
        frame.sink_parquet(
            temporary,
            compression="zstd",
            compression_level=3,
            statistics=False,
            row_group_size=ROW_GROUP_ROWS,
            maintain_order=True,
        )
        return sha256_file(temporary)


def manifest_path(data_path: Path) -> Path:
    """Give the manifest's path of a data file: `X.parquet` has `X.manifest.json`."""
    return data_path.with_name(data_path.name.split(".parquet")[0] + ".manifest.json")


def write_manifest(
    path: Path,
    form: str,
    *,
    inputs: Mapping[str, str],
    files: Mapping[str, str],
    body: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the manifest of an artefact, after the artefact itself.

    Args:
        path: the manifest's final name.
        form: format and version, such as `byline-outputs/1`.
        inputs: sha256 of every input, by name.
        files: sha256 of every data file described, by file name.
        body: what else there is to say; no key of it may be `format`, `inputs` or `sha256`.

    Returns:
        The manifest as written.
    """
    reserved = {"format", "inputs", "sha256"} & set(body)
    assert not reserved, f"{path}: the manifest's body may not set {sorted(reserved)}"
    manifest = {"format": form, "inputs": dict(inputs), "sha256": dict(files), **body}
    write_bytes(path, canonical_json(manifest))
    return manifest


def read_manifest(path: Path, form: str, *, step: str = "an earlier step") -> dict[str, Any]:
    """Read a manifest of a known format.

    Args:
        path: the manifest.
        form: the format it must have.
        step: who writes it, for the error text.

    Raises:
        ArtefactMissingError: there is no such file.
        ArtefactFormatError: it is not JSON or has another format.
    """
    if not path.exists():
        raise ArtefactMissingError(str(path), step)
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as error:
        raise ArtefactFormatError(str(path), form, "not JSON") from error
    if not isinstance(manifest, dict) or manifest.get("format") != form:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise ArtefactFormatError(str(path), form, found)
    return manifest


def verify_file(path: Path, expected_sha256: str, *, step: str = "an earlier step") -> None:
    """Check that a file has the bytes its manifest was written for.

    Raises:
        ArtefactMissingError: there is no such file.
        ArtefactAlteredError: it has another sha256.
    """
    if not path.exists():
        raise ArtefactMissingError(str(path), step)
    found = sha256_file(path)
    if found != expected_sha256:
        raise ArtefactAlteredError(str(path), expected_sha256, found)


def recorded_sha256(manifest: Mapping[str, Any], file_name: str) -> str:
    """Give the digest a manifest records for one of its files.

    Raises:
        ArtefactFormatError: the manifest does not describe that file.
    """
    recorded = manifest.get("sha256")
    if isinstance(recorded, str):
        return recorded
    if isinstance(recorded, Mapping) and isinstance(recorded.get(file_name), str):
        return str(recorded[file_name])
    raise ArtefactFormatError(file_name, "a sha256 in its manifest", recorded)


def retention_path(data_path: Path) -> Path:
    """Give the path of the note that a data file's texts were dropped (`flows.retention`)."""
    return data_path.with_name(data_path.name.removesuffix(".parquet") + ".retention.json")


def is_as_recorded(data_path: Path, recorded: str) -> bool:
    """Say whether a data file has the bytes its manifest was written for, less dropped texts.

    Args:
        data_path: the file.
        recorded: its sha256 in the manifest, which never changes.
    """
    return data_path.exists() and sha256_file(data_path) in _accepted(data_path, recorded)


def _accepted(data_path: Path, recorded: str) -> set[str]:
    """Give the digests a file may have: the one recorded, and the one after its texts went."""
    note = retention_path(data_path)
    if not note.exists():
        return {recorded}
    said = read_manifest(note, RETENTION_FORMAT, step="`byline retention`")
    return {recorded, str(said["after"])} if said["before"] == recorded else {recorded}


def verify_data(data_path: Path, form: str, *, step: str = "an earlier step") -> dict[str, Any]:
    """Check a data file against the manifest beside it.

    Args:
        data_path: the parquet file.
        form: the format its manifest must have.
        step: who writes it, for the error text.

    Returns:
        The manifest.

    Raises:
        ArtefactError: one of the two is missing, of another format, or altered.
    """
    manifest = read_manifest(manifest_path(data_path), form, step=step)
    recorded = recorded_sha256(manifest, data_path.name)
    if not is_as_recorded(data_path, recorded):
        verify_file(data_path, recorded, step=step)
    return manifest


def is_complete(data_path: Path, form: str) -> bool:
    """Say whether a data file and its manifest are there and fit together."""
    try:
        verify_data(data_path, form)
    except (ArtefactAlteredError, ArtefactFormatError, ArtefactMissingError):
        return False
    return True


def _sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
