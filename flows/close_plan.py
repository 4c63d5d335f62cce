"""The close of a period as values: accruals divided, earnings calculated, entries written.

Nothing here reads a clock, a file or a database, so a statement made a year later works out the
same numbers from the same accruals and opening balances.

    apportionment   Dr Accrued and suspense, as they stand
                    Cr RoyaltiesPayable and suspense, as the rule divides the pool
    earning         what rates, deductions, caps and floors change, against the expense
    reserve         Dr/Cr RoyaltiesPayable against Reserve
    guarantee       Dr Expenses, Cr RoyaltiesPayable
    recoupment      Dr RoyaltiesPayable, Cr RoyaltyAdvances
    tax             VAT added, withholding kept back
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from contracts.accrual import Accrual, Standing
from contracts.agreement import Agreement, AgreementBook
from contracts.apportionment import NOISE_Z, RULES, Apportionment
from contracts.balances import Balances
from contracts.earnings import EarningInputs, Earnings, compute_group
from contracts.period import Period
from contracts.split import split_by_weights
from contracts.term_royalty import PoolAmount
from contracts.terms import POOL_BASES, Basis
from flows.accruals import Claim, PeriodAccruals
from flows.errors import CloseError
from ledger import chart
from ledger.entry import JournalEntry, Posting

SCOPE = "close"
DEFAULT_METHOD = "signed_linear/1"
DESTINATION_ACCOUNTS = {
    "unlicensed": chart.UNLICENSED,
    "unmatched": chart.UNMATCHED,
    "below_noise": chart.BELOW_NOISE,
    "unexplained": chart.UNEXPLAINED,
    "rounding": chart.ROUNDING,
}


@dataclass(frozen=True)
class ClosePlan:
    """A period, divided and calculated, not yet booked.

    Args:
        accruals: what came in.
        apportionment: the pool, divided; parties are named by `claim_id`.
        earnings: one calculation an agreement, in the order of their ids.
        entries: what is booked, in order.
    """

    accruals: PeriodAccruals
    apportionment: Apportionment
    earnings: tuple[Earnings, ...]
    entries: tuple[JournalEntry, ...]


def claim_id(claim: Claim) -> str:
    """Name a claim in the apportionment: the creator, or standing and creator."""
    if claim.standing is Standing.LICENSED:
        return claim.creator_id
    return f"{claim.standing.value}/{claim.creator_id}"


def plan_close(
    accruals: PeriodAccruals,
    book: AgreementBook,
    opening: Mapping[str, Balances],
    *,
    works_of: Mapping[str, int],
    evidence: Mapping[str, str],
    prepared_by: str,
) -> ClosePlan:
    """Divide a period's pool and calculate every agreement.

    Args:
        accruals: what the period's nights accrued.
        book: the agreements.
        opening: balances by agreement id at the start, advances of the period included.
        works_of: works and documents by creator, for fallback methods.
        evidence: digests of the files behind the accruals.
        prepared_by: who prepares the close.

    Returns:
        The division, the earnings, and the entries to book.

    Raises:
        CloseError: an agreement pays by a basis or rule that this close does not calculate.
    """
    period = Period(accruals.period)
    agreements = agreements_of(book, period)
    method = _method(agreements, accruals.pool_id)
    apportionment = RULES[method].apportion(
        accruals.pool_units,
        [_accrual(claim, agreements, works_of) for claim in accruals.claims],
        unexplained_units=accruals.unexplained_units,
    )
    amounts = _by_agreement(accruals, apportionment)
    earnings = compute_group(
        [
            (
                agreement,
                EarningInputs(
                    pools=_pools(agreement, accruals, amounts),
                    opening=opening.get(agreement.agreement_id, Balances()),
                ),
            )
            for agreement in agreements
        ],
        period,
    )
    entries = [
        entry
        for entry in (
            _apportionment_entry(accruals, apportionment, earnings, amounts, evidence, prepared_by),
            *_earning_entries(accruals, earnings, amounts, prepared_by),
        )
        if entry is not None
    ]
    return ClosePlan(accruals, apportionment, tuple(earnings), tuple(entries))


def agreements_of(book: AgreementBook, period: Period) -> list[Agreement]:
    """Give the version of every agreement that holds last in a period, in the order of ids.

    Raises:
        CloseError: a term pays per output or per token, which is not settled yet.
    """
    latest: dict[str, Agreement] = {}
    for party in book.licensors:
        for agreement in book.for_period(party, period):
            known = latest.get(agreement.agreement_id)
            if known is None or known.version < agreement.version:
                latest[agreement.agreement_id] = agreement
    for agreement in latest.values():
        for term in agreement.terms:
            if term.basis not in POOL_BASES and term.basis is not Basis.FLAT:
                raise CloseError(
                    f"{agreement.name}, term {term.term_id} pays {term.basis.value}; this close "
                    f"divides pools and flat fees only, so the term would earn nothing silently. "
                    f"Nothing was closed; end that agreement or settle it by hand first"
                )
    return [latest[key] for key in sorted(latest)]


def _method(agreements: Sequence[Agreement], pool_id: str) -> str:
    methods = {
        term.method: agreement.name
        for agreement in agreements
        for term in agreement.terms_on_pool(pool_id)
    }
    if len(methods) > 1:
        named = "; ".join(f"{name} says {method}" for method, name in sorted(methods.items()))
        raise CloseError(
            f"pool {pool_id} cannot be divided by two rules at once: {named}. Nothing was closed; "
            f"agree on one rule for the pool"
        )
    return next(iter(methods), DEFAULT_METHOD)


def _accrual(claim: Claim, agreements: Sequence[Agreement], works_of: Mapping[str, int]) -> Accrual:
    own = [a for a in agreements if a.agreement_id in claim.by_agreement]
    clause = next((a.reliability for a in own if a.reliability is not None), None)
    return Accrual(
        claim_id(claim),
        claim.units,
        claim.stderr_units,
        claim.standing,
        works=len(claim.by_work),
        usage=works_of.get(claim.creator_id, 0),
        fixed=max((a.fixed_weight for a in own), default=0),
        reliability=clause,
        noise_z=_noise_z(own),
    )


def _noise_z(agreements: Sequence[Agreement]) -> Fraction | None:
    """Give a creator's noise floor; among several agreements the widest holds."""
    if not agreements:
        return NOISE_Z
    return max((a.noise_z for a in agreements if a.noise_z is not None), default=None)


