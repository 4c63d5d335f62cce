"""Open the books and the agreements of a workspace: the one place that knows how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from contracts.agreement import AgreementBook
from contracts.importers.native import load_agreements
from contracts.store_desk import AgreementDesk, check_approved
from flows.workspace import Workspace
from ledger.canonical import entry_id_of
from ledger.errors import UnknownEntryError
from ledger.journal import SealedEntry
from ledger.store import LedgerStore


@contextmanager
def open_books(workspace: Workspace) -> Iterator[LedgerStore]:
    """Open the ledger for the length of a `with` block.

    Args:
        workspace: whose books.

    Yields:
        The open store; its schema and triggers were checked.

    Raises:
        LedgerError: the database cannot be reached, or is not as the migrations left it.
    """
    store = LedgerStore.open(workspace.ledger_url)
    try:
        yield store
    finally:
        store.close()


def read_agreements(workspace: Workspace) -> AgreementBook:
    """Read every agreement of the workspace, or none of them when one has a fault.

    Raises:
        BadFilesError: every fault with file, line, field and what was expected.
        ApprovalRefusedError: the settings ask for approval, and a text has none.
        UnknownVersionError: the settings ask for approval, and a text was never imported.
    """
    workspace.require(workspace.agreements, "whoever signs agreements (`byline demo` shows some)")
    book = load_agreements(workspace.agreements)
    if workspace.settings.agreements.approved_only:
        with open_books(workspace) as books:
            check_approved(book, AgreementDesk(books.engine).versions())
    return book


def find_entry(books: LedgerStore, scope: str, key: str) -> SealedEntry | None:
    """Find the entry of a business event, or None while it is not posted."""
    try:
        return books.entry(entry_id_of(scope, key))
    except UnknownEntryError:
        return None
