"""A small book for tests: leaves of every kind, made without a database, and packs of it."""

import json
import random
import tempfile
from pathlib import Path

from ledger.audit_tables import accounts_rows, trial_balance_rows
from ledger.canonical import (
    canonical_access,
    canonical_entry_bytes,
    canonical_json,
    canonical_period,
    entry_id_of,
)
from ledger.checkpoint import sign_checkpoint
from ledger.merkle import leaf_hash, root_of
from ledger.note import TYPE_COSIGNATURE, NoteSigner
from ledger.pack import write_book, write_pack

ORIGIN = "example.com/byline"
LOG = NoteSigner.from_seed(ORIGIN, bytes(range(32)))
OTHER_LOG = NoteSigner.from_seed(ORIGIN, bytes(range(1, 33)))
WITNESS = NoteSigner.from_seed("witness.example/w1", bytes(range(2, 34)), TYPE_COSIGNATURE)
KEYS = [LOG.verifier]
RUN_TEXT = b'{"format":"byline-estimates/1"}\n'


def entry(seq, key, postings, **changes):
    """Write one entry leaf; every field has a default."""
    fields = {
        "ledger_seq": seq,
        "scope": "nightly",
        "key": key,
        "kind": "accrual",
        "period": "2026-11",
        "effective_on": "2026-11-01",
        "description": f'night of "{key}", café',
        "prepared_by": "system",
        "approved_by": None,
        "reverses": None,
        "evidence": {},
        "postings": postings,
    } | changes
    fields.setdefault("entry_id", entry_id_of(fields["scope"], fields["key"]))
    return canonical_entry_bytes(**fields)


def small_book(nights=6, evidence=None):
    """Return the leaves of a small book: periods, nights, a reversal, a hold, accesses."""
    leaves = []

    def add(write, *arguments, **fields):
        if write is entry:
            leaves.append(entry(len(leaves) + 1, *arguments, **fields))
        else:
            leaves.append(write(ledger_seq=len(leaves) + 1, **fields))

    chance = random.Random(7)
    add(canonical_period, action="open", period="2026-11", prepared_by="system", approved_by=None)
    for night in range(nights):
        parts = [chance.randrange(1, 10**7) for _ in range(3)]
        rows = [(f"Liabilities:Accrued:c{n}", "USD/6", -part) for n, part in enumerate(parts)]
        rows.insert(0, ("Expenses:Royalty", "USD/6", sum(parts)))
        add(entry, f"2026-11-{night + 1:02d}/pool", rows, evidence=evidence or {})
    add(canonical_access, actor="c1", role="creator", action="view", object_id="s/1", reason="")
    pair = [("Assets:Cash", "EUR/2", -500), ("Assets:RoyaltyAdvances:p1", "EUR/2", 500)]
    add(entry, "advance", pair, kind="advance")
    back = [(account, currency, -units) for account, currency, units in pair]
    add(entry, "advance/back", back, kind="reversal", reverses=entry_id_of("nightly", "advance"),
        prepared_by="ann", approved_by="bob")  # fmt: skip
    pair = [
        ("Liabilities:Accrued:c0", "USD/6", 40),
        ("Liabilities:Suspense:Disputed", "USD/6", -40),
    ]
    add(entry, "hold", pair, kind="hold")
    back = [(account, currency, -units) for account, currency, units in pair]
    add(entry, "hold/out", back, kind="release", reverses=entry_id_of("nightly", "hold"))
    add(canonical_period, action="close", period="2026-11", prepared_by="ann", approved_by="bob")
    add(canonical_period, action="open", period="2026-12", prepared_by="system", approved_by=None)
    add(entry, "late", [("Expenses:Royalty", "USD/6", 9), ("Liabilities:Accrued:c2", "USD/6", -9)],
        kind="adjustment", period="2026-12", prepared_by="ann", approved_by="bob")  # fmt: skip
    return leaves


def checkpoint_of(leaves, size=None, signer=LOG):
    """Sign a checkpoint over the first leaves."""
    leaves = leaves[:size]
    return sign_checkpoint(ORIGIN, len(leaves), root_of(leaves), signer)


def make_pack(path, leaves, *, earlier=(), signer=LOG, extra=None, checkpoint=None):
    """Write a signed pack of some leaves; `earlier` are sizes of earlier checkpoints."""
    note = checkpoint or checkpoint_of(leaves, signer=signer)
    notes = [item if isinstance(item, str) else checkpoint_of(leaves, item) for item in earlier]
    with tempfile.TemporaryDirectory() as folder:
        members = dict(write_book(Path(folder), leaves, checkpoint=note, earlier=notes))
        members |= extra or {}
        write_pack(path, members, period="2026-11", origin=ORIGIN, signer=signer)
    return note


def forged_members(leaves, note, notes=()):
    """Write the files of a book without checking anything, as a clever forger would."""
    debits, credits_ = {}, {}
    for leaf in leaves:
        try:
            postings = json.loads(leaf).get("postings", [])
            for account, currency, units in postings:
                side = debits if int(units) > 0 else credits_
                key = f'{account}","{currency}'.encode()
                side[key] = side.get(key, 0) + int(units)
        except (ValueError, AttributeError):
            continue
    return {
        "entries.jsonl": b"".join(leaf + b"\n" for leaf in leaves),
        "leaf_hashes.bin": b"".join(leaf_hash(leaf) for leaf in leaves),
        "accounts.csv": "".join(accounts_rows(debits, credits_)).encode(),
        "trial_balance.csv": "".join(trial_balance_rows(debits, credits_)).encode(),
        "checkpoint.note": note.encode(),
        "checkpoints.txt": "".join([*notes, note]).encode(),
    }


def forge_pack(path, leaves, *, note=None, notes=(), signer=LOG, changes=None, manifest_signer=LOG):
    """Write a pack in perfect form over any leaves: what the owner of the key could do.

    `changes` replaces members afterwards, digests and frame made to fit.
    """
    note = note or checkpoint_of(leaves, signer=signer)
    members = forged_members(leaves, note, notes) | (changes or {})
    write_pack(path, members, period="2026-11", origin=ORIGIN, signer=manifest_signer)


def renumbered(leaves):
    """Give leaves their places anew, as somebody would who moved, added or took out some."""
    fixed = []
    for seq, leaf in enumerate(leaves, 1):
        value = json.loads(leaf) | {"ledger_seq": seq}
        fixed.append(canonical_json(value))
    return fixed


def changed(leaf, **fields):
    """Return a leaf with other values, in canonical form."""
    return canonical_json(json.loads(leaf) | fields)
