"""What happens to a payout batch: approval, export, the bank's answers, reconciliation, reissue.

1. Approval, acceptance, reconciliation and reissue leave an access record; export, settlement,
   rejection and return are journal entries that cite the file behind them.
2. The bank file is laid out before anything is booked; what cannot be written is not booked. It
   is put in its place after the entries, and the same command makes the same bytes again.
3. A second export needs a reason. An answer that is read twice changes nothing.
4. Whoever is held when a batch is exported is withheld from it, with a record in the log; the
   bank file and the entries have the others only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.artefacts import canonical_json, sha256_bytes, write_bytes
from flows.locks import hold
from flows.payout_files import EXPORT_FORMAT, bank_file, export_record, lay_out, read_export
from flows.payout_holds import LOCK, holds_of
from flows.payouts import (
    ACTION,
    ROLE,
    StoredBatch,
    batch_object,
    batches_folder,
    draft,
    load,
    open_period,
)
from flows.workspace import Workspace
from ledger.chart import ROYALTIES_IN_TRANSIT
from ledger.store import LedgerStore
from reports.files import write_report
from reports.payouts.answers import Answer, Answers, read_camt053, read_pain002
from reports.payouts.batch import MONEY_EVENTS, NEXT, BatchEvent, PayoutBatch, advance, approve
from reports.payouts.errors import PayoutError
from reports.payouts.listing import payout_csv


@dataclass(frozen=True)
class AnswerRead:
    """What a bank's answer changed: events booked now, known before, and matched to nothing."""

    booked: tuple[Answer, ...]
    known: int
    unmatched: tuple[str, ...]


def approve_batch(
    workspace: Workspace, books: LedgerStore, batch_id: str, approved_by: str
) -> StoredBatch:
    """Approve a draft as the second person.

    Raises:
        PayoutError: the approver prepared it, it has no payout, or it is not a draft.
    """
    stored = load(workspace, books, batch_id)
    if not stored.batch.payouts:
        raise PayoutError(f"payout batch {batch_id}", "has no payout", "There is nothing to pay")
    approve(stored.batch, approved_by)
    books.record_access(approved_by, ROLE, f"{ACTION}approve", batch_object(batch_id))
    return load(workspace, books, batch_id)


def record_event(
    workspace: Workspace,
    books: LedgerStore,
    batch_id: str,
    event: str,
    *,
    actor: str,
    payout_ids: Sequence[str] | None = None,
    reason: str = "",
) -> StoredBatch:
    """Let an event happen that moves no money: accept, reconcile, reissue or void.

    Raises:
        PayoutError: the event does not follow on the state of any payout.
    """
    assert event not in MONEY_EVENTS, event
    stored = load(workspace, books, batch_id)
    _, events = advance(stored.batch, event, actor=actor, day="", payout_ids=payout_ids)
    if not events:
        states = ", ".join(f"{n} {state}" for state, n in stored.states.items()) or "no payout"
        raise PayoutError(
            f"payout batch {batch_id}",
            f"has {states}; none can {event}",
            "See `byline payout list`",
        )
    if len(events) == len(stored.batch.payouts):
        books.record_access(actor, ROLE, f"{ACTION}{event}", batch_object(batch_id), reason)
    else:
        for item in events:
            name = batch_object(batch_id, item.payout_id)
            books.record_access(actor, ROLE, f"{ACTION}{event}", name, reason)
    return load(workspace, books, batch_id)


def export_batch(
    workspace: Workspace,
    books: LedgerStore,
    batch_id: str,
    *,
    created_at: str,
    execute_on: str,
    actor: str,
    reason: str = "",
) -> Path:
    """Write the bank file of an approved batch and book the money as on its way.

    Args:
        workspace: whose settings name the account.
        books: the ledger.
        batch_id: the batch.
        created_at: `YYYY-MM-DDThh:mm:ssZ`; of the first export, if there was one.
        execute_on: ISO date on which the bank is to pay; of the first export, if there was one.
        actor: who exports.
        reason: needed for a second export.

    Returns:
        The bank file.

    Raises:
        PayoutError: not approved, everybody in it is held, a setting is missing, or it was exported
            and no reason is given.
    """
    with hold(workspace.locks, LOCK):
        return _export(workspace, books, batch_id, (created_at, execute_on), actor, reason)


