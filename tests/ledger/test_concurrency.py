"""Many writers at once: no anomaly, every key once, places in commit order without a gap."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import text

from ledger.errors import DatabaseBusyError, PeriodError
from ledger.store import LedgerStore, check
from ledger.store_post import post_prepared
from tests.books import PERIOD, USD, accrual

HOT = ("anna", "ben")


def post_all(url: str, isolation: str | None, writers: int, entries: int, per_call: int) -> None:
    """Send every key twice, in batches of different order, from many writers at once."""
    with LedgerStore.open(url, isolation=isolation) as book:
        book.open_period(PERIOD)
        keys = [f"k{n}" for n in range(entries)]
        calls = [keys[n : n + per_call] for n in range(0, entries, per_call)]
        # The second sending is reversed inside and out: lock orders meet head on.
        calls += [list(reversed(call)) for call in reversed(calls)]
        barrier = threading.Barrier(writers)

        def write(mine: list[list[str]]) -> list:
            barrier.wait()
            answers = []
            for call in mine:
                batch = [accrual(key, int(key[1:]) + 1, HOT[int(key[1:]) % 2]) for key in call]
                answers += book.post_many(batch)
            return answers

        with ThreadPoolExecutor(writers) as pool:
            shares = [calls[n::writers] for n in range(writers)]
            answers = [answer for part in pool.map(write, shares) for answer in part]

        assert len(answers) == 2 * entries
        assert sum(answer.replayed for answer in answers) == entries
        places = {answer.entry_id: answer.ledger_seq for answer in answers}
        assert sorted(places.values()) == list(range(2, entries + 2))
        assert all(places[answer.entry_id] == answer.ledger_seq for answer in answers)
        assert book.balance("Expenses:Royalty", USD) == entries * (entries + 1) // 2
        assert sum(line.balance_units for line in book.trial_balance(USD)) == 0
        sealed = list(book.entries())
        assert [s.recorded_at for s in sealed] == sorted(s.recorded_at for s in sealed)
        assert book.retries <= len(calls) * writers, book.retries
    check(url)


@pytest.mark.parametrize("writers", [1, 8, 32])
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "SERIALIZABLE"])
@pytest.mark.postgres
def test_writers_at_once_on_postgresql(postgresql_url, isolation, writers):
    """Hot accounts, every key sent twice: exactly half is replayed, at either isolation."""
    post_all(postgresql_url, isolation, writers, entries=330, per_call=3)


@pytest.mark.parametrize("writers", [1, 8])
def test_writers_at_once_on_sqlite(sqlite_url, writers):
    """SQLite lets one writer in at a time; nobody is turned away and nothing is posted twice."""
    post_all(sqlite_url, None, writers, entries=330, per_call=3)


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "SERIALIZABLE"])
@pytest.mark.postgres
def test_a_hundred_thousand_entries_from_many_writers(postgresql_url, isolation):
    """The same at nightly size: 50,000 entries at each isolation."""
    post_all(postgresql_url, isolation, 32, entries=50_000, per_call=50)


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.postgres
def test_a_close_and_a_post_at_once_never_both_win(postgresql_url, isolation):
    """A posting in flight is either in the period before its close or refused after it."""
    with LedgerStore.open(postgresql_url, isolation=isolation) as book:
        for n in range(12):
            period = f"2027-{n + 1:02d}"
            book.open_period(period)
            started = threading.Event()
            verdicts: list[str] = []

            def post(period=period, started=started, verdicts=verdicts) -> None:
                started.set()
                for m in range(6):
                    try:
                        book.post(accrual(f"{period}/{m}", period=period))
                        verdicts.append("posted")
                    except PeriodError:
                        verdicts.append("refused")

            poster = threading.Thread(target=post)
            poster.start()
            started.wait()
            time.sleep(0.002 * n)
            book.close_period(period, "ben", "carla")
            poster.join()
            assert verdicts == sorted(verdicts), "after a refusal nothing may be posted"
    with LedgerStore.open(postgresql_url) as book, book.engine.connect() as connection:
        late = connection.execute(
            text(
                "SELECT count(*) FROM seal JOIN journal_entry USING (entry_id) "
                "JOIN settlement_period AS p USING (period) "
                "WHERE p.action = 'close' AND p.ledger_seq < seal.ledger_seq"
            )
        ).scalar()
    assert late == 0


@pytest.mark.postgres
def test_a_late_line_is_refused_at_every_pairing_of_isolations(postgresql_url):
    """An old view of the book does not let a line slip under a seal that came after it."""
    levels = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
    for n, mine in enumerate(levels):
        for m, other in enumerate(levels):
            with (
                LedgerStore.open(postgresql_url, isolation=mine) as book,
                LedgerStore.open(postgresql_url, isolation=other) as sealer,
                book.engine.connect() as connection,
            ):
                sealer.open_period(PERIOD)
                connection.execute(text("SELECT count(*) FROM posting"))
                place = sealer.post(accrual(f"{n}/{m}")).ledger_seq
                with pytest.raises(Exception, match=r"byline:late_posting|could not serialize"):
                    connection.execute(
                        text(
                            "INSERT INTO posting (ledger_seq, line_no, entry_id, account_id, "
                            "currency, units) VALUES (:s, 3, 'x', 'Expenses:Royalty', 'USD/6', 1)"
                        ),
                        {"s": place},
                    )


@pytest.mark.postgres
def test_a_server_without_room_for_locks_is_asked_again(postgresql_url, monkeypatch):
    """Too many predicate locks abort a SERIALIZABLE writer whole; it is run again, not lost."""
    refusals = [psycopg.errors.OutOfMemory("out of shared memory")] * 3

    def refused_at_first(connection, prepared):
        if refusals:
            raise refusals.pop()
        return post_prepared(connection, prepared)

    monkeypatch.setattr("ledger.store.post_prepared", refused_at_first)
    with LedgerStore.open(postgresql_url, isolation="SERIALIZABLE") as book:
        book.open_period(PERIOD)
        assert not book.post(accrual("a")).replayed
        assert book.retries == 3
        refusals += [psycopg.errors.OutOfMemory("out of shared memory")] * 100
        with pytest.raises(DatabaseBusyError, match="out of shared memory"):
            book.post(accrual("b"))
