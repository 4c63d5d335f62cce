"""Payouts: what is paid, what is left out and why, and every step in the books."""

import pytest

from contracts.money import format_units
from ledger.errors import ApprovalError
from reports.payouts.bank import Address, BankAccount, check_address, latin
from reports.payouts.batch import (
    NEXT,
    Owed,
    advance,
    approve,
    draft_batch,
    message_id,
    payout_id,
)
from reports.payouts.errors import PayoutError, TransitionError

GERMAN = BankAccount(
    "Łódź Press & Søn",
    iban="DE89 3704 0044 0532 0130 00",
    bic="COBADEFFXXX",
    address=Address("Köln", "DE", "Domstraße", "1", "50667"),
)
DUTCH = BankAccount("Uitgeverij B", iban="NL91ABNA0417164300")
PERSON = BankAccount("A. Writer", routing="021000021", account="123456789")
COMPANY = BankAccount("Numkit Inc", routing="011401533", account="77-12345", is_company=True)


def owed(payee, units, bank=DUTCH, currency="EUR/6", **more):
    """One line of what is owed."""
    return Owed(payee, currency, units, f"S-2026-11-{payee}", bank=bank, **more)


def drafted(*lines):
    """A draft of the month."""
    return draft_batch("batch:2026-11", "2026-11", "user:accountant", lines)


def approved(*lines):
    """An approved batch of the month."""
    return approve(drafted(*lines), "user:controller")[0]


def test_what_cannot_be_paid_is_listed_with_its_reason():
    """Negative, held, below threshold, without or with wrong bank details: never exported."""
    batch = drafted(
        owed("a", -1),
        owed("b", 10_000_000, held="dispute 7"),
        owed("c", 9_999_999, threshold_units=10_000_000),
        owed("d", 9_999),
        owed("e", 10_000_000, bank=None),
        owed("f", 10_000_000, bank=BankAccount("x", iban="DE00370400440532013000")),
        owed("g", 10_000_000, bank=BankAccount("Ωμέγα", iban=DUTCH.iban)),
        owed("h", 10_000_000, bank=BankAccount("x", iban=DUTCH.iban, address=Address("", "NL"))),
        owed("i", 10_000_000, bank=BankAccount("x")),
        owed("ok", 10_000_001),
    )
    reasons = {line.payee_id: line.reason for line in batch.left_out}
    assert [item.payee_id for item in batch.payouts] == ["ok"]
    assert reasons["a"].startswith("negative")
    assert reasons["b"] == "held: dispute 7"
    assert reasons["c"].startswith("below the threshold")
    assert reasons["d"] == "below the smallest coin"
    assert reasons["e"] == "no bank details"
    assert "IBAN" in reasons["f"]
    assert "no form in the letters" in reasons["g"]
    assert "structured" in reasons["h"]
    assert "neither IBAN" in reasons["i"]
    assert reasons["ok"] == "below the smallest coin, stays owed"


def test_paid_and_left_out_add_up_to_what_is_owed():
    """No unit is forfeited: what the coin cannot carry stays owed."""
    lines = [owed(f"p{n}", 1_234_567 * n + n) for n in range(1, 30)]
    batch = drafted(*lines)
    paid = sum(item.amount_units for item in batch.payouts)
    kept = sum(line.amount_units for line in batch.left_out)
    assert paid + kept == sum(line.amount_units for line in lines)
    assert all(item.amount_units == item.coins * 10_000 for item in batch.payouts)


def test_nobody_approves_his_own_batch():
    """Four eyes, by id."""
    with pytest.raises(PayoutError, match="prepared it and cannot approve it"):
        approve(drafted(owed("a", 10**7)), "user:accountant")


