"""What payees are owed by the books, and what of it cannot be paid yet.

A net below half a unit of the payment currency stays owed in the agreement's (`closes/PERIOD.json`
of the last close says how much). The next close converts it together with the next net, so it is in
no batch: paid as it is, it would be paid twice.

A payee of several agreements may be owed more than his threshold in sums that are each below the
threshold of their agreement. The close carries each forward, so they are in no batch either.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contracts.agreement import Agreement
from contracts.period import Period
from flows.artefacts import read_manifest
from flows.books import read_agreements
from flows.close import CLOSE_FORMAT, closing_file
from flows.payout_holds import currencies_of
from flows.publish_currency import foreign_agreements, paid_on
from flows.workspace import Workspace
from ledger import chart
from ledger.period_close import PeriodStatus
from ledger.store import LedgerStore
from reports.payouts.batch import Owed


def owed_lines(workspace: Workspace, books: LedgerStore, holds: Mapping[str, str]) -> list[Owed]:
    """Read what every payee is owed in each currency, his threshold and what of it waits.

    Args:
        workspace: whose agreements and closes.
        books: the open ledger.
        holds: reasons by payee who is held.

    Raises:
        CloseError: an agreement is paid in another currency and the last close's file is gone.
    """
    book = read_agreements(workspace)
    currencies = currencies_of(workspace)
    closed = [
        p for p in sorted({s.entry.period for s in books.entries()})
        if books.period_status(p) is PeriodStatus.CLOSED
    ]  # fmt: skip
    period = closed[-1] if closed else "open"
    settled = book.to_settle(Period(period)) if closed else book.agreements
    thresholds = {currency: _thresholds(settled, currency) for currency in currencies}
    waiting = _waiting(workspace, period, settled) if closed else {}
    carried = _carried(workspace, period, settled) if closed else {}
    agreed = foreign_agreements(book, workspace.settings.pool.currency)
    return [
        Owed(
            payee_id=(payee := account.removeprefix(chart.PAYABLE_PREFIX)),
            currency=currency,
            amount_units=-units,
            statement_number=paid_on(period, payee, currency, agreed),
            threshold_units=thresholds[currency].get(payee, 0),
            held=holds.get(payee, ""),
            waiting_units=(waits := min(waiting.get((payee, currency), 0), max(-units, 0))),
            carried_units=min(carried.get((payee, currency), 0), max(-units, 0) - waits),
        )
        for currency in currencies
        for account, units in books.balances(chart.PAYABLE_PREFIX, currency).items()
        if units
    ]


def _thresholds(agreements: Sequence[Agreement], currency: str) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for agreement in agreements:
        if agreement.payment_currency == currency:
            payee = agreement.payee_id
            found[payee] = max(found[payee], agreement.threshold_units)
    return found


def _waiting(
    workspace: Workspace, period: str, agreements: Sequence[Agreement]
) -> Mapping[tuple[str, str], int]:
    """Give what the last close left to be converted by the next, by payee and currency."""
    converted = [a for a in agreements if a.payment_currency != a.currency]
    found: Counter[tuple[str, str]] = Counter()
    for agreement, balances in _balances(workspace, period, converted):
        found[agreement.payee_id, agreement.currency] += balances.get("unconverted_units", 0)
    return found


def _carried(
    workspace: Workspace, period: str, agreements: Sequence[Agreement]
) -> Mapping[tuple[str, str], int]:
    """Give what the last close carried forward for payees of several agreements."""
    payees = Counter((a.payee_id, a.payment_currency) for a in agreements)
    several = [a for a in agreements if payees[a.payee_id, a.payment_currency] > 1]
    found: Counter[tuple[str, str]] = Counter()
    for agreement, balances in _balances(workspace, period, several):
        currency = balances.get("carried_currency") or agreement.payment_currency
        found[agreement.payee_id, currency] += balances.get("carried_forward_units", 0)
    return found


def _balances(
    workspace: Workspace, period: str, agreements: Sequence[Agreement]
) -> Iterator[tuple[Agreement, Mapping[str, Any]]]:
    """Read what the last close kept of agreements; nothing is read where there are none."""
    if not agreements:
        return
    closing = read_manifest(closing_file(workspace, period), CLOSE_FORMAT, step="`byline close`")
    for agreement in agreements:
        yield agreement, closing["agreements"].get(agreement.agreement_id, {}).get("balances", {})
