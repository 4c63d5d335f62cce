"""The attack list: statements by which somebody could try to help himself to the book.

Each attack is plain SQL that both databases understand (`{...}` are filled in by `statements`).
It starts from a book with the periods 2026-10 (closed) and 2026-11 (open), an entry of 100
units at place 4, its reversal at place 5, a hold at place 6 and an access at place 7; the next
place is 8.
"""

from ledger.store import LedgerStore
from tests.books import PERIOD, accrual, posting

ENTRY = accrual("first")
REVERSAL_KEY = "undo"
HOLD = accrual(
    "hold",
    kind="hold",
    postings=[
        posting("Liabilities:RoyaltiesPayable:anna", 40),
        posting("Liabilities:Suspense:Disputed:anna", -40),
    ],
)
NEXT = 8


def prepare(url: str) -> None:
    """Bring a fresh book to the state that the attacks start from."""
    with LedgerStore.open(url) as book:
        book.open_period("2026-10")
        book.close_period("2026-10", "ben", "carla")
        book.open_period(PERIOD)
        book.post(ENTRY)
        book.reverse(
            ENTRY.entry_id,
            REVERSAL_KEY,
            period=PERIOD,
            effective_on=f"{PERIOD}-22",
            prepared_by="ben",
            approved_by="carla",
        )
        book.post(HOLD)
        book.record_access("anna", "creator", "view", "statement/2026-11")
        assert book.head_seq() == NEXT - 1


def head(
    entry_id: str = "je_x",
    kind: str = "accrual",
    period: str = PERIOD,
    approved: str = "NULL",
    reverses: str = "NULL",
    scope: str = "raw",
) -> str:
    """Return the INSERT of an entry's head."""
    return (
        "INSERT INTO journal_entry (entry_id, scope, key, kind, period, effective_on, "
        "description, prepared_by, approved_by, reverses, evidence, payload_sha256) VALUES "
        f"('{entry_id}', '{scope}', '{entry_id}', '{kind}', '{period}', '2026-11-21', '', "
        f"'ben', {approved}, {reverses}, '{{}}', '{'0' * 64}')"
    )


def line(
    units: object,
    number: int = 1,
    seq: int = NEXT,
    account: str = "Expenses:Royalty",
    currency: str = "USD/6",
    entry_id: str = "je_x",
) -> str:
    """Return the INSERT of one posting."""
    return (
        "INSERT INTO posting (ledger_seq, line_no, entry_id, account_id, currency, units) "
        f"VALUES ({seq}, {number}, '{entry_id}', '{account}', '{currency}', {units})"
    )


def seal(count: int = 2, seq: int = NEXT, entry_id: str = "je_x", extra: str = "") -> str:
    """Return the INSERT of a seal; `extra` gives a recorded_at."""
    columns = ", recorded_at" if extra else ""
    value = f", {extra}" if extra else ""
    return (
        "INSERT INTO seal (entry_id, ledger_seq, effective_on, posting_count, leaf_hash"
        f"{columns}) VALUES ('{entry_id}', {seq}, '2026-11-21', {count}, {{hash}}{value})"
    )


def access(seq: int = NEXT, extra: str = "") -> str:
    """Return the INSERT of an access."""
    columns = ", recorded_at" if extra else ""
    value = f", {extra}" if extra else ""
    return (
        "INSERT INTO access_log (ledger_seq, actor, role, action, object_id, reason, leaf_hash"
        f"{columns}) VALUES ({seq}, 'eve', 'none', 'view', 'x', '', {{hash}}{value})"
    )


def period(name: str, action: str, seq: int = NEXT, approved: str = "'carla'") -> str:
    """Return the INSERT of a period event."""
    return (
        "INSERT INTO settlement_period (period, action, prepared_by, approved_by, ledger_seq, "
        f"leaf_hash) VALUES ('{name}', '{action}', 'ben', {approved}, {seq}, {{hash}})"
    )


