"""A poster that is killed again and again, and the supervisor that kills it.

Run as a program: `python poster.py URL SEED KILLS`. The supervisor forks a child, which posts
batches and acknowledges each over a pipe, and kills it with SIGKILL at a random moment; then it
looks whether everything acknowledged is in the book, whole. It prints one JSON object.
"""

import json
import os
import random
import signal
import sys
import time

from ledger.entry import JournalEntry, Posting
from ledger.store import LedgerStore, check

PERIOD = "2026-11"
BATCH = 5


def batch(number: int) -> list[JournalEntry]:
    """Return the entries of one batch, always the same."""
    return [
        JournalEntry(
            scope="kill",
            key=f"{number}/{n}",
            kind="accrual",
            period=PERIOD,
            effective_on="2026-11-21",
            description="",
            postings=[
                Posting("Expenses:Royalty", "USD/6", number + n + 1),
                Posting(f"Liabilities:Accrued:c{n}", "USD/6", -(number + n + 1)),
            ],
        )
        for n in range(BATCH)
    ]


def post_until_killed(url: str, first: int, acknowledge: int) -> None:
    """Post batches for ever, from a batch that may be in the book already."""
    with LedgerStore.open(url) as book:
        os.write(acknowledge, b"ready\n")
        number = first
        while True:
            book.post_many(batch(number))
            os.write(acknowledge, b"%d\n" % number)
            number += 1


def kill_once(url: str, first: int, delay_s: float) -> list[int]:
    """Fork a poster, kill it after a delay and return what it acknowledged."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        try:
            post_until_killed(url, first, write_end)
        finally:
            os._exit(3)
    os.close(write_end)
    with os.fdopen(read_end) as acknowledged:
        assert acknowledged.readline() == "ready\n", "the poster did not start"
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"the poster ended by itself with status {status}"
        # A line cut short by the kill was never acknowledged.
        return [int(line) for line in acknowledged if line.endswith("\n")]


def main(url: str, seed: int, kills: int) -> None:
    """Kill, look, repeat; at the end post the last batches undisturbed and check every row."""
    chance = random.Random(seed)
    with LedgerStore.open(url) as book:
        book.open_period(PERIOD)
    done, lost, partial, replayed = 0, 0, 0, 0
    for _ in range(kills):
        # Start two batches early: what was posted before is sent again.
        acknowledged = kill_once(url, max(0, done - 2), chance.uniform(0, 0.04))
        with LedgerStore.open(url) as book:
            entries = book.head_seq() - 1
        if entries % BATCH:
            partial += 1
        if acknowledged and entries < (acknowledged[-1] + 1) * BATCH:
            lost += 1
        replayed += sum(number < done for number in acknowledged)
        done = max(done, entries // BATCH)
    with LedgerStore.open(url) as book:
        for number in range(done + 2):
            book.post_many(batch(number))
        keys = [sealed.entry.key for sealed in book.entries()]
        root = book.frontier().root().hex()
    check(url)
    result = {
        "kills": kills,
        "lost": lost,
        "partial": partial,
        "replayed_batches": replayed,
        "batches": done + 2,
        "twice": len(keys) - len(set(keys)),
        "entries": len(keys),
        "root": root,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
