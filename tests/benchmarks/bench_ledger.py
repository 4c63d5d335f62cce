"""How fast the book is, as ratios to what the same machine does at the same minute.

Run as a program: `python -m tests.benchmarks.bench_ledger [--quick] [--only DATABASE]`. Each line
of the table names what was measured, the figure, its target and, where there is one, the ratio
to a baseline taken in the same run on the same server:

    COPY            the same rows by COPY into our own tables with their triggers switched off;
                    primary, unique and foreign keys as ours
    bare COPY       the same without any foreign key either
    keyed COPY      the same with a foreign key for every reference that our triggers check
    one by one      an INSERT of two lines and a commit each, as pgbench does it

fsync is on: PostgreSQL's own setting is printed, SQLite runs with synchronous = FULL.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import text

from ledger.entry import JournalEntry, Posting
from ledger.store import LedgerStore
from ledger.store_bulk import PostgresqlBulk
from ledger.store_post import Prepared, prepare
from tests.databases import fresh_book, postgresql_database

PERIOD, USD = "2026-11", "USD/6"
PGLEDGER_PER_S = 10_637
ACCOUNTS = 1000


class Table:
    """The lines of the result, printed as they come."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, str]] = []

    def add(self, what: str, figure: str, target: str = "", ratio: str = "") -> None:
        """Print one line."""
        self.lines.append((what, figure, target, ratio))
        sys.stdout.write(f"{what:<58} {figure:>18}  {target:<20} {ratio}\n")
        sys.stdout.flush()


def two_line_entries(first: int, count: int) -> list[JournalEntry]:
    """Return two-line entries over a thousand accounts."""
    return [
        JournalEntry(
            scope="bench",
            key=f"k{n}",
            kind="accrual",
            period=PERIOD,
            effective_on="2026-11-21",
            description="accrual of one night",
            postings=[
                Posting(f"Liabilities:Accrued:c{n * 7 % ACCOUNTS}", USD, 100),
                Posting(f"Liabilities:Accrued:c{(n * 7 + 13) % ACCOUNTS}", USD, -100),
            ],
        )
        for n in range(first, first + count)
    ]


@contextmanager
def timed() -> Iterator[list[float]]:
    """Measure the wall seconds of a block into a list of one."""
    seconds = [0.0]
    start = time.perf_counter()
    yield seconds
    seconds[0] = time.perf_counter() - start


def batched(url: str, count: int, batch: int) -> float:
    """Return the entries per second of posting prepared batches, building them not counted."""
    spent = 0.0
    with LedgerStore.open(url) as book:
        book.open_period(PERIOD)
        for first in range(0, count, batch):
            entries = two_line_entries(first, batch)
            with timed() as seconds:
                book.post_many(entries)
            spent += seconds[0]
    return count / spent


# What each schema of plain tables has besides primary and unique keys.
ENTRY_KEYS = (
    (
        "ALTER TABLE journal_entry ADD FOREIGN KEY (entry_id) REFERENCES seal "
        "DEFERRABLE INITIALLY DEFERRED, ADD FOREIGN KEY (reverses) REFERENCES journal_entry"
    ),
)
ALL_KEYS = (
    *ENTRY_KEYS,
    "ALTER TABLE seal ADD FOREIGN KEY (entry_id) REFERENCES journal_entry",
    (
        "ALTER TABLE posting ADD FOREIGN KEY (account_id, currency) REFERENCES account, "
        "ADD FOREIGN KEY (ledger_seq) REFERENCES seal (ledger_seq) DEFERRABLE INITIALLY DEFERRED"
    ),
)
PLAIN = {"bare": (), "copy": ENTRY_KEYS, "keyed": ALL_KEYS}


def plain_tables(raw: psycopg.Connection, schema: str) -> None:
    """Copy our tables without triggers into a schema of their own."""
    raw.execute(f"CREATE SCHEMA {schema}")
    for table in ("account", "journal_entry", "posting", "seal"):
        raw.execute(f"CREATE TABLE {schema}.{table} (LIKE public.{table} INCLUDING ALL)")
    raw.execute(
        f"INSERT INTO {schema}.account SELECT 'Liabilities:Accrued:c' || n, 'USD/6' "
        f"FROM generate_series(0, {ACCOUNTS}) AS n"
    )
    raw.execute(f"SET search_path = {schema}")
    for statement in PLAIN[schema]:
        raw.execute(statement)
    raw.commit()


