"""What a verification says: its steps by name, and the report that a person or a machine reads.

1. A report lists the steps that held, in order, each with what was counted.
2. It is `ok` only when every step held; otherwise it ends with the first difference.
3. It says when no checkpoint of the reader's own was compared, since that is what would show a
   book rewritten as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger.audit_errors import AuditError, VerificationError

STEPS = (
    "the archive is whole, frame and all",
    "every member is the one the manifest names",
    "the checkpoint is signed by a key named beforehand",
    "every leaf is canonical and in its place",
    "every entry has its own name and its approvals",
    "every entry balances in every currency",
    "periods open and close in order",
    "every reversal is the exact negation, once",
    "size and root are those of the checkpoint",
    "the book continues every earlier checkpoint",
    "accounts and trial balance follow from the entries",
    "evidence files are the ones cited",
    "statements show entries of this book",
    "samples are those that their seeds draw",
)


@dataclass
class VerifyReport:
    """What a verification found; filled step by step, complete when `ok`.

    Attributes:
        pack: the file verified.
        ok: every step held.
        steps: (number, what holds, detail) of the steps that held.
        failure: the first difference, or the reason why nothing could be read; None when ok.
        origin: the log.
        period: what the pack is about.
        size: leaves in the book.
        root_hex: the root over them.
        entries: journal entries among the leaves.
        postings: their postings.
        accesses: access records among the leaves.
        cosigned: (witness, time in seconds since 1970) of the witnesses named beforehand.
        external: how many checkpoints the reader brought.
    """

    pack: str
    ok: bool = False
    steps: list[tuple[int, str, str]] = field(default_factory=list)
    failure: AuditError | None = None
    origin: str = ""
    period: str = ""
    size: int = 0
    root_hex: str = ""
    entries: int = 0
    postings: int = 0
    accesses: int = 0
    cosigned: list[tuple[str, int]] = field(default_factory=list)
    external: int = 0

    def lines(self) -> list[str]:
        """Return what a person reads: a numbered line a step, then the verdict."""
        shown = [f"{number:3}. ok    {title}: {detail}" for number, title, detail in self.steps]
        if self.failure is not None:
            step = getattr(self.failure, "step", len(self.steps) + 1)
            shown.append(f"{step:3}. WRONG {STEPS[step - 1]}")
            shown.append(f"NOT VERIFIED: {self.failure}")
        elif self.ok:
            shown.append(f"VERIFIED: {self.origin}, {self.size} leaves, root {self.root_hex}")
            if not self.external:
                shown.append(
                    "note: no checkpoint of your own was given (--against): a book rewritten as a "
                    "whole by the owner of the key would not be noticed"
                )
        return shown

    def as_json(self) -> dict[str, object]:
        """Return the report for machines."""
        where = self.failure if isinstance(self.failure, VerificationError) else None
        return {
            "format": "byline-verify-report/1",
            "ok": self.ok,
            "pack": self.pack,
            "origin": self.origin,
            "period": self.period,
            "size": self.size,
            "root": self.root_hex,
            "entries": self.entries,
            "postings": self.postings,
            "accesses": self.accesses,
            "external_checkpoints": self.external,
            "cosigned": [{"witness": name, "time": time} for name, time in self.cosigned],
            "steps": [{"step": n, "title": t, "detail": d} for n, t, d in self.steps],
            "failure": None if self.failure is None else str(self.failure),
            "step": None if where is None else where.step,
            "member": None if where is None else where.member,
            "place": None if where is None else where.place,
            "expected": None if where is None else where.expected,
            "found": None if where is None else where.found,
        }
