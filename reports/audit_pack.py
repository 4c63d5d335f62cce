"""Gather one archive from which an outsider re-performs a period, offline.

The book part (entries, accounts, trial balance, checkpoints, verifier) and the
frame are `ledger.pack`'s; this module adds what the book names by digest, the
evidence, and the papers that left the house. The rules:

1. Every paper has its own folder; no member hides another.
2. The same inputs give the same bytes; a pack appears whole or not at all.

    evidence/NAME      manifests and tables whose SHA-256 the entries cite
    draws/NIGHT.jsonl  the sampled outputs, without texts (`ledger.audit_draws`)
    frame/NIGHT.jsonl  where asked for, all logged outputs (`ledger.audit_population`)
    statements/NAME    statements and their proofs, as issued
    reports/NAME       settlement report, trial balance
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ledger.note import NoteSigner
from ledger.pack import write_book, write_pack
from reports.errors import AuditPackError, UnwritableReportError

FOLDERS: Final = ("evidence", "draws", "frame", "statements", "reports")

Content = bytes | Path


@dataclass(frozen=True)
class AuditPackInputs:
    """What goes into the pack of one period.

    Args:
        period: `YYYY-MM`.
        origin: the checkpoint's origin line.
        leaves: canonical leaves of the whole book, from the first on.
        checkpoint: the signed checkpoint the pack stands on.
        earlier: earlier signed checkpoints of the same book, oldest first.
        evidence: name below `evidence/` -> bytes or file.
        draws: name below `draws/` -> bytes or file.
        frame: name below `frame/` -> bytes or file.
        statements: name below `statements/` -> bytes or file.
        reports: name below `reports/` -> bytes or file.
    """

    period: str
    origin: str
    leaves: Iterable[bytes]
    checkpoint: str
    earlier: tuple[str, ...] = ()
    evidence: Mapping[str, Content] = field(default_factory=dict)
    draws: Mapping[str, Content] = field(default_factory=dict)
    frame: Mapping[str, Content] = field(default_factory=dict)
    statements: Mapping[str, Content] = field(default_factory=dict)
    reports: Mapping[str, Content] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditPackSummary:
    """What was written: the file, its SHA-256, its manifest's, and how much is in it."""

    path: Path
    sha256: str
    manifest_sha256: str
    papers: int
    size_bytes: int


def paper_members(inputs: AuditPackInputs) -> dict[str, Content]:
    """Name every paper of the pack by its folder.

    Raises:
        AuditPackError: a file cannot be read.
    """
    members: dict[str, Content] = {}
    for folder in FOLDERS:
        contents: Mapping[str, Content] = getattr(inputs, folder)
        for name, content in sorted(contents.items()):
            if isinstance(content, Path) and not content.is_file():
                reason = f"{folder}/{name} cannot be read from {content}: no such file"
                raise AuditPackError(inputs.period, reason)
            members[f"{folder}/{name}"] = content
    return members


def write_audit_pack(
    path: Path, inputs: AuditPackInputs, signer: NoteSigner | None = None
) -> AuditPackSummary:
    """Write the pack of a period to a file, whole or not at all.

    Args:
        path: where the archive goes, `packs/PERIOD.byline.zip`.
        inputs: see AuditPackInputs.
        signer: the log's key; with it the manifest is signed.

    Raises:
        AuditPackError: a paper cannot be read.
        UnwritableReportError: the file could not be written; nothing is left of it.
        VerificationError: the book breaks a rule of its own.
        PackError: the leaves do not lead to the checkpoint, or a name is not a plain path.
    """
    papers = paper_members(inputs)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".book-") as folder:
            book = write_book(
                Path(folder), inputs.leaves, checkpoint=inputs.checkpoint, earlier=inputs.earlier
            )
            manifest = write_pack(
                path,
                {**book, **papers},
                period=inputs.period,
                origin=inputs.origin,
                signer=signer,
            )
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return AuditPackSummary(path, digest, manifest, len(papers), path.stat().st_size)
    except OSError as problem:
        raise UnwritableReportError(str(path), problem.strerror or str(problem)) from problem
