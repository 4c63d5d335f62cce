"""What of a payee's account is paid as it stands, and what waits for conversion; by hand."""

import json

import pytest

from flows.artefacts import ArtefactMissingError
from flows.books import open_books
from flows.payout_events import record_event
from flows.payouts import draft, position, put_bank
from reports.payouts.bank import BankAccount
from reports.payouts.batch import CARRIED
from tests.simulation.paper import agree, close, owed, settle, write_works

POOL = "terms: [{term_id: pool, then: {basis: pool_share, pool: main}}]"
# 1.00 USD is 0.4 of a cent: less than half a unit.
RATE = "0.004"


@pytest.fixture
def workspace(workspace):
    """Anna's agreement is paid in euros, bo's to anna too, in the pool's dollars."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"bo": "1"}})
    agree(workspace, "anna", "payment: {currency: EUR/2}", POOL)
    agree(workspace, "bo", "payee: anna", POOL)
    rows = [
        {"from": "USD", "to": "EUR", "on": day, "rate": RATE, "source": "ECB"}
        for day in ("2026-01-30", "2026-02-27")
    ]
    table = json.dumps({"format": "byline-rates/1", "rates": rows})
    (workspace.root / "rates.json").write_text(table)
    return workspace


def drafted(workspace, name):
    """Draft a batch; give what is paid, and what is not with the reason."""
    with open_books(workspace) as books:
        put_bank(workspace, books, "anna", BankAccount("Anna", iban="DE89370400440532013000"))
        batch = draft(workspace, books, name, prepared_by="accountant-1").batch
        told = [(line.currency, line.amount_units, why) for line, why in position(workspace, books)]
    paid = {(p.currency, p.amount_units) for p in batch.payouts}
    return paid, {(o.currency, o.amount_units, o.reason) for o in batch.left_out}, told


def test_what_waits_for_conversion_is_in_no_batch_and_is_converted_by_the_next_close(workspace):
    """1.00 USD waits beside 5.00 that are paid; with February's 2.00 it is 0.01 EUR, once."""
    settle(workspace, "2026-01-05", {"w1": 100, "w2": 500})
    close(workspace, "2026-01")
    assert owed(workspace, "anna") == 600
    paid, left, told = drafted(workspace, "b1")
    assert paid == {("USD/2", 500)}
    assert left == {("USD/2", 100, "waits for conversion")}
    assert told == [
        ("USD/2", 100, "waits for conversion"),
        ("USD/2", 500, "held: in batch b1"),
    ]
    with open_books(workspace) as books:
        record_event(workspace, books, "b1", "void", actor="accountant-1")
    settle(workspace, "2026-02-05", {"w1": 200})
    close(workspace, "2026-02")
    assert (owed(workspace, "anna"), owed(workspace, "anna", "EUR/2")) == (500, 1)
    paid, left, _ = drafted(workspace, "b2")
    assert (paid, left) == ({("USD/2", 500), ("EUR/2", 1)}, set())


def test_alone_it_is_left_out_whole(workspace):
    """Nothing else is owed: the batch is empty and says why."""
    settle(workspace, "2026-01-05", {"w1": 100})
    close(workspace, "2026-01")
    assert drafted(workspace, "b1")[:2] == (set(), {("USD/2", 100, "waits for conversion")})


def test_without_the_last_closes_file_nothing_is_drafted(workspace):
    """Nobody could say what waits: refused, rather than paid twice."""
    settle(workspace, "2026-01-05", {"w1": 100})
    close(workspace, "2026-01")
    (workspace.root / "closes" / "2026-01.json").unlink()
    with pytest.raises(ArtefactMissingError, match=r"2026-01\.json"):
        drafted(workspace, "b1")


def test_sums_below_the_thresholds_of_two_agreements_are_not_paid_together(workspace):
    """4.00 and 5.00 are carried forward, each below its 6.00; 9.00 are owed, none of it is paid."""
    payment = "payment: {currency: USD/2, threshold: 6.00}"
    agree(workspace, "anna", payment, POOL)
    agree(workspace, "bo", "payee: anna", payment, POOL)
    settle(workspace, "2026-01-05", {"w1": 400, "w2": 500})
    close(workspace, "2026-01")
    assert owed(workspace, "anna") == 900
    assert drafted(workspace, "b1")[:2] == (set(), {("USD/2", 900, CARRIED)})
    settle(workspace, "2026-02-05", {"w1": 300})
    close(workspace, "2026-02")
    assert drafted(workspace, "b2")[:2] == ({("USD/2", 700)}, {("USD/2", 500, CARRIED)})
