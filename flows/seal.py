"""Seal: sign one checkpoint over every leaf of the book that no checkpoint covers yet.

1. The root depends on the leaves and on nothing else; the tree goes on from the checkpoint
   before, so that a new one always continues it.
2. An Ed25519 signature depends on text and key alone, so sealing twice gives the same note.
3. With a new checkpoint the balance snapshots that are due are taken: sums, not leaves, so the
   root stays. What a kill left out, the next seal takes.
4. The note lies in the database and, as a copy to hand out, in `checkpoints/`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flows.artefacts import write_bytes
from flows.books import open_books
from flows.night import Night, StepOutcome
from flows.progress import Step
from flows.workspace import Workspace
from ledger.checkpoint import Checkpoint, read_checkpoint, read_signer, sign_checkpoint
from ledger.store import LedgerStore

SHOWN_HEX = 16


def seal_step(night: Night, step: Step) -> StepOutcome:
    """Seal the book after a night.

    Args:
        night: whose workspace.
        step: told when the copy of the checkpoint was altered.

    Returns:
        Size and root of the checkpoint; nothing while the book is empty.
    """
    with open_books(night.workspace) as books:
        if books.head_seq() == 0:
            # A first night without money has posted nothing; a checkpoint covers something.
            return StepOutcome("nothing: the book is empty", worked=False)
        checkpoint, worked = seal_books(night.workspace, books, step.say)
    return StepOutcome(
        f"checkpoint {checkpoint.size}, root {checkpoint.root_hex[:SHOWN_HEX]}",
        worked,
        {"size": checkpoint.size, "root": checkpoint.root_hex},
    )


def seal_books(
    workspace: Workspace, books: LedgerStore, say: Callable[[str], None] = lambda _text: None
) -> tuple[Checkpoint, bool]:
    """Sign a checkpoint over the whole book, unless the latest covers it.

    Args:
        workspace: whose key signs.
        books: the open ledger.
        say: told in one line when the copy to hand out was altered and is made again.

    Returns:
        The checkpoint, and whether it is new.

    Raises:
        KeyFormatError: the signing key is missing or open to others.
        LedgerError: the book no longer continues the checkpoint before.
    """
    known = books.latest_checkpoint()
    frontier = books.frontier()
    worked = known is None or known.size != frontier.size
    if known is None or worked:
        origin = workspace.settings.sign.origin
        signer = read_signer(workspace.signing_key)
        note = sign_checkpoint(origin, frontier.size, frontier.root(), signer)
        books.save_checkpoint(note, frontier.size, frontier.root())
        books.take_snapshots(looked_up_to=known.size if known is not None else 0)
    else:
        note = known.note
    checkpoint = read_checkpoint(note)
    path, data = note_file(workspace, checkpoint.size), note.encode("utf-8")
    if path.exists() and path.read_bytes() != data:
        say(f"{workspace.relative(path)} was altered since it was written: it is made again")
        path.unlink()
    if not path.exists():
        write_bytes(path, data)
    return checkpoint, worked


def latest_root(books: LedgerStore) -> str:
    """Give the root of the latest checkpoint in hex, or "" before the first."""
    known = books.latest_checkpoint()
    return read_checkpoint(known.note).root_hex if known is not None else ""


def note_file(workspace: Workspace, size: int) -> Path:
    """Name the copy of a checkpoint."""
    return workspace.checkpoints / f"{size:08d}.note"
