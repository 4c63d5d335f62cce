"""Payout batches on disk and in the book: drafted once, and every state read from the log.

1. A batch's file is written once and never changed; the log holds its digest. What happened since
   is in the log alone: entries where money moved, access records where it did not.
2. So a state cannot be edited, and a run that died between two writes is finished by the same
   command.
3. Bank details are personal data: they lie beside the book, the batch names them by commitment.
4. A payee is in one open batch at a time; nobody is paid twice because two drafts were made.
5. Who is on the register of holds (`flows.payout_holds`) is in no draft.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from contracts.period import Period
from flows.artefacts import canonical_json, sha256_bytes, write_bytes
from flows.payout_holds import holds_of
from flows.payout_owed import owed_lines
from flows.workspace import Workspace
from ledger.period_close import PeriodStatus
from ledger.store import LedgerStore
from reports.payouts.bank import Address, BankAccount
from reports.payouts.batch import (
    NEXT,
    LeftOut,
    Owed,
    Payout,
    PayoutBatch,
    check_bank,
    draft_batch,
)
from reports.payouts.errors import PayoutError

FILE_FORMAT = "byline-payout-file/1"
SCOPE = "payout"
ACTION = "payout-"
ROLE = "accountant"
BANK_FIELD = "bank."
SCHEMES = ("iban", "us")
OPEN_STATES = frozenset({"draft", "approved"})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True)
class StoredBatch:
    """A batch with its states, and what its file holds besides.

    Args:
        batch: the batch, states as the log has them.
        scheme: iban or us.
        history: (place in the book, payout id or "" for all, event, actor, reason), in order.
    """

    batch: PayoutBatch
    scheme: str
    history: tuple[tuple[int, str, str, str, str], ...]

    @property
    def states(self) -> dict[str, int]:
        """Count the payouts by state."""
        counts: dict[str, int] = defaultdict(int)
        for item in self.batch.payouts:
            counts[item.state] += 1
        return dict(sorted(counts.items()))


def batches_folder(workspace: Workspace) -> Path:
    """Name the folder of payout batches."""
    return workspace.root / "payouts"


def batch_names(workspace: Workspace) -> list[str]:
    """List the batches by id."""
    return sorted(
        p.name.removesuffix(".batch.json") for p in batches_folder(workspace).glob("*.batch.json")
    )


def batch_object(batch_id: str, payout_id: str = "") -> str:
    """Name a batch, or one payout of it, in the access log."""
    return f"payouts/{batch_id}/{payout_id}" if payout_id else f"payouts/{batch_id}"


def put_bank(workspace: Workspace, books: LedgerStore, payee_id: str, bank: BankAccount) -> str:
    """Store a payee's bank details beside the book; the newest are used.

    Returns:
        Their salted commitment.

    Raises:
        PayoutError: a number or name that no bank would take.
    """
    check_bank(bank)
    known = [field for field, _, _ in _bank_fields(books, payee_id)]
    number = max((int(field.removeprefix(BANK_FIELD)) for field in known), default=0) + 1
    books.record_access(
        workspace.settings.pool.payer, ROLE, "bank-details", f"payees/{payee_id}", ""
    )
    text = json.dumps(asdict(bank), sort_keys=True, ensure_ascii=False)
    return books.put_personal(payee_id, f"{BANK_FIELD}{number}", text)


def read_bank(plain: Mapping[str, Any]) -> BankAccount:
    """Read bank details from plain values.

    Raises:
        PayoutError: a key that bank details do not have, or no holder.
    """
    values = dict(plain)
    try:
        address = values.pop("address", None)
        return BankAccount(**values, address=Address(**address) if address else None)
    except TypeError as problem:
        raise PayoutError(
            "bank details", str(problem), "Give holder and iban, or holder, routing and account"
        ) from problem


def draft(
    workspace: Workspace,
    books: LedgerStore,
    batch_id: str,
    *,
    prepared_by: str,
    scheme: str = "iban",
    holds: Mapping[str, str] | None = None,
    payees: Iterable[str] | None = None,
) -> StoredBatch:
    """Draft a batch of everything that is owed and can be paid, and list the rest with reasons.

    Args:
        workspace: whose settings and agreements.
        books: the open ledger.
        batch_id: never used again.
        prepared_by: who prepares it.
        scheme: iban for pain.001, us for NACHA.
        holds: reasons by payee who is not in this batch, beside the register of holds.
        payees: only these; everybody when None.

    Raises:
        PayoutError: the id was used before, or is no id.
    """
    path = _file(workspace, batch_id)
    if path.exists() or _used(books, batch_id):
        raise PayoutError(
            f"payout batch {batch_id}", "was used before", "Choose another id; none is used twice"
        )
    only = None if payees is None else set(payees)
    lines, commitments = [], {}
    busy = _busy(workspace, books)
    held = {payee: one.reason for payee, one in holds_of(books.accesses()).items()}
    for line in owed_lines(workspace, books, {**(holds or {}), **held}):
        if only is not None and line.payee_id not in only:
            continue
        _, commitment, bank = next(reversed(_bank_fields(books, line.payee_id)), ("", "", None))
        commitments[line.payee_id] = commitment
        if line.payee_id in busy and not line.held:
            line = replace(line, held=f"in batch {busy[line.payee_id]}")  # noqa: PLW2901
        lines.append(replace(line, bank=_fitting(bank, scheme)))
    period = open_period(books)
    batch = draft_batch(batch_id, period, prepared_by, lines)
    batch = replace(batch, left_out=tuple(_with_scheme(batch.left_out, commitments, scheme)))
    data = canonical_json(_plain(batch, scheme, commitments))
    books.record_access(
        prepared_by, ROLE, f"{ACTION}draft", batch_object(batch_id), sha256_bytes(data)
    )
    write_bytes(path, data)
    return load(workspace, books, batch_id)


def position(
    workspace: Workspace, books: LedgerStore, scheme: str = ""
) -> Iterator[tuple[Owed, str]]:
    """Say of everything that is owed why the next batch would not pay it.

    Args:
        workspace: whose settings and agreements.
        books: the open ledger.
        scheme: iban or us; either when empty.

    Yields:
        What is owed, and the reason; "" where it can be paid.
    """
    held = {payee: one.reason for payee, one in holds_of(books.accesses()).items()}
    busy = _busy(workspace, books)
    for line in owed_lines(workspace, books, held):
        waits, rest = line.parted()
        yield from waits
        if rest:
            _, _, bank = next(reversed(_bank_fields(books, line.payee_id)), ("", "", None))
            why = line.held or (f"in batch {busy[line.payee_id]}" if line.payee_id in busy else "")
            fitting = bank if not scheme else _fitting(bank, scheme)
            one = replace(rest, held=why, bank=fitting)
            batch = draft_batch("none", "2000-01", "nobody", [one])
            left = [one.reason for one in batch.left_out if not batch.payouts]
            yield rest, left[0] if left else ""


def load(workspace: Workspace, books: LedgerStore, batch_id: str) -> StoredBatch:
    """Read a batch and let everything happen to it that the log says happened.

    Raises:
        PayoutError: there is no such batch, or its file is not the one that was logged.
    """
    path = _file(workspace, batch_id)
    if not path.exists():
        raise PayoutError(
            f"payout batch {batch_id}",
            f"is not among {', '.join(batch_names(workspace)) or 'none'}",
            "See `byline payout list`",
        )
    data = path.read_bytes()
    history = _history(books, batch_id)
    logged = next((reason for _, _, event, _, reason in history if event == "draft"), "")
    if sha256_bytes(data) != logged:
        raise PayoutError(
            f"payout batch {batch_id}",
            f"has the file {sha256_bytes(data)[:16]}, the log says {logged[:16]}",
            "Restore the file; it is never changed after it was drafted",
        )
    content = json.loads(data)
    batch = _batch(content, books)
    for _, payout_id, event, actor, _ in history:
        if event == "approve":
            batch = replace(batch, approved_by=actor)
        batch = replace(batch, payouts=tuple(_after(p, payout_id, event) for p in batch.payouts))
    return StoredBatch(batch, content["scheme"], history)


def open_period(books: LedgerStore) -> str:
    """Find the period payments are booked in: the first that is not closed; open it if need be.

    Raises:
        PayoutError: no period was ever opened.
    """
    known = sorted({sealed.entry.period for sealed in books.entries()})
    if not known:
        raise PayoutError("payouts", "the books are empty", "Settle and close a period first")
    period = Period(known[0])
    while books.period_status(period.text) is PeriodStatus.CLOSED:
        period = period.next()
    if books.period_status(period.text) is PeriodStatus.UNKNOWN:
        books.open_period(period.text)
    return period.text


def _after(payout: Payout, payout_id: str, event: str) -> Payout:
    if event == "draft" or payout_id not in {"", payout.payout_id}:
        return payout
    state = NEXT[payout.state].get(event)
    return replace(payout, state=state) if state else payout


def _history(books: LedgerStore, batch_id: str) -> tuple[tuple[int, str, str, str, str], ...]:
    found = []
    whole = batch_object(batch_id)
    for record in books.accesses():
        access = record.access
        if access.action.startswith(ACTION) and f"{access.object_id}/".startswith(f"{whole}/"):
            payout_id = access.object_id[len(whole) + 1 :]
            event = access.action.removeprefix(ACTION)
            found.append((record.ledger_seq, payout_id, event, access.actor, access.reason))
    for sealed in books.entries():
        entry = sealed.entry
        if entry.scope == SCOPE and entry.key.startswith(f"{batch_id}/"):
            _, payout_id, event = entry.key.rsplit("/", 2)
            found.append(
                (sealed.ledger_seq, payout_id, event, entry.prepared_by, entry.description)
            )
    return tuple(sorted(found))


def _used(books: LedgerStore, batch_id: str) -> bool:
    return bool(_history(books, batch_id))


def _busy(workspace: Workspace, books: LedgerStore) -> dict[str, str]:
    """Name the open batch of every payee who is in one."""
    return {
        item.payee_id: name
        for name in batch_names(workspace)
        for item in load(workspace, books, name).batch.payouts
        if item.state in OPEN_STATES
    }


def _bank_fields(books: LedgerStore, payee_id: str) -> list[tuple[str, str, BankAccount]]:
    """List a payee's bank details, oldest first: (field, commitment, details)."""
    found = [
        (datum.field, commitment, read_bank(json.loads(datum.value)))
        for commitment, datum in books.personal(payee_id).items()
        if datum.field.startswith(BANK_FIELD)
    ]
    return sorted(found, key=lambda item: int(item[0].removeprefix(BANK_FIELD)))


