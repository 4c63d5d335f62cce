"""An exception at every statement of a night, one by one: the night run again ends the same."""

import pytest
from sqlalchemy import event

from ledger import store_bulk
from ledger.store import LedgerStore, check
from tests.books import PERIOD, accrual
from tests.databases import fresh_book
from tests.ledger.conftest import BOTH

METHODS = ("insert_entries", "insert_accounts", "lock_head", "insert_postings", "insert_seals")


class InjectedError(Exception):
    """The fault, which no code of ours may swallow."""


class Faults:
    """Counts the places where a night can die and raises at one of them.

    A place is: before each SQL statement, before and after each bulk write, in the middle of
    its rows, before and after each commit.
    """

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.passed = 0

    def point(self, *_: object) -> None:
        """Pass one place, or die there."""
        self.passed += 1
        if self.passed == self.at:
            raise InjectedError(f"at place {self.at}")

    def rows(self, rows):
        """Pass rows on, with a place in the middle of them."""
        for number, row in enumerate(rows):
            if number == 1:
                self.point()
            yield row

    def wrap(self, method, rows_too: bool):
        """Return a bulk write with places around it."""

        def wrapped(bulk, *args):
            self.point()
            found = method(bulk, *(self.rows(a) for a in args) if rows_too else args)
            self.point()
            return found

        return wrapped


def night(book: LedgerStore) -> None:
    """One night and the month's end, every part of which may run twice."""
    book.open_period(PERIOD)
    entries = [accrual(f"k{n}", n + 1, f"c{n % 3}") for n in range(70)]
    book.post_many(entries)
    book.reverse(
        entries[3].entry_id,
        "undo",
        period=PERIOD,
        effective_on="2026-11-22",
        prepared_by="ben",
        approved_by="carla",
    )
    book.take_snapshots(20)
    frontier = book.frontier()
    book.save_checkpoint(f"note over {frontier.size}", frontier.size, frontier.root())
    book.close_period(PERIOD, "ben", "carla")


def run_with(faults: Faults, url: str, monkeypatch) -> None:
    """Run a night with a fault somewhere."""
    with monkeypatch.context() as patch, LedgerStore.open(url) as book:
        for cls in (store_bulk.SqliteBulk, store_bulk.PostgresqlBulk):
            for name in METHODS:
                rows_too = name in {"insert_postings", "insert_seals"}
                patch.setattr(cls, name, faults.wrap(getattr(cls, name), rows_too))
        event.listen(book.engine, "before_cursor_execute", faults.point)
        event.listen(book.engine, "commit", faults.point)
        night(book)


@pytest.mark.parametrize("kind", BOTH)
def test_a_fault_anywhere_in_a_night_is_healed_by_running_it_again(kind, tmp_path, monkeypatch):
    """Whatever statement fails, the night run again posts the rest and nothing twice."""
    with fresh_book(kind, tmp_path) as url:
        counted = Faults(None)
        run_with(counted, url, monkeypatch)
        with LedgerStore.open(url) as book:
            undisturbed = book.frontier().root()
    assert counted.passed > 40
    # Each place needs a book of its own.
    for place in range(1, counted.passed + 1):
        die_and_heal(kind, tmp_path, monkeypatch, place, undisturbed)


def die_and_heal(kind, folder, monkeypatch, place, undisturbed) -> None:
    """Let a night die at one place, run it again and compare."""
    with fresh_book(kind, folder) as url:
        faults = Faults(place)
        try:
            run_with(faults, url, monkeypatch)
        except InjectedError:
            pass
        else:
            assert faults.passed < place, f"the fault at place {place} was swallowed"
        check(url)
        with LedgerStore.open(url) as book:
            night(book)
            assert book.frontier().root() == undisturbed, f"after a fault at place {place}"
            assert book.verify_snapshots() > 0
        check(url)
