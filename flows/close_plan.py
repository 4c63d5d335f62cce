"""The close of a period as values: pools divided, earnings calculated, entries written.

Nothing here reads a clock, a file or a database, so a statement made a year later works out the
same numbers from the same accruals and opening balances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contracts.agreement import Agreement, AgreementBook
from contracts.apportionment import Apportionment
from contracts.balances import Balances
from contracts.earnings import EarningInputs, Earnings, compute_group
from contracts.fx import FxTable
from contracts.period import Period
from contracts.pool_amount import PoolAmount
from flows.accruals import PeriodAccruals
from flows.close_entries import SCOPE, Paper, close_entries
from flows.division import Division, PoolDivision, claim_id, pools_of
from flows.ownership import with_earlier_terms
from flows.pool_rule import DEFAULT_METHOD
from flows.pool_shares import shares_of
from flows.restate import Restatement
from flows.usage_counts import UsageOfAgreement
from ledger.entry import JournalEntry

__all__ = ["DEFAULT_METHOD", "SCOPE", "ClosePlan", "agreements_of", "claim_id", "plan_close"]


@dataclass(frozen=True)
class ClosePlan:
    """A period, divided and calculated, not yet booked.

    Args:
        accruals: what came in.
        apportionment: the main pool, divided; parties are named by `claim_id`.
        earnings: one calculation an agreement, in the order of their ids.
        entries: what is booked, in order.
        pools: every pool by agreement and work, the main one first.
        restatement: what earlier periods come to now, and the adjustments for it.
        given: what each agreement was given of the pools, in its own currency, by its id.
    """

    accruals: PeriodAccruals
    apportionment: Apportionment
    earnings: tuple[Earnings, ...]
    entries: tuple[JournalEntry, ...]
    pools: tuple[PoolDivision, ...] = ()
    restatement: Restatement = field(default_factory=Restatement)
    given: Mapping[str, Sequence[PoolAmount]] = field(default_factory=dict)


def plan_close(
    division: Division,
    agreements: Sequence[Agreement],
    opening: Mapping[str, Balances],
    *,
    usage: Mapping[str, UsageOfAgreement],
    restatement: Restatement,
    fx: FxTable,
    paper: Paper,
) -> ClosePlan:
    """Calculate every agreement of a divided period and write the entries.

    Args:
        division: the period's pools, divided.
        agreements: the agreements to settle, from `agreements_of`.
        opening: balances by agreement id at the start, advances of the period included.
        usage: usage by agreement id, for fees per output and per token.
        restatement: adjustments for earlier periods.
        fx: exchange rates, for payment in another currency.
        paper: who prepares and approves, and the digests that entries cite.

    Returns:
        The division, the earnings, and the entries to book.

    Raises:
        MissingRateError: a pool or the payment is in another currency and there is no rate.
    """
    period = Period(division.accruals.period)
    agreements = _with_earlier_terms(agreements, division)
    opened = {a.agreement_id: _opening(a, opening, restatement) for a in agreements}
    given = _given(agreements, division, fx, opened)
    used = {a.agreement_id: usage.get(a.agreement_id, UsageOfAgreement()) for a in agreements}
    earnings = compute_group(
        [
            (
                agreement,
                EarningInputs(
                    pools=given[agreement.agreement_id],
                    usages=used[agreement.agreement_id].usages,
                    shares=used[agreement.agreement_id].shares,
                    contested=used[agreement.agreement_id].contested,
                    opening=opened[agreement.agreement_id],
                    adjustments=restatement.adjustments.get(agreement.agreement_id, ()),
                    fx=fx,
                ),
            )
            for agreement in agreements
        ],
        period,
    )
    entries = close_entries(division, given, earnings, restatement, paper)
    return ClosePlan(
        division.accruals,
        division.apportionment,
        tuple(earnings),
        tuple(entries),
        division.pools,
        restatement,
        given,
    )


def agreements_of(book: AgreementBook, period: Period) -> list[Agreement]:
    """Give the version of every agreement that a period is settled under, in the order of ids.

    An agreement that has ended earns nothing, but its reserves are still released and what it
    carries is still paid, so it stays.
    """
    return list(book.to_settle(period))


def _with_earlier_terms(agreements: Sequence[Agreement], division: Division) -> list[Agreement]:
    """Give the agreements with the terms under which money accrued before their versions began."""
    if division.known is None:
        return list(agreements)
    book, pools = division.known.book, division.pools
    return [with_earlier_terms(a, book, pools_of(a.agreement_id, pools)) for a in agreements]


def _given(
    agreements: Sequence[Agreement],
    division: Division,
    fx: FxTable,
    opened: Mapping[str, Balances],
) -> dict[str, tuple[PoolAmount, ...]]:
    """Give what each agreement was given of the pools, in its own currency."""
    return {
        agreement.agreement_id: shares_of(
            agreement,
            division.pools,
            currency=division.accruals.currency,
            period=Period(division.accruals.period),
            tables=(fx,),
            left=opened[agreement.agreement_id].remainders,
        )
        for agreement in agreements
    }


def _opening(
    agreement: Agreement, opening: Mapping[str, Balances], restatement: Restatement
) -> Balances:
    """Give an agreement's opening balances, its tier counters as restated."""
    balances = opening.get(agreement.agreement_id, Balances())
    return restatement.with_counters(agreement.agreement_id, balances)
