"""Statements of agreements in another currency than the pool's, on a night really measured."""

import json
from fractions import Fraction

import pytest

from flows.books import open_books
from flows.close import close_period
from flows.engine import run_night
from flows.payout_owed import owed_lines
from flows.payouts import draft
from flows.publish import publish_period
from flows.publish_settlement import foreign_lines
from flows.reperform import reperform
from ledger import chart
from ledger.audit import run_verify
from ledger.checkpoint import read_verifiers
from reports.statement_proof import verify_statement_file
from tests.simulation.paper import PEOPLE
from tests.simulation.tiny import DAYS, copy_of, tiny

EURO, DOLLAR = "EUR/6", "USD/6"
FEE = "terms: [{term_id: fee, then: {basis: per_output, price: 0.04}}]"
POOL = "terms: [{term_id: pool, then: {basis: pool_share, pool: main}}]"


def agreement(licensor, name, currency, *lines):
    """Write the text of an agreement."""
    head = [
        "format: byline-agreement/1",
        f"agreement_id: {name}",
        "version: 1",
        f"licensor: {licensor}",
        "licensee: operator",
        f"currency: {currency}",
        "effective_from: 2026-10-01",
    ]
    return "\n".join([*head, *lines]) + "\n"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """October: a share in euros, fees in euros alone, both currencies, euros paid in dollars."""
    workspace = copy_of(tiny(), tmp_path_factory.mktemp("currencies") / "home")
    texts = {
        "pkg-00": agreement("pkg:00", "agr-pkg-00", EURO, POOL),
        "pkg-01": agreement("pkg:01", "agr-pkg-01", EURO, FEE),
        "pkg-02-fee": agreement("pkg:02", "agr-pkg-02-fee", EURO, FEE),
        "pkg-04": agreement("pkg:04", "agr-pkg-04", EURO, f"payment: {{currency: {DOLLAR}}}", POOL),
    }
    for name, text in texts.items():
        (workspace.agreements / f"{name}.yaml").write_text(text)
    pairs = (("USD", "EUR", "0.9"), ("EUR", "USD", "1.1"))
    rows = [
        {"from": one, "to": two, "on": "2026-10-30", "rate": rate, "source": "ECB"}
        for one, two, rate in pairs
    ]
    table = json.dumps({"format": "byline-rates/1", "rates": rows})
    (workspace.root / "rates.json").write_text(table)
    run_night(workspace, DAYS[0])
    closed = close_period(workspace, "2026-10", **PEOPLE)
    return workspace, closed, publish_period(workspace, "2026-10")


def by_number(published):
    """Return the statements by number, without the period."""
    return {s.number.partition("/")[2]: s for s in published[2].built}


def test_every_statement_foots_in_its_own_currency_and_proves_itself(published):
    """Closing balances are those of the payable account in the statement's currency."""
    workspace, _, papers = published
    keys = read_verifiers(workspace.public_key)
    for path in papers.statements:
        verify_statement_file(path.read_bytes(), keys, name=path.name)
    with open_books(workspace) as books:
        for number, statement in by_number(published).items():
            header = statement.inputs.header
            account = chart.royalties_payable(header.payee_id)
            assert statement.closing_units == -books.balance(account, header.currency), number


def test_a_share_of_the_pool_in_euros_says_how_it_was_converted(published):
    """One statement, in euros: works add up to what was earned, the pool is in a note."""
    statement = by_number(published)["pkg:00/EUR-6"]
    assert "pkg:00" not in by_number(published)
    given = published[1].plan.given["agr-pkg-00"][0]
    units = next(p for p in published[1].plan.pools).units_of("agr-pkg-00")
    assert statement.earned_units == given.amount_units == round(Fraction(units * 9, 10))
    assert sum(line.amount_units for line in statement.inputs.works) == statement.earned_units > 0
    assert "at 0.9 EUR per USD on 2026-10-30, ECB" in statement.inputs.working[0].working
    assert any("Pool main of USD" in note for note in statement.inputs.notes)
    assert statement.inputs.year_to_date.earned_units == statement.earned_units


def test_an_agreement_with_fees_alone_in_euros_foots(published):
    """Its share of the pool is unlicensed and told on the statement in dollars."""
    statements = by_number(published)
    fees, plain = statements["pkg:01/EUR-6"], statements["pkg:01"]
    assert fees.closing_units == fees.earned_units > 0
    assert plain.closing_units == 0
    assert any("has no agreement on this pool" in note for note in plain.inputs.notes)
    assert not any("has no agreement" in note for note in fees.inputs.notes)


def test_a_payee_with_agreements_in_two_currencies_has_a_statement_in_each(published):
    """Dollars of the pool and euros of fees are never added up."""
    statements = by_number(published)
    dollars, euros = statements["pkg:02"], statements["pkg:02/EUR-6"]
    assert dollars.inputs.header.agreements == ("agr-pkg-02 v1",)
    assert euros.inputs.header.agreements == ("agr-pkg-02-fee v1",)
    assert (dollars.inputs.header.currency, euros.inputs.header.currency) == (DOLLAR, EURO)
    assert min(dollars.earned_units, euros.earned_units) > 0


def test_a_net_in_euros_paid_in_dollars_leaves_one_statement_and_comes_into_the_other(published):
    """Converted twice, each at its dated rate, and cited on both statements."""
    statements = by_number(published)
    euros, dollars = statements["pkg:04/EUR-6"], statements["pkg:04"]
    assert (euros.closing_units, euros.earned_units > 0) == (0, True)
    assert dollars.closing_units == round(Fraction(euros.earned_units * 11, 10))
    for statement in (euros, dollars):
        (move,) = [m for m in statement.inputs.movements if m.kind == "currency_conversion"]
        assert "at 1.1 USD per EUR on 2026-10-30, ECB" in move.note


def test_a_payout_names_the_statement_on_which_its_amount_stands(published):
    """Euros of an agreement in euros on its paper, converted dollars on that in dollars."""
    workspace = published[0]
    with open_books(workspace) as books:
        batch = draft(workspace, books, "b1", prepared_by="accountant-1").batch
    stated = {
        (o.payee_id, o.currency): o.statement_number for o in owed_lines(workspace, books, {})
    }
    for number, statement in by_number(published).items():
        header = statement.inputs.header
        if statement.closing_units:
            key = header.payee_id, header.currency
            assert stated[key] == f"2026-10/{number}"
    assert {item.statement_number for item in batch.payouts} <= set(stated.values())


def test_the_settlement_report_tells_the_sums_in_euros(published):
    """Two shares of the pool at one rate, and what fees and shares come to together."""
    plan = published[1].plan
    (line,) = foreign_lines(plan)
    names = ("agr-pkg-00", "agr-pkg-04")
    assert line.currency == EURO
    assert line.pool_units == sum(plan.pools[0].units_of(name) for name in names) > 0
    assert abs(line.converted_units - line.pool_units * Fraction(9, 10)) <= 1
    assert line.rate == "0.9 EUR per USD on 2026-10-30, ECB"
    euros = [result for result in plan.earnings if result.currency == EURO]
    assert line.net_units == sum(result.net_units for result in euros) > line.converted_units


def test_the_pack_proves_and_repeats_every_conversion(published):
    """Two conversions and the shares in euros come out again byte for byte."""
    workspace, _, papers = published
    assert run_verify(papers.pack, workspace.public_key).ok
    found = reperform(papers.pack)
    assert found.same["conversion"] == 1
    assert found.same["apportionment"] > 2
