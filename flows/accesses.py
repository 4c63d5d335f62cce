"""Accesses: a command that shows or hands out what is not public records who asked, and for what.

1. The commands record, never the steps that they call: a night or a close that runs again keeps
   its root.
2. An access is recorded before anything is shown or written. Where it cannot be recorded, nothing
   is; an export that is then refused was asked for all the same.
3. The record is a leaf of the book: it cannot be taken back and goes to every auditor. So it holds
   ids; a text, or a name that is no id, stands there as its HMAC under the workspace's key.
4. A folder with an index and no books has nowhere to record: that is said and not hidden.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from flows.books import open_books
from flows.intake import read_hmac_key
from flows.keyed_digests import keyed_digests
from flows.workspace import Workspace
from ledger.store_connect import database_url

ROLE = "operator"
NOBODY = "cli"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")


@dataclass(frozen=True)
class Asked:
    """Who asks, and why.

    Args:
        actor: an id of the person or program; empty for the payer named in the settings.
        reason: why, in words without personal data; may be empty.
    """

    actor: str = ""
    reason: str = ""


def record_access(workspace: Workspace, action: str, object_id: str, asked: Asked) -> bool:
    """Record an access in the workspace's books.

    Args:
        workspace: whose books.
        action: `view`, `export` or `trace`.
        object_id: to what (`name_object`).
        asked: who and why.

    Returns:
        Whether it was recorded; False when the workspace has no books.

    Raises:
        EntryError: the actor is not an id, or the reason is too long.
        LedgerError: the books are there and cannot be written; show nothing then.
    """
    if not has_books(workspace):
        return False
    actor = asked.actor or workspace.settings.pool.payer or NOBODY
    with open_books(workspace) as books:
        books.record_access(actor, ROLE, action, object_id, asked.reason)
    return True


def name_object(workspace: Workspace, kind: str, name: str, *, secret: bool = False) -> str:
    """Name what was accessed.

    Args:
        workspace: whose key hides names that may not stand in the book.
        kind: such as `packs` or `quarantine`.
        name: which of them.
        secret: the name is a text that must not stand in the book.

    Returns:
        `kind/name`, or `kind/hmac:<64 hex digits>` when the name is secret or would be no id.
    """
    plain = f"{kind}/{name}"
    if not secret and _ID.fullmatch(plain):
        return plain
    if not has_books(workspace):
        return f"{kind}/unnamed"
    return f"{kind}/hmac:{keyed_digests(read_hmac_key(workspace), [name]).hex()}"


def has_books(workspace: Workspace) -> bool:
    """Say whether the workspace has books: a server in its settings, or the SQLite file."""
    url = database_url(workspace.ledger_url)
    if url.get_backend_name() != "sqlite":
        return True
    return url.database is not None and Path(url.database).exists()


def access_line(*, recorded: bool) -> list[str]:
    """Tell a person that an access was not recorded; nothing when it was."""
    return [] if recorded else ["access not recorded: this folder has no books"]