def _fitting(bank: BankAccount | None, scheme: str) -> BankAccount | None:
    if bank is None or scheme not in SCHEMES:
        return None
    return bank if bool(bank.iban) == (scheme == "iban") else None


def _with_scheme(
    left_out: Iterable[LeftOut], commitments: Mapping[str, str], scheme: str
) -> Iterable[LeftOut]:
    """Say of whom there are bank details, but of another kind."""
    for line in left_out:
        if line.reason == "no bank details" and commitments.get(line.payee_id):
            yield replace(line, reason=f"bank details of another kind than {scheme}")
        else:
            yield line


def _plain(batch: PayoutBatch, scheme: str, commitments: Mapping[str, str]) -> dict[str, Any]:
    return {
        "format": FILE_FORMAT,
        "batch_id": batch.batch_id,
        "period": batch.period,
        "prepared_by": batch.prepared_by,
        "scheme": scheme,
        "payouts": [
            {
                "payout_id": item.payout_id,
                "payee_id": item.payee_id,
                "currency": item.currency,
                "amount_units": item.amount_units,
                "coins": item.coins,
                "statement_number": item.statement_number,
                "bank": commitments[item.payee_id],
            }
            for item in batch.payouts
        ],
        "left_out": [asdict(line) for line in batch.left_out],
    }


def _batch(content: Mapping[str, Any], books: LedgerStore) -> PayoutBatch:
    payouts = []
    for item in content["payouts"]:
        banks = {c: bank for _, c, bank in _bank_fields(books, item["payee_id"])}
        # Erased bank details leave an empty account: the list still reads, an export is refused.
        bank = banks.get(item["bank"], BankAccount(holder=""))
        payouts.append(Payout(**{**item, "bank": bank}))
    return PayoutBatch(
        content["batch_id"],
        content["period"],
        content["prepared_by"],
        tuple(payouts),
        tuple(LeftOut(**line) for line in content["left_out"]),
    )


def _file(workspace: Workspace, batch_id: str) -> Path:
    if not _ID.fullmatch(batch_id):
        raise PayoutError(
            f"payout batch {batch_id!r}", "is no id", "Use letters, digits and . _ -, 40 at most"
        )
    return batches_folder(workspace) / f"{batch_id}.batch.json"
