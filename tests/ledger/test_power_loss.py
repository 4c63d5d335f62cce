"""The power goes on SQLite: what was acknowledged is there, what was being written is not.

The write-ahead log is cut at any byte, or filled with noise from there on, as a disk may leave it.
What a commit had synced before it was acknowledged lies before the cut and must be found again.
PostgreSQL does the same with its own log.
"""

import random
from pathlib import Path

import pytest

from ledger.store import LedgerStore, check
from tests.books import PERIOD, accrual

COMMITS = 12


@pytest.fixture
def history(sqlite_url, tmp_path):
    """A book file, its log, and after each commit: length of the log, leaves, root."""
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    log = Path(f"{file}-wal")
    states = []
    with LedgerStore.open(sqlite_url) as book:
        book.open_period(PERIOD)
        for number in range(COMMITS):
            book.post_many([accrual(f"{number}/{n}", n + 1) for n in range(4)])
            states.append((log.stat().st_size, book.head_seq(), book.frontier().root()))
        # Copied while the book is open, before closing it moves the log into the file.
        kept = tmp_path / "kept"
        kept.mkdir()
        (kept / "book.db").write_bytes(file.read_bytes())
        (kept / "book.db-wal").write_bytes(log.read_bytes())
    lengths = [length for length, *_ in states]
    assert lengths == sorted(set(lengths)), "each commit grew the log"
    return kept, states


def after_power_loss(kept: Path, folder: Path, log: bytes) -> str:
    """Return the URL of the book as a machine finds it when the power is back."""
    folder.mkdir()
    (folder / "book.db").write_bytes((kept / "book.db").read_bytes())
    (folder / "book.db-wal").write_bytes(log)
    return f"sqlite:///{folder / 'book.db'}"


@pytest.mark.parametrize("noise", [False, True], ids=["cut", "noise"])
def test_every_acknowledged_commit_survives_and_no_half_one(history, tmp_path, noise):
    """The book is that of the last whole commit before the cut, and it can be posted to."""
    kept, states = history
    whole = (kept / "book.db-wal").read_bytes()
    chance = random.Random(20261121)
    ends = [length for length, *_ in states]
    # At the end of a commit, one byte before and after it, and anywhere.
    cuts = {end + step for end in ends for step in (-1, 0, 1) if end + step <= ends[-1]}
    cuts |= {chance.randrange(ends[0], ends[-1]) for _ in range(20)}
    for number, cut in enumerate(sorted(cuts)):
        survivors = [state for state in states if state[0] <= cut]
        if not survivors:
            continue
        rest = chance.randbytes(len(whole) - cut) if noise else b""
        url = after_power_loss(kept, tmp_path / f"{noise}{number}", whole[:cut] + rest)
        check(url)
        with LedgerStore.open(url) as book:
            assert (book.head_seq(), book.frontier().root()) == survivors[-1][1:], cut
            # Running the same night again posts what was lost and nothing twice.
            for again in range(COMMITS):
                book.post_many([accrual(f"{again}/{n}", n + 1) for n in range(4)])
            assert book.frontier().root() == states[-1][2]