def _export(
    workspace: Workspace,
    books: LedgerStore,
    batch_id: str,
    times: tuple[str, str],
    actor: str,
    reason: str,
) -> Path:
    created_at, execute_on = times
    stored = load(workspace, books, batch_id)
    first = read_export(workspace, batch_id)
    exported = any(event == "export" for _, _, event, _, _ in stored.history)
    path = bank_file(workspace, stored)
    if first is not None:
        created_at, execute_on = first["created_at"], first["execute_on"]
    if exported and path.exists() and not reason:
        what, told = f"payout batch {batch_id}", f"was exported to {path.name}"
        raise PayoutError(what, told, "Give --reason to do it again")
    held = {} if exported else _held(stored.batch, books)
    sent = _sent(stored.batch, held, exported=exported)
    data = lay_out(workspace, sent, stored.scheme, created_at, execute_on)
    about = {
        "format": EXPORT_FORMAT,
        "created_at": created_at,
        "execute_on": execute_on,
        "sha256": sha256_bytes(data),
        "file": path.name,
    }
    write_bytes(export_record(workspace, batch_id), canonical_json(about))
    if exported:
        said = reason or "the file was missing"
        books.record_access(actor, ROLE, "export", batch_object(batch_id), said)
    else:
        for payout_id, why in held.items():
            name = batch_object(batch_id, payout_id)
            books.record_access(actor, ROLE, f"{ACTION}withhold", name, why)
        _book_export(books, sent, about, actor)
    write_report(path, data)
    listed = load(workspace, books, batch_id).batch
    write_report(path.with_name(f"{batch_id}.csv"), payout_csv(listed))
    return path


def _held(batch: PayoutBatch, books: LedgerStore) -> dict[str, str]:
    """Name the payouts of an approved batch whose payees were held since, with the reason.

    Raises:
        PayoutError: all of them are.
    """
    register = holds_of(books.accesses())
    going = [item for item in batch.payouts if item.state == "approved"]
    held = {p.payout_id: register[p.payee_id].reason for p in going if p.payee_id in register}
    if going and len(held) == len(going):
        raise PayoutError(
            f"payout batch {batch.batch_id}",
            f"has only payees that are held ({going[0].payee_id}: {held[going[0].payout_id]})",
            "Release them with `byline payout release`, or void the batch",
        )
    return held


def _sent(batch: PayoutBatch, held: Collection[str], *, exported: bool) -> PayoutBatch:
    """Give the batch as the bank gets it.

    The states of a batch that was exported before lie beyond "approved"; its file does not.
    """
    going = [p for p in batch.payouts if p.state != "withheld" and p.payout_id not in held]
    if exported:
        going = [replace(item, state="approved") for item in going]
    return replace(batch, payouts=tuple(going))


def _book_export(books: LedgerStore, batch: PayoutBatch, about: dict[str, str], actor: str) -> None:
    """Book the money of a batch as on its way to the bank."""
    _, events = advance(
        batch, "export", actor=actor, day=about["execute_on"], period=open_period(books)
    )
    _post(books, events, {"bank-file": about["sha256"]})