def test_money_moves_from_payable_over_transit_to_cash_and_back():
    """
    2026-12-10  export   Liabilities:RoyaltiesPayable:a   10.00
                         Assets:PayoutsInTransit         -10.00
    2026-12-11  settle   Assets:PayoutsInTransit          10.00
                         Assets:Cash                     -10.00
    2026-12-20  return   Assets:Cash                      10.00
                         Liabilities:RoyaltiesPayable:a  -10.00
    expect      nothing in transit, nothing paid, 10.00 owed again
    """  # noqa: D205, D212, D415 - the book's own language.
    batch = approved(owed("a", 10_000_000))
    sums = {}
    for event, day in (
        ("export", "2026-12-10"),
        ("settle", "2026-12-11"),
        ("return", "2026-12-20"),
    ):
        batch, events = advance(batch, event, actor="bank", day=day, period="2026-12")
        for posting in events[0].entry.postings:
            sums[posting.account_id] = sums.get(posting.account_id, 0) + posting.units
    assert all(units == 0 for units in sums.values())
    assert batch.payouts[0].state == "returned"
    batch, events = advance(batch, "reissue", actor="user:accountant", day="")
    assert (batch.payouts[0].state, events[0].entry) == ("reissued", None)


def test_every_event_names_its_entry_once():
    """The key of an entry is batch, payout and event: booking it again changes nothing."""
    batch = approved(owed("a", 10**7), owed("b", 10**7))
    _, first = advance(batch, "export", actor="x", day="2026-12-10")
    _, again = advance(batch, "export", actor="x", day="2026-12-10")
    assert [e.entry.entry_id for e in first] == [e.entry.entry_id for e in again]
    assert len({e.entry.entry_id for e in first}) == 2
    assert all(e.entry.approved_by == "user:controller" for e in first)


def test_an_unapproved_batch_cannot_be_booked():
    """The ledger refuses a payout entry without a second person, even if asked here."""
    batch = drafted(owed("a", 10**7))
    with pytest.raises(TransitionError, match="is draft, so it cannot be export"):
        advance(batch, "export", actor="x", day="2026-12-10")


@pytest.mark.parametrize("state", sorted(NEXT))
def test_states_lead_only_where_they_may(state):
    """No event leads to a state that is not known, and ends are ends."""
    assert set(NEXT[state].values()) <= set(NEXT)
    if state in {"voided", "reissued"}:
        assert not NEXT[state]


def test_a_reissue_has_other_ids():
    """Message and payout ids are never used again."""
    first, second = drafted(owed("a", 10**7)), draft_batch("batch:2", "2026-12", "u", [])
    assert message_id(first) != message_id(second)
    assert payout_id("batch:1", "a", "EUR/6") != payout_id("batch:2", "a", "EUR/6")
    assert len(payout_id("batch:1", "a", "EUR/6")) == 26


def test_a_payee_twice_in_one_currency_is_refused():
    """Two lines would be two payments of one debt."""
    with pytest.raises(PayoutError, match="is there twice"):
        drafted(owed("a", 1), owed("a", 2))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Łukasz Müller & Søn", "Lukasz Muller + Son"),
        ("José  Ñandú", "Jose Nandu"),
        ("D\N{RIGHT SINGLE QUOTATION MARK}Arc", "D'Arc"),
    ],
)
def test_names_are_written_in_the_letters_of_banks(name, written):
    """Accents fall, letters stay; other scripts are refused, not guessed."""
    assert latin(name, 70) == written
    with pytest.raises(PayoutError, match="no form in the letters"):
        latin("Щука", 70)


def test_amounts_on_the_draft_are_whole_coins():
    """What a person approves is what the bank is told."""
    (item,) = drafted(owed("a", 12_345_678)).payouts
    assert (item.coins, format_units(item.amount_units, "EUR/6")) == (1234, "12.340000")
    with pytest.raises(PayoutError):
        check_address(Address("Paris", "France"))
    assert issubclass(ApprovalError, Exception)


def test_the_list_for_approval_adds_up_and_shows_no_bank_details():
    """Who approves sees every line, the ones left out among them, and no account number."""
    import csv
    import io

    from reports.payouts.listing import payout_csv

    batch = drafted(owed("a", 12_345_678, GERMAN), owed("b", -5))
    data = payout_csv(batch).decode()
    rows = list(csv.DictReader(io.StringIO(data)))
    assert sum(int(row["amount_units"]) for row in rows) == 12_345_673
    assert GERMAN.iban.replace(" ", "") not in data.replace(" ", "")
    assert GERMAN.iban not in repr(batch)
