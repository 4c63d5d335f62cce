"""Re-perform a period from its audit pack alone: its entries, to the byte.

1. The pack's manifests, tables, agreements and catalogue are laid out as a workspace in a
   temporary folder, and the same functions that settled and closed work the entries out again.
   What they give is compared with the leaves of the book, byte for byte.
2. Entries that no file of this pack explains (other periods, advances, payouts, adjustments by
   hand) are counted and named by kind, never passed over in silence.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from flows.accruals import NightAccrual
from flows.artefacts import sha256_file, write_bytes
from flows.books import read_agreements
from flows.close import closing_file, inputs_file, make_plan
from flows.errors import FlowError
from flows.knowledge import KnowledgeBase, keep_catalogue
from flows.settle import EVIDENCE_KINDS as KINDS
from flows.settle import accrual_entry, night_parts
from flows.setup import make_workspace
from flows.workspace import Workspace
from ledger.audit_frame import OpenPack
from ledger.audit_reversals import ENTRIES
from ledger.canonical import ENTRY_FORMAT
from ledger.entry import JournalEntry, Posting
from ledger.journal import SealedEntry
from ledger.pack_format import MANIFEST
from ledger.period_close import PeriodStatus
from ledger.store import LedgerStore

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVIDENCE = re.compile(r"(outputs|sample|influence|estimates|cells)\.(.+)")


class ReperformError(FlowError):
    """A pack does not hold what a re-performance needs, or gives another result."""


@dataclass(frozen=True)
class Reperformed:
    """What a re-performance found.

    Args:
        period: the pack's period.
        same: entries worked out again, equal to the byte, by kind.
        other: entries that no file of this pack explains, by kind.
    """

    period: str
    same: Mapping[str, int]
    other: Mapping[str, int]


class PackBooks:
    """The book as a pack shows it: as much of a ledger as the close asks for."""

    def __init__(self, leaves: Iterator[bytes]) -> None:
        self.leaves: dict[str, bytes] = {}
        self._entries: list[SealedEntry] = []
        self._closed: set[str] = set()
        for line in leaves:
            leaf = line.rstrip(b"\n")
            value = json.loads(leaf)
            if value["format"] == ENTRY_FORMAT:
                sealed = SealedEntry(value["ledger_seq"], _EPOCH, _entry(value))
                self._entries.append(sealed)
                self.leaves[sealed.entry_id] = leaf
            elif value.get("action") == "close" and "period" in value:
                self._closed.add(value["period"])

    def entries(self, after_seq: int = 0) -> Iterator[SealedEntry]:
        """Yield the entries in the order of the book."""
        return (sealed for sealed in self._entries if sealed.ledger_seq > after_seq)

    def periods(self) -> dict[str, PeriodStatus]:
        """Give the status of every period that the book names."""
        named = {sealed.entry.period for sealed in self._entries} | self._closed
        return {name: self.period_status(name) for name in sorted(named)}

    def period_status(self, period: str) -> PeriodStatus:
        """Say whether a period was closed."""
        return PeriodStatus.CLOSED if period in self._closed else PeriodStatus.OPEN


def reperform(pack_file: Path, earlier: Sequence[Path] = ()) -> Reperformed:
    """Work the entries of a pack's period out again and compare them byte for byte.

    Args:
        pack_file: the pack.
        earlier: packs of earlier periods; needed where the close adjusts what they settled.

    Returns:
        How many entries are the same, by kind, and which others there are.

    Raises:
        ReperformError: an entry comes out differently, or a file is missing.
    """
    with tempfile.TemporaryDirectory(prefix="byline-reperform-") as folder:
        with OpenPack(pack_file) as pack:
            pack.check_frame()
            period = _period_of(pack)
            workspace = _workspace(Path(folder) / "home", pack)
            books = PackBooks(pack.lines(ENTRIES))
            for path in earlier:
                with OpenPack(path) as old:
                    old.check_frame()
                    _lay_out(workspace, old)
            _lay_out(workspace, pack)
        return _compare(workspace, books, period)


def _compare(workspace: Workspace, books: PackBooks, period: str) -> Reperformed:
    """Work out and compare: nights first, then the close."""
    ledger = cast("LedgerStore", books)
    book = read_agreements(workspace)
    closing = json.loads(closing_file(workspace, period).read_bytes())
    plan = make_plan(
        workspace,
        ledger,
        book,
        period,
        prepared_by=closing["prepared_by"],
        approved_by=closing["approved_by"],
    )
    base = KnowledgeBase(workspace, book)
    sealed = {item.entry_id: item for item in books.entries()}
    made = [_night_entry(night, sealed[night.entry_id], base) for night in plan.accruals.nights]
    same: Counter[str] = Counter()
    for entry in (*made, *plan.entries):
        booked = sealed.get(entry.entry_id)
        if booked is None:
            raise ReperformError(
                f"{entry.kind} {entry.scope}/{entry.key} comes out of the pack's files and is not "
                f"in its book; the pack is not whole, or the close was changed. Give the packs "
                f"of earlier periods too, or ask for the pack again"
            )
        again = SealedEntry(booked.ledger_seq, _EPOCH, entry).leaf()
        if again != books.leaves[entry.entry_id]:
            raise ReperformError(_difference(booked, books.leaves[entry.entry_id], again))
        same[entry.kind] += 1
    known = {entry.entry_id for entry in (*made, *plan.entries)}
    other = Counter(item.entry.kind for item in books.entries() if item.entry_id not in known)
    return Reperformed(period, dict(sorted(same.items())), dict(sorted(other.items())))


def _night_entry(accrual: NightAccrual, booked: SealedEntry, base: KnowledgeBase) -> JournalEntry:
    """Work a night's entry out again from its estimates and what was known then."""
    entry = booked.entry
    night = replace(accrual.night, approved_by=entry.approved_by)
    pool_id = accrual.manifest["pool_id"]
    made = accrual_entry(
        night,
        night_parts(night, pool_id, base.cited(entry.evidence)),
        pool_units=accrual.pool_units,
        unexplained_units=int(accrual.manifest["unexplained_units"]),
        period=entry.period,
        adjusts=entry.kind == "adjustment",
        evidence={
            **entry.evidence,
            **{kind: sha256_file(night.manifest(kind)) for kind in KINDS},
        },
    )
    assert made is not None, night.name
    return made