def side_by_side(url: str, count: int, batch: int) -> dict[str, float]:
    """Post and copy the same batches in turn, so that all of them meet the same machine.

    What the plain rows are made of is prepared before their clock starts; it covers writing the
    lines, sending them and the commit. Ours covers everything but building the entries.

    Returns:
        Entries per second: "ours", and by COPY into each kind of plain tables.
    """
    spent = dict.fromkeys(("ours", *PLAIN), 0.0)
    with LedgerStore.open(url) as book, ExitStack() as stack:
        book.open_period(PERIOD)
        plain = {name: stack.enter_context(psycopg.connect(url)) for name in PLAIN}
        for name, raw in plain.items():
            plain_tables(raw, name)
        for first in range(0, count, batch):
            entries = two_line_entries(first, batch)
            prepared = prepare(entries)
            rows = [item.values() for item in prepared]
            for name, raw in plain.items():
                with timed() as seconds:
                    copy_rows(raw, PostgresqlBulk(raw), prepared, rows, first)
                spent[name] += seconds[0]
            with timed() as seconds:
                book.post_many(entries)
            spent["ours"] += seconds[0]
    return {name: count / seconds for name, seconds in spent.items()}


def copy_rows(
    raw: psycopg.Connection, bulk: PostgresqlBulk, prepared: list[Prepared], rows: list, first: int
) -> None:
    """Copy the rows of one batch with the lines that our own writer makes, and commit."""
    bulk.copy_entries(rows)
    bulk.insert_postings(
        (seq, line_no, item.entry.entry_id, *posting)
        for seq, item in enumerate(prepared, first + 1)
        for line_no, posting in enumerate(item.entry.postings, 1)
    )
    bulk.insert_seals(
        (item.entry.entry_id, seq, item.entry.effective_on, 2, b"\0" * 32)
        for seq, item in enumerate(prepared, first + 1)
    )
    raw.commit()


def one_by_one(url: str, count: int) -> float:
    """Return the transfers per second of a two-line INSERT and a commit each."""
    with psycopg.connect(url) as raw:
        raw.execute("CREATE SCHEMA IF NOT EXISTS naive")
        raw.execute(
            "CREATE TABLE naive.line (id bigserial PRIMARY KEY, account text, units bigint)"
        )
        raw.commit()
        with timed() as seconds:
            for n in range(count):
                raw.execute(
                    "INSERT INTO naive.line (account, units) VALUES (%s, %s), (%s, %s)",
                    (f"c{n % ACCOUNTS}", 100, f"c{(n + 13) % ACCOUNTS}", -100),
                )
                raw.commit()
    return count / seconds[0]


def big_night(table: Table, url: str, kind: str, creators: int) -> None:
    """Post one entry of a million creators, seal it and take a checkpoint."""
    with timed() as built:
        lines = [Posting("Expenses:Royalty", USD, creators * 3)]
        lines += [Posting(f"Liabilities:Accrued:c{n:07d}", USD, -3) for n in range(creators)]
        entry = JournalEntry("bench", "night", "accrual", PERIOD, "2026-11-21", "one night", lines)
        del lines
    with LedgerStore.open(url) as book:
        book.open_period(PERIOD)
        with timed() as posted:
            book.post(entry)
        with timed() as checked:
            frontier = book.frontier()
            book.save_checkpoint("note", frontier.size, frontier.root())
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    total = posted[0] + checked[0]
    what = f"{kind}: one night of {creators:,} creators, posted + checkpoint"
    table.add(what, f"{total:.1f} s", "< 60 s", f"building it {built[0]:.1f} s")
    table.add(f"{kind}: peak memory so far", f"{memory_mib:.0f} MiB", "< 1536 MiB")