ACCRUED = "Liabilities:Accrued:anna"
PAIR = [line(5), line(-5, 2, account=ACCRUED)]
EURO = "INSERT INTO account (account_id, currency) VALUES ('Assets:Cash', 'EUR/2')"
SNAPSHOT = "INSERT INTO balance_snapshot (account_id, currency, ledger_seq, units)"
UNDO_HOLD = [
    line(-40, 1, account="Liabilities:RoyaltiesPayable:anna"),
    line(40, 2, account="Liabilities:Suspense:Disputed:anna"),
]

# Every statement runs in one transaction, which is then committed.
ATTACKS: dict[str, list[str]] = {
    "unbalanced": [head(), line(5), line(-4, 2, account=ACCRUED), seal()],
    "unsealed": [head(), *PAIR],
    "unsealed head only": [head()],
    "one posting": [head(), line(5), seal(1)],
    "no posting": [head(), seal(2)],
    "dropped line": [head(), *PAIR, seal(3)],
    "undeclared line": [head(), *PAIR, line(1, 3), line(-1, 4), seal(2)],
    "numbering with a hole": [head(), line(5), line(-5, 3, account=ACCRUED), seal()],
    "currencies netted": [
        EURO,
        head(),
        line(5),
        line(-5, 2, account="Assets:Cash", currency="EUR/2"),
        seal(),
    ],
    "account in another currency": [head(), line(5, currency="EUR/2"), line(-5, 2), seal()],
    "unknown account": [head(), line(5, account="Assets:Nowhere"), line(-5, 2), seal()],
    "account of no category": [
        "INSERT INTO account (account_id, currency) VALUES ('Secret:eve', 'USD/6')"
    ],
    "zero": [head(), line(0), line(0, 2, account=ACCRUED), seal()],
    "too much": [
        head(),
        line(10**16 + 1),
        line(-(10**16) - 1, 2, account=ACCRUED),
        seal(),
    ],
    "text for an amount": [head(), line("'much'"), line(-5, 2, account=ACCRUED), seal()],
    "lines of another entry": [
        head(),
        head("je_y"),
        line(5),
        line(-5, 2, account=ACCRUED, entry_id="je_y"),
        seal(),
        line(5, seq=NEXT + 1, entry_id="je_y"),
        line(-5, 2, seq=NEXT + 1, account=ACCRUED, entry_id="je_y"),
        seal(seq=NEXT + 1, entry_id="je_y"),
    ],
    "late line": [line(5, 3, 4), line(-5, 4, 4)],
    "stray lines": PAIR,
    "stray lines under an access": [*PAIR, access()],
    "lines beyond the seal": [head(), *PAIR, seal(), line(5, 1, NEXT + 1), line(-5, 2, NEXT + 1)],
    "a place skipped": [
        head(),
        line(5, seq=NEXT + 1),
        line(-5, 2, seq=NEXT + 1, account=ACCRUED),
        seal(seq=NEXT + 1),
    ],
    "a place taken twice": [head(), *PAIR, seal(seq=6)],
    "seal of nothing": [*PAIR, seal()],
    "second seal": [*PAIR, seal(entry_id=ENTRY.entry_id)],
    "duplicate key": [head(ENTRY.entry_id)],
    "closed period": [head(period="2026-10"), *PAIR, seal()],
    "unknown period": [head(period="2031-01"), *PAIR, seal()],
    "unknown kind": [head(kind="gift"), *PAIR, seal()],
    "adjustment without approval": [head(kind="adjustment"), *PAIR, seal()],
    "payout approved by its preparer": [head(kind="payout", approved="'ben'"), *PAIR, seal()],
    "accrual approved by its preparer": [head(approved="'ben'"), *PAIR, seal()],
    "reversal of nothing": [head(kind="reversal", approved="'carla'"), *PAIR, seal()],
    "reversal of the unknown": [
        head(kind="reversal", approved="'carla'", reverses="'je_none'"),
        *PAIR,
        seal(),
    ],
    "second reversal": [
        head(kind="reversal", approved="'carla'", reverses=f"'{ENTRY.entry_id}'"),
        line(-100),
        line(100, 2, account=ACCRUED),
        seal(),
    ],
    "reversal of half": [
        head(kind="reversal", approved="'carla'", reverses=f"'{HOLD.entry_id}'"),
        line(-20, 1, account="Liabilities:RoyaltiesPayable:anna"),
        line(20, 2, account="Liabilities:Suspense:Disputed:anna"),
        seal(),
    ],
    "reversal to another account": [
        head(kind="reversal", approved="'carla'", reverses=f"'{HOLD.entry_id}'"),
        line(-40, 1, account="Liabilities:RoyaltiesPayable:anna"),
        line(40, 2, account=ACCRUED),
        seal(),
    ],
    "reversal with lines swapped": [
        head(kind="reversal", approved="'carla'", reverses=f"'{HOLD.entry_id}'"),
        line(40, 1, account="Liabilities:Suspense:Disputed:anna"),
        line(-40, 2, account="Liabilities:RoyaltiesPayable:anna"),
        seal(),
    ],
    "release of what is no hold": [
        head(kind="release", reverses="(SELECT entry_id FROM seal WHERE ledger_seq = 5)"),
        line(100),
        line(-100, 2, account=ACCRUED),
        seal(),
    ],
    "reversal by an accrual": [head(reverses=f"'{HOLD.entry_id}'"), *UNDO_HOLD, seal()],
    "seal dated back": [head(), *PAIR, seal(extra="'2020-01-01T00:00:00.000Z'")],
    "seal dated ahead": [head(), *PAIR, seal(extra="'2099-01-01T00:00:00.000Z'")],
    "access dated back": [access(extra="'2020-01-01T00:00:00.000Z'")],
    "access at a past place": [access(3)],
    "access ahead": [access(NEXT + 1)],
    "period reopened": [period("2026-10", "open")],
    "period closed twice": [period("2026-10", "close")],
    "period opened backwards": [period("2026-09", "open")],
    "period closed unopened": [period("2027-01", "close")],
    "period closed alone": [period(PERIOD, "close", approved="'ben'")],
    "period closed by nobody": [period(PERIOD, "close", approved="NULL")],
    "period event of no kind": [period(PERIOD, "reopen")],
    "head moved": ["UPDATE ledger_head SET size = 99"],
    "head moved back": ["UPDATE ledger_head SET size = 3", line(5, 3, 4)],
    "head deleted": ["DELETE FROM ledger_head"],
    "second head": ["INSERT INTO ledger_head (id, size, claimed) VALUES (2, 0, 0)"],
    "checkpoint of the future": [
        "INSERT INTO checkpoint (size, root, note, frontier) VALUES (99, {hash}, 'x', 'x')"
    ],
    "snapshot that is no sum": [f"{SNAPSHOT} VALUES ('Expenses:Royalty', 'USD/6', 6, 12345)"],
    "snapshot of the future": [f"{SNAPSHOT} VALUES ('Expenses:Royalty', 'USD/6', 99, 0)"],
}

CHANGED = {
    "account": "currency = 'EUR/2'",
    "access_log": "actor = 'nobody'",
    "balance_snapshot": "units = units + 1",
    "checkpoint": "note = 'x'",
    "journal_entry": "description = 'x'",
    "personal_commitment": "field = 'x'",
    "posting": "units = units * 2",
    "seal": "posting_count = posting_count",
    "settlement_period": "action = 'open'",
}
for table, change in CHANGED.items():
    ATTACKS[f"update {table}"] = [f"UPDATE {table} SET {change}"]
    ATTACKS[f"delete {table}"] = [f"DELETE FROM {table}"]


def fill_every_table(url: str) -> None:
    """Give every append-only table a row, so that an UPDATE has something to change."""
    with LedgerStore.open(url) as book:
        book.put_personal("anna", "iban", "X")
        assert book.take_snapshots(1) > 0
        frontier = book.frontier()
        book.save_checkpoint("note", frontier.size, frontier.root())


def statements(attack: str, hashed: str) -> list[str]:
    """Return the statements of an attack for one database.

    Args:
        attack: its name.
        hashed: SQL for 32 bytes.
    """
    return [statement.replace("{hash}", hashed) for statement in ATTACKS[attack]]
