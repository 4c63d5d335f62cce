"""Balances at any past moment, snapshots that are checked, days that come late."""

import random

import psycopg
import pytest
from sqlalchemy import text

from ledger.account import check_account_id, normal_sign
from ledger.balance import TrialBalanceLine
from ledger.chart import accrued, owner_of, royalties_payable
from ledger.errors import EntryError, SnapshotError
from ledger.store import LedgerStore
from tests.books import PERIOD, USD, accrual

HOT = "Expenses:Royalty"


def fill(book: LedgerStore, entries: int) -> list[tuple[str, int]]:
    """Post entries whose days mostly rise and sometimes come late; return (day, units) each."""
    chance = random.Random(7)
    days = []
    for n in range(entries):
        day = 1 + n * 27 // entries
        if chance.random() < 0.1:
            day = chance.randrange(1, 29)
        days.append((f"{PERIOD}-{day:02d}", chance.choice([-3, 5, 11])))
    book.open_period(PERIOD)
    book.post_many([accrual(f"k{n}", u, effective_on=d) for n, (d, u) in enumerate(days)])
    return days


def test_a_balance_at_any_place_and_day_is_the_sum_of_the_postings(book):
    """With snapshots or without, by place or by day or both, the sum is the sum."""
    days = fill(book, 300)
    for every in (None, 70, 7):
        if every:
            assert book.take_snapshots(every) > 0
        for place in (0, 1, 2, 3, 57, 150, 299, 301):
            known = days[: max(0, place - 1)]
            assert book.balance(HOT, USD, as_of_seq=place) == sum(units for _, units in known)
            for day in ("2026-10-31", f"{PERIOD}-01", f"{PERIOD}-14", f"{PERIOD}-30"):
                expected = sum(units for d, units in known if d <= day)
                assert book.balance(HOT, USD, day, place) == expected


def test_an_account_never_posted_to_has_balance_zero(book):
    """A zero balance is an answer, not an error."""
    assert book.balance("Liabilities:Accrued:nobody", USD) == 0
    assert book.trial_balance(USD) == []


def test_snapshots_are_taken_when_due_and_only_then(book):
    """Taking snapshots twice takes none the second time, and no account is far from one."""
    fill(book, 100)
    assert book.take_snapshots(10) == 20
    assert book.take_snapshots(10) == 0
    assert book.verify_snapshots() == 20


def test_looking_only_at_busy_accounts_leaves_no_account_behind(book):
    """Most nights look at what they added; when the book has grown by a tenth, at all accounts."""
    fill(book, 100)
    assert book.take_snapshots(40) == 4
    head = book.head_seq()
    book.post_many([accrual(f"quiet{n}", 1, "quiet") for n in range(3)])
    quiet_at = book.head_seq()
    assert book.take_snapshots(40, head) == 0, "three postings are not busy"
    book.post_many([accrual(f"busy{n}", 1) for n in range(2)])
    assert book.take_snapshots(3, quiet_at) >= 2, "busy at a tenth of three: looked at"
    grown = book.head_seq()
    book.post_many([accrual(f"grown{n}", 1) for n in range(30)])
    assert book.take_snapshots(3, grown) > 0
    assert book.balance("Liabilities:Accrued:quiet", USD) == -3
    assert book.verify_snapshots() > 4
    with book.engine.connect() as connection:
        seen = connection.execute(
            text("SELECT count(*) FROM balance_snapshot WHERE account_id LIKE '%quiet'")
        ).scalar_one()
    assert seen == 1, "the book grew by a tenth: the quiet account was looked at"


@pytest.mark.postgres
def test_a_forged_snapshot_is_found_by_the_full_sum(postgresql_url):
    """A stored balance is only a shortcut: the nightly check sums all postings again."""
    with LedgerStore.open(postgresql_url) as book:
        fill(book, 50)
        book.take_snapshots(10)
        with psycopg.connect(postgresql_url) as raw:
            for word in ("DISABLE", "ENABLE ALWAYS"):
                raw.execute(
                    f"ALTER TABLE balance_snapshot {word} TRIGGER balance_snapshot_refuse_change"
                )
                if word == "DISABLE":
                    raw.execute("UPDATE balance_snapshot SET units = units + 1")
        with pytest.raises(SnapshotError, match=r"Expenses:Royalty in USD/6 at ledger_seq 11"):
            book.verify_snapshots()


def test_a_trial_balance_line_reads_as_a_person_expects():
    """What is owed is a positive number to its reader and a credit in the book."""
    line = TrialBalanceLine(accrued("anna"), USD, 30, 100)
    assert (line.balance_units, line.normal_units, line.category) == (-70, 70, "Liabilities")
    assert normal_sign("Assets:Cash") == 1


@pytest.mark.parametrize(
    "name", ["", "Cash", "Assets", "Assets:", "Assets::x", "assets:x", "Assets:ä"]
)
def test_a_malformed_account_is_refused(name):
    """An account is a category and words; anything else is a mistake."""
    with pytest.raises(EntryError, match="is not a name of an account"):
        check_account_id(name)


def test_accounts_of_a_party_are_found_again_from_their_names():
    """Two ids never share an account: an id stands in the name as it is, or is refused."""
    assert royalties_payable("org:pkg/x") == "Liabilities:RoyaltiesPayable:org:pkg/x"
    assert owner_of(royalties_payable("org:pkg/x")) == "org:pkg/x"
    with pytest.raises(EntryError):
        royalties_payable("org:")
    assert owner_of(accrued("pkg-numpy")) == "pkg-numpy"
    assert owner_of(HOT) is None
