"""Statements of payees whose agreements are in several currencies: one a currency, each foots.

1. The statement in the pools' currency is issued to everybody but those all of whose agreements
   are in other currencies and whose account in that one was never touched.
2. What an agreement in another currency was given of a pool is converted before the calculation's
   first line, which says how; the numbers beside its works are shown at the same rate.
3. A net that is converted leaves the statement of its own currency and comes into that of the
   other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from contracts.accrual import Standing
from contracts.agreement import AgreementBook
from contracts.earning_lines import CONVERSION
from contracts.earnings import Earnings
from contracts.fx import FxRate, convert
from contracts.money import format_units
from contracts.pool_amount import PoolAmount
from flows.accruals import Claim
from flows.division import PoolDivision
from flows.publish_book import BookView
from ledger import chart
from reports.statement_inputs import Movement, WorkLine


def currencies_of(
    view: BookView,
    payee_id: str,
    earnings: Sequence[Earnings],
    claims: Iterable[Claim],
    currency: str,
) -> list[str]:
    """Name the currencies in which a payee gets a statement, the pools' first.

    Args:
        view: the book.
        payee_id: the payee.
        earnings: his calculations of the period.
        claims: his claims on the main pool.
        currency: of the pools.
    """
    others = sorted({result.currency for result in earnings} - {currency})
    needed = (
        len(others) < len({result.currency for result in earnings})
        or any(claim.standing is not Standing.LICENSED for claim in claims)
        or bool(view.movements_on(chart.royalties_payable(payee_id), currency))
    )
    return [currency, *others] if needed or not others else others


def number_of(period: str, payee_id: str, currency: str, main: str) -> str:
    """Give the number of a payee's statement in a currency.

    Args:
        period: YYYY-MM.
        payee_id: the payee.
        currency: of the statement.
        main: of the pools; their statement has no ending.
    """
    ending = "" if currency == main else f"/{currency.replace('/', '-')}"
    return f"{period}/{payee_id}{ending}"


def foreign_agreements(book: AgreementBook, main: str) -> set[tuple[str, str]]:
    """Give payee and currency of every agreement in another currency than the pools'."""
    return {(a.payee_id, a.currency) for a in book.agreements if a.currency != main}


def paid_on(period: str, payee_id: str, currency: str, foreign: Collection[tuple[str, str]]) -> str:
    """Give the number of the statement on which what is owed in a currency stands.

    What was converted into a currency in which the payee has no agreement is cited on the
    statement in the pools'.

    Args:
        period: YYYY-MM.
        payee_id: the payee.
        currency: of what is owed.
        foreign: from `foreign_agreements`.
    """
    main = "" if (payee_id, currency) in foreign else currency
    return number_of(period, payee_id, currency, main)


def converted_into(earnings: Iterable[Earnings], currency: str) -> Iterator[Movement]:
    """Name the nets of agreements in other currencies that were converted into a currency."""
    for result in earnings:
        if result.payment_currency == currency != result.currency and result.converted_units:
            formula = result.lines[CONVERSION - 1].formula
            text = f"from {result.agreement_id} v{result.version}: {formula}"
            yield Movement("currency_conversion", result.converted_units, text)


def shown_in(
    lines: Iterable[WorkLine], amounts: Sequence[PoolAmount], currency: str, target: str
) -> Iterator[WorkLine]:
    """Show the pool and the accrual beside each work in the agreement's currency.

    Args:
        lines: the work lines of one agreement; their amounts are in its currency already.
        amounts: what the agreement was given of the pools.
        currency: of the pools.
        target: of the agreement.
    """
    rates: Mapping[str, FxRate | None] = {amount.pool_id: amount.rate for amount in amounts}
    for line in lines:
        rate = rates.get(line.pool_id)
        pool, accrual = (
            convert(units, currency, target, rate.rate) if rate else 0
            for units in (line.pool_units, line.accrual_units)
        )
        yield replace(line, pool_units=pool, accrual_units=accrual)


def notes_on_pools(
    pools: Iterable[PoolDivision], earnings: Sequence[Earnings], currency: str
) -> Iterator[str]:
    """Say where each pool went that agreements in another currency take part in.

    Args:
        pools: the period's pools, divided.
        earnings: the calculations of those agreements.
        currency: of the pools.
    """
    code = currency.partition("/")[0]
    for pool in pools:
        mine = sum(pool.units_of(result.agreement_id) for result in earnings)
        if mine:
            rest = {name: units for name, units in pool.destinations.items() if units}
            sums = {"paid": pool.pool_units - sum(rest.values()), **rest}
            told = ", ".join(f"{name} {format_units(u, currency)}" for name, u in sums.items())
            yield (
                f"Pool {pool.pool_id} of {code} {format_units(pool.pool_units, currency)}, divided "
                f"by {pool.rule}: {told}. Your part is {code} {format_units(mine, currency)}, "
                f"converted in line 1 of the working."
            )
