"""Re-perform a period from its audit pack alone: from the draw of its samples to its entries.

1. The pack is laid out as a workspace in a temporary folder (`flows.reperform_layout`), and the
   same functions that settled and closed work everything out again, in the order it was made:
   draws, pools, estimates (`flows.reperform_nights`), then the entries of nights and close, which
   must be equal to the leaves of the book, byte for byte.
2. Each stage says what it counted; the first difference ends it, with its place and both values.
3. Every entry of the period's nights and close must come out. Others (of other periods, advances,
   payouts, adjustments by hand) are counted and named by kind, and what the pack lacks is named.
4. It shows that numbers follow from files. That the files are those of the log is shown by
   `byline audit verify`, with the key.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import polars as pl

from contracts.period import Period
from flows.accruals import NightAccrual
from flows.artefacts import sha256_file
from flows.books import read_agreements
from flows.close import closing_file, make_plan
from flows.close_entries import SCOPE as CLOSE_SCOPE
from flows.close_plan import agreements_of
from flows.knowledge import KnowledgeBase
from flows.pack_tables import check_tables
from flows.reperform_layout import ReperformError, empty_workspace, lay_out, period_of
from flows.reperform_nights import BookedNight, booked_nights, check_nights
from flows.settle import EVIDENCE_KINDS as KINDS
from flows.settle import SCOPE as NIGHTLY
from flows.settle import accrual_entry, night_parts
from flows.usage_counts import has_fee_per_use
from flows.workspace import Workspace
from ledger.audit_frame import OpenPack
from ledger.audit_reversals import ENTRIES
from ledger.canonical import ENTRY_FORMAT
from ledger.entry import JournalEntry, Posting
from ledger.journal import SealedEntry
from ledger.period_close import PeriodStatus
from ledger.store import LedgerStore

__all__ = ["PackBooks", "ReperformError", "Reperformed", "Stage", "reperform"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What a stranger's file can run into, which of a file that we wrote would be a fault of ours.
_ODD_FILES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    pl.exceptions.PanicException,
    pl.exceptions.PolarsError,
)


@dataclass(frozen=True)
class Stage:
    """A stage that held: its name, and what was counted."""

    name: str
    counted: str


@dataclass(frozen=True)
class Reperformed:
    """What a re-performance found.

    Args:
        period: the pack's period.
        same: entries worked out again, equal to the byte, by kind.
        other: entries that no file of this pack explains, by kind.
        lacks: what the pack does not bring, so that it was taken as it is.
    """

    period: str
    same: Mapping[str, int]
    other: Mapping[str, int]
    lacks: tuple[str, ...] = ()


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


def reperform(
    pack_file: Path,
    earlier: Sequence[Path] = (),
    on_stage: Callable[[Stage], None] | None = None,
) -> Reperformed:
    """Work a pack's period out again, from the draw of its samples to its entries.

    Args:
        pack_file: the pack.
        earlier: packs of earlier periods; needed where the close adjusts what they settled.
        on_stage: called with every stage that held.

    Returns:
        How many entries are the same, by kind, and which others there are.

    Raises:
        ReperformError: the first number that comes out differently, or a file that is missing.
        VerificationError: the pack is damaged.
    """

    def tell(name: str, counted: str) -> None:
        if on_stage is not None:
            on_stage(Stage(name, counted))

    with _as_refusal(pack_file), tempfile.TemporaryDirectory(prefix="byline-reperform-") as folder:
        home, scratch = Path(folder) / "home", Path(folder) / "again"
        with OpenPack(pack_file) as pack:
            _check_members(pack)
            tell("pack", f"{pack.format}, {len(pack.parts)} members as its manifest names them")
            period = period_of(pack)
            workspace = empty_workspace(home, pack)
            books = PackBooks(pack.lines(ENTRIES))
            for path in earlier:
                with OpenPack(path) as old:
                    _check_members(old)
                    lay_out(workspace, old)
            lay_out(workspace, pack)
            base = KnowledgeBase(workspace, read_agreements(workspace))
            nights = booked_nights(workspace, list(books.entries()), period)
            lacks = check_nights(pack, nights, base, scratch, tell)
        _require_counts(base, nights, period)
        done = replace(_compare(workspace, books, base, period), lacks=lacks)
        count = sum(done.same.values())
        tell("entries", f"{count} equal to the byte: {_kinds(done.same)}")
        return done


@contextmanager
def _as_refusal(pack_file: Path) -> Iterator[None]:
    """Turn what a file of another shape than Byline's runs into into a refusal."""
    try:
        yield
    except _ODD_FILES as error:
        raise ReperformError(
            f"{pack_file} could not be worked out again ({type(error).__name__}: "
            f"{str(error)[:200]}): a file of it is not as Byline writes it. Ask the payer, and "
            f"keep the pack; BYLINE_TRACEBACK=1 shows where"
        ) from error


