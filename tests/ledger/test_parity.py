"""SQLite and PostgreSQL give the same verdicts and the same root for the same operations."""

import random

import pytest

from ledger.errors import LedgerError
from ledger.store import LedgerStore
from tests.books import USD, accrual, posting
from tests.databases import fresh_book

PERIODS = ("2026-10", "2026-11", "2026-12")


def operations(seed: int, count: int):
    """Yield operations, right and wrong ones, as (name, arguments)."""
    chance = random.Random(seed)
    for _ in range(count):
        key = f"k{chance.randrange(count // 2)}"
        period = chance.choice(PERIODS)
        units = chance.choice([1, 7, 10**15])
        yield chance.choice(
            [
                ("open_period", (period,)),
                ("close_period", (period, "ben", chance.choice(["ben", "carla"]))),
                ("post", (accrual(key, units, f"c{chance.randrange(4)}", period=period),)),
                ("post", (accrual(key, 7, period=period),)),
                ("post", (accrual(key, 7, period=period, kind="hold", description="Ω ' \\"),)),
                ("post_many", ([accrual(f"{key}/{n}", n + 1, period=period) for n in range(80)],)),
                ("post", (two_currencies(key, period),)),
                ("reverse", (accrual(key).entry_id, f"undo {key}", period, "ben", "carla")),
                ("reverse", (accrual(key).entry_id, f"free {key}", period, "ben", None)),
                ("record_access", ("anna", "creator", "view", f"statement/{period}", "ß")),
            ]
        )


def two_currencies(key: str, period: str):
    """Return an entry that balances in two currencies."""
    lines = [
        posting("Assets:Cash", 5),
        posting("Equity:Opening", -5),
        posting("Assets:Cash", 3, "EUR/2"),
        posting("Equity:Opening", -3, "EUR/2"),
    ]
    return accrual(key, period=period, postings=lines)


def run(url: str, seed: int, count: int):
    """Run the operations and return every verdict, the root and the balances."""
    verdicts = []
    with LedgerStore.open(url) as book:
        for name, arguments in operations(seed, count):
            try:
                if name == "reverse":
                    entry_id, key, period, prepared, approved = arguments
                    answer = book.reverse(
                        entry_id,
                        key,
                        period=period,
                        effective_on=f"{period}-05",
                        prepared_by=prepared,
                        approved_by=approved,
                        kind="reversal" if approved else "release",
                    )
                else:
                    answer = getattr(book, name)(*arguments)
                verdicts.append((name, str(answer)))
            except LedgerError as error:
                verdicts.append((name, type(error).__name__, first_words(error)))
        book.take_snapshots(10)
        balances = {c: book.trial_balance(c) for c in (USD, "EUR/2")}
        half = book.head_seq() // 2
        days = [book.balance("Expenses:Royalty", USD, f"{p}-21") for p in PERIODS]
        return verdicts, book.frontier().root(), balances, book.trial_balance(USD, half), days


def first_words(error: LedgerError) -> str:
    """Return what both databases say alike: all but a refusal in a database's own words."""
    return "" if "the database refused" in str(error) else str(error)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("seed", "count"),
    [(1, 120), (2, 120), (3, 120)]
    + [pytest.param(seed, 3000, marks=pytest.mark.slow) for seed in range(4, 8)],
)
def test_the_same_operations_give_the_same_verdicts_and_root(tmp_path, seed, count):
    """A book may move from one database to the other without anybody noticing."""
    with fresh_book("sqlite", tmp_path) as url:
        on_sqlite = run(url, seed, count)
    with fresh_book("postgresql", tmp_path) as url:
        on_postgresql = run(url, seed, count)
    for ours, theirs in zip(on_sqlite[0], on_postgresql[0], strict=True):
        assert ours == theirs
    assert on_sqlite[1:] == on_postgresql[1:]