def past_balances(table: Table, url: str, kind: str, postings: int) -> None:
    """Fill a book, take snapshots, and ask for balances at past places."""
    entries = postings // 2
    batch = min(20_000, entries)
    with LedgerStore.open(url) as book:
        book.open_period(PERIOD)
        for first in range(0, entries, batch):
            # One hot account on every second entry: the worst case for a sum.
            book.post_many(hot_entries(first, batch))
        with timed() as snapped:
            taken = book.take_snapshots()
        with book.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE posting" if kind == "sqlite" else "VACUUM ANALYZE"))
        worst = 0.0
        for n in range(1, 40):
            place = entries * n // 40
            with timed() as asked:
                units = book.balance("Expenses:Royalty", USD, as_of_seq=place)
            worst = max(worst, asked[0])
            assert units == (place - 1) * 100, (units, place)
        what = f"{kind}: balance at a past place, {postings:,} postings, worst of 39"
        table.add(what, f"{worst * 1000:.1f} ms", "< 50 ms", f"{taken} snapshots")
        with timed() as summed:
            lines = book.trial_balance(USD)
        assert sum(line.balance_units for line in lines) == 0
        what = f"{kind}: trial balance of {postings:,} postings"
        table.add(what, f"{summed[0]:.2f} s", "< 5 s", f"{len(lines)} accounts")
        with timed() as verified:
            book.verify_snapshots()
        what = f"{kind}: snapshots against the full sum"
        table.add(what, f"{verified[0]:.2f} s", "", f"taking them {snapped[0]:.1f} s")


def hot_entries(first: int, count: int) -> list[JournalEntry]:
    """Return two-line entries that all post to one account."""
    return [
        JournalEntry(
            "bench",
            f"h{n}",
            "accrual",
            PERIOD,
            "2026-11-21",
            "",
            [
                Posting("Expenses:Royalty", USD, 100),
                Posting(f"Liabilities:Accrued:c{n * 7 % 100_000}", USD, -100),
            ],
        )
        for n in range(first, first + count)
    ]


def bench_postgresql(table: Table, folder: Path, *, quick: bool) -> None:
    """Measure everything on PostgreSQL."""
    count, batch = (20_000, 5_000) if quick else (200_000, 10_000)
    with postgresql_database() as url, psycopg.connect(url) as raw:
        fsync = raw.execute("SHOW fsync").fetchone()
        version = raw.execute("SHOW server_version").fetchone()
        table.add("postgresql: version, fsync", f"{version[0].split()[0]}, {fsync[0]}")
    with fresh_book("postgresql", folder) as url:
        rates = side_by_side(url, count, batch)
        naive = one_by_one(url, count // 100)
    ours = rates["ours"]
    table.add("postgresql: COPY without triggers, entries/s", f"{rates['copy']:,.0f}")
    table.add("postgresql: bare COPY, entries/s", f"{rates['bare']:,.0f}")
    table.add("postgresql: keyed COPY, entries/s", f"{rates['keyed']:,.0f}")
    table.add("postgresql: one by one, transfers/s", f"{naive:,.0f}")
    ratio = (
        f"{ours / rates['copy']:.2f} of COPY, {ours / rates['bare']:.2f} of bare, "
        f"{ours / rates['keyed']:.2f} of keyed, {ours / naive:.0f}x one by one"
    )
    what = f"postgresql: two-line entries in batches of {batch:,}, entries/s"
    table.add(what, f"{ours:,.0f}", f"> {PGLEDGER_PER_S:,}, 0.5 COPY", ratio)
    with fresh_book("postgresql", folder) as url:
        big_night(table, url, "postgresql", 50_000 if quick else 1_000_000)
    with fresh_book("postgresql", folder) as url:
        past_balances(table, url, "postgresql", 100_000 if quick else 10_000_000)


def bench_sqlite(table: Table, folder: Path, *, quick: bool) -> None:
    """Measure everything on SQLite."""
    count, batch = (20_000, 5_000) if quick else (200_000, 10_000)
    with fresh_book("sqlite", folder) as url:
        ours = batched(url, count, batch)
    what = f"sqlite: two-line entries in batches of {batch:,}, postings/s"
    table.add(what, f"{2 * ours:,.0f}", "> 25,000", "synchronous = FULL")
    with fresh_book("sqlite", folder) as url:
        big_night(table, url, "sqlite", 50_000 if quick else 1_000_000)
    with fresh_book("sqlite", folder) as url:
        past_balances(table, url, "sqlite", 100_000 if quick else 10_000_000)


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="one database")
    options = parser.parse_args(argv)
    table = Table()
    with tempfile.TemporaryDirectory(prefix="byline-bench-") as folder:
        if options.only != "postgresql":
            bench_sqlite(table, Path(folder), quick=options.quick)
        if options.only != "sqlite":
            bench_postgresql(table, Path(folder), quick=options.quick)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
