"""What happens to a payout batch: approval, export, the bank's answers, reconciliation, reissue.

1. Approval, acceptance, reconciliation and reissue leave an access record; export, settlement,
   rejection and return are journal entries that cite the file behind them.
2. The bank file is laid out before anything is booked; what cannot be written is not booked. It
   is put in its place after the entries, and the same command makes the same bytes again.
3. A second export needs a reason. An answer that is read twice changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.artefacts import canonical_json, sha256_bytes, write_bytes
from flows.payouts import (
    ACTION,
    ROLE,
    SCHEMES,
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
from reports.payouts.nacha import Originator, write_nacha
from reports.payouts.pain001 import Debtor, write_pain001

FORMS = {"iban": "pain001", "us": "nacha"}
SUFFIX = {"pain001": ".pain.001.xml", "nacha": ".nacha.txt"}
EXPORT_FORMAT = "byline-payout-export/1"
assert set(FORMS) == set(SCHEMES), FORMS


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
        PayoutError: not approved, a setting is missing, or it was exported and no reason is given.
    """
    stored = load(workspace, books, batch_id)
    first = read_export(workspace, batch_id)
    exported = any(event == "export" for _, _, event, _, _ in stored.history)
    path = bank_file(workspace, stored)
    if first is not None:
        created_at, execute_on = first["created_at"], first["execute_on"]
    if exported and path.exists() and not reason:
        what, told = f"payout batch {batch_id}", f"was exported to {path.name}"
        raise PayoutError(what, told, "Give --reason to do it again")
    whole = replace(
        stored.batch, payouts=tuple(replace(p, state="approved") for p in stored.batch.payouts)
    )
    # The states of a batch that was exported before lie beyond "approved"; its file does not.
    data = _laid_out(
        workspace, whole if exported else stored.batch, stored.scheme, created_at, execute_on
    )
    about = {
        "format": EXPORT_FORMAT,
        "created_at": created_at,
        "execute_on": execute_on,
        "sha256": sha256_bytes(data),
        "file": path.name,
    }
    write_bytes(_export_record(workspace, batch_id), canonical_json(about))
    if exported:
        said = reason or "the file was missing"
        books.record_access(actor, ROLE, "export", batch_object(batch_id), said)
    else:
        _book_export(books, stored.batch, about, actor)
    write_report(path, data)
    write_report(path.with_name(f"{batch_id}.csv"), payout_csv(stored.batch))
    return path


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
    record_event(
        workspace,
        books,
        batch_id,
        "reissue",
        actor=prepared_by,
        payout_ids=[item.payout_id for item in back],
        reason=f"in batch {new_id}",
    )
    return made


def read_export(workspace: Workspace, batch_id: str) -> dict[str, str] | None:
    """Read when and as what a batch was exported, or None."""
    path = _export_record(workspace, batch_id)
    return dict(json.loads(path.read_bytes())) if path.exists() else None


def bank_file(workspace: Workspace, stored: StoredBatch) -> Path:
    """Name the bank file of a batch."""
    suffix = SUFFIX[FORMS[stored.scheme]]
    return batches_folder(workspace) / f"{stored.batch.batch_id}{suffix}"


def _export_record(workspace: Workspace, batch_id: str) -> Path:
    return batches_folder(workspace) / f"{batch_id}.export.json"


def _laid_out(
    workspace: Workspace, batch: PayoutBatch, scheme: str, created_at: str, execute_on: str
) -> bytes:
    """Write the bank file into memory.

    Raises:
        PayoutError: a setting or a payee's bank details are missing.
    """
    own = workspace.settings.payout
    erased = [item.payee_id for item in batch.payouts if not item.bank.holder]
    if erased:
        raise PayoutError(
            f"payout batch {batch.batch_id}",
            f"bank details of payee {erased[0]} were erased",
            "Void the batch and draft another one",
        )
    needed = {"iban": ("name", "iban"), "us": ("name", "company_id", "destination", "odfi")}[scheme]
    missing = [name for name in needed if not getattr(own, name)]
    if missing:
        raise PayoutError(
            f"payout batch {batch.batch_id}",
            f"the settings do not say [payout] {', '.join(missing)}",
            "Write them into byline.toml",
        )
    if scheme == "iban":
        debtor = Debtor(own.name, own.iban, own.bic)
        return write_pain001(batch, debtor, created_at=created_at, execute_on=execute_on)
    originator = Originator(
        own.name, own.company_id, own.destination, own.destination_name or own.name, own.odfi
    )
    return write_nacha(
        batch,
        originator,
        created_on=created_at[:10],
        created_at=created_at[11:16].replace(":", ""),
        effective_on=execute_on,
    )


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
