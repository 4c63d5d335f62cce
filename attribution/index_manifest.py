"""The manifest of an index: its one commit point, replaced whole, and its digest.

    manifest.json      what the index is; written last, by replacing the file
    manifest.sha256    digests the manifest may have: one, or two during a change
    signatures/        one file per signed manifest, named by its digest

A change writes the new digest beside the old one, then the manifest, then drops
the old digest: at every moment the manifest in place is one that is promised. A
signature is there before the manifest it signs; a change made without a key leaves
a manifest without a signature, and `verify` says so.
"""

from __future__ import annotations

import errno
import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from attribution.errors import (
    IndexDamagedError,
    IndexDiskFullError,
    IndexIncompleteError,
    IndexLockedError,
    IndexMismatchError,
)
from attribution.files import canonical_json, sha256_of, write_atomically
from attribution.index_config import FORMAT, ROW_FORMS
from attribution.signing import MANIFEST, Signer

# A full disk, a full quota, and a file that would grow beyond what its process may write.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class IndexManifest:
    """What an index says of itself.

    Attributes:
        content: the manifest's JSON.
        sha256: of the manifest file: the identity of the index.
    """

    content: dict[str, Any]
    sha256: str

    @property
    def checkpoints(self) -> int:
        """How many points of the training path the index holds."""
        return len(self.content["checkpoints"])

    @property
    def path_weights(self) -> list[float]:
        """The weight of each point of the path."""
        return [float(point["weight"]) for point in self.content["checkpoints"]]

    @property
    def relative_only(self) -> bool:
        """Whether only the final weights are known: totals then have no meaning."""
        return bool(self.content["path_rule"] == "end_only/1")


def write_manifest(
    folder: Path, content: dict[str, Any], signer: Signer | None = None
) -> IndexManifest:
    """Replace the manifest of an index, signed by whoever is given; the caller holds its lock."""
    data = canonical_json(content)
    digest = sha256_of(data)
    if signer is not None:
        write_atomically(signature_path(folder, digest), signer(MANIFEST, data).encode())
    path, promise = folder / "manifest.json", folder / "manifest.sha256"
    before = [sha256_of(path.read_bytes())] if path.is_file() else []
    lines = [f"{known}  manifest.json\n" for known in dict.fromkeys([*before, digest])]
    write_atomically(promise, "".join(lines).encode())
    write_atomically(path, data)
    write_atomically(promise, f"{digest}  manifest.json\n".encode())
    return IndexManifest(json.loads(data), digest)


def signature_path(folder: Path, digest: str) -> Path:
    """Return where the signature of a manifest with this digest is, if it was signed."""
    return folder / "signatures" / f"{digest}.sig"


def read_manifest(folder: Path) -> IndexManifest:
    """Read the manifest of a finished index.

    Raises:
        IndexIncompleteError: the folder holds no finished index.
        IndexDamagedError: the manifest is not one that was promised.
        IndexMismatchError: the index, or its rows, were written in another format than this
            build reads.
    """
    path, promise = folder / "manifest.json", folder / "manifest.sha256"
    if not path.is_file():
        if (folder / "build.json").is_file():
            raise IndexIncompleteError(
                f"{folder} holds an unfinished build: there is no manifest.json. Run the same "
                f"build again to finish it"
            )
        raise IndexIncompleteError(
            f"{folder} holds no index: there is no manifest.json. Build one with "
            f"`byline index build`"
        )
    data = path.read_bytes()
    digest = sha256_of(data)
    lines = promise.read_text(encoding="utf-8").splitlines() if promise.is_file() else []
    promised = [line.split(" ")[0] for line in lines]
    if digest not in promised:
        raise IndexDamagedError(
            f"{path}: sha256 {digest[:12]}… is not the {(promised or ['missing'])[-1][:12]}… in "
            f"manifest.sha256; the manifest was altered. Restore it or build the index again"
        )
    content = json.loads(data)
    if content.get("format") != FORMAT:
        raise IndexMismatchError(
            f"{path} has the format {content.get('format')!r}, this build reads {FORMAT!r}; "
            f"nothing was scored. Delete the folder and run `byline index build`, or use the "
            f"build of Byline that wrote it"
        )
    dtype = content["config"]["dtype"]
    found, wanted = content["config"].get("row_form", 1), ROW_FORMS.get(dtype, 1)
    if found != wanted:
        raise IndexMismatchError(
            f"{path}: its {dtype} rows are of form {found}, this build reads form {wanted}; read "
            f"as that they would be other numbers, so nothing was scored. Delete the folder and "
            f"run `byline index build` again; no other dtype is concerned"
        )
    return IndexManifest(content, digest)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other builder out of an index folder, and leave nothing half-written in it.

    What a killed process was writing beside a file's place is cleared away first.

    Raises:
        IndexLockedError: another process holds it.
        IndexDiskFullError: the disk filled inside the block.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise IndexLockedError(
                f"{folder} is being built or changed by another process; nothing was done. "
                f"Wait for it, or end it, and run the same command again"
            ) from fault
        for left in folder.rglob(".*.tmp"):
            left.unlink()
        with _disk_full_named(folder):
            yield


@contextmanager
def _disk_full_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as fault:
        codes = {fault.errno} if isinstance(fault, OSError) else _codes_in(str(fault))
        if not codes & _NO_ROOM:
            raise
        free = shutil.disk_usage(folder).free
        raise IndexDiskFullError(
            f"there is no room to write in {folder}: {free} bytes are free ({fault}). What was "
            f"finished stays, and nothing reads the rest. Make room and run the same command again"
        ) from fault


def _codes_in(text: str) -> set[int]:
    """Return the system's error numbers that the weights library quotes in its own error."""
    return {int(code) for code in re.findall(r"os error (\d+)", text)}
