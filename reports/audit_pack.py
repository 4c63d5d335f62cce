"""Gather one archive from which an outsider re-performs a period, offline.

The book part (entries, accounts, trial balance, checkpoint, verifier) comes
from `ledger.audit`; this module adds what the book only names by digest: the
evidence, and the papers that left the house. The rules:

1. Every member is named by one relative path, below its own folder; no member
   hides another.
2. `manifest.json` lists every other member with its SHA-256 and size, the
   period and the origin of the checkpoint; so one digest covers the archive.
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
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ledger.pack import write_pack
from reports.errors import AuditPackError

FORMAT: Final = "byline-pack/1"
MANIFEST: Final = "manifest.json"
REQUIRED: Final = ("checkpoint.note", "entries.jsonl")
_MEMBER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=-]*(/[A-Za-z0-9][A-Za-z0-9._@+=-]*)*")

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
        facts: further plain facts for the manifest (payable units and so on).
    """

    period: str
    origin: str
    book: Mapping[str, Content]
    evidence: Mapping[str, Content] = field(default_factory=dict)
    statements: Mapping[str, Content] = field(default_factory=dict)
    reports: Mapping[str, Content] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


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
        AuditPackError: a required part is absent, a name is unsafe or taken twice.
    """
    members: dict[str, Content] = {k: v for k, v in inputs.book.items() if k != MANIFEST}
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
    for member in members:
        if not _MEMBER.fullmatch(member):
            raise AuditPackError(inputs.period, f"member name {member!r} is not a plain path")
    missing = [name for name in REQUIRED if name not in members]
    if missing:
        raise AuditPackError(inputs.period, f"the book part lacks {', '.join(missing)}")
    members[MANIFEST] = _manifest(inputs, members)
    return dict(sorted(members.items()))


def write_audit_pack(path: Path, inputs: AuditPackInputs) -> AuditPackSummary:
    """Write the pack of a period to a file, whole or not at all.

    Args:
        path: where the archive goes, `packs/PERIOD.byline.zip`.
        inputs: see AuditPackInputs.

    Raises:
        AuditPackError: see pack_members; also when evidence cannot be read.
    """
    members = pack_members(inputs)
    write_pack(path, members)
    data = path.read_bytes()
    return AuditPackSummary(path, hashlib.sha256(data).hexdigest(), len(members), len(data))


def _manifest(inputs: AuditPackInputs, members: Mapping[str, Content]) -> bytes:
    listed = {}
    for name, content in sorted(members.items()):
        digest, size = _digest(inputs.period, name, content)
        listed[name] = {"sha256": digest, "size": size}
    manifest = {
        "format": FORMAT,
        "period": inputs.period,
        "origin": inputs.origin,
        "facts": dict(sorted(inputs.facts.items())),
        "members": listed,
    }
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def _digest(period: str, name: str, content: Content) -> tuple[str, int]:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    try:
        with content.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, content.stat().st_size
    except OSError as problem:
        reason = f"{name} cannot be read from {content}: {problem.strerror}"
        raise AuditPackError(period, reason) from problem