def read_answer(
    workspace: Workspace, books: LedgerStore, batch_id: str, path: Path, *, day: str
) -> AnswerRead:
    """Read a bank's answer (pain.002 or camt.053) and book what it says.

    Args:
        workspace: whose batch.
        books: the open ledger.
        batch_id: the batch.
        path: the file; a copy is kept under its digest.
        day: ISO date of rejections, which carry none.

    Raises:
        BankFileError: not such a file, about another message, or an amount differs.
        PayoutError: an answer that cannot follow on a payout's state.
    """
    data = path.read_bytes()
    digest = sha256_bytes(data)
    write_bytes(batches_folder(workspace) / "answers" / f"{digest[:16]}{path.suffix}", data)
    stored = load(workspace, books, batch_id)
    answers = _parse(data, stored.batch, path.name)
    had = {(payout_id, event) for _, payout_id, event, _, _ in stored.history}
    everybody = {event for payout_id, event in had if not payout_id}
    fresh, batch = [], stored.batch
    entries: list[BatchEvent] = []
    for answer in answers.matched:
        if (answer.payout_id, answer.event) in had or answer.event in everybody:
            continue
        if _is_past(batch, answer):
            continue
        batch, events = advance(
            batch,
            answer.event,
            actor="bank",
            day=answer.day or day,
            payout_ids=[answer.payout_id],
            period=open_period(books),
            reason=answer.code,
        )
        had.add((answer.payout_id, answer.event))
        fresh.append(answer)
        entries += events
    _post(books, entries, {"bank-answer": digest})
    for event in entries:
        if event.entry is None:
            name = batch_object(batch_id, event.payout_id)
            books.record_access("bank", "bank", f"{ACTION}{event.event}", name, event.reason)
    known = len(answers.matched) - len(fresh)
    return AnswerRead(tuple(fresh), known, answers.unmatched)


def reconcile_batch(
    workspace: Workspace, books: LedgerStore, batch_id: str, *, actor: str
) -> StoredBatch:
    """Compare the batch's entries with each other and, when nothing is under way, say so.

    Raises:
        PayoutError: money is still in transit, or no payout is settled.
    """
    moving = 0
    for sealed in books.entries():
        if sealed.entry.scope == "payout" and sealed.entry.key.startswith(f"{batch_id}/"):
            moving += sum(
                p.units for p in sealed.entry.postings if p.account_id == ROYALTIES_IN_TRANSIT
            )
    if moving:
        raise PayoutError(
            f"payout batch {batch_id}",
            f"has {-moving} units in transit",
            "Read the bank's statement (camt.053) first",
        )
    return record_event(workspace, books, batch_id, "reconcile", actor=actor)


def reissue_batch(
    workspace: Workspace, books: LedgerStore, batch_id: str, new_id: str, *, prepared_by: str
) -> StoredBatch:
    """Draft what the bank refused or sent back again, in another batch under another message id.

    Raises:
        PayoutError: nothing was refused or sent back, or the new id was used before.
    """
    stored = load(workspace, books, batch_id)
    back = [p for p in stored.batch.payouts if "reissue" in NEXT[p.state]]
    if not back:
        raise PayoutError(
            f"payout batch {batch_id}",
            "has nothing rejected or returned",
            "See `byline payout list`",
        )
    made = draft(
        workspace,
        books,
        new_id,
        prepared_by=prepared_by,
        scheme=stored.scheme,
        payees=[item.payee_id for item in back],
    )
    # Who is held, or has no sound bank details now, is not in the new batch and not reissued.
    again = {(item.payee_id, item.currency) for item in made.batch.payouts}
    if ids := [p.payout_id for p in back if (p.payee_id, p.currency) in again]:
        record_event(
            workspace,
            books,
            batch_id,
            "reissue",
            actor=prepared_by,
            payout_ids=ids,
            reason=f"in batch {new_id}",
        )
    return made


def _parse(data: bytes, batch: PayoutBatch, name: str) -> Answers:
    if b"BkToCstmrStmt" in data:
        return read_camt053(data, batch, name)
    return read_pain002(data, batch, name)


def _is_past(batch: PayoutBatch, answer: Answer) -> bool:
    """Say whether an acceptance comes after the payout went further already."""
    state = next(p.state for p in batch.payouts if p.payout_id == answer.payout_id)
    return answer.event == "accept" and state in {"accepted", "settled", "reconciled"}


def _post(books: LedgerStore, events: Iterable[BatchEvent], evidence: dict[str, str]) -> None:
    entries = [
        replace(event.entry, evidence=evidence) for event in events if event.entry is not None
    ]
    if entries:
        books.post_many(entries)
