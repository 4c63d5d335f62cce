"""The files of a payout batch that go to the bank, and the note of when they were written."""

from __future__ import annotations

import json
from pathlib import Path

from flows.payouts import SCHEMES, StoredBatch, batches_folder
from flows.workspace import Workspace
from reports.payouts.batch import PayoutBatch
from reports.payouts.errors import PayoutError
from reports.payouts.nacha import Originator, write_nacha
from reports.payouts.pain001 import Debtor, write_pain001

FORMS = {"iban": "pain001", "us": "nacha"}
SUFFIX = {"pain001": ".pain.001.xml", "nacha": ".nacha.txt"}
EXPORT_FORMAT = "byline-payout-export/1"
assert set(FORMS) == set(SCHEMES), FORMS


def read_export(workspace: Workspace, batch_id: str) -> dict[str, str] | None:
    """Read when and as what a batch was exported, or None."""
    path = export_record(workspace, batch_id)
    return dict(json.loads(path.read_bytes())) if path.exists() else None


def bank_file(workspace: Workspace, stored: StoredBatch) -> Path:
    """Name the bank file of a batch."""
    suffix = SUFFIX[FORMS[stored.scheme]]
    return batches_folder(workspace) / f"{stored.batch.batch_id}{suffix}"


def export_record(workspace: Workspace, batch_id: str) -> Path:
    """Name the note of when and as what a batch was exported."""
    return batches_folder(workspace) / f"{batch_id}.export.json"


def lay_out(
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