def _check_members(pack: OpenPack) -> None:
    """Refuse a pack that is not whole, or whose tables would fill the machine."""
    pack.check_frame()
    damaged = pack.check_manifest()
    if damaged:
        raise ReperformError(
            f"pack: {damaged[0]} is not the file that the manifest of {pack.path} names; the pack "
            f"was changed. `byline audit verify` says where"
        )
    check_tables(pack)


def _require_counts(base: KnowledgeBase, nights: Sequence[BookedNight], period: str) -> None:
    """Refuse to price uses that the pack does not count."""
    paying = [a for a in agreements_of(base.present.book, Period(period)) if has_fee_per_use(a)]
    missing = [each.night.name for each in nights if not each.night.outputs.exists()]
    if paying and missing:
        raise ReperformError(
            f"entries: {paying[0].name} pays per use, and the pack does not count the payable "
            f"outputs of {missing[0]} by model version and territory; being of an older format, "
            f"it cannot be worked out further. Ask for the pack anew"
        )


def _compare(
    workspace: Workspace, books: PackBooks, base: KnowledgeBase, period: str
) -> Reperformed:
    """Work out and compare: nights first, then the close."""
    ledger = cast("LedgerStore", books)
    closing = json.loads(closing_file(workspace, period).read_bytes())
    plan = make_plan(
        workspace,
        ledger,
        base.present.book,
        period,
        prepared_by=closing["prepared_by"],
        approved_by=closing["approved_by"],
    )
    sealed = {item.entry_id: item for item in books.entries()}
    made = [_night_entry(night, sealed[night.entry_id], base) for night in plan.accruals.nights]
    same: Counter[str] = Counter()
    for entry in (*made, *plan.entries):
        booked = sealed.get(entry.entry_id)
        if booked is None:
            raise ReperformError(
                f"entries: {entry.kind} {entry.scope}/{entry.key} comes out of the pack's files "
                f"and is not in its book; the pack is not whole, or the close was changed. Give "
                f"the packs of earlier periods too, or ask for the pack again"
            )
        again = SealedEntry(booked.ledger_seq, _EPOCH, entry).leaf()
        if again != books.leaves[entry.entry_id]:
            raise ReperformError(_difference(booked, books.leaves[entry.entry_id], again))
        same[entry.kind] += 1
    known = {entry.entry_id for entry in (*made, *plan.entries)}
    rest = [item for item in books.entries() if item.entry_id not in known]
    _check_rest(rest, period)
    other = Counter(item.entry.kind for item in rest)
    return Reperformed(period, dict(sorted(same.items())), dict(sorted(other.items())))


def _check_rest(rest: Sequence[SealedEntry], period: str) -> None:
    """Refuse an entry of the period's own nights or close that nothing led to."""
    taken_back = {item.entry.reverses for item in rest}
    for item in rest:
        entry = item.entry
        owned = entry.scope == CLOSE_SCOPE or (entry.scope == NIGHTLY and entry.kind != "reversal")
        if owned and entry.period == period and item.entry_id not in taken_back:
            raise ReperformError(
                f"entries: {item.entry_id} ({entry.kind} {entry.scope}/{entry.key}, place "
                f"{item.ledger_seq}) is booked in {period} and does not come out of the pack's "
                f"files; give the packs of earlier periods with --earlier, or ask the payer"
            )


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


def _kinds(counts: Mapping[str, int]) -> str:
    """Write counts by kind for a person."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none"


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
        f"entries: {booked.entry_id} ({booked.entry.kind}, place {booked.ledger_seq}) has {field} "
        f"{pair[0]!r}; worked out again it is {pair[1]!r}. The pack's files do not lead to its "
        f"book: ask the payer, and keep the pack"
    )
