"""Make a workspace: settings, keys, folders and empty books. Twice makes nothing twice."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from flows.artefacts import write_bytes
from flows.settings import FILE_NAME, render_settings
from flows.workspace import Workspace, refuse_url
from ledger.checkpoint import read_signer, write_key_files
from ledger.note import NoteSigner
from ledger.store import upgrade

FOLDERS = ("agreements", "corpus", "logs")
HMAC_KEY_BYTES = 32


def make_workspace(
    folder: Path,
    *,
    ledger_url: str = "",
    origin: str = "byline.example/ledger",
    settings: dict[str, dict[str, object]] | None = None,
) -> Workspace:
    """Make a workspace, or complete one that is there; nothing that exists is changed.

    Args:
        folder: where; made if missing.
        ledger_url: the books' database, empty for SQLite in the folder.
        origin: the log's name in checkpoints.
        settings: further settings that differ from the defaults, by section and key.

    Returns:
        The workspace, with its books at the newest schema.

    Raises:
        WorkspaceError: the folder is a URL.
        SettingsError: the settings that are there cannot be read.
        LedgerError: the database cannot be reached.
    """
    refuse_url(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    if not path.exists():
        values: dict[str, dict[str, object]] = {k: dict(v) for k, v in (settings or {}).items()}
        values.setdefault("ledger", {}).setdefault("url", ledger_url)
        values.setdefault("sign", {}).setdefault("origin", origin)
        write_bytes(path, render_settings(values).encode("utf-8"))
    workspace = Workspace.open(folder)
    for name in FOLDERS:
        (workspace.root / name).mkdir(parents=True, exist_ok=True)
    _make_keys(workspace)
    upgrade(workspace.ledger_url)
    return workspace


def _make_keys(workspace: Workspace) -> None:
    """Make the keys that are missing; a key that is there is never replaced."""
    if not workspace.signing_key.exists():
        write_key_files(workspace.signing_key, NoteSigner.generate(workspace.settings.sign.origin))
    elif not workspace.public_key.exists():
        # A kill between the two files: the public key follows from the private one.
        signer = read_signer(workspace.signing_key)
        write_bytes(workspace.public_key, f"{signer.verifier.text}\n".encode())
    if not workspace.hmac_key.exists():
        workspace.hmac_key.parent.mkdir(parents=True, exist_ok=True)
        temporary = workspace.hmac_key.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(HMAC_KEY_BYTES).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(workspace.hmac_key)
