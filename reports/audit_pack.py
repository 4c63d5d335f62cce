"""Gather one archive from which an outsider re-performs a period, offline.

The book part (entries, accounts, trial balance, checkpoint, verifier) comes
from `ledger.audit`; this module adds what the book only names by digest: the
evidence, and the papers that left the house. The rules:

1. Every member is named by one relative path, below its own folder; no member
   hides another.
2. `manifest.json` lists every other member with its SHA-256, the period and the
   origin of the checkpoint, so one digest covers the archive; `manifest.note`
   is the log's signature under it.
3. The same inputs give the same bytes.

    pack/
      manifest.json         format byline-pack/1
      checkpoint.note       what is signed
      entries.jsonl ...     the book, from ledger.audit
      evidence/NAME         manifests and tables that entries cite by digest
      statements/NAME       statements and their proofs, as issued
      reports/NAME          settlement report, trial balance
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ledger.note import NoteSigner, sign_note
from ledger.pack import (
    MANIFEST,
    MANIFEST_NOTE,
    digest_member,
    manifest_statement,
    pack_manifest,
    write_archive,
)
from reports.errors import AuditPackError, UnwritableReportError

REQUIRED: Final = ("checkpoint.note", "entries.jsonl")
SELF: Final = frozenset({MANIFEST, MANIFEST_NOTE})

Content = bytes | Path


@dataclass(frozen=True)
class AuditPackInputs:
    """What goes into the pack of one period.

    Args:
        period: `YYYY-MM`.
        origin: the checkpoint's origin line.
        book: members of the ledger part by name, as `ledger.audit` gives them;
            at least those in REQUIRED.
        evidence: name below `evidence/` -> bytes or file.
        statements: name below `statements/` -> bytes or file.
        reports: name below `reports/` -> bytes or file.
    """

    period: str
    origin: str
    book: Mapping[str, Content]
    evidence: Mapping[str, Content] = field(default_factory=dict)
    statements: Mapping[str, Content] = field(default_factory=dict)
    reports: Mapping[str, Content] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditPackSummary:
    """What was written: file, its SHA-256, and how many members it holds."""

    path: Path
    sha256: str
    members: int
    size_bytes: int


def pack_members(inputs: AuditPackInputs) -> dict[str, Content]:
    """Name every member of the pack and add the manifest over them.

    Returns:
        member name -> content, sorted by name, `manifest.json` among them.

    Raises:
        AuditPackError: a required part is absent, a name is taken twice, or a
            file of the evidence cannot be read.
    """
    members: dict[str, Content] = {k: v for k, v in inputs.book.items() if k not in SELF}
    folders = {
        "evidence": inputs.evidence,
        "statements": inputs.statements,
        "reports": inputs.reports,
    }
    for folder, contents in folders.items():
        for name, content in contents.items():
            member = f"{folder}/{name}"
            if member in members:
                raise AuditPackError(inputs.period, f"two members are named {member}")
            members[member] = content
    missing = [name for name in REQUIRED if name not in members]
    if missing:
        raise AuditPackError(inputs.period, f"the book part lacks {', '.join(missing)}")
    digests = {name: _digest(inputs.period, name, content) for name, content in members.items()}
    members[MANIFEST] = pack_manifest(digests, period=inputs.period, origin=inputs.origin)
    return dict(sorted(members.items()))


def write_audit_pack(
    path: Path, inputs: AuditPackInputs, signer: NoteSigner | None = None
) -> AuditPackSummary:
    """Write the pack of a period to a file, whole or not at all.

    Args:
        path: where the archive goes, `packs/PERIOD.byline.zip`.
        inputs: see AuditPackInputs.
        signer: the log's key; with it the manifest is signed as `manifest.note`.

    Raises:
        AuditPackError: see pack_members.
        UnwritableReportError: the file could not be written; nothing is left of it.
    """
    members = pack_members(inputs)
    manifest = members[MANIFEST]
    assert isinstance(manifest, bytes), "the manifest is made here"
    if signer is not None:
        digest = hashlib.sha256(manifest).hexdigest()
        note = sign_note(manifest_statement(inputs.origin, digest), [signer])
        members[MANIFEST_NOTE] = note.encode()
    try:
        write_archive(path, members)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return AuditPackSummary(path, digest, len(members), path.stat().st_size)
    except OSError as problem:
        raise UnwritableReportError(str(path), problem.strerror or str(problem)) from problem


def _digest(period: str, name: str, content: Content) -> str:
    try:
        return digest_member(name, content).sha256
    except OSError as problem:
        reason = f"{name} cannot be read from {content!r}: {problem.strerror}"
        raise AuditPackError(period, reason) from problem