def _by_agreement(accruals: PeriodAccruals, divided: Apportionment) -> dict[str, int]:
    """Give what each agreement was apportioned; several of one creator share by accrual."""
    amounts: dict[str, int] = defaultdict(int)
    for claim in accruals.claims:
        payable = divided.payable.get(claim_id(claim), 0)
        if claim.standing is not Standing.LICENSED or not payable:
            continue
        names = sorted(claim.by_agreement)
        weights = [max(claim.by_agreement[name], 0) for name in names]
        if not any(weights):
            weights = [1] * len(names)
        for name, units in zip(names, split_by_weights(payable, weights), strict=True):
            amounts[name] += units
    return dict(amounts)


def _pools(
    agreement: Agreement, accruals: PeriodAccruals, amounts: Mapping[str, int]
) -> tuple[PoolAmount, ...]:
    if not agreement.terms_on_pool(accruals.pool_id):
        return ()
    units = amounts.get(agreement.agreement_id, 0)
    working = f"part of pool {accruals.pool_id} of {accruals.pool_units} units"
    return (PoolAmount(accruals.pool_id, accruals.pool_units, units, working),)


def _apportionment_entry(
    accruals: PeriodAccruals,
    divided: Apportionment,
    earnings: Sequence[Earnings],
    amounts: Mapping[str, int],
    evidence: Mapping[str, str],
    prepared_by: str,
) -> JournalEntry | None:
    """Write the entry that turns accruals into payables and suspense."""
    change: dict[str, int] = defaultdict(int)
    standing = {
        Standing.UNLICENSED: chart.UNLICENSED,
        Standing.UNMATCHED: chart.UNMATCHED,
    }
    for claim in accruals.claims:
        account = standing.get(claim.standing) or chart.accrued(claim.creator_id)
        change[account] += claim.units
    change[chart.UNEXPLAINED] += accruals.unexplained_units
    for name, units in divided.destinations.items():
        change[DESTINATION_ACCOUNTS[name]] -= units
    for result in earnings:
        units = amounts.get(result.agreement_id, 0)
        change[chart.royalties_payable(result.payee_id)] -= units
    return _entry(
        accruals,
        "apportionment",
        accruals.pool_id,
        f"Pool {accruals.pool_id} of {accruals.period} divided by {divided.rule}",
        change,
        prepared_by,
        evidence,
    )


def _earning_entries(
    accruals: PeriodAccruals,
    earnings: Sequence[Earnings],
    amounts: Mapping[str, int],
    prepared_by: str,
) -> Iterator[JournalEntry | None]:
    """Write what each agreement's own terms change, one entry a kind."""
    for result in earnings:
        payable = chart.royalties_payable(result.payee_id)
        held = chart.reserve(result.payee_id)
        base_units = amounts.get(result.agreement_id, 0)
        recouped = result.recouped_units + sum(result.collateral_units.values())
        reserved = result.reserve_taken_units - result.reserve_released_units
        moves = {
            "earning": (result.royalty_units - base_units, chart.ROYALTY_EXPENSE, "Terms of"),
            "reserve": (-reserved, held, "Reserve of"),
            "guarantee": (result.guarantee_units, chart.ROYALTY_EXPENSE, "Guarantee of"),
            "recoupment": (-recouped, chart.royalty_advances(result.payee_id), "Recouped by"),
        }
        for kind, (units, other, what) in moves.items():
            yield _entry(
                accruals,
                kind,
                result.agreement_id,
                f"{what} agreement {result.agreement_id} v{result.version}",
                {payable: -units, other: units},
                prepared_by,
                {},
            )
        change = {
            payable: result.withheld_units - result.indirect_tax_units,
            chart.WITHHOLDING_PAYABLE: -result.withheld_units,
            chart.INDIRECT_TAX_RECOVERABLE: result.indirect_tax_units,
        }
        what = f"Taxes of agreement {result.agreement_id} v{result.version}"
        yield _entry(accruals, "tax", result.agreement_id, what, change, prepared_by, {})


def _entry(
    accruals: PeriodAccruals,
    kind: str,
    name: str,
    description: str,
    change: Mapping[str, int],
    prepared_by: str,
    evidence: Mapping[str, str],
) -> JournalEntry | None:
    """Write an entry from what each account changes by (debit positive), or None for nothing."""
    postings = [
        Posting(account, accruals.currency, units)
        for account, units in sorted(change.items())
        if units
    ]
    if not postings:
        return None
    return JournalEntry(
        scope=SCOPE,
        key=f"{accruals.period}/{kind}/{name}",
        kind=kind,
        period=accruals.period,
        effective_on=Period(accruals.period).end.isoformat(),
        description=description,
        postings=postings,
        prepared_by=prepared_by,
        evidence=evidence,
    )