def _workspace(home: Path, pack: OpenPack) -> Workspace:
    """Make a workspace with the pool that the pack's estimates name."""
    names = sorted(n for n in pack.parts if n.startswith("evidence/estimates.") and "manifest" in n)
    if not names:
        raise ReperformError(
            f"{pack.path} holds no estimates, so there is nothing to work out again; it is the "
            f"pack of a period without nights"
        )
    manifest = json.loads(pack.read(names[0]))
    pool = {"id": manifest["pool_id"], "currency": manifest["currency"]}
    return make_workspace(home, settings={"pool": pool})


def _lay_out(workspace: Workspace, pack: OpenPack) -> None:
    """Put a pack's members where a workspace has them."""
    root, period = workspace.root, _period_of(pack)
    places = {
        "evidence/catalogue.json": workspace.catalogue,
        f"evidence/{period}.inputs.json": inputs_file(workspace, period),
        "reports/closing.json": closing_file(workspace, period),
        "reports/parties.yaml": workspace.agreements / "parties.yaml",
    }
    for name in pack.parts:
        folder, _, rest = name.partition("/")
        if name in places:
            write_bytes(places[name], pack.read(name))
        elif folder == "evidence" and rest.startswith("agreement."):
            write_bytes(workspace.agreements / rest, pack.read(name))
        elif folder == "evidence" and (found := _EVIDENCE.fullmatch(rest)):
            write_bytes(root / found[1] / found[2], pack.read(name))
        elif folder == "evidence":
            write_bytes(root / "evidence" / rest, pack.read(name))
        elif folder == "reports" and (opening := re.fullmatch(r"opening\.(.{7})\.json", rest)):
            write_bytes(closing_file(workspace, opening[1]), pack.read(name))
    keep_catalogue(workspace)


def _period_of(pack: OpenPack) -> str:
    """Read which period a pack is about."""
    return str(json.loads(pack.read(MANIFEST))["period"])


def _entry(value: Mapping[str, Any]) -> JournalEntry:
    """Read an entry from its leaf."""
    return JournalEntry(
        scope=value["scope"],
        key=value["key"],
        kind=value["kind"],
        period=value["period"],
        effective_on=value["effective_on"],
        description=value["description"],
        postings=[Posting(account, unit, int(text)) for account, unit, text in value["postings"]],
        reverses=value["reverses"],
        prepared_by=value["prepared_by"],
        approved_by=value["approved_by"],
        evidence=value["evidence"],
    )


def _difference(booked: SealedEntry, leaf: bytes, again: bytes) -> str:
    """Name the first field in which a re-performed entry differs."""
    before, now = json.loads(leaf), json.loads(again)
    field = next(key for key in before if before[key] != now.get(key))
    pair = (before[field], now.get(field))
    if isinstance(pair[0], list) and isinstance(pair[1], list):
        pair = next(
            ((old, new) for old, new in zip(*pair, strict=False) if old != new),
            (len(pair[0]), len(pair[1])),
        )
    return (
        f"entry {booked.entry_id} ({booked.entry.kind}, place {booked.ledger_seq}) has {field} "
        f"{pair[0]!r}; worked out again it is {pair[1]!r}. The pack's files do not lead to its "
        f"book: ask the payer, and keep the pack"
    )
