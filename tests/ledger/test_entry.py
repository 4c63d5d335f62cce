"""What an entry is, and the entries that are wrong in themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import canonical_entry
from ledger.entry import JournalEntry, first_difference, leaf_at
from ledger.errors import ApprovalError, EntryError, UnbalancedEntryError
from ledger.journal import reversal_of
from tests.books import PERIOD, accrual, posting

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60)


@given(TEXTS, st.integers(1, 2**53 - 1), TEXTS)
def test_a_leaf_takes_its_place_without_being_written_again(description, place, more):
    """The quick way to place a leaf gives the bytes of the slow way, whatever the texts hold."""
    entry = accrual("k", description=f'{description}"ledger_seq":1,"period":"{more}')
    assert leaf_at(entry.unplaced_leaf(), place) == canonical_entry(ledger_seq=place, entry=entry)


@given(st.text(min_size=1, max_size=5), st.text(min_size=1, max_size=5))
def test_different_keys_have_different_names(one, other):
    """An entry is named by scope and key; lengths are hashed, so nothing can be shifted."""
    names = {JournalEntry.entry_id.func(FakeEntry(one, other)) for _ in range(2)}
    assert len(names) == 1
    shifted = JournalEntry.entry_id.func(FakeEntry(one + other[:1], other[1:]))
    assert shifted not in names


class FakeEntry:
    """Only what the name of an entry is made of."""

    def __init__(self, scope, key):
        self.scope, self.key = scope, key


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"postings": []}, "has 0 postings, expected at least 2"),
        ({"postings": [posting("Assets:Cash", 5)]}, "has 1 postings"),
        ({"postings": [posting("Assets:Cash", 0), posting("Assets:Cash", 0)]}, "got 0;"),
        ({"units": 10**16 + 1}, "between 1 and 10000000000000000"),
        ({"units": 1.0}, "got 1.0"),
        ({"units": True}, "got True"),
        ({"creator": "an na"}, "is not a name of an account"),
        ({"postings": [posting("Cash", 5), posting("Assets:Cash", -5)]}, "'Cash' is not a name"),
        ({"kind": "gift"}, "unknown kind 'gift'"),
        ({"kind": "reversal", "approved_by": "x"}, "name the entry they take back"),
        ({"reverses": "je_x"}, "no other kind does"),
        ({"period": "2026-13"}, "period must be YYYY-MM, got '2026-13'"),
        ({"period": "2026Q4"}, "period must be YYYY-MM"),
        ({"effective_on": "2026-02-30"}, "effective_on must be a day"),
        ({"effective_on": "20261121"}, "effective_on must be a day"),
        ({"scope": "a b"}, "scope must be letters"),
        ({"key": ""}, "key must be 1 to 512 printable characters, got 0"),
        ({"key": "a\nb"}, "printable"),
        ({"description": "\x00"}, "without NUL"),
        ({"description": "\ud800"}, "valid text"),
        ({"evidence": {"x": "abc"}}, "SHA-256 of a file as 64 lower-case hex digits"),
        ({"evidence": {"x": "A" * 64}}, "64 lower-case hex digits"),
    ],
)
def test_an_entry_wrong_in_itself_says_what_is_wrong(changes, said):
    """No database is needed to refuse it; the text names the field and the value."""
    with pytest.raises(EntryError, match=said):
        accrual(**({"key": "k"} | changes))


def test_currencies_do_not_net_each_other():
    """An entry balances in each currency, never across them."""
    lines = [posting("Assets:Cash", 5), posting("Equity:Opening", -5, "EUR/2")]
    with pytest.raises(UnbalancedEntryError, match=r"in EUR/2: debits 0 != credits 5 \(off by 5"):
        accrual("k", postings=lines)


@pytest.mark.parametrize("kind", ["adjustment", "close", "payout"])
def test_some_kinds_need_an_approver(kind):
    """Nobody approves his own work, and some work is approved by somebody."""
    with pytest.raises(ApprovalError, match="nobody approved it"):
        accrual("k", kind=kind)
    with pytest.raises(ApprovalError, match="approved by 'ben'"):
        accrual("k", kind=kind, prepared_by="ben", approved_by="ben")
    assert accrual("k", kind=kind, prepared_by="ben", approved_by="carla").approved_by == "carla"


def test_a_reversal_is_the_exact_negation():
    """The same lines in the same order with the signs turned."""
    entry = accrual("k", 7)
    undone = reversal_of(
        entry, key="u", period=PERIOD, effective_on="2026-11-30", prepared_by="a", approved_by="b"
    )
    assert [(p.account_id, -p.units) for p in undone.postings] == [
        (p.account_id, p.units) for p in entry.postings
    ]
    assert undone.reverses == entry.entry_id


def test_every_field_is_in_the_payload_hash():
    """An entry that differs in anything has another payload hash, and the field is named."""
    entry = accrual("k")
    others = [
        accrual("k", 101),
        accrual("k", kind="earning"),
        accrual("k", period="2026-12"),
        accrual("k", effective_on="2026-11-20"),
        accrual("k", description=""),
        accrual("k", prepared_by="ben"),
        accrual("k", approved_by="ben"),
        accrual("k", evidence={"a": "0" * 64}),
        accrual("k", postings=[*entry.postings, *entry.postings]),
    ]
    assert len({entry.payload_sha256, *(o.payload_sha256 for o in others)}) == len(others) + 1
    named = [first_difference(entry, other)[0] for other in others]
    assert named == [
        "postings[0].units",
        "kind",
        "period",
        "effective_on",
        "description",
        "prepared_by",
        "approved_by",
        "evidence",
        "number of postings",
    ]
