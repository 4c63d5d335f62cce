"""The notes of a statement: what was not paid and where it stands, in whole sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contracts.accrual import Standing
from contracts.earnings import Earnings
from contracts.money import format_units
from flows.accruals import Claim
from flows.close_plan import ClosePlan, claim_id
from flows.publish_account import Account
from flows.publish_book import BookView
from ledger import chart


def notes_on_claims(plan: ClosePlan, claims: Sequence[Claim]) -> Iterator[str]:
    """Say which claims on the main pool were not paid, and where their money stands.

    Args:
        plan: the close.
        claims: a payee's claims.
    """
    for claim in claims:
        portion = plan.apportionment.portions[claim_id(claim)]
        amount = format_units(portion.attribution_units, plan.accruals.currency)
        code = plan.accruals.currency.partition("/")[0]
        if claim.standing is Standing.UNLICENSED:
            yield (
                f"{claim.creator_id} has no agreement on this pool. {code} {amount} of it "
                f"stand in the account {chart.UNLICENSED} and were not given to anybody else."
            )
        elif portion.destination == "below_noise":
            yield (
                f"The 95 % interval of {claim.creator_id} contains zero, so its part of "
                f"{code} {amount} was not paid; it stands in {chart.BELOW_NOISE}."
            )
        elif portion.accrual_units < 0:
            yield (
                f"The works of {claim.creator_id} made the sampled outputs less likely on "
                f"balance: the accrual is negative and the floor at zero applies."
            )


def notes_on_money(
    view: BookView, payee_id: str, earnings: Sequence[Earnings], issued: Sequence[str]
) -> Iterator[str]:
    """Say what is held in dispute, and how the accounts in other currencies stand.

    Args:
        view: the book.
        payee_id: whose accounts.
        earnings: his calculations in the statement's currency.
        issued: currencies in which he has a statement, CODE/SCALE each.
    """
    for result in earnings:
        if result.contested_units:
            code = result.currency.partition("/")[0]
            yield (
                f"{code} {format_units(result.contested_units, result.currency)} of fees per "
                f"use under {result.agreement_id} are claimed by others too. They are held in "
                f"{chart.disputed(payee_id)} until that is decided."
            )
    for other in sorted({e.payment_currency for e in earnings} - {*issued}):
        account = Account.of(view, payee_id, other, earnings[0].period)
        code = other.partition("/")[0]
        paid = sum(m.amount_units for m in account.movements)
        came = account.closing_units - account.opening_units - paid
        opening, added, moved, closing = (
            format_units(units, other)
            for units in (account.opening_units, came, paid, account.closing_units)
        )
        yield (
            f"Your account in {code}: {opening} at the start, {added} converted in this "
            f"period, {moved} paid or returned, {closing} owed at the end."
        )
